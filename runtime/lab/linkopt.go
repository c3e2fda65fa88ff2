package lab

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/vishvananda/netlink/nl"
)

// Option is an option of a link's kind, ready to be sent.
type Option struct {
	Name string
	text string // as `ip link` takes it
	attr int
	data []byte
}

// optionKind says how an option is written and what values it has.
type optionKind struct {
	name     string
	attr     int
	size     int  // bytes of the attribute
	isTime   bool // the kernel's unit is 1/100 s (USER_HZ); scripts say "4s"
	min, max int
}

// bridgeOptions are those of `ip link add type bridge` that concern the bridge
// itself (include/uapi/linux/if_link.h, IFLA_BR_*).
var bridgeOptions = []optionKind{
	{"stp", nl.IFLA_BR_STP_STATE, 4, false, 0, 1},
	{"forward_delay", nl.IFLA_BR_FORWARD_DELAY, 4, true, 0, 30},
	{"hello_time", nl.IFLA_BR_HELLO_TIME, 4, true, 1, 10},
	{"max_age", nl.IFLA_BR_MAX_AGE, 4, true, 6, 40},
	{"ageing_time", nl.IFLA_BR_AGEING_TIME, 4, true, 0, 1000000},
	{"priority", nl.IFLA_BR_PRIORITY, 2, false, 0, 65535},
	{"group_fwd_mask", nl.IFLA_BR_GROUP_FWD_MASK, 2, false, 0, 65535},
	{"vlan_filtering", nl.IFLA_BR_VLAN_FILTERING, 1, false, 0, 1},
	{"mcast_snooping", nl.IFLA_BR_MCAST_SNOOPING, 1, false, 0, 1},
}

// ipNames are options whose name in `ip` differs.
var ipNames = map[string]string{"stp": "stp_state"}

const userHZ = 100

// BridgeOption makes an option of a bridge from its name and a number (a switch
// is 0 or 1) or a duration.
func BridgeOption(name string, number int, d time.Duration) (Option, error) {
	for _, k := range bridgeOptions {
		if k.name == name {
			return k.option(number, d)
		}
	}
	return Option{}, Usage("", "bridges have no option %s", name)
}

func (k optionKind) option(number int, d time.Duration) (Option, error) {
	o := Option{Name: k.name, attr: k.attr}
	if ip := ipNames[k.name]; ip != "" {
		o.Name = ip
	}
	value := number
	if k.isTime {
		value = int(math.Round(d.Seconds() * userHZ))
		if value < k.min*userHZ || value > k.max*userHZ {
			return o, Usage(fmt.Sprintf("it is from %ds to %ds", k.min, k.max), "%s=%v is out of range", k.name, d)
		}
	} else if value < k.min || value > k.max {
		return o, Usage(fmt.Sprintf("it is from %d to %d", k.min, k.max), "%s=%d is out of range", k.name, value)
	}
	o.text = strconv.Itoa(value)
	switch k.size {
	case 1:
		o.data = nl.Uint8Attr(uint8(value))
	case 2:
		o.data = nl.Uint16Attr(uint16(value))
	default:
		o.data = nl.Uint32Attr(uint32(value))
	}
	return o, nil
}

// readOptions reads IFLA_INFO_DATA back: switches as bool, times as seconds.
func readOptions(known []optionKind, data []byte) map[string]any {
	values := map[string]any{}
	for kind, v := range attributes(data) {
		for _, k := range known {
			if k.attr == kind {
				values[k.name] = k.read(v)
			}
		}
	}
	return values
}

func (k optionKind) read(v []byte) any {
	var n int
	switch k.size {
	case 1:
		n = u8(v)
	case 2:
		n = u16(v)
	default:
		n = int(u32(v))
	}
	switch {
	case k.isTime:
		return float64(n) / userHZ
	case k.max == 1:
		return n != 0
	}
	return n
}
