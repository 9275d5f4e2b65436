package appspec

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"usher/hooks"
)

// The names an appspec may have, in the order in which they are looked for.
const (
	Name    = "appspec.yml"
	AltName = "appspec.yaml"
)

// MaxSize is the longest appspec that is read, in bytes. Real ones are a few kilobytes; the bound
// keeps a hostile or mistaken bundle from filling the memory of the machine that reads it.
const MaxSize = 1 << 20

// Spec is one appspec, checked: every path in it is clean and every name known.
type Spec struct {
	File               string            // what messages call it: "appspec.yml"
	FileExistsBehavior string            // DISALLOW, OVERWRITE or RETAIN; "" leaves it to the deployment
	Files              []File            // in the order of the file
	Permissions        []Permission      // in the order of the file
	Hooks              map[string][]Hook // by lifecycle event; scripts in the order they run
}

// File is one entry of files: copy Source of the bundle into the directory Destination.
type File struct {
	Source      string // slash-separated, relative to the bundle, clean; "." is the whole bundle
	Destination string // absolute, clean
	Line, Col   int    // of the entry, from 1
}

// Permission is one entry of permissions. Matches says which installed paths it is for.
type Permission struct {
	Object      string       // absolute, clean
	Pattern     string       // "**" when the appspec gives none
	Except      []string     // patterns of direct children of Object that are left alone
	Files       bool         // it is for files
	Directories bool         // it is for directories
	Owner       string       // user name or number; "" leaves the owner
	Group       string       // group name or number; "" leaves the group
	Mode        *fs.FileMode // permission bits with fs.ModeSetuid, ModeSetgid, ModeSticky, as os.Chmod takes them; nil leaves the mode
	LeadingZero bool         // the mode is written like 0644, without quotes, of which CodeDeploy's agent makes 0420
	ACLs        []ACE        // nil leaves the ACL; empty but not nil (`acls: []`) takes every extra entry away
	Context     *Context     // SELinux; nil leaves the context
	Line, Col   int          // of the entry, from 1
}

// Hook is one script of a lifecycle event.
type Hook struct {
	Location  string        // slash-separated, relative to the bundle, clean
	Timeout   time.Duration // whole seconds; 0 when the appspec gives none
	RunAs     string        // user name; "" is the agent's own
	Sudo      bool
	Line, Col int // of the entry, from 1
}

// Read reads and checks the appspec at the top of dir, an unpacked bundle: appspec.yml, else
// appspec.yaml. It follows no link out of dir. The Spec is nil when a problem is more than a warning.
func Read(dir string) (*Spec, []hooks.Problem) {
	spec, problems := ReadPartly(dir)
	if len(hooks.Errors(problems)) > 0 {
		return nil, problems
	}
	return spec, problems
}

// ReadPartly is Read for a list of all problems of a revision: with an appspec that has errors it returns what
// could be read of it, so that the scripts and files it names are looked at too. It is nil when that is nothing.
func ReadPartly(dir string) (*Spec, []hooks.Problem) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, []hooks.Problem{{File: Name, Message: fmt.Sprintf("cannot open the unpacked bundle: %v", err)}}
	}
	defer root.Close()

	name := Name
	var problems []hooks.Problem
	if !exists(root, Name) {
		if !exists(root, AltName) {
			return nil, []hooks.Problem{{File: Name, Message: missing(root)}}
		}
		name = AltName
	} else if exists(root, AltName) {
		problems = append(problems, hooks.Problem{File: AltName, Warning: true,
			Message: Name + " is there too, and it is the one that counts: remove one of the two"})
	}

	src, err := readCapped(root, name)
	if err != nil {
		return nil, append(problems, hooks.Problem{File: name, Message: err.Error()})
	}
	spec, more := parse(name, src)
	return spec, append(problems, more...)
}

func exists(root *os.Root, name string) bool {
	_, err := root.Lstat(name)
	return err == nil
}

// missing says where the appspec must be, and where one lies that was perhaps meant.
func missing(root *os.Root) string {
	message := fmt.Sprintf("not found: %s (or %s) must be at the top of the bundle", Name, AltName)
	// One level down is as deep as a mistaken `zip -r bundle.zip myapp/` puts it.
	for _, pattern := range []string{"*", "*/*"} {
		found, err := fs.Glob(root.FS(), pattern)
		if err != nil {
			continue
		}
		for _, name := range found {
			base := strings.ToLower(name[strings.LastIndex(name, "/")+1:])
			if base == Name || base == AltName || base == "appspec.json" {
				return message + "; the bundle holds " + quote(name)
			}
		}
	}
	return message
}

// readCapped reads a regular file of at most MaxSize bytes. A fifo would block and a device would
// never end, so both are refused before they are opened.
func readCapped(root *os.Root, name string) ([]byte, error) {
	info, err := root.Stat(name)
	if err != nil {
		return nil, unreadable(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("must be a regular file")
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, unreadable(err)
	}
	defer f.Close()
	// One byte more than is allowed, so that Parse sees it is too long.
	src, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, unreadable(err)
	}
	return src, nil
}

// unreadable leaves out the system call and the name, which the problem has already.
func unreadable(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Errorf("cannot read the appspec: %v; if it is a link, it must stay in the bundle", err)
}

// Parse checks the text of an appspec; name is what messages call the file. It finds as many
// problems as it can in one go, in the order of their lines. The Spec is nil when one of them is
// more than a warning.
func Parse(name string, src []byte) (*Spec, []hooks.Problem) {
	spec, problems := parse(name, src)
	if len(hooks.Errors(problems)) > 0 {
		return nil, problems
	}
	return spec, problems
}

// parse is Parse that returns what could be read in any case; nil when that is nothing.
func parse(name string, src []byte) (*Spec, []hooks.Problem) {
	r := &reader{file: name}
	var spec *Spec
	if root := r.document(src); root != nil {
		spec = &Spec{File: name, Hooks: map[string][]Hook{}}
		r.spec(root, spec)
	}
	slices.SortStableFunc(r.problems, func(a, b hooks.Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	if r.more > 0 {
		r.problems = append(r.problems, hooks.Problem{File: name, Warning: !r.moreFatal,
			Message: fmt.Sprintf("and %d more problems: these are the first", r.more)})
	}
	return spec, r.problems
}
