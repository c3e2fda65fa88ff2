package lab

import (
	"nsscript/runtime/event"
)

// Places of filters of clsact (TC_H_MIN_INGRESS and TC_H_MIN_EGRESS of pkt_sched.h).
const clsactIngress, clsactEgress uint32 = 0xfffffff2, 0xfffffff3

func (k *Link) filtersOf(all []tcNode) ([]tcNode, error) { return nil, nil }

func (n *tcNode) filterArgs() []event.Arg { return nil }
