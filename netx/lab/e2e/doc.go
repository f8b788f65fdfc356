// Package e2e contains the end-to-end tests, which send real packets through a real IPVS kernel; they need build tag lab.
package e2e
