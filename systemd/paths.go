package systemd

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// PathsDropIn is the drop-in of usher.service that `usher bake` writes for an agent.yml with paths of its own.
const PathsDropIn = "/etc/systemd/system/usher.service.d/50-usher-paths.conf"

// pathsHead begins the drop-in: by it usher knows a file of its own making.
const pathsHead = "# Written by usher bake, from link, base, releases and state_dir of agent.yml. It is written anew with each bake.\n"

// Paths are what the service needs of systemd for the agent's own paths.
type Paths struct {
	Mounts   []string // volumes that must be mounted before the agent starts: RequiresMountsFor=
	Writable []string // folders that the sandbox leaves writable: ReadWritePaths=
}

// PathsOf is what usher.service as it is packaged does not give: it knows /opt and /var/lib/usher. The paths are absolute;
// the link and the releases are written to, the base only read.
func PathsOf(link, base, releases, state string) (p Paths) {
	for _, path := range []string{link, base, releases, state} {
		if packaged := []string{"/opt/app", "/opt/app-base", "/opt/app-releases", "/var/lib/usher"}; path != "" && !slices.Contains(packaged, path) {
			p.Mounts = append(p.Mounts, path)
		}
	}
	for _, dir := range []string{filepath.Dir(link), filepath.Dir(releases), state} {
		if !below(dir, "/opt") && !below(dir, "/var/lib/usher") && dir != "/" && dir != "." && !slices.Contains(p.Writable, dir) {
			p.Writable = append(p.Writable, dir)
		}
	}
	return p
}

// Missing is what no unit file or drop-in below root's /etc/systemd/system/usher.service.d gives yet.
func (p Paths) Missing() (missing Paths) {
	var mounts, writable []string
	files, _ := filepath.Glob(filepath.Join(filepath.Dir(PathsDropIn), "*.conf")) // the pattern is good
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // then it gives nothing
		}
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch key {
			case "RequiresMountsFor":
				mounts = append(mounts, words(value)...)
			case "ReadWritePaths":
				writable = append(writable, words(value)...)
			}
		}
	}
	for _, path := range p.Mounts {
		if !slices.ContainsFunc(mounts, func(given string) bool { return below(given, path) }) {
			missing.Mounts = append(missing.Mounts, path)
		}
	}
	for _, dir := range p.Writable {
		if !slices.ContainsFunc(writable, func(given string) bool { return below(dir, given) }) {
			missing.Writable = append(missing.Writable, dir)
		}
	}
	return missing
}

// Empty says that the packaged unit is enough.
func (p Paths) Empty() bool { return len(p.Mounts) == 0 && len(p.Writable) == 0 }

// String is the drop-in's text.
func (p Paths) String() string {
	var b strings.Builder
	b.WriteString(pathsHead)
	if len(p.Mounts) > 0 {
		b.WriteString("[Unit]\nRequiresMountsFor=" + quoted("", p.Mounts) + "\n")
	}
	if len(p.Writable) > 0 {
		// "-": a folder that is not there yet is no reason not to start; what then cannot be written says so.
		b.WriteString("[Service]\nReadWritePaths=" + quoted("-", p.Writable) + "\n")
	}
	return b.String()
}

// Write puts the drop-in there, or takes one away that is no longer needed. It says whether it changed anything; a file
// of that name which usher did not write is replaced all the same: the name is usher's.
func (p Paths) Write() (changed bool, err error) {
	now, err := os.ReadFile(PathsDropIn)
	switch {
	case p.Empty() && err != nil:
		return false, nil
	case p.Empty() && !strings.HasPrefix(string(now), pathsHead):
		return false, nil // somebody's own
	case p.Empty():
		return true, os.Remove(PathsDropIn)
	case err == nil && string(now) == p.String():
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(PathsDropIn), 0o755); err != nil {
		return false, err
	}
	return true, os.WriteFile(PathsDropIn, []byte(p.String()), 0o644)
}

// below says whether path is dir or below it.
func below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// quoted are words as a unit file takes them.
func quoted(prefix string, paths []string) string {
	var all []string
	for _, path := range paths {
		word := prefix + strings.NewReplacer(`%`, `%%`, `\`, `\\`, `"`, `\"`).Replace(path)
		if strings.ContainsAny(word, " \t'\"\\") {
			word = `"` + word + `"`
		}
		all = append(all, word)
	}
	return strings.Join(all, " ")
}

// words takes a value of a unit file apart: as much of the quoting as quoted writes, and systemd's prefixes of a path.
func words(value string) (all []string) {
	var word strings.Builder
	in, escaped, some := false, false, false
	flush := func() {
		if some {
			all = append(all, strings.ReplaceAll(strings.TrimLeft(word.String(), "-+"), "%%", "%"))
		}
		word.Reset()
		some = false
	}
	for _, r := range value {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\':
			escaped, some = true, true
		case r == '"':
			in, some = !in, true
		case !in && (r == ' ' || r == '\t'):
			flush()
		default:
			word.WriteRune(r)
			some = true
		}
	}
	flush()
	return all
}
