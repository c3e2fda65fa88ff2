package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/bpf"
)

// Programs that see the packets of a route (include/uapi/linux/lwtunnel.h).
const (
	bpfIn, bpfOut, bpfXmit, bpfHeadroom = 1, 2, 3, 4
	bpfProgFD, bpfProgName              = 1, 2
)

func parseBPFEncap(w *encapWords) error {
	err := w.each(map[string]func() error{
		"in":   func() error { return w.program(bpfIn, "in") },
		"out":  func() error { return w.program(bpfOut, "out") },
		"xmit": func() error { return w.program(bpfXmit, "xmit") },
		"headroom": func() error {
			n, err := w.number("headroom", 1, 256) // LWT_BPF_MAX_HEADROOM
			w.add(bpfHeadroom, nl.Uint32Attr(uint32(n)))
			return err
		},
	})
	if err == nil && w.files == nil {
		return w.usage("in, out or xmit is missing: like xmit obj prog.o section lwt_xmit")
	}
	return err
}

// program reads "obj FILE section NAME" or "pinned FILE" and loads the program. A
// section that is left out is that of its type, like lwt_xmit.
func (w *encapWords) program(attr int, where string) error {
	var object, pinned string
	section := "lwt_" + where
	for len(w.rest) > 0 {
		into := map[string]*string{"obj": &object, "section": &section, "sec": &section, "pinned": &pinned}[w.rest[0]]
		if into == nil {
			break
		}
		name, _ := w.value("")
		var err error
		if *into, err = w.value(name); err != nil {
			return err
		}
	}
	if (object == "") == (pinned == "") {
		return w.usage("%s: a program is obj FILE section NAME, or pinned FILE", where)
	}
	fd, err := w.load(object, section, pinned, where)
	if err != nil {
		hint := ""
		if errors.Is(err, unix.EPERM) {
			hint = "programs are loaded by root of the machine alone (CAP_BPF)"
		}
		return kernelError(err, hint, "encap %s: %s: load section %s of %s%s", w.name, where, section, object, pinned)
	}
	file, kept := object, section
	if pinned != "" {
		file, kept = pinned, "*fsobj"
	}
	nested := nl.NewRtAttr(bpfProgFD, nl.Uint32Attr(uint32(fd))).Serialize()
	name := fmt.Sprintf("%s:[%s]", filepath.Base(file), kept) // as `ip` has it
	nested = append(nested, nl.NewRtAttr(bpfProgName, nl.ZeroTerminated(name)).Serialize()...)
	w.add(attr|unix.NLA_F_NESTED, nested)
	return nil
}

// load loads a program, with the maps that it uses, and keeps it open.
func (w *encapWords) load(object, section, pinned, where string) (int, error) {
	var f *os.File
	var err error
	if pinned != "" {
		f, err = bpf.Pinned(pinned)
	} else {
		kinds := map[string]bpf.Kind{"in": bpf.LWTIn, "out": bpf.LWTOut, "xmit": bpf.LWTXmit, "seg6local": bpf.LWTSeg6Local}
		f, err = bpf.Load(object, section, kinds[where])
	}
	if err != nil {
		return 0, err
	}
	w.files = append(w.files, f)
	return int(f.Fd()), nil
}

func showBPFEncap(_ *Namespace, data []byte) string {
	var words []string
	for kind, v := range attributes(data) {
		switch kind {
		case bpfIn, bpfOut, bpfXmit:
			words = append(words, []string{"", "in", "out", "xmit"}[kind], programName(v))
		case bpfHeadroom:
			words = append(words, "headroom", strconv.Itoa(int(u32(v))))
		}
	}
	return strings.Join(words, " ")
}

// programName is what a route tells of a program: its file and section.
func programName(data []byte) string {
	for kind, v := range attributes(data) {
		if kind == bpfProgName {
			return cstring(v)
		}
	}
	return ""
}
