package builtins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/runtime/lab"
)

// Fault is a disturbance of the lab. It is live.
type Fault struct {
	fault *lab.Fault
	env   *Env
	task  *task // what goes on in it; or nil
}

func (f *Fault) String() string { return f.fault.String() }

// Type is what type() says.
func (f *Fault) Type() string { return "fault" }

// Freeze does nothing.
func (f *Fault) Freeze() {}

// Truth is True.
func (f *Fault) Truth() starlark.Bool { return true }

// Hash makes it a key of a dict.
func (f *Fault) Hash() (uint32, error) { return hashPointer(f.fault) }

// CompareSameType: one fault, one value.
func (f *Fault) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, f.fault == y.(*Fault).fault, "fault")
}

// AttrNames lists the attributes.
func (f *Fault) AttrNames() []string {
	names := []string{"kind", "what", "active", "undo"}
	if f.fault.Kind == "partition" {
		names = append(names, "heal")
	}
	if f.task != nil {
		names = append(names, "running", "wait")
	}
	return names
}

// Attr is an attribute, or a method.
func (f *Fault) Attr(name string) (starlark.Value, error) {
	if !slices.Contains(f.AttrNames(), name) {
		return nil, nil
	}
	switch name {
	case "kind":
		return starlark.String(f.fault.Kind), nil
	case "what":
		return starlark.String(f.fault.What), nil
	case "active":
		return starlark.Bool(f.fault.Active()), nil
	case "running":
		return starlark.Bool(f.task.running()), nil
	case "wait":
		return f.task.waiter(), nil
	}
	undo := &Spec{Name: "fault." + name, Fn: func(c *Call) (starlark.Value, error) {
		if f.task != nil {
			f.task.stop(c.Thread)
		}
		return nil, f.fault.Undo(c.Ctx)
	}}
	return undo.builtin(f.env), nil
}

// MarshalJSON is the fault with its attributes.
func (f *Fault) MarshalJSON() ([]byte, error) { return marshalLive(f) }

var (
	tNamespaces = listOf(tNetnsRef, "a list of namespaces")
	tTimes      = intType("a number of times", "3", 1, 1<<31-1)
)

// tFault is what can be undone.
var tFault = &Type{Name: "a fault, or another value with a method undo()", Good: "partition([a], [b])", Convert: func(_ *Call, v starlark.Value) (any, error) {
	if has, ok := v.(starlark.HasAttrs); ok {
		if undo, err := has.Attr("undo"); err == nil && undo != nil {
			if fn, ok := undo.(starlark.Callable); ok {
				return fn, nil
			}
		}
	}
	return nil, errType
}}

const cluster = "a, b, c = netns(\"a\"), netns(\"b\"), netns(\"c\")\nbr0 = bridge(\"br0\", up=True)\n" +
	"for i, ns in enumerate([a, b, c]):\n    veth(\"eth0\", \"p%d\" % i, ns=ns, peer_ns=root, peer_master=br0, addr=\"10.0.0.%d/24\" % (i + 1), up=True)\n"

