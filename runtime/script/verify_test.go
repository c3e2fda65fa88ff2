package script_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The table of docs/language.md that says what a failed check does where.

// verified is what a script is expected to come to.
type verified struct {
	Reports        []string // what each begins with
	Checks, Failed int
	Ended, Out     string
}

func verify(t *testing.T, source string, want verified) {
	t.Helper()
	o := job{Dir: starFiles, Path: "lab.star", Source: source}.start(t)
	got := verified{Checks: o.Checks, Failed: o.Failed, Ended: o.Ended, Out: o.Out}
	for i, r := range o.Reports {
		if i < len(want.Reports) && strings.HasPrefix(r, want.Reports[i]) {
			r = want.Reports[i]
		}
		got.Reports = append(got.Reports, r)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

func TestVerifyTopLevel(t *testing.T) {
	t.Run("expect goes on", func(t *testing.T) {
		verify(t, `
held = [expect.eq(1, 1), expect.eq(1, 2)]
expect(False, "no")
print(held)
`, verified{Checks: 3, Failed: 2, Out: "[True, False]\n", Reports: []string{
			"lab.star:2:26: expect.eq: got 1, want 2\n    held = [expect.eq(1, 1), expect.eq(1, 2)]\n                             ^",
			"lab.star:3:1: expect: False does not hold: no",
		}})
	})
	t.Run("require stops", func(t *testing.T) {
		verify(t, "require.eq(1, 2)\nprint(1)", verified{Checks: 1, Failed: 1, Ended: "stop", Reports: []string{"lab.star:1:1: require.eq: got 1, want 2"}})
	})
	t.Run("fail stops", func(t *testing.T) {
		verify(t, "fail('no')\nprint(1)", verified{Checks: 1, Failed: 1, Ended: "stop", Reports: []string{"lab.star:1:1: fail: no"}})
	})
	t.Run("skip ends", func(t *testing.T) {
		verify(t, "skip('no')\nprint(1)", verified{Ended: "skip: no"})
	})
}

func TestVerifyHelper(t *testing.T) {
	verify(t, `
def inner(x):
    expect.eq(x, 2)
def outer(x):
    inner(x)
outer(1)
`, verified{Checks: 1, Failed: 1, Reports: []string{
		"lab.star:6:1: expect.eq: got 1, want 2\n    outer(1)\n    ^\n  in lab.star:5:5: inner(x)\n  in lab.star:3:5: expect.eq(x, 2)",
	}})
}

func TestVerifyLoad(t *testing.T) {
	verify(t, `
load("modules/checks.star", "check")
check(3)
`, verified{Checks: 3, Failed: 2, Reports: []string{
		"lab.star:2:1: expect.eq: got 1, want 2\n    load(\"modules/checks.star\", \"check\")\n    ^\n  in modules/checks.star:4:1: expect.eq(1, 2)",
		"lab.star:3:1: expect.eq: got 3, want 4\n    check(3)\n    ^\n  in modules/checks.star:2:5: expect.eq(x, 4)",
	}})
}

func TestVerifyParallel(t *testing.T) {
	t.Run("expect failures in list order", func(t *testing.T) {
		verify(t, `
def first():
    sleep("60ms")
    expect.eq("first", 1)
    return "a"
def second():
    expect.eq("second", 2)
    return "b"
print(parallel([first, second]))
`, verified{Checks: 2, Failed: 2, Out: "[\"a\", \"b\"]\n", Reports: []string{
			"lab.star:9:7: expect.eq: got \"first\", want 1\n    print(parallel([first, second]))\n          ^\n  in lab.star:4:5: expect.eq(\"first\", 1)",
			"lab.star:9:7: expect.eq: got \"second\", want 2",
		}})
	})
	t.Run("require cancels the others, then stops", func(t *testing.T) {
		verify(t, `
def slow():
    sleep(60)
    print("never")
def busy():
    while True:
        pass
def wrong():
    sleep("20ms")
    require.eq(1, 2)
parallel([slow, busy, wrong])
print("never")
`, verified{Checks: 1, Failed: 1, Ended: "stop", Reports: []string{"lab.star:11:1: require.eq: got 1, want 2"}})
	})
	t.Run("an error too", func(t *testing.T) {
		verify(t, "parallel([lambda: sleep(60), lambda: 1 // 0])", verified{Ended: "error", Reports: []string{
			"lab.star:1:40: error: floored division by zero",
		}})
	})
	t.Run("catch lets it through", func(t *testing.T) {
		verify(t, "catch(lambda: parallel([lambda: sleep(60), lambda: require(False)]))\nprint('never')", verified{Checks: 1, Failed: 1, Ended: "stop",
			Reports: []string{"lab.star:1:1: require: False does not hold"}})
	})
	t.Run("waiting overlaps", func(t *testing.T) {
		verify(t, "began = now()\nparallel([lambda: sleep('100ms')] * 20)\nexpect.lt(now() - began, 1)", verified{Checks: 1})
	})
}

func TestVerifyEventually(t *testing.T) {
	t.Run("only the last round is reported", func(t *testing.T) {
		verify(t, `
n = []
def never():
    n.append(1)
    expect.eq(len(n), -1, "round %d" % min(len(n), 2))
expect.eventually(never, timeout="100ms", interval="40ms")
`, verified{Checks: 1, Failed: 1, Reports: []string{
			"lab.star:6:1: expect.eventually: not within 100ms; last: got ",
		}})
	})
	t.Run("a check in a round means not yet", func(t *testing.T) {
		verify(t, `
n = []
def third():
    n.append(1)
    require.eq(len(n), 3)
expect.eventually(third)
print(len(n))
`, verified{Checks: 1, Out: "3\n"})
	})
	t.Run("require returns the value", func(t *testing.T) {
		verify(t, "print(require.eventually(lambda: 'v'))", verified{Checks: 1, Out: "v\n"})
	})
	t.Run("an error is no answer", func(t *testing.T) {
		verify(t, "expect.eventually(lambda: 1 // 0)", verified{Ended: "error", Reports: []string{"lab.star:1:29: error: floored division by zero"}})
	})
	t.Run("parallel in a round", func(t *testing.T) {
		verify(t, `
n = []
def both():
    n.append(1)
    parallel([lambda: expect.eq(len(n), 2), lambda: expect(True)])
expect.eventually(both)
print(len(n))
`, verified{Checks: 1, Out: "2\n"})
	})
}

func TestVerifyCatch(t *testing.T) {
	t.Run("does not stop a check", func(t *testing.T) {
		verify(t, "catch(lambda: require(False))\nprint('never')", verified{Checks: 1, Failed: 1, Ended: "stop",
			Reports: []string{"lab.star:1:1: require: False does not hold"}})
	})
	t.Run("nor expect", func(t *testing.T) {
		verify(t, "print(catch(lambda: expect(False)))", verified{Checks: 1, Failed: 1, Out: "None\n",
			Reports: []string{"lab.star:1:7: expect: False does not hold"}})
	})
	t.Run("nor fail", func(t *testing.T) {
		verify(t, "catch(lambda: fail('no'))\nprint('never')", verified{Checks: 1, Failed: 1, Ended: "stop", Reports: []string{"lab.star:1:1: fail: no"}})
	})
	t.Run("nor skip", func(t *testing.T) {
		verify(t, "catch(lambda: skip('no'))\nprint('never')", verified{Ended: "skip: no"})
	})
	t.Run("it catches errors", func(t *testing.T) {
		verify(t, "e = catch(lambda: netns('a/b'))\nprint(e.kind, e.errno, e.pos, e)", verified{Out: "usage None lab.star:1:19 \"a/b\" cannot name a namespace\n"})
	})
	t.Run("expect.fails lets a check through", func(t *testing.T) {
		verify(t, "expect.fails(lambda: require(False))\nprint('never')", verified{Checks: 1, Failed: 1, Ended: "stop",
			Reports: []string{"lab.star:1:1: require: False does not hold"}})
	})
}

// TestTestsAreNotRun: what run says of test functions, in the order of the script.
func TestTestsAreNotRun(t *testing.T) {
	o := job{Path: "lab.star", Source: "def test_b(): fail('no')\ndef test_a(): pass\ndef helper(): pass\ntest_x = 1"}.start(t)
	if !slices.Equal(o.Tests, []string{"test_b", "test_a"}) {
		t.Errorf("tests: %q", o.Tests)
	}
	if o.Checks != 0 || len(o.Reports) > 0 {
		t.Errorf("%+v", o)
	}
}
