package script_test

import "testing"

// crowded lets many functions change, use and read the same links at once.
const crowded = `
ns = [netns("n%d" % i) for i in range(4)]
pairs = [veth(ns=ns[i], peer_ns=ns[(i + 1) % 4], addr="10.0.%d.1/24" % i, peer_addr="10.0.%d.2/24" % i, up=True) for i in range(4)]
def work(i):
    def f():
        a, b = pairs[i]
        for k in range(5):
            down(a)
            up(a)
            set_link(a, mtu=1400 + k)
            expect(ping(ns[i], "10.0.%d.2" % i).ok, "settled, although another function waits for that, too")
            exec_in(ns[i], ["true"])
            [l.state for l in ns[i].links]
            [l.peer.name for l in ns[(i + 1) % 4].links if l.peer]
            rename(b, "x%d_%d" % (i, k))
            gone = netns("gone%d" % i)
            parallel([lambda: catch(lambda: exec_in(gone, ["true"])), lambda: delete(gone)])
    return f
parallel([work(i) for i in range(4)])
`

// TestParallelOperations is for the race detector: what a lab keeps is touched by
// one function at a time, also while others wait.
func TestParallelOperations(t *testing.T) {
	verify(t, crowded, verified{Checks: 20})
}

// TestParallelSettles: several functions that ping at once right after up() all
// wait for the links, not only the first.
func TestParallelSettles(t *testing.T) {
	verify(t, `
sw = netns("sw")
bridge("br0", ns=sw, up=True)
hosts = []
for i in range(8):
    h = netns("h%d" % i)
    hosts.append(h)
    a, b = veth("eth0", "p%d" % i, ns=h, peer_ns=sw, addr="10.0.0.%d/24" % (i + 1))
    set_link(b, master=sw["br0"])
    up(a, b)
def pinger(h, i):
    return lambda: ping(h, "10.0.0.%d" % (i + 1)).ok
got = parallel([pinger(hosts[i], (i + 1) % 8) for i in range(8)])
expect.eq(got, [True] * 8)
`, verified{Checks: 1})
}
