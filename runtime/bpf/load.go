// Package bpf loads programs out of object files, as clang -target bpf writes
// them, into the kernel (bpf(2)): a function with those that it calls, its maps
// (of ".maps", and of the older "maps") and its variables. What a program may ask
// for beyond that (CO-RE, functions of the kernel's, callbacks, maps that are
// pinned or hold maps) is refused with an error that names it.
package bpf

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kind is a type of programs (enum bpf_prog_type of include/uapi/linux/bpf.h).
type Kind uint32

// The programs that see the packets of a route.
const (
	LWTIn        Kind = unix.BPF_PROG_TYPE_LWT_IN
	LWTOut       Kind = unix.BPF_PROG_TYPE_LWT_OUT
	LWTXmit      Kind = unix.BPF_PROG_TYPE_LWT_XMIT
	LWTSeg6Local Kind = unix.BPF_PROG_TYPE_LWT_SEG6LOCAL
)

// SchedCls is a filter of a queueing discipline.
const SchedCls Kind = unix.BPF_PROG_TYPE_SCHED_CLS

// Load loads the first function of a section of an object file. The program, and
// its maps with it, is there until the caller closes it and nothing in the kernel
// uses it any more. What the kernel's verifier objects to is in the error.
func Load(path, section string, kind Kind) (*os.File, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	o, err := parseObject(b)
	if err != nil {
		return nil, err
	}
	maps := &maps{object: o, made: map[symbol]int{}}
	defer maps.close() // the program has them
	insns, err := o.link(section, maps.fd)
	if err != nil {
		return nil, err
	}
	if o.adapts() {
		return nil, notSupported("it adapts to the kernel's own types (CO-RE)")
	}
	fd, err := loadProgram(kind, insns, o.license())
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Pinned opens a program that is pinned in a file system of type bpf.
func Pinned(path string) (*os.File, error) {
	name := append([]byte(path), 0)
	attr := struct {
		path      unsafe.Pointer
		fd, flags uint32
	}{path: pointerTo(name)}
	fd, err := call(unix.BPF_OBJ_GET, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return nil, &os.PathError{Op: "bpf", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	if what, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && what != "anon_inode:bpf-prog" {
		f.Close()
		return nil, fmt.Errorf("%s is no program", path)
	}
	return f, nil
}

func pointerTo(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

// call is bpf(2), whose pointers have 64 bits on all machines.
func call(command int, attr unsafe.Pointer, size uintptr) (int, error) {
	if unsafe.Sizeof(attr) != 8 {
		return 0, unix.ENOSYS
	}
	for {
		r, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(attr), size)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EAGAIN, unix.EINTR: // a signal came while the verifier was at work
		default:
			return 0, errno
		}
	}
}

func loadProgram(kind Kind, insns []byte, license string) (int, error) {
	attr := struct {
		kind, count       uint32
		insns, license    unsafe.Pointer
		logLevel, logSize uint32
		log               unsafe.Pointer
	}{kind: uint32(kind), count: uint32(len(insns) / insnSize), insns: pointerTo(insns), license: pointerTo(append([]byte(license), 0))}
	fd, err := call(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err == nil || errors.Is(err, unix.EPERM) {
		return fd, err
	}
	// Once more, to hear why.
	log := make([]byte, 1<<20)
	attr.log, attr.logLevel, attr.logSize = pointerTo(log), 1, uint32(len(log))
	if fd, again := call(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); again == nil {
		return fd, nil
	}
	if why := verdict(cstring(log, 0)); why != "" {
		err = fmt.Errorf("%w: %s", err, why)
	}
	return 0, err
}

// verdict is what the verifier's words end with, before it counts its work.
func verdict(log string) string {
	last := ""
	for line := range strings.Lines(log) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "processed ") {
			last = line
		}
	}
	return last
}
