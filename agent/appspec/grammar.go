package appspec

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"usher/hooks"
)

// MaxTimeout is the longest timeout a script may ask for: Auto Scaling ends every wait state after
// 48 hours, whatever the heartbeats say.
const MaxTimeout = 48 * time.Hour

// The sections and keys of an appspec for EC2 and on-premises servers.
var (
	topKeys        = []string{"version", "os", "file_exists_behavior", "files", "permissions", "hooks"}
	permissionKeys = []string{"object", "pattern", "except", "type", "owner", "group", "mode", "acls", "context"}
	scriptKeys     = []string{"location", "timeout", "runas", "sudo"}
	behaviors      = []string{"DISALLOW", "OVERWRITE", "RETAIN"}

	// noScripts are the events of a deployment that the agent or the service does by itself.
	noScripts = []string{hooks.BlockTraffic, hooks.DownloadBundle, hooks.Install, hooks.AllowTraffic}
)

// spec reads the whole appspec into spec.
func (r *reader) spec(root ast.Node, spec *Spec) {
	root = r.resolve(root)
	if root == nil {
		return
	}
	pairs, ok := r.pairs(root, "the appspec")
	if !ok {
		return
	}
	f := fields{}
	for _, p := range pairs {
		switch {
		case slices.Contains(hooks.Events, p.key):
			r.fail(p.at, "%s belongs under `hooks:`: indent it", p.key)
		case p.key == "Hooks":
			r.fail(p.at, "Hooks is for Lambda and ECS deployments, and nothing of it would run: an appspec for servers takes %s", strings.Join(topKeys, ", "))
		case slices.Contains(topKeys, p.key) && (p.value != nil || p.bad):
			f[p.key] = p.value
		}
	}
	for _, p := range pairs {
		switch {
		case slices.Contains(topKeys, p.key) || slices.Contains(hooks.Events, p.key) || p.key == "Hooks":
		case strings.EqualFold(p.key, "resources"):
			r.warn(p.at, "%s is for Lambda and ECS deployments, and is ignored: an appspec for servers takes %s", p.key, strings.Join(topKeys, ", "))
		case nearest(p.key, topKeys) == "hooks":
			r.fail(p.at, "unknown key %s in the appspec, and nothing of it would run: did you mean hooks?", quote(p.key))
		default:
			r.unknown(p, "the appspec", []string{"version", "os"}, topKeys, f)
		}
	}

	r.version(root, f)
	r.os(root, f)
	r.behavior(f, spec)
	if n := f["files"]; n != nil {
		entries, _ := r.list(n, "files", "`- source: ...` and, below it, `destination: ...`")
		for _, n := range entries {
			r.filesEntry(n, spec)
		}
	}
	if n := f["permissions"]; n != nil {
		entries, _ := r.list(n, "permissions", "`- object: ...`")
		for _, n := range entries {
			r.permission(n, spec)
		}
	}
	if n := f["hooks"]; n != nil {
		r.hooks(n, spec)
	}
}

func (r *reader) version(root ast.Node, f fields) {
	r.need(root, f, "version", "the appspec", "write `version: 0.0`")
	n := f["version"]
	if n == nil {
		return
	}
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		if v, err := strconv.ParseFloat(n.GetToken().Value, 64); err == nil && v == 0 {
			return
		}
	case *ast.StringNode:
		if n.GetToken().Value == "0.0" {
			r.fail(n, "version must be the number 0.0: write it without quotes, or CodeDeploy refuses it")
			return
		}
	}
	r.fail(n, "version must be 0.0, the only one there is: write `version: 0.0`")
}

func (r *reader) os(root ast.Node, f fields) {
	r.need(root, f, "os", "the appspec", "write `os: linux`")
	switch os := r.text(f, "os"); {
	case os == "" || os == "linux":
	case strings.EqualFold(os, "linux"):
		r.fail(f["os"], "os must be linux, in small letters, not %s", quote(os))
	default:
		r.fail(f["os"], "os must be linux, not %s: this is an agent for Linux servers", quote(os))
	}
}

func (r *reader) behavior(f fields, spec *Spec) {
	b := r.text(f, "file_exists_behavior")
	if b != "" && !slices.Contains(behaviors, b) {
		r.fail(f["file_exists_behavior"], "file_exists_behavior must be DISALLOW, OVERWRITE or RETAIN, in capitals, not %s", quote(b))
		return
	}
	spec.FileExistsBehavior = b
}

