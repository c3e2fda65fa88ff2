package lab

import (
	"context"
	"errors"
	"os"
	"strconv"
	"time"

	"nsscript/runtime/event"
	"nsscript/runtime/process"
)

// limit limits what the programs of the namespace use together.
func (ns *Namespace) limit(ctx context.Context, limits process.Limits) error {
	if limits == (process.Limits{}) {
		return nil
	}
	if err := ns.check(); err != nil {
		return err
	}
	start := time.Now()
	err := ns.enterGroup(limits)
	if err != nil {
		err = ns.limitError(err)
	}
	var args []event.Arg
	for _, a := range []event.Arg{
		arg("cpu", strconv.FormatFloat(limits.CPU, 'g', -1, 64)), arg("memory", strconv.FormatInt(limits.Memory, 10)), arg("pids", strconv.Itoa(limits.PIDs)),
	} {
		if a.Value != "0" {
			args = append(args, a)
		}
	}
	ns.lab.emit(ctx, "limit", ns, start, err, args...)
	return err
}

func (ns *Namespace) enterGroup(limits process.Limits) (err error) {
	l := ns.lab
	if l.groups == nil {
		if l.groups, err = process.NewGroups(limits); err != nil {
			return err
		}
	}
	group, err := l.groups.Group("netns-"+ns.Name, limits)
	if err != nil {
		return err
	}
	ns.leaveGroup()
	ns.cgroup = group
	return nil
}

func (ns *Namespace) leaveGroup() {
	if ns.cgroup != nil {
		ns.cgroup.Close()
		ns.cgroup = nil
	}
}

func (ns *Namespace) limitError(err error) error {
	var none *process.NotDelegated
	if !errors.As(err, &none) {
		return kernelError(err, "", "limit the programs of %s", ns)
	}
	hint := "start it in a control group of its own: systemd-run --user --scope -p Delegate=yes nsscript …"
	if os.Getuid() == 0 && !oneID() {
		hint = "start it in a control group of its own: systemd-run --scope -p Delegate=yes nsscript …"
	}
	return &Error{Op: "limit the programs of " + ns.String(), Kind: KindMissing, Err: none, Hint: hint}
}
