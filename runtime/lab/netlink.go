package lab

// netlink runs fn with a socket of another netlink protocol than NETLINK_ROUTE.
func (ns *Namespace) netlink(protocol int, fn func(c *conn) error) error {
	var c *conn
	err := ns.do(func() (err error) {
		c, err = openNetlink(protocol)
		return err
	})
	if err != nil {
		return err
	}
	defer c.close()
	return fn(c)
}
