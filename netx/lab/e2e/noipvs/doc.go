// Package noipvs tests lb on a kernel without IPVS, in a package of its own because a kernel can rarely unload ip_vs after other tests.
package noipvs
