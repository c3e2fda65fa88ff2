package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"nsscript/builtins"
	"nsscript/runtime/feature"
	"nsscript/runtime/lab"
	"nsscript/runtime/netns"
	"nsscript/runtime/sandbox"
)

var doctorVerb = verb{
	name: "doctor", usage: "doctor", short: "say what this machine can do, and how to get what is missing",
	long: `Says whether this machine allows a private lab, which of the features that labs use
its kernel has, and which optional programs are installed; and what to do about what
is missing. It looks in a throwaway network namespace, and loads no module that it
knows of: what is "as a module" is loaded by the script that uses it.

For example:
  nsscript doctor
  nsscript doctor --json | jq -r '.features[] | select(.status == "missing").name'

Exit status: 0 there is a private lab; 3 there is none.`,
}

func init() { doctorVerb.run = doctor }

// diagnosis is what doctor says. Its JSON is for programs: fields may be added.
type diagnosis struct {
	Kernel   string           `json:"kernel"`  // uname -r
	Machine  string           `json:"machine"` // uname -m
	User     string           `json:"user"`
	Sandbox  sandboxHealth    `json:"sandbox"`
	Features []kernelFeature  `json:"features"`
	Programs []machineProgram `json:"programs"`
	// Neighbors are the tables that all labs share with the machine.
	Neighbors []neighborTable `json:"neighbor_tables"`
}

// sandboxHealth is what the private lab is like, or why there is none.
type sandboxHealth struct {
	Works bool `json:"works"`
	// Users is how many users a lab has.
	Users int `json:"users"`
	// Reduced says what the lab lacks.
	Reduced []string `json:"reduced"`
	// Why there is none, and what to do.
	Why string `json:"why"`
	Fix string `json:"fix"`
}

type kernelFeature struct {
	Family string         `json:"family"`
	Name   string         `json:"name"`
	Status feature.Status `json:"status"` // present, module or missing
	Config string         `json:"config"`
	Module string         `json:"module"` // "" where it cannot be one
	Advice string         `json:"advice"`
}

type machineProgram struct {
	Name    string `json:"name"`
	Path    string `json:"path"`    // "" when it is missing
	Package string `json:"package"` // Debian's
	For     string `json:"for"`
}

type neighborTable struct {
	Setting string `json:"setting"` // the limit's sysctl
	Limit   uint32 `json:"limit"`
	Entries uint32 `json:"entries"` // permanent ones, which do not count for the limit, too
	NoRoom  uint64 `json:"no_room"` // how often an entry found none
}

func doctor(args []string) int {
	asJSON, all := false, false
	f := doctorVerb.flags()
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.BoolVarP(&all, "verbose", "v", false, "a line for each feature and program, also for those that are there")
	if status, ok := doctorVerb.parse(f, args); !ok {
		return status
	}
	if f.NArg() > 0 {
		return misuse("doctor takes no arguments")
	}
	if asJSON && all {
		return misuse("--json says all: it goes without --verbose")
	}
	write := func(d *diagnosis) int {
		if !asJSON {
			return show(d.text(all))
		}
		text, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			fmt.Fprintf(os.Stderr, "nsscript: %v\n", err)
			return exitError
		}
		return show(string(text) + "\n")
	}
	if !sandbox.Inside() {
		return examineOutside(write)
	}
	st, err := sandbox.Enter()
	if err != nil {
		// The outer process cannot tell: it may be a mount that is not allowed.
		d := diagnose(nil)
		d.Sandbox.Why = err.Error()
		sandbox.Leave(max(write(d), exitCannot))
	}
	go func() {
		netns.Pin()
		st.Exit(write(diagnose(st)))
	}()
	st.Reap(nil)
	return exitOK
}

