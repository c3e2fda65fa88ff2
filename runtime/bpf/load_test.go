package bpf

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"nsscript/runtime/labtest"
)

const objects = "../../testdata/bpf"

// load loads a program, or skips the test where that is not allowed.
func load(t *testing.T, file, section string, kind Kind) *os.File {
	t.Helper()
	f, err := Load(filepath.Join(objects, file), section, kind)
	if errors.Is(err, unix.EPERM) {
		labtest.Lacks(t, "root", err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// run runs a program on a packet and returns its result (BPF_PROG_TEST_RUN).
func run(t *testing.T, f *os.File) uint32 {
	t.Helper()
	attr := struct {
		fd, result              uint32
		in, out                 uint32
		packet, rest            unsafe.Pointer
		repeat, duration        uint32
		contextIn, contextOut   uint32
		contextAt, contextAfter unsafe.Pointer
	}{fd: uint32(f.Fd()), in: 64, packet: pointerTo(make([]byte, 64))}
	if _, err := call(unix.BPF_PROG_TEST_RUN, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		t.Fatal(err)
	}
	return attr.result
}

// TestLoad: the kernel loads the programs, and they find in their maps and variables
// what they put there.
func TestLoad(t *testing.T) {
	for section, kind := range map[string]Kind{"lwt_in": LWTIn, "lwt_out": LWTOut} {
		if status := run(t, load(t, "maps.o", section, kind)); status != 0 {
			t.Errorf("%s of maps.o returns %d", section, status)
		}
	}
	for section, want := range map[string]uint32{"lwt_xmit": 0, "lwt_xmit/drop": 2} {
		if status := run(t, load(t, "pass.o", section, LWTXmit)); status != want {
			t.Errorf("%s of pass.o returns %d", section, status)
		}
	}
}

// TestRefused: what is not supported is said so, and what the verifier refuses.
func TestRefused(t *testing.T) {
	load(t, "pass.o", "lwt_in", LWTIn)
	for _, c := range []struct{ file, section, why string }{
		{"maps.o", "refused/pinned", "map pinned: pinning: nsscript does not load such programs"},
		{"maps.o", "refused/shared", "map shared is to be pinned"},
		{"maps.o", "refused/elsewhere", "it calls elsewhere, which it does not have"},
		{"maps.o", "refused/callback", "it takes the address of"},
		{"maps.o", "refused/verifier", "invalid mem access"},
		{"maps.o", "license", "no such section"},
		{"maps.o", "lwt_xmit", "no such section"},
		{"adapts.o", "lwt_in", "CO-RE"},
		{"pass.s", "lwt_in", "it is no object file of BPF"},
		{"absent.o", "lwt_in", "no such file"},
	} {
		f, err := Load(filepath.Join(objects, c.file), c.section, LWTIn)
		if err == nil {
			f.Close()
			t.Errorf("%s of %s is loaded", c.section, c.file)
		} else if !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s of %s: %v", c.section, c.file, err)
		}
	}
}

// TestPinned: a program of a bpf file system, and a map there that is none.
func TestPinned(t *testing.T) {
	f := load(t, "pass.o", "lwt_in", LWTIn)
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		labtest.Lacks(t, "root", err.Error())
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	fd, err := create(mapSpec{kind: unix.BPF_MAP_TYPE_ARRAY, key: 4, value: 4, entries: 1}, "table")
	if err != nil {
		t.Fatal(err)
	}
	table := os.NewFile(uintptr(fd), "table")
	defer table.Close()
	for name, f := range map[string]*os.File{"program": f, "table": table} {
		attr := struct {
			path      unsafe.Pointer
			fd, flags uint32
		}{path: pointerTo([]byte(filepath.Join(dir, name) + "\x00")), fd: uint32(f.Fd())}
		if _, err := call(unix.BPF_OBJ_PIN, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Pinned(filepath.Join(dir, "program"))
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if _, err := Pinned(filepath.Join(dir, "table")); err == nil || !strings.Contains(err.Error(), "is no program") {
		t.Errorf("a map: %v", err)
	}
	if _, err := Pinned(filepath.Join(dir, "absent")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("nothing: %v", err)
	}
}

// FuzzObject: no file makes the reader panic or go on for ever.
func FuzzObject(f *testing.F) {
	for _, name := range []string{"pass.o", "maps.o", "adapts.o"} {
		b, err := os.ReadFile(filepath.Join(objects, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, "lwt_in")
		f.Add(b, "refused/pinned")
	}
	f.Fuzz(func(_ *testing.T, b []byte, section string) {
		o, err := parseObject(b)
		if err != nil {
			return
		}
		m := &maps{object: o}
		_, _ = o.link(section, func(s symbol) (int, error) {
			switch in := o.sections[s.section]; {
			case in.isData():
				return 1, nil
			case in.name == "maps":
				_, err := define(s, in)
				return 1, err
			default:
				_, err := m.described(m.definition(s).name)
				return 1, err
			}
		})
		_, _ = o.adapts(), o.license()
	})
}
