package feature

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Kernel is what files say of the running kernel.
type Kernel struct {
	// Release is what uname -r prints.
	Release string
	// Config are the options that are set, "y" or "m"; nil where no file says.
	Config map[string]string
	// Loaded are the modules that are in the kernel (/proc/modules), BuiltIn those
	// that it was linked with (modules.builtin), Files those that could be loaded
	// (modules.dep). Names are with underscores.
	Loaded, BuiltIn, Files map[string]bool
}

// ReadKernel reads /proc/modules, the modules' lists and the configuration of the
// running kernel. Files that are not there say nothing.
func ReadKernel() *Kernel {
	var name unix.Utsname
	_ = unix.Uname(&name) // it fails for a bad address only
	return readKernel("/", unix.ByteSliceToString(name.Release[:]))
}

func readKernel(root, release string) *Kernel {
	k := &Kernel{Release: release}
	modules := path.Join(root, "lib/modules", release)
	k.Loaded = moduleNames(read(path.Join(root, "proc/modules")), ' ')
	k.BuiltIn = moduleNames(read(path.Join(modules, "modules.builtin")), '\n')
	k.Files = moduleNames(read(path.Join(modules, "modules.dep")), ':')
	for _, place := range []string{
		path.Join(root, "proc/config.gz"), path.Join(root, "boot/config-"+release),
		path.Join(modules, "config"), path.Join(modules, "build/.config"),
	} {
		if text := read(place); len(text) > 0 {
			k.Config = parseConfig(unzipped(text))
			break
		}
	}
	return k
}

func read(file string) []byte {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return b
}

// unzipped is a text, whether or not gzip has packed it; "" for a broken pack.
func unzipped(b []byte) []byte {
	if !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		return b
	}
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	const most = 16 << 20 // a configuration has 300 KB
	text, err := io.ReadAll(io.LimitReader(r, most))
	if err != nil {
		return nil
	}
	return text
}

// parseConfig reads lines of the form CONFIG_X=value; "# CONFIG_X is not set" is
// what is not there.
func parseConfig(text []byte) map[string]string {
	config := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), "=")
		if ok && strings.HasPrefix(name, "CONFIG_") && (value == "y" || value == "m") {
			config[name] = value
		}
	}
	return config
}

// moduleNames are the modules that lines begin with, up to end: names, or paths of
// their files ("kernel/net/sched/sch_tbf.ko.xz").
func moduleNames(text []byte, end byte) map[string]bool {
	names := map[string]bool{}
	for line := range bytes.Lines(text) {
		name, _, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte{end})
		base, _, _ := strings.Cut(path.Base(string(name)), ".ko")
		if base != "" && base != "." && base != "/" {
			names[strings.ReplaceAll(base, "-", "_")] = true
		}
	}
	return names
}

// status is what the files say of a feature; ask tells that the kernel has to be
// asked, which loads nothing: the feature is in it, or no file says that it could be
// a module.
func (k *Kernel) status(f *Feature) (s Status, ask bool) {
	set := k.Config[f.Config]
	switch {
	case k.Loaded[f.Module], k.BuiltIn[f.Module]:
		return Present, true
	case k.Config != nil && set == "":
		return Missing, false
	case k.Files[f.Module]:
		return Unloaded, false
	case set == "m":
		return Missing, false
	case set == "y":
		return Present, true
	}
	return Missing, true
}
