package suite

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Files are the scripts that paths mean: a file is itself, and a directory is all files
// *_test.star below it, but for those below directories whose name begins with a dot.
// They are in the order of the paths and of their names, each once.
func Files(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		found := []string{filepath.Clean(path)}
		if info.IsDir() {
			if found, err = below(path); err != nil {
				return nil, err
			}
			if len(found) == 0 {
				return nil, fmt.Errorf("there is no *_test.star below %s", path)
			}
		}
		for _, f := range found {
			if !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	return files, nil
}

func below(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != dir && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case !d.IsDir() && strings.HasSuffix(d.Name(), "_test.star"):
			files = append(files, path)
		}
		return nil
	})
	return files, err
}
