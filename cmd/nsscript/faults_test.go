package main

import (
	"strings"
	"testing"

	"nsscript/runtime/labtest"
)

// TestHostFaults: on a machine, faults end with the script, whether it fails, is killed
// or is well; their tables belong to the process.
func TestHostFaults(t *testing.T) {
	labtest.Need(t, "nft")
	o := machine(t, `
ip netns add a
ip netns add b
ip link add x type veth peer name y
ip link set x netns a up
ip link set y netns b up
cat > faults.star <<'X'
a, b = netns(path="/run/netns/a"), netns(path="/run/netns/b")
partition([a], [b])
blackhole(a["x"])
print("during:", exec_in(a, "nft list tables").stdout.replace("\n", " "))
X
(cat faults.star; echo 'fail("now")') > fails.star
(cat faults.star; echo 'exec_in(root, "kill -9 $PPID")') > killed.star
for s in faults fails killed; do
	$NS --host $s.star || true
	for i in $(seq 50); do
		[ "$(ip netns exec a nft list tables; ip netns exec b nft list tables)" ] || break
		sleep 0.1
	done
	echo "after $s: $(ip netns exec a nft list tables) $(ip netns exec b nft list tables)"
done
`)
	if strings.Contains(o.stderr, "this kernel has no ") {
		labtest.Lacks(t, "chains of links", o.stderr)
	}
	if n := strings.Count(o.stdout, "table netdev nsscript_blackhole2_"); n != 3 {
		t.Errorf("%d of 3 scripts had faults", n)
	}
	for _, s := range []string{"faults", "fails", "killed"} {
		holds(t, o.stdout, "after "+s+":  \n")
	}
}
