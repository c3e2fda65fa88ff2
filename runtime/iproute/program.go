package iproute

import (
	"slices"
	"strings"

	"nsscript/runtime/event"
)

// shellWords are the reserved words and the utilities that a shell has built
// in: as a program's name they must not be the first word of a command.
var shellWords = strings.Fields(`! { } [ [[ ]] . : alias bg bind break builtin caller case cd chdir command compgen
	complete continue coproc declare dirs disown do done echo elif else enable esac eval exec exit export false fc
	fg fi for function getopts hash help history if in jobs kill let local logout mapfile popd printf pushd pwd read
	readarray readonly return select set shift shopt source suspend test then time times trap true type typeset
	ulimit umask unalias unset until wait while`)

// program is the command that runs what an exec or spawn event ran, without its
// input.
func program(e event.Event, quote func(string) string) string {
	w := inside(e)
	env, argv := e.All("env"), e.All("argv")
	as := identity(e, quote)
	var run []string
	first := len(w) == 0 && as == "" && len(env) == 0 // argv[0] begins a shell's command
	if len(env) > 0 || first && len(argv) > 0 && slices.Contains(shellWords, argv[0]) {
		run = append([]string{"env"}, env...)
	}
	if (first || len(env) > 0) && len(argv) > 0 && strings.Contains(argv[0], "=") {
		run = append(run, "sh", "-c", `exec "$@"`, "sh") // for it looks like a variable
	}
	line := as + join(append(run, argv...), quote)
	if e.Has("tty") {
		line = "script -qec " + quote(line) + " /dev/null"
	}
	if len(w) > 0 {
		line = join(w, quote) + " " + line
	}
	if dir := e.Get("cwd"); dir != "" {
		if strings.HasPrefix(dir, "-") {
			dir = "./" + dir
		}
		line = "(cd " + quote(dir) + " && " + line + ")"
	}
	return line
}

// identity is the beginning of a command that runs as another user or group, or "".
// A user's group and the others that it is in are the machine's to say.
func identity(e event.Event, quote func(string) string) string {
	user, group := e.Get("user"), e.Get("group")
	switch {
	case user == "" && group == "":
		return ""
	case user == "":
		return "setpriv --regid=" + quote(group) + " --keep-groups "
	case group == "":
		return "setpriv --reuid=" + quote(user) + ` --regid="$(id -g ` + quote(user) + `)" --init-groups `
	}
	groups := " --init-groups "
	if strings.Trim(user, "0123456789") == "" {
		groups = " --clear-groups "
	}
	return "setpriv --reuid=" + quote(user) + " --regid=" + quote(group) + groups
}

// runProgram is program for a script: with its input, in the background if it
// was spawned, and with leave to fail if it may.
func runProgram(e event.Event, mayFail bool) string {
	line, document := program(e, quote), ""
	input, spawned := e.Get("input"), e.Op == "spawn"
	switch {
	case isDocument(input):
		end := "EOF"
		for strings.Contains("\n"+input, "\n"+end+"\n") {
			end += "_"
		}
		line += " <<'" + end + "'"
		document = "\n" + input + end
	case strings.Contains(input, "\x00"): // which no word can hold
		line = "printf " + quote(strings.ReplaceAll(escape(input, ""), "%", "%%")) + " | " + line
	case input != "":
		line = "printf %s " + quote(input) + " | " + line
	case !spawned:
		// It must not read what the shell reads, which may be this script.
		line += " </dev/null"
	}
	if spawned {
		line += " &"
		if pid := e.Get("pid"); pid != "" {
			line += " " + variable(e) + "=$!"
		}
	} else if mayFail {
		line += " || true"
	}
	return line + document
}

// awaitReady waits until a program is ready, or says for what: its output goes to
// the terminal.
func awaitReady(e event.Event) string {
	if port, ok := strings.CutPrefix(e.Get("ready"), "port "); ok {
		return "until " + join(append(inside(e), "ss", "-Hlntu", "sport = :"+port), quote) + " | grep -q .; do sleep 0.1; done"
	}
	return comment("wait here until " + e.Get("ready"))
}

// failed tells whether a program ran and ended with another status than 0.
func failed(e event.Event) bool { return e.Has("code") && e.Get("code") != "0" }

// isDocument tells whether text can be a here-document and be read there.
func isDocument(text string) bool {
	return strings.HasSuffix(text, "\n") && isPrintable(strings.NewReplacer("\n", "", "\t", "").Replace(text))
}

// pingFlags are the options of ping(8) for arguments of an event.
var pingFlags = []struct{ key, flag string }{
	{"interval", "-i"}, {"timeout", "-W"}, {"size", "-s"}, {"ttl", "-t"}, {"tos", "-Q"}, {"src", "-I"}, {"dev", "-I"},
}

// ping is the command of iputils that asks the same.
func ping(e event.Event) []string {
	count := e.Get("count")
	if count == "" {
		count = "1"
	}
	w := append(inside(e), "ping", "-c", count)
	for _, f := range pingFlags {
		if v := e.Get(f.key); v != "" {
			w = append(w, f.flag, v)
		}
	}
	if e.Has("df") {
		w = append(w, "-M", "do")
	}
	return append(w, e.Get("dst"))
}

// variable is the shell variable that holds the pid of a spawned program.
func variable(e event.Event) string { return "p" + e.Get("pid") }

// signal is the command that ends or signals a spawned program in a script.
func signal(e event.Event) string {
	pid := "$" + variable(e)
	if e.Op == "process signal" {
		return "kill -" + e.Get("signal") + " " + pid
	}
	return "kill " + pid + "; wait " + pid + " || true"
}

// radvd is what radvd(8) would be told in its configuration file (radvd.conf(5)).
func radvd(e event.Event) []string {
	return append(append(inside(e), "radvd", e.Get("dev")), arguments(e.Args[1:])...)
}

// ownFile says what no command does: programs of the namespace see a file or a
// directory that the machine has not. It is empty for other events.
func ownFile(e event.Event) string {
	path, ns := e.Get("path"), e.NS
	if ns == "" {
		ns = "root"
	}
	switch e.Op {
	case "write_file":
		return "no command makes " + path + " (" + e.Get("bytes") + " bytes) for " + ns + " alone: ip netns exec shows /etc/netns/NAME/*, over files that are there"
	case "private":
		return "no command gives " + ns + " a " + path + " of its own: in ip netns exec, mount -t tmpfs tmpfs " + path + " lasts as long as that program"
	case "limit":
		return "ip netns exec limits nothing (" + ns + ": " + strings.Join(arguments(e.Args), " ") + "): systemd-run --scope -p CPUQuota= -p MemoryMax= -p TasksMax= does"
	}
	return ""
}