// examineOutside lets an inner process look at the machine, or says why there can be
// none.
func examineOutside(write func(*diagnosis) int) int {
	status, err := sandbox.Run(sandbox.Options{Message: userName})
	if err == nil {
		return status
	}
	var forbidden *sandbox.Forbidden
	if !errors.As(err, &forbidden) {
		return (&settings{}).noLab(err)
	}
	d := diagnose(nil)
	d.User = userName()
	d.Sandbox.Why, d.Sandbox.Fix = fmt.Sprintf("%s (%v)", forbidden.Setting, forbidden.Err), forbidden.Fix
	return max(write(d), exitCannot)
}

// userName is who runs this.
func userName() string {
	id := strconv.Itoa(os.Getuid())
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// diagnose looks at the machine from inside a private lab; nil is none.
func diagnose(st *sandbox.State) *diagnosis {
	var name unix.Utsname
	_ = unix.Uname(&name) // it fails for a bad address only
	d := &diagnosis{Machine: unix.ByteSliceToString(name.Machine[:]), Programs: []machineProgram{}, Neighbors: []neighborTable{}}
	d.Sandbox.Reduced = []string{}
	kernel := feature.ReadKernel()
	d.Kernel = kernel.Release
	if st != nil {
		d.User = st.Message()
		d.Sandbox = sandboxHealth{Works: true, Users: st.Users(), Reduced: append([]string{}, st.Reduced...)}
	}
	// Without a namespace to ask in, the findings are what files say.
	findings, _ := feature.Probe(kernel, feature.All())
	for _, f := range findings {
		d.Features = append(d.Features, kernelFeature{f.Family, f.Name, f.Status, f.Config, f.Module, f.Advice})
	}
	for _, p := range feature.Programs() {
		d.Programs = append(d.Programs, machineProgram{p.Name, p.Path, p.Package, p.For})
	}
	for _, t := range lab.NeighborTables() {
		d.Neighbors = append(d.Neighbors, neighborTable(t))
	}
	return d
}

// text is the diagnosis for people.
func (d *diagnosis) text(all bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Linux %s (%s), as %s\n", d.Kernel, d.Machine, d.User)
	heading := func(name string) { fmt.Fprintf(&b, "\n%s\n", name) }
	heading("private lab")
	rows, advice := d.Sandbox.rows(d.User)
	b.WriteString(indent(builtins.Table(nil, rows)))
	heading("neighbour tables (which all labs share with the machine)")
	b.WriteString(indent(builtins.Table(nil, d.neighbors())))
	for _, family := range feature.Families() {
		heading(family)
		b.WriteString(d.family(family, all))
	}
	heading("programs (none is needed)")
	b.WriteString(d.programs(all))
	if advice = append(advice, d.advice()...); len(advice) > 0 {
		heading("what to do")
		for _, line := range advice {
			b.WriteString(indent(line))
		}
	}
	return b.String()
}

// indent moves lines to the right.
func indent(text string) string {
	if text == "" {
		return ""
	}
	return "  " + strings.ReplaceAll(text, "\n", "\n  ") + "\n"
}

// rows are the state of the private lab, with what to do about it.
func (s *sandboxHealth) rows(user string) (rows [][]string, advice []string) {
	if !s.Works {
		if s.Fix != "" {
			advice = []string{s.Fix}
		}
		return [][]string{{"no", s.Why}}, advice
	}
	rows = [][]string{{"yes", "namespaces of its own for users, mounts, processes, the network, names and IPC"}}
	for _, line := range s.Reduced {
		rows = append(rows, []string{"reduced", line})
	}
	if len(s.Reduced) == 0 {
		rows = append(rows, []string{"yes", "/proc, /sys and sysctls of its own"})
	}
	if s.Users > 1 {
		return append(rows, []string{"yes", "several users"}), nil
	}
	return append(rows, []string{"reduced", "one user: programs that change their user fail"}),
		[]string{"For labs with several users:\nsudo apt install uidmap\n" +
			"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 " + user}
}

// neighbors are the tables whose room limits how large labs can be.
func (d *diagnosis) neighbors() [][]string {
	var rows [][]string
	for _, t := range d.Neighbors {
		rows = append(rows, []string{fmt.Sprintf("%s = %d", t.Setting, t.Limit), fmt.Sprintf("%d entries", t.Entries), fmt.Sprintf("full %d times", t.NoRoom)})
	}
	return rows
}

// width is how long a line of names gets.
const width = 76

// wrapped are words in lines, of which the first begins in that column and the
// others are moved there.
func wrapped(words []string, indent int) string {
	var b strings.Builder
	column := indent
	for i, w := range words {
		if i > 0 && column+1+len(w) > width {
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		} else if i > 0 {
			b.WriteString(" ")
			column++
		}
		b.WriteString(w)
		column += len(w)
	}
	return b.String()
}

// statusWords are what a person reads of a status.
var statusWords = map[feature.Status]string{feature.Present: "yes", feature.Unloaded: "as a module", feature.Missing: "no"}

// family lists features: those that are there by name, unless all is set.
func (d *diagnosis) family(family string, all bool) string {
	var rows [][]string
	names := map[feature.Status][]string{}
	for _, f := range d.Features {
		if f.Family != family {
			continue
		}
		if !all && f.Status != feature.Missing {
			names[f.Status] = append(names[f.Status], comma(f.Name))
			continue
		}
		row := []string{statusWords[f.Status], f.Name, f.Config}
		if f.Module != "" {
			row = append(row, "module "+f.Module)
		}
		rows = append(rows, row)
	}
	text := ""
	for _, s := range []feature.Status{feature.Present, feature.Unloaded} {
		if list := names[s]; len(list) > 0 {
			label := statusWords[s] + ":"
			text += indent(label + " " + strings.TrimSuffix(wrapped(list, len(label)+1), ","))
		}
	}
	return text + indent(builtins.Table(nil, rows))
}

func comma(name string) string { return name + "," }

func (d *diagnosis) programs(all bool) string {
	var rows [][]string
	var there []string
	for _, p := range d.Programs {
		switch {
		case p.Path == "":
			rows = append(rows, []string{"no", p.Name, "package " + p.Package, p.For})
		case all:
			rows = append(rows, []string{"yes", p.Name, p.Path, p.For})
		default:
			there = append(there, comma(p.Name))
		}
	}
	text := ""
	if len(there) > 0 {
		text = indent("yes: " + strings.TrimSuffix(wrapped(there, 5), ","))
	}
	return text + indent(builtins.Table(nil, rows))
}

// advice says how to get what is missing.
func (d *diagnosis) advice() []string {
	var advice []string
	if slices.ContainsFunc(d.Features, func(f kernelFeature) bool { return f.Status == feature.Missing }) {
		advice = append(advice, "The kernel was built without what has \"no\": a kernel with the options named there has it.\n"+
			"That of Debian's package linux-image-amd64 (not linux-image-cloud-amd64) has nearly all.")
	}
	if slices.ContainsFunc(d.Features, func(f kernelFeature) bool {
		return f.Status == feature.Missing && strings.Contains(f.Advice, "install the modules")
	}) {
		advice = append(advice, fmt.Sprintf("Modules of kernel %s are not installed.", d.Kernel))
	}
	for _, t := range d.Neighbors {
		if t.NoRoom > 0 {
			advice = append(advice, fmt.Sprintf("A neighbour table was full, which loses packets. For larger labs:\nsudo sysctl -w %s=%d", t.Setting, 8*t.Limit))
		}
	}
	var packages []string
	for _, p := range d.Programs {
		if p.Path == "" && !slices.Contains(packages, p.Package) {
			packages = append(packages, p.Package)
		}
	}
	if len(packages) > 0 {
		advice = append(advice, "For the programs, as far as you want them:\n"+wrapped(append([]string{"sudo", "apt", "install"}, packages...), 2))
	}
	return advice
}
