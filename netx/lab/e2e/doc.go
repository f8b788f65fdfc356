// Package e2e holds the end-to-end tests: the talk's scenario with real packets on a real IPVS kernel, built with the tag lab.
package e2e
