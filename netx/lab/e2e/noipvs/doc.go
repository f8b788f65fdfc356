// Package noipvs holds the end-to-end test of a kernel without IPVS, apart from the others since a kernel that has it loaded rarely lets it go.
package noipvs
