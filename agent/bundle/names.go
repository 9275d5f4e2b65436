package bundle

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// maxName and maxPath are Linux's own limits for one name and for a whole path, in bytes
	// (NAME_MAX and PATH_MAX): an entry beyond them could not be written.
	maxName = 255
	maxPath = 4095
)

// checkName refuses names that could not stand for a place in the tree.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the archive has an entry without a name")
	case strings.ContainsRune(name, 0):
		return fmt.Errorf("entry %q has a NUL in its name", name)
	case name[0] == '/':
		return fmt.Errorf("entry %q has an absolute name: make the archive with relative names", name)
	case len(name) > maxPath:
		return fmt.Errorf("entry %q... has a name longer than %d bytes", name[:60], maxPath)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return fmt.Errorf("entry %q leaves the archive through \"..\"", name)
		}
		if len(part) > maxName {
			return fmt.Errorf("entry %q... has a name longer than %d bytes", name[:60], maxName)
		}
	}
	return nil
}
