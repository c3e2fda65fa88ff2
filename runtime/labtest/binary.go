package labtest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
)

// built builds nsscript once for the process.
var built = sync.OnceValues(build)

// Binary returns the path of an nsscript built from this tree. Where building is
// too slow or impossible, the environment variable NSSCRIPT_BINARY names one.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatalf("build nsscript: %v", err)
	}
	return path
}

func build() (string, error) {
	if path := os.Getenv("NSSCRIPT_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	dir, err := os.MkdirTemp("", "nsscript-binary-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "nsscript")
	args := []string{"build", "-o", path}
	if raceEnabled() {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "nsscript/cmd/nsscript")...)
	cmd.Env = os.Environ()
	if os.Getenv("GOCACHE") == "" && !hasCache() {
		cmd.Env = append(cmd.Env, "GOCACHE="+filepath.Join(dir, "cache"))
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", errors.Join(err, errors.New(strings.TrimSpace(string(out))))
	}
	atExit = func() { os.RemoveAll(dir) }
	return path, nil
}

// hasCache tells whether the go command finds a cache below the user's home.
func hasCache() bool {
	dir, err := os.UserCacheDir()
	if err != nil || os.MkdirAll(dir, 0o700) != nil {
		return false
	}
	probe, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return false
	}
	return os.Remove(probe) == nil
}

// raceEnabled tells whether this test binary was built with -race.
func raceEnabled() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}
