package process

import (
	"fmt"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// credential is who a program runs as; nil for who we are. A user comes with all
// its groups, of which another may be made the first; a number with a group is
// just those two. A group alone leaves the others as they are.
func credential(name, group string) (*syscall.Credential, error) {
	c := &syscall.Credential{Uid: uint32(unix.Geteuid()), Gid: uint32(unix.Getegid()), NoSetGroups: name == ""}
	id, isID := parseID(name)
	switch {
	case name == "" && group == "":
		return nil, nil
	case name == "":
	case isID && group != "":
		c.Uid = id
	default:
		if err := become(c, name); err != nil {
			return nil, err
		}
	}
	if group == "" {
		return c, nil
	}
	var err error
	c.Gid, err = groupID(group)
	return c, err
}

// become makes c that of a user of this machine.
func become(c *syscall.Credential, name string) error {
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		if _, isID := parseID(name); isID {
			return fmt.Errorf("user %s is not in /etc/passwd: say the group, too", name)
		}
		return fmt.Errorf("no user %q on this machine", name)
	}
	var good bool
	if c.Uid, good = parseID(u.Uid); !good {
		return fmt.Errorf("user %s has no number but %q", name, u.Uid)
	}
	if c.Gid, good = parseID(u.Gid); !good {
		return fmt.Errorf("user %s has no group but %q", name, u.Gid)
	}
	groups, _ := u.GroupIds()
	for _, g := range groups {
		if n, good := parseID(g); good {
			c.Groups = append(c.Groups, n)
		}
	}
	return nil
}

// groupID is a group's number; a number need be no group's of /etc/group.
func groupID(group string) (uint32, error) {
	if g, err := user.LookupGroup(group); err == nil {
		group = g.Gid
	}
	id, isID := parseID(group)
	if !isID {
		return 0, fmt.Errorf("no group %q on this machine", group)
	}
	return id, nil
}

// parseID is a number as ids have it; the largest is none (setresuid(2)).
func parseID(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil && n < 1<<32-1
}
