package lab

import (
	"errors"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// generic runs fn with a generic netlink socket of the namespace and the number of
// a family (netlink(7), NETLINK_GENERIC).
func (ns *Namespace) generic(family string, fn func(c *conn, id int) error) error {
	var c *conn
	err := ns.do(func() (err error) {
		c, err = openNetlink(unix.NETLINK_GENERIC)
		return err
	})
	if err != nil {
		return err
	}
	defer c.close()
	r := genericRequest(unix.GENL_ID_CTRL, unix.CTRL_CMD_GETFAMILY, 0)
	r.AddData(nl.NewRtAttr(unix.CTRL_ATTR_FAMILY_NAME, nl.ZeroTerminated(family)))
	body, err := c.get(r)
	if err != nil {
		return err
	}
	for kind, v := range attributes(body[min(len(body), unix.GENL_HDRLEN):]) {
		if kind == unix.CTRL_ATTR_FAMILY_ID {
			return fn(c, u16(v))
		}
	}
	return errors.New("generic netlink: no number for " + family)
}

// genericRequest starts a message with a struct genlmsghdr.
func genericRequest(family, command, flags int) *nl.NetlinkRequest {
	r := request(family, flags)
	r.AddData(head{byte(command), 1, 0, 0})
	return r
}

// head is a header that stands before attributes; nl puts raw data behind them.
type head []byte

func (h head) Len() int { return len(h) }

func (h head) Serialize() []byte { return h }

// notOfKind explains why a family refuses a link: it is of another kind.
func (k *Link) notOfKind(kind, title string, err error, format string, args ...any) error {
	info, infoErr := k.Info()
	if infoErr != nil || info.Kind == kind {
		return k.failed(err, "", format, args...)
	}
	is := info.Kind
	if is == "" {
		is = "device"
	}
	return Usage(kind+"() makes one", "%s is a %s, and not %s", k, is, title)
}
