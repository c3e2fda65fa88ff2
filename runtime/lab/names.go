package lab

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// nameDirs are where iproute2 keeps the names of numbers; what the administrator says
// goes before what the package does.
var nameDirs = []string{"/etc/iproute2", "/usr/share/iproute2"}

// numberNamed finds a number up to most by the name that a file of iproute2 gives it
// (rt_tables, rt_protos …), or a file NAME.conf of the directory beside it, as `ip`
// does. The files are read each time: names are rare, and most are known without.
func numberNamed(file, name string, most uint64) (n int, known bool) {
	for _, dir := range nameDirs {
		more, _ := filepath.Glob(filepath.Join(dir, file+".d", "*.conf"))
		for _, path := range append(more, filepath.Join(dir, file)) {
			text, _ := os.ReadFile(path)
			for line := range strings.Lines(string(text)) {
				words := strings.Fields(line)
				if len(words) < 2 || words[1] != name {
					continue
				}
				if n, err := strconv.ParseUint(words[0], 0, 32); err == nil && n <= most {
					return int(n), true
				}
			}
		}
	}
	return 0, false
}
