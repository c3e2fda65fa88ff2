package lab

import "nsscript/runtime/probe"

// NeighborTable is one of the tables that all namespaces of the machine share.
type NeighborTable = probe.NeighborTable

// NeighborTables are those of IPv4 and IPv6, as far as the kernel has them.
func NeighborTables() []NeighborTable { return probe.NeighborTables() }
