package appspec

import (
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// script reads one script of an event.
func (r *reader) script(n ast.Node, event string, spec *Spec) {
	if s, ok := n.(*ast.StringNode); ok {
		r.fail(n, "a script must be a map: write `- location: %s`", quoteless(s.Value))
		return
	}
	f := r.fields(n, "a script", []string{"location"}, scriptKeys...)
	if f == nil {
		return
	}
	r.need(n, f, "location", "a script", "it names the script, relative to the bundle")
	location, ok := r.location(f)
	if empty(f["runas"]) {
		r.warn(f["runas"], "runas is empty, and counts as if it were not there")
		delete(f, "runas")
	}
	h := Hook{
		Location: location,
		Timeout:  r.timeout(f),
		RunAs:    r.user(f, "runas"),
		Sudo:     r.truth(f, "sudo"),
	}
	if ok {
		h.Line, h.Col = position(n)
		spec.Hooks[event] = append(spec.Hooks[event], h)
	}
}

func (r *reader) location(f fields) (string, bool) {
	s := strings.TrimSpace(r.text(f, "location"))
	if s == "" {
		return "", false
	}
	n := f["location"]
	clean := path.Clean(strings.TrimLeft(s, "/"))
	switch {
	case clean == ".." || strings.HasPrefix(clean, "../"):
		r.fail(n, "location %s leads out of the bundle: scripts come with the revision", quote(s))
	case clean == "." || strings.HasSuffix(s, "/"):
		r.fail(n, "location %s is a directory: name the script", quote(s))
	default:
		if strings.HasPrefix(s, "/") {
			r.warn(n, "location %s is %s in the bundle, not a file of the server: scripts come with the revision; write it without the / in front", quote(s), quoteless(clean))
		}
		return clean, true
	}
	return "", false
}

// moreThanSeconds is a number of seconds with something behind it that changes nothing: a fraction, or the unit.
var moreThanSeconds = regexp.MustCompile(`^([1-9][0-9]*)(?:\.[0-9]*| ?s| ?secs?| ?seconds?)$`)

// timeout is the script's own timeout, 0 when it has none or it is wrong.
func (r *reader) timeout(f fields) time.Duration {
	n := f["timeout"]
	if n == nil {
		return 0
	}
	s, ok := scalar(n)
	if !ok {
		r.fail(n, "timeout must be a number of seconds, not %s", kind(n))
		return 0
	}
	s = strings.TrimSpace(s)
	if m := moreThanSeconds.FindStringSubmatch(s); m != nil {
		r.warn(n, "timeout %s is taken as %s, as by CodeDeploy's agent: write a whole number of seconds", quote(s), m[1])
		s = m[1]
	}
	digits := s != "" && strings.Trim(s, "0123456789") == ""
	seconds, err := strconv.ParseInt(s, 10, 64)
	switch {
	case digits && (err != nil || seconds > int64(MaxTimeout/time.Second)):
		r.warn(n, "timeout %s is taken as %d: no launch may take longer", quoteless(s), int64(MaxTimeout/time.Second))
		return MaxTimeout
	case digits && len(s) > 1 && s[0] == '0' && seconds > 0:
		// YAML 1.1, which CodeDeploy reads, takes 060 for octal: 48.
		r.fail(n, "timeout %s begins with 0, which YAML may take for octal: write %d", s, seconds)
	case !digits && (err != nil || seconds > 0):
		r.fail(n, "timeout %s must be a whole number of seconds, such as 300", quote(s))
	case seconds <= 0:
		r.fail(n, "timeout %s must be more than 0 seconds: leave it out for the default of 3600", quoteless(s))
	default:
		return time.Duration(seconds) * time.Second
	}
	return 0
}

// user is the name of a user or a group at key. A colon would be chown's user:group, a space a mistake.
func (r *reader) user(f fields, key string) string {
	s := strings.TrimSpace(r.text(f, key))
	if strings.ContainsAny(s, ": /") {
		r.fail(f[key], "%s %s must be one name: no spaces, no slash, no colon", key, quote(s))
		return ""
	}
	return s
}
