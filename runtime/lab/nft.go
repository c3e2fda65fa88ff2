package lab

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/firewall"
	"nsscript/runtime/process"
)

// NftTable is a table of nftables that a script has loaded by nft's own syntax. It is
// live.
type NftTable struct {
	NS    *Namespace
	Table firewall.Table
}

// NftComplaint is what nft says of a place in a text.
type NftComplaint struct {
	Line, Column int // from 1
	Text         string
	Excerpt      string // the line, and marks below it
}

// NftError is a text that nft has refused, all of it.
type NftError struct{ Complaints []NftComplaint }

func (e *NftError) Error() string {
	var lines []string
	for _, c := range e.Complaints {
		lines = append(lines, "line "+strconv.Itoa(c.Line)+": "+c.Text+"\n"+c.Excerpt)
	}
	return strings.Join(lines, "\n")
}

// LoadNft loads a text in nft's syntax, all of it or nothing, by the program nft. It
// returns the tables that the text names.
func (ns *Namespace) LoadNft(ctx context.Context, text string) ([]*NftTable, error) {
	r, err := ns.Exec(ctx, process.Spec{Argv: []string{"nft", "-f", "-"}, Input: text}, false)
	if err != nil {
		return nil, err
	}
	if r.Code != 0 {
		if refused := parseNftErrors(r.Stderr); len(refused.Complaints) > 0 {
			return nil, refused
		}
		return nil, &Error{Kind: KindCommand, Op: "nft -f -" + where(ns) + ": exit status " + strconv.Itoa(r.Code) + lastWords(r)}
	}
	ns.lab.cannotUndo("nft" + where(ns) + ": " + strings.SplitN(strings.TrimSpace(text), "\n", 2)[0])
	tables, err := ns.nftTables()
	return slices.DeleteFunc(tables, func(t *NftTable) bool {
		return !regexp.MustCompile(`(^|[^\w/.-])` + regexp.QuoteMeta(t.Table.Name) + `($|[^\w/.-])`).MatchString(text)
	}), err
}

var nftPlace = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^/dev/stdin:(\d+):(\d+)-\d+: (.*)$`)
})

// parseNftErrors reads what nft says of places in its standard input.
func parseNftErrors(stderr string) *NftError {
	e := &NftError{}
	lines := strings.Split(strings.TrimRight(stderr, "\n"), "\n")
	for i, line := range lines {
		m := nftPlace().FindStringSubmatch(line)
		if m == nil {
			continue
		}
		c := NftComplaint{Text: m[3]}
		c.Line, _ = strconv.Atoi(m[1])
		c.Column, _ = strconv.Atoi(m[2])
		end := i + 1
		for end < len(lines) && end < i+3 && !nftPlace().MatchString(lines[end]) {
			end++
		}
		c.Excerpt = strings.Join(lines[i+1:end], "\n")
		e.Complaints = append(e.Complaints, c)
	}
	return e
}

// nftTables lists the tables of the namespace but those of the lab's own.
func (ns *Namespace) nftTables() (all []*NftTable, err error) {
	err = ns.do(func() error {
		tables, err := firewall.Tables()
		for _, t := range tables {
			if !strings.HasPrefix(t.Name, firewall.TableName) {
				all = append(all, &NftTable{ns, t})
			}
		}
		return err
	})
	if err != nil {
		return nil, kernelError(err, "", "list tables of nftables%s", where(ns))
	}
	return all, nil
}

// String is how nft names the table.
func (t *NftTable) String() string { return "table " + t.Table.Words() }

// Counters asks the kernel for the table's named counters.
func (t *NftTable) Counters() (counters []firewall.Counter, err error) {
	if err := t.NS.check(); err != nil {
		return nil, err
	}
	err = t.NS.do(func() (err error) {
		counters, err = t.Table.Counters()
		return err
	})
	return counters, t.failed(err, "read counters")
}

// Delete deletes the table.
func (t *NftTable) Delete(ctx context.Context) error {
	if err := t.NS.check(); err != nil {
		return err
	}
	b := &firewall.Batch{}
	b.Delete(t.Table)
	start := time.Now()
	err := t.NS.do(b.Apply)
	t.NS.lab.emit(ctx, "nft", t.NS, start, err, arg("command", "delete table "+t.Table.Words()))
	return t.failed(err, "delete")
}

func (t *NftTable) failed(err error, what string) error {
	if errors.Is(err, unix.ENOENT) {
		return &Error{Op: t.String() + where(t.NS) + " is not there any more", Kind: KindGone, Err: unix.ENOENT}
	}
	if err != nil {
		return kernelError(err, "", "%s of %s%s", what, t, where(t.NS))
	}
	return nil
}
