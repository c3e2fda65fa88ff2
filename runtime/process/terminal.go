package process

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/creack/pty"
)

// terminal is a pseudo-terminal (pty(7)) with a program at its other end.
type terminal struct {
	ours, theirs *os.File
	output       io.Writer
	shown        chan struct{} // closed when all output has been read
}

// openTerminal gives cmd a new terminal, and a session that it controls.
func openTerminal(cmd *exec.Cmd, output io.Writer) (*terminal, error) {
	ours, theirs, err := pty.Open()
	if err != nil {
		return nil, err
	}
	t := &terminal{ours: ours, theirs: theirs, output: output, shown: make(chan struct{})}
	if err := pty.Setsize(ours, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.begin("", false)
		return nil, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr.Setpgid = false // the leader of a session leads a group, too
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	return t, nil
}

// begin types and reads when the program was started, and else lets go.
func (t *terminal) begin(input string, started bool) {
	t.theirs.Close()
	if !started {
		t.ours.Close()
		return
	}
	go func() { _, _ = io.WriteString(t.ours, typed(input)) }()
	go func() {
		defer close(t.shown)
		_, _ = io.Copy(t.output, t.ours) // until EIO: nobody has the other end any more
	}()
}

// typed is what to type for a program to read input and then the end of it. The
// key for that (VEOF of termios(3)) hands over a line that has been begun; only
// at the beginning of a line it means the end.
func typed(input string) string {
	const endOfFile = "\x04"
	if input != "" && !strings.HasSuffix(input, "\n") {
		input += endOfFile
	}
	return input + endOfFile
}

// end is for when the program has ended: what it left in the background may hold
// the terminal a while, and is then hung up.
func (t *terminal) end() {
	select {
	case <-t.shown:
	case <-time.After(patience):
	}
	t.ours.Close()
	<-t.shown
}
