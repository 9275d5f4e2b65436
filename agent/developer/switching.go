package developer

import (
	"cmp"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"usher/agent/config"
	"usher/agent/release"
	"usher/hooks"
)

// switching is how more of the files would get the atomic switch.
type switching struct {
	Link     string          `json:"link,omitempty"`     // of agent.yml; left out where no link can be
	Switched int             `json:"switched,omitempty"` // files that are switched with it
	Files    int             `json:"files"`              // of all destinations
	Problems []hooks.Problem `json:"problems,omitempty"` // that check would find with it, and does not find now
	Instead  string          `json:"instead"`            // a destination that could be below the link as it is
	Lines    []string        `json:"lines"`              // that name it, as file:line
}

// suggestLink is nil where all files are switched already.
func suggestLink(cfg config.Config, dir string, destinations []release.Destination, known []hooks.Problem) *switching {
	s := switching{}
	var outside []release.Destination
	for _, d := range destinations {
		s.Files += d.Files
		if d.Switched < d.Files {
			outside = append(outside, d)
		}
	}
	if len(outside) == 0 {
		return nil
	}
	main := slices.MaxFunc(outside, func(a, b release.Destination) int { return cmp.Compare(a.Files, b.Files) })
	var candidates []string
	parts := map[string]int{}
	for _, d := range outside {
		candidates = append(candidates, d.Path)
		if parent := path.Dir(d.Path); !shared[parent] {
			if parts[parent]++; parts[parent] == 2 { // each for a part of the application
				candidates = append(candidates, parent)
			}
		}
	}
	for _, link := range candidates {
		with, err := cfg.WithLink(link)
		if err != nil || !canBeLink(link) {
			continue
		}
		plan, problems := release.Check(layoutOf(with), dir, "", hooks.Enforce, hooks.CheckSource)
		switched := 0
		for _, d := range plan.Destinations {
			switched += d.Switched
		}
		if switched > s.Switched {
			s.Link, s.Switched = link, switched
			s.Problems = slices.DeleteFunc(problems, func(p hooks.Problem) bool { return slices.Contains(known, p) })
		}
	}
	s.Instead = cmp.Or(s.Link, main.Path)
	s.Lines = naming(dir, s.Instead)
	return &s
}

// shared are folders in which several applications have theirs: none is the application.
var shared = map[string]bool{"/var/www": true, "/var/lib": true, "/usr/local": true, "/usr/share": true, "/srv/www": true, "/opt/local": true}

// notForLinks are folders below which no link of an application can be: they are a user's own, which root does not go into,
// the system's, or gone after a boot.
var notForLinks = []string{"/home", "/root", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/boot", "/dev", "/proc", "/sys", "/run", "/tmp",
	"/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/local/bin", "/usr/local/sbin", "/usr/local/lib", "/var/tmp", "/var/run", "/var/log",
	"/var/cache", "/var/spool", "/opt/codedeploy-agent"}

// canBeLink tells whether a folder can be made a link. Directly below / it cannot: the service would have to be given the
// whole machine to write to.
func canBeLink(link string) bool {
	if strings.Count(link, "/") < 2 || slices.Contains([]string{"/var/lib", "/usr/local", "/usr/share"}, link) {
		return false
	}
	return !slices.ContainsFunc(notForLinks, func(dir string) bool { return link == dir || strings.HasPrefix(link, dir+"/") })
}

// naming are the lines of the revision's texts that name a path of the server.
func naming(dir, name string) []string {
	lines := []string{}
	root, err := os.OpenRoot(dir)
	if err != nil || name == "/" {
		return lines
	}
	defer root.Close()
	_ = fs.WalkDir(root.FS(), ".", func(at string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // it is only to help
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == "vendor"):
			return fs.SkipDir
		case !entry.Type().IsRegular():
			return nil
		}
		if info, err := entry.Info(); err != nil || info.Size() > hooks.MaxAnalysed {
			return nil
		}
		text, err := root.ReadFile(at)
		if err != nil || slices.Contains(text, 0) {
			return nil
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			if n++; names(line, name) {
				lines = append(lines, at+":"+strconv.Itoa(n))
			}
		}
		return nil
	})
	return lines
}

// names tells whether a line has a path as a whole word, or the beginning of a longer path.
func names(line, path string) bool {
	isName := func(r byte) bool {
		return r == '_' || r == '-' || r == '.' || r == '/' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
	}
	for rest, before := line, byte(' '); ; {
		at := strings.Index(rest, path)
		if at < 0 {
			return false
		}
		if at > 0 {
			before = rest[at-1]
		}
		rest = rest[at+len(path):]
		if after := rest + "  "; !isName(before) && (after[0] == '/' || !isName(after[0]) || after[0] == '.' && !isName(after[1])) {
			return true
		}
		before = path[len(path)-1]
	}
}
