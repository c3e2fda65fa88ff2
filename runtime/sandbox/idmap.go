package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"

	"nsscript/runtime/sandbox/again"
)

// idMaps are the ids that /etc/subuid and /etc/subgid (subuid(5)) lend to the
// user, and the programs that map them (newuidmap(1), newgidmap(1)).
type idMaps struct {
	newuidmap, newgidmap string
	uids, gids           idRange
}

// idRange is count ids from first on.
type idRange struct{ first, count int }

// findIDMaps returns the user's ranges, or nil where there are none or nothing
// to map them with; the lab then has the one id of the user, as root.
func findIDMaps() *idMaps {
	m := &idMaps{}
	var err error
	if m.newuidmap, err = exec.LookPath("newuidmap"); err != nil {
		return nil
	}
	if m.newgidmap, err = exec.LookPath("newgidmap"); err != nil {
		return nil
	}
	uid := strconv.Itoa(os.Getuid())
	name := uid
	if u, err := user.LookupId(uid); err == nil {
		name = u.Username
	}
	var ok bool
	if m.uids, ok = readIDRange("/etc/subuid", name, uid); !ok {
		return nil
	}
	if m.gids, ok = readIDRange("/etc/subgid", name, uid); !ok {
		return nil
	}
	return m
}

func readIDRange(path, name, uid string) (idRange, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return idRange{}, false
	}
	return parseIDRange(string(text), name, uid)
}

// parseIDRange finds the first range of a user, by name or by number, in the
// text of /etc/subuid: lines of the form "name:first:count".
func parseIDRange(text, name, uid string) (idRange, bool) {
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] != name && f[0] != uid {
			continue
		}
		first, err1 := strconv.Atoi(f[1])
		count, err2 := strconv.Atoi(f[2])
		if err1 == nil && err2 == nil && first > 0 && count > 0 {
			return idRange{first, count}, true
		}
	}
	return idRange{}, false
}

// mapIDs gives the user namespace of the process its ids: the user is root there, and the
// ranges that are lent to the user follow from 1 on. Without any, or where
// newuidmap may not map them (it lost its set-user-id bit in a container), the one
// id has to do.
func mapIDs(p *again.Process) error {
	m := findIDMaps()
	if m == nil {
		return errors.Join(p.MapUID(), p.MapGID())
	}
	results := make(chan error, 1)
	go func() { results <- runIDMap(m.newgidmap, p.PID, os.Getegid(), m.gids) }()
	uidErr := runIDMap(m.newuidmap, p.PID, os.Geteuid(), m.uids)
	gidErr := <-results
	if uidErr != nil {
		if err := p.MapUID(); err != nil {
			return fmt.Errorf("%w; %w", uidErr, err)
		}
	}
	if gidErr != nil {
		if err := p.MapGID(); err != nil {
			return fmt.Errorf("%w; %w", gidErr, err)
		}
	}
	return nil
}

func runIDMap(program string, pid, own int, r idRange) error {
	out, err := exec.Command(program, strconv.Itoa(pid),
		"0", strconv.Itoa(own), "1", "1", strconv.Itoa(r.first), strconv.Itoa(r.count)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(string(out)))
	}
	return nil
}