func faultSpecs() []*Spec {
	return []*Spec{
		{
			Name: "partition", Family: familyShaping, Returns: "fault: kind what active undo() heal()", Like: "nft add table netdev …",
			Doc: "Drops every frame between two groups of namespaces, whatever lies between them (switches, routers, tunnels), until .heal(). Inside of a group nothing changes. " +
				"Members know frames of the other group by the MAC addresses of its links and by its IP addresses, those that come later included; each drops what comes in from it, and what goes out to it, " +
				"by a table of nftables of its own that other programs can neither change nor flush. A packet of which a router between the groups translates both addresses (masquerade and a forwarded port) names neither the sender " +
				"to the receiver nor the receiver to the sender: it passes. " +
				"With one_way=True only what the first group sends to the second is dropped, but for ARP and what finds neighbours in IPv6: the other direction needs them.",
			Params: []Param{required("a", tNamespaces, "one side"), required("b", tNamespaces, "the other side"),
				keyword("one_way", tBool, "False", "only from a to b")},
			Example: cluster + "p = partition([a, b], [c])\nexpect.unreachable(a, c, hold=\"100ms\")\nexpect.reachable(a, b)\np.heal()\nexpect.reachable(a, c)",
			Fn: func(c *Call) (starlark.Value, error) {
				a, err := c.group("a")
				if err != nil {
					return nil, err
				}
				b, err := c.group("b")
				if err != nil {
					return nil, err
				}
				f, err := c.Env.Lab.Partition(c.Ctx, a, b, get(c, "one_way", false))
				return c.Env.fault(f), err
			},
		},
		{
			Name: "blackhole", Family: familyShaping, Returns: "fault: kind what active undo()", Like: "nft add table netdev …",
			Doc: "Drops every frame that a link gets and sends, until .undo(). The carrier stays up, so that neither side knows. " +
				"It is a table of nftables of its own that other programs can neither change nor flush; it ends when the link moves.",
			Params: []Param{required("link", tLink, "which")},
			Example: twoHosts + "f = blackhole(b[\"eth0\"])\nexpect.unreachable(a, b, hold=\"100ms\")\nexpect(a[\"eth0\"].carrier and b[\"eth0\"].carrier)\n" +
				"f.undo()\nexpect.reachable(a, b)",
			Fn: func(c *Call) (starlark.Value, error) {
				f, err := get[*lab.Link](c, "link", nil).Blackhole(c.Ctx)
				return c.Env.fault(f), err
			},
		},
		{
			Name: "flap", Family: familyShaping, Returns: "fault: kind what active running undo() wait()", Like: "ip link set LINK down; ip link set LINK up",
			Doc: "Sets a link down and up again, over and over, beside the script, with the routes that the kernel takes away. " +
				".wait() waits until it has done so as often as it should, .undo() ends it; then the link is as it was.",
			Params: []Param{required("link", tLink, "which"), keyword("down", tDuration, "\"1s\"", "how long it is down"), keyword("up", tDuration, "\"1s\"", "how long it is up"),
				keyword("times", tTimes, "", "how often; until undo() or the end of the script unless given")},
			Example: twoHosts + "f = flap(b[\"eth0\"], down=\"20ms\", up=\"20ms\", times=2)\nf.wait()\nexpect.reachable(a, b)\nexpect.ge(a[\"eth0\"].stats.carrier_changes, 4)",
			Fn:      flap,
		},
		{
			Name: "during", Family: familyShaping, Returns: "what the function returns",
			Doc: "Calls a function while a fault lasts, and always undoes the fault afterwards, also after an error or a failed require. " +
				"A fault is whatever has a method undo().",
			Params:  []Param{required("fault", tFault, "what has begun"), required("fn", tCallable, "what to do meanwhile")},
			Example: twoHosts + "during(blackhole(b[\"eth0\"]), lambda: expect.unreachable(a, b, hold=\"100ms\"))\nexpect.reachable(a, b)\nexpect.eq(during(down(b[\"eth0\"]), lambda: a[\"eth0\"].carrier), False)\nexpect(b[\"eth0\"].up)",
			Fn: func(c *Call) (starlark.Value, error) {
				v, err := starlark.Call(c.Thread, get[starlark.Callable](c, "fn", nil), nil, nil)
				_, undone := starlark.Call(c.Thread, get[starlark.Callable](c, "fault", nil), nil, nil)
				if err == nil || undone == nil {
					return v, cmp.Or(err, undone)
				}
				return v, errors.Join(err, undone)
			},
		},
		{
			Name: "schedule", Family: familyShaping, Returns: "schedule: running undo() wait()",
			Doc: "Calls functions at times from now on, beside the script: while that waits (for a reply, in sleep(), in a check), it is their turn. " +
				"Each step is in the log of events. .wait() waits for the last one, .undo() calls off those that have not begun; so does the end of the script. A step that fails calls off the others and fails the script.",
			Params: []Param{required("steps", tSteps, "pairs of a time after the call and a function")},
			Example: twoHosts + "s = schedule([(\"10ms\", lambda: down(b[\"eth0\"])), (\"20ms\", lambda: up(b[\"eth0\"])), (\"30ms\", lambda: down(b[\"eth0\"]))])\n" +
				"s.wait()\nexpect.eq((s.running, a[\"eth0\"].carrier), (False, False))",
			Fn: schedule,
		},
	}
}

// group is a group of namespaces, each once.
func (c *Call) group(name string) (group []*lab.Namespace, err error) {
	for _, ns := range all[*lab.Namespace](c, name) {
		if !slices.Contains(group, ns) {
			group = append(group, ns)
		}
	}
	if len(group) == 0 {
		return nil, lab.Usage("a good one is "+name+"=[ns]", "%s: %s: it is empty", c.spec.Name, name)
	}
	return group, nil
}

// fault is a fault as a value, None where there is none.
func (env *Env) fault(f *lab.Fault) starlark.Value {
	if f == nil {
		return starlark.None
	}
	return &Fault{fault: f, env: env}
}

func flap(c *Call) (starlark.Value, error) {
	k := get[*lab.Link](c, "link", nil)
	f, down, up, err := k.Flapping(c.Ctx)
	if err != nil {
		return nil, err
	}
	low, high, times := get(c, "down", time.Second), get(c, "up", time.Second), get(c, "times", 0)
	t := c.begin("flap", func(ctx context.Context, t *task) error {
		for n := 0; times == 0 || n < times; n++ {
			if err := down(ctx); err != nil || !t.sleep(ctx, low) {
				return err
			}
			if err := up(ctx); err != nil || !t.sleep(ctx, high) {
				return err
			}
		}
		return f.Undo(ctx)
	})
	return &Fault{fault: f, env: c.Env, task: t}, nil
}

// step is a function and when to call it.
type step struct {
	after time.Duration
	fn    starlark.Callable
}

// tSteps are pairs.
var tSteps = &Type{Name: "a list of pairs of a time and a function", Good: `[("500ms", fn)]`, Convert: func(c *Call, v starlark.Value) (any, error) {
	list, ok := v.(starlark.Iterable)
	if _, dict := v.(*starlark.Dict); !ok || dict {
		return nil, errType
	}
	var steps []step
	for x := range starlark.Elements(list) {
		pair, ok := x.(starlark.Indexable)
		if !ok || pair.Len() != 2 {
			return nil, fmt.Errorf("[%d]: got %s, want a pair of a time and a function", len(steps), describe(x))
		}
		after, err := toDuration(pair.Index(0))
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", len(steps), err)
		}
		fn, ok := pair.Index(1).(starlark.Callable)
		if !ok {
			return nil, fmt.Errorf("[%d]: got %s, want a function", len(steps), describe(pair.Index(1)))
		}
		steps = append(steps, step{after, fn})
	}
	if len(steps) == 0 {
		return nil, errors.New("it is empty")
	}
	slices.SortStableFunc(steps, func(a, b step) int { return int(a.after - b.after) })
	return steps, nil
}}
