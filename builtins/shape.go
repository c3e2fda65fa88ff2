package builtins

import (
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

// eachWay is an option of a cable: one value for both directions, or a pair, the first
// of a to b.
func eachWay(t *Type) *Type {
	return &Type{Name: t.Name + ", or a pair of them", Good: t.Good, Convert: func(c *Call, v starlark.Value) (any, error) {
		pair, ok := v.(starlark.Tuple)
		if !ok {
			x, err := t.Convert(c, v)
			return [2]any{x, x}, err
		}
		if len(pair) != 2 {
			return nil, errType
		}
		var both [2]any
		for i, v := range pair {
			if v == starlark.None {
				continue
			}
			x, err := t.Convert(c, v)
			if err != nil {
				return nil, err
			}
			both[i] = x
		}
		return both, nil
	}}
}

func shapeSpecs() []*Spec {
	return []*Spec{{
		Name: "shape", Family: familyShaping, Returns: returnsShaping, Like: "tc qdisc replace dev A root netem …; tc qdisc replace dev A parent 1:1 tbf …",
		Doc: "Makes a cable a slow, long or lossy one, in both directions: netem at each end for delay, jitter and loss, tbf for the rate, behind it when there are both. " +
			"Each option is one value for both directions, or a pair: (from a to b, from b to a). What is left out is off. " +
			"A packet that the rate would make wait longer than queue is dropped, as by a router. undo() restores what was there before.",
		Params: []Param{required("a", tLink, "one end"), required("b", tLink, "the other end"),
			keyword("delay", eachWay(tUnitDuration), "", "how long each packet is under way, each way"),
			keyword("jitter", eachWay(tUnitDuration), "", "by how much at most that varies"),
			keyword("loss", eachWay(tShare), "", "the share of packets that are lost"),
			keyword("rate", eachWay(tBitrate), "", "how fast packets pass"),
			keyword("queue", eachWay(tUnitDuration), "\"50ms\"", "how long packets may wait for the rate"),
			keyword("fallback", tBool, "False", fallbackDoc)},
		Example: twoHosts + "s = shape(a[\"eth0\"], b[\"eth0\"], rate=(\"20mbit\", \"5mbit\"))\n" +
			"t = throughput(a, b, \"500ms\", proto=\"udp\", rate=\"40mbit\")\nexpect.lt(t.bits_per_second, 26e6)\n" +
			"t = throughput(b, a, \"500ms\", proto=\"udp\", rate=\"40mbit\")\nexpect.lt(t.bits_per_second, 6.5e6)\ns.undo()\nexpect.eq(a[\"eth0\"].qdiscs[0].kind, \"noqueue\")",
		Fn: shapeFn,
	}}
}

func shapeFn(c *Call) (starlark.Value, error) {
	var ends [2]lab.CableEnd
	for i, name := range []string{"a", "b"} {
		way := func(option string) any { return get(c, option, [2]any{})[i] }
		e := &ends[i]
		e.Link, e.Fallback = get[*lab.Link](c, name, nil), get(c, "fallback", false)
		e.Delay, _ = way("delay").(time.Duration)
		e.Jitter, _ = way("jitter").(time.Duration)
		e.Loss, _ = way("loss").(float64)
		e.Rate, _ = way("rate").(float64)
		if e.Queue, _ = way("queue").(time.Duration); e.Queue == 0 {
			e.Queue = 50 * time.Millisecond
		}
	}
	return c.shaped(lab.Shape(c.Ctx, ends[:]))
}
