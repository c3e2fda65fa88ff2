// Package again starts the program again, as the first process of new namespaces.
// It imports nearly nothing, so that the packages that do nothing but call it are
// initialized before most of a program: packages are in the order of their paths
// once what they import is (the Go language, "Program initialization").
package again

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"
)

// Marker is the environment variable that tells the inner process what it is.
const Marker = "_NSSCRIPT_SANDBOX"

// The inner process's extra descriptors.
const (
	LifelineFD = 3 // a socket whose other end the outer process holds
	MessageFD  = 4 // a pipe with what the outer process says
	StderrFD   = 5 // the user's stderr; absent with Config.RawStderr
	JournalFD  = 6 // what it does to the machine; with Config.Host
	ReportFD   = 7 // where it reports to; with Config.Program
)

// Config is what the outer process tells the inner one.
type Config struct {
	// RawStderr leaves the Go runtime's crash reports on stderr.
	RawStderr bool
	// Host makes no namespaces.
	Host bool
	// AwaitIDs makes a user namespace, too, which has no ids yet: the inner
	// process waits for them.
	AwaitIDs bool
	// Program is what is started; nil for this process's arguments and streams.
	// It is for the outer process alone.
	Program *Program
}

// Program is what an inner process is told to do and where it reads and writes.
type Program struct {
	Args   []string // with the program's name
	Input  *os.File
	Output *os.File // standard output and standard error
	Report *os.File // its ReportFD
}

// String is the configuration as the environment carries it: a letter for each
// switch.
func (c Config) String() string {
	text := " "
	if c.RawStderr {
		text += "r"
	}
	if c.AwaitIDs {
		text += "i"
	}
	if c.Host {
		text += "h"
	}
	return text
}

// ParseConfig reads what String wrote.
func ParseConfig(text string) (c Config, err error) {
	if text == "" || text[0] != ' ' {
		return c, errors.New("no configuration")
	}
	for _, letter := range text[1:] {
		switch letter {
		case 'r':
			c.RawStderr = true
		case 'i':
			c.AwaitIDs = true
		case 'h':
			c.Host = true
		default:
			return c, errors.New("no such switch")
		}
	}
	return c, nil
}

// Inside tells whether this process is the inner one.
func Inside() bool { return os.Getenv(Marker) != "" }

// Process is the running inner process as the outer one sees it.
type Process struct {
	Config
	PID      int
	Lifeline *os.File
	Message  *os.File
	Crash    *os.File // what the Go runtime wrote to descriptor 2; nil with RawStderr
	Journal  *os.File // what was done to the machine; nil without Host

	state
}

// Close closes the outer process's descriptors; those that are not there are nil,
// which Close of a file takes.
func (p *Process) Close() {
	for _, f := range []*os.File{p.Lifeline, p.Message, p.Crash, p.Journal} {
		_ = f.Close()
	}
}

// namespaces is what the inner process gets, beside a user namespace.
const namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC

// Start starts the program again with the same arguments. It dies with the thread
// that calls this (PR_SET_PDEATHSIG, prctl(2)).
func Start(c Config) (p *Process, err error) {
	p = &Process{Config: c}
	defer func() {
		if err != nil {
			p.Close()
			p = nil
		}
	}()
	lifeline, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return p, os.NewSyscallError("socketpair", err)
	}
	p.Lifeline = os.NewFile(uintptr(lifeline[0]), "lifeline")
	defer syscall.Close(lifeline[1])
	var message [2]int // no os.Pipe, which would watch it
	if err := syscall.Pipe2(message[:], syscall.O_CLOEXEC); err != nil {
		return p, os.NewSyscallError("pipe2", err)
	}
	p.Message = os.NewFile(uintptr(message[1]), "message")
	defer syscall.Close(message[0])

	files := []uintptr{0, 1, 2, uintptr(lifeline[1]), uintptr(message[0])} // in the order of their numbers
	args := os.Args
	if c.Program != nil {
		args = c.Program.Args
		files[0], files[1], files[2] = c.Program.Input.Fd(), c.Program.Output.Fd(), c.Program.Output.Fd()
	}
	if !c.RawStderr {
		if p.Crash, err = memoryFile("nsscript-crash"); err != nil {
			return p, err
		}
		files = append(files, files[2])
		files[2] = p.Crash.Fd()
	}
	attr := &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
	if c.Host {
		if p.Journal, err = memoryFile("nsscript-journal"); err != nil {
			return p, err
		}
		files = append(files, p.Journal.Fd())
		attr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	}
	if c.AwaitIDs {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.AmbientCaps = allCaps()
	}
	if c.Program != nil {
		const none = ^uintptr(0)
		for len(files) < ReportFD {
			files = append(files, none)
		}
		files = append(files, c.Program.Report.Fd())
	}
	// Not os/exec: that first starts another process to see whether the kernel
	// has pidfds.
	p.PID, err = syscall.ForkExec(selfPath(), args, &syscall.ProcAttr{
		Env: append(os.Environ(), Marker+"="+c.String()), Files: files, Sys: attr,
	})
	return p, err
}

// allCaps are the capabilities that this kernel knows. Ambient ones are kept at an
// exec by a process that is not root there, as one in a user namespace without ids.
func allCaps() (caps []uintptr) {
	last := 40 // CAP_CHECKPOINT_RESTORE
	if b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap"); err == nil && len(b) > 1 {
		if n, err := strconv.Atoi(string(b[:len(b)-1])); err == nil {
			last = n
		}
	}
	for c := range last + 1 {
		caps = append(caps, uintptr(c))
	}
	return caps
}

// selfPath is this program. Its real path is used where it can be, so that the
// process has the program's name and not "exe".
func selfPath() string {
	const executable = 1 // X_OK
	path, err := os.Executable()
	if err != nil || syscall.Access(path, executable) != nil {
		return "/proc/self/exe"
	}
	return path
}

// memoryFile makes a file that two processes share and no file system has.
func memoryFile(name string) (*os.File, error) {
	const closeOnExec = 1 // MFD_CLOEXEC
	text, err := syscall.BytePtrFromString(name)
	if err != nil {
		return nil, err
	}
	fd, _, errno := syscall.Syscall(memfdCreate(), uintptr(unsafe.Pointer(text)), closeOnExec, 0)
	if errno != 0 {
		return nil, os.NewSyscallError("memfd_create", errno)
	}
	return os.NewFile(fd, name), nil
}

// memfdCreate is the number of memfd_create(2), which the package syscall is too
// old to have; golang.org/x/sys/unix, which has it, imports too much.
func memfdCreate() uintptr {
	switch runtime.GOARCH {
	case "amd64":
		return 319
	case "386":
		return 356
	case "arm":
		return 385
	case "ppc64", "ppc64le":
		return 360
	case "s390x":
		return 350
	default:
		return 279 // include/uapi/asm-generic/unistd.h: arm64, riscv64, loong64
	}
}