// filesEntry reads one entry of files.
func (r *reader) filesEntry(n ast.Node, spec *Spec) {
	pairs, ok := r.pairs(n, "an entry of files")
	if !ok {
		return
	}
	f := fields{}
	for _, p := range pairs {
		if (p.key == "source" || p.key == "destination") && (p.value != nil || p.bad) {
			f[p.key] = p.value
		}
	}
	for _, p := range pairs {
		switch p.key {
		case "source", "destination":
		case "file_exists_behavior":
			if spec.FileExistsBehavior != "" {
				r.warn(p.at, "file_exists_behavior is not read here: the one at the top is for all of files")
				continue
			}
			r.fail(p.at, "file_exists_behavior is not read here, and files that exist would end the deployment: it belongs at the top, beside `files:`, and is for all of them")
		case "overwrite":
			r.warn(p.at, "overwrite is no key of an appspec and is ignored, here and by CodeDeploy: `file_exists_behavior: OVERWRITE` at the top replaces files that no deployment installed; without it they end the deployment")
		default:
			needed := []string{"source", "destination"}
			r.unknown(p, "an entry of files", needed, needed, f)
		}
	}
	r.need(n, f, "source", "an entry of files", "/ is the whole bundle")
	r.need(n, f, "destination", "an entry of files", "it is the directory to copy into")
	source, found := r.inBundle(f, "source")
	destination, ok := r.destination(f)
	if found && ok {
		file := File{Source: source, Destination: destination}
		file.Line, file.Col = position(n)
		spec.Files = append(spec.Files, file)
	}
}

// inBundle is the path at key, relative to the bundle. A leading / means the top of the bundle, as does empty text.
func (r *reader) inBundle(f fields, key string) (string, bool) {
	if n, ok := f[key].(*ast.StringNode); ok && n.Value == "" {
		r.warn(n, "%s is empty, which is the whole bundle: write /", key)
		return ".", true
	}
	s := r.text(f, key)
	if s == "" {
		return "", false
	}
	clean := path.Clean(strings.TrimLeft(s, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		r.fail(f[key], "%s %s leads out of the bundle: it must name something inside it", key, quote(s))
		return "", false
	}
	return clean, true
}

func (r *reader) destination(f fields) (string, bool) {
	s := r.text(f, "destination")
	if s == "" {
		return "", false
	}
	if !strings.HasPrefix(s, "/") && strings.ContainsAny(s, `~$\`) {
		r.fail(f["destination"], "destination %s must be an absolute path, which begins with /: nothing is put in for ~ or a variable", quote(s))
		return "", false
	}
	clean := r.fromRoot(f["destination"], "destination", s)
	if clean == "/" {
		r.warn(f["destination"], "destination / is the root of the machine: each file of the source is installed where its path there says, and replaced in place if it is not in the release")
	}
	return clean, true
}

// fromRoot is the path s on the server. CodeDeploy's agent works in /, so that is where it takes a relative one from.
func (r *reader) fromRoot(n ast.Node, key, s string) string {
	if !strings.HasPrefix(s, "/") {
		s = "/" + s
		r.warn(n, "%s %s is not an absolute path: it is taken as %s, because CodeDeploy's agent works in /", key, quote(s[1:]), quoteless(path.Clean(s)))
	}
	return path.Clean(s)
}

// empty reports whether n is text without a character in it.
func empty(n ast.Node) bool {
	s, ok := n.(*ast.StringNode)
	return ok && strings.TrimSpace(s.Value) == ""
}

// hooks reads the hooks section.
func (r *reader) hooks(n ast.Node, spec *Spec) {
	pairs, _ := r.pairs(n, "hooks")
	for _, p := range pairs {
		switch {
		case slices.Contains(noScripts, p.key):
			r.fail(p.at, "%s runs no scripts: the deployment does it by itself; events that run scripts are %s",
				p.key, strings.Join(hooks.Events, ", "))
		case !slices.Contains(hooks.Events, p.key):
			if near := nearest(p.key, hooks.Events); near != "" {
				r.fail(p.at, "unknown lifecycle event %s: did you mean %s?", quote(p.key), near)
			} else {
				r.fail(p.at, "unknown lifecycle event %s: events that run scripts are %s", quote(p.key), strings.Join(hooks.Events, ", "))
			}
		case p.value == nil:
			if !p.bad {
				r.fail(p.at, "%s has no scripts, and CodeDeploy's agent fails at that: remove the line, or write `%[1]s: []`", p.key)
			}
		default:
			scripts, _ := r.list(p.value, p.key, "`- location: ...`")
			for _, n := range scripts {
				r.script(n, p.key, spec)
			}
		}
	}
}
