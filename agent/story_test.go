package main

import (
	"bytes"
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The rules of the house, as far as a program can check them. Test files are free to import what they
// need; the program is not.

// house is the root of the module. It is absolute because the S3 server of other tests moves the process.
var house = absolute("..")

func absolute(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		panic(err)
	}
	return path
}

// law is which of our own packages a package may import. Arrows point one way: backwards in the story.
var law = map[string][]string{
	"hooks":             {"agent/safepath"},
	"systemd":           {"agent/format"},
	"agent/safepath":    {},
	"systemd/box":       {"agent/safepath"},
	"agent/cli":         {"agent/config", "agent/format", "hooks"},
	"agent/clients":     {"agent/config", "agent/hostcommand", "agent/instance", "agent/retry", "hooks"},
	"agent/config":      {"agent/bundle", "agent/instance", "agent/release", "hooks"},
	"agent/control":     {"agent/cli", "agent/retry"},
	"agent/developer":   {"agent/appspec", "agent/bundle", "agent/cli", "agent/clients", "agent/config", "agent/format", "agent/release", "agent/retry", "agent/rollout", "agent/safepath", "hooks"},
	"agent/format":      {},
	"agent/image":       {"agent/safepath"},
	"agent/instance":    {},
	"agent/retry":       {"agent/format"},
	"agent/revision":    {},
	"agent/runner":      {"agent/appspec", "agent/format", "agent/release", "hooks", "systemd"},
	"agent/record":      {},
	"agent/doctor":      {"agent/format", "agent/groups", "agent/policy"},
	"agent/groups":      {},
	"agent/hostcommand": {"agent/retry"},
	"agent/operator":    {"agent/cli", "agent/config", "agent/control", "agent/format", "agent/record", "agent/release", "agent/lifecycle", "hooks"},
	"agent/rehearsal":   {"agent/bundle", "agent/cli", "agent/config", "agent/deployment", "agent/developer", "agent/format", "agent/instance", "agent/record", "agent/runner", "agent/safepath", "hooks", "systemd"},
	"agent/platform": {"agent/appspec", "agent/bundle", "agent/cli", "agent/clients", "agent/config", "agent/developer", "agent/doctor", "agent/format", "agent/groups", "agent/hostcommand", "agent/image", "agent/instance",
		"agent/policy", "agent/record", "agent/release", "agent/retry", "agent/revision", "agent/rollout", "agent/safepath", "hooks", "systemd"},
	"agent/policy":     {},
	"agent/rollout":    {"agent/appspec", "agent/bundle", "agent/config", "agent/format", "agent/retry", "hooks", "agent/safepath"},
	"agent/standin":    {"agent/safepath"},
	"agent/appspec":    {"hooks"},
	"agent/bundle":     {"agent/appspec", "agent/format", "agent/policy", "agent/retry", "hooks", "agent/safepath"},
	"agent/deployment": {"agent/appspec", "agent/bundle", "agent/format", "agent/instance", "agent/record", "agent/release", "agent/retry", "agent/runner", "agent/safepath", "hooks", "systemd"},
	"agent/executor":   {"agent/deployment", "agent/format", "agent/hostcommand", "agent/record", "agent/retry", "agent/revision", "agent/source", "hooks", "systemd"},
	"agent/source":     {"agent/bundle", "agent/deployment", "agent/format", "agent/record", "agent/retry", "agent/revision", "hooks"},
	"agent/release":    {"agent/bundle", "agent/appspec", "agent/format", "hooks", "agent/safepath"},
	"agent/lifecycle":  {"agent/instance", "agent/retry"},
	"agent/demo":       {"agent/format", "agent/standin", "agent/safepath"},
	"agent/bench":      {"agent/standin", "agent/bundle", "agent/release", "agent/instance", "agent/lifecycle", "agent/retry", "agent/revision", "agent/safepath"},
	"agent": {"hooks", "systemd", "agent/bundle", "agent/cli", "agent/clients", "agent/config", "agent/control", "agent/deployment", "agent/developer", "agent/executor", "agent/format", "agent/instance", "agent/lifecycle", "agent/operator",
		"agent/platform", "agent/record", "agent/rehearsal", "agent/release", "agent/retry", "agent/revision", "agent/runner", "agent/safepath", "agent/source"},

	"agent/standin/awsmodel": {"agent/standin"},
	"agent/standin/disk":     {},
}

// worlds are which packages may import what is not ours, by the prefix of its path.
var worlds = map[string][]string{
	"github.com/aws/":              {"agent/clients", "agent/source", "agent/developer", "agent/platform", "agent/doctor", "agent/groups", "agent/instance", "agent/lifecycle", "agent/platform", "agent/retry", "agent/revision", "agent/bundle", "agent/hostcommand", "agent/rollout", "agent/standin", "agent/bench"},
	"github.com/coreos/go-systemd": {"systemd"},
	"go.uber.org/zap":              {"agent", "agent/control", "agent/deployment", "agent/executor", "agent/rehearsal", "agent/runner", "systemd"},
	"os/exec":                      {"hooks", "systemd", "systemd/box", "agent/demo", "agent/rollout", "agent/bench", "agent/standin/awsmodel", "agent/standin/disk"}, // rollout: git only; awsmodel: go list; disk: mkfs
	"github.com/smallstep/pkcs7":   {"agent/hostcommand", "agent/standin"},
	"github.com/vbauerster/mpb":    {"agent/rollout"},
	"mvdan.cc/sh":                  {"hooks"},
	"github.com/versity/":          {"agent/standin"},
	"text/template":                {}, // keeps every method of the AWS API in the binary: 7 MB
	"html/template":                {},
	"net/http/pprof":               {}, // opens a door
	"unsafe":                       {},
}

// roots are the top level, which is fixed.
var roots = []string{"agent", "hooks", "packaging", "systemd", "go.mod", "go.sum", "README.md"}

// maxLines of a program file: what a newcomer reads in one sitting.
const maxLines = 320

type goFile struct {
	pkg, file string
	lines     int
	ast       *ast.File
}

// program are all Go files of the module that are not tests.
func program(t *testing.T) (all []goFile) {
	t.Helper()
	fset := token.NewFileSet()
	err := filepath.WalkDir(house, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == "testdata" || at != house && strings.HasPrefix(e.Name(), ".")) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(at, ".go") || strings.HasSuffix(at, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(fset, at, text, parser.ParseComments)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(at, house+"/"))
		all = append(all, goFile{path.Dir(name), name, bytes.Count(text, []byte("\n")), f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 30 {
		t.Fatalf("found only %d program files: this test looks in the wrong place", len(all))
	}
	return all
}

func TestImportLaw(t *testing.T) {
	for _, f := range program(t) {
		allowed, known := law[f.pkg]
		if !known {
			t.Errorf("%s: package %s is not in the house: give it a place in the law", f.file, f.pkg)
		}
		for _, spec := range f.ast.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			if ours, ok := strings.CutPrefix(imported, "usher/"); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s: %s may import %v only", f.file, imported, f.pkg, allowed)
			}
			for prefix, may := range worlds {
				if strings.HasPrefix(imported, prefix) && !slices.Contains(may, f.pkg) {
					t.Errorf("%s imports %s: only %v may", f.file, imported, may)
				}
			}
		}
	}
}

// A developer's program is for any system: no room that it is made of needs Linux, nor do those rooms' tests.
func TestDevelopersNeedNoLinux(t *testing.T) {
	for _, system := range []string{"darwin", "windows"} {
		on := func(args ...string) string {
			cmd := exec.Command("go", args...)
			cmd.Dir, cmd.Env = house, append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("on %s, go %s: %v\n%s", system, strings.Join(args, " "), err, out)
			}
			return string(out)
		}
		rooms := []string{"vet"}
		for _, room := range strings.Fields(on("list", "-deps", "./agent")) {
			if room == "usher" || strings.HasPrefix(room, "usher/") {
				rooms = append(rooms, room)
			}
		}
		for _, room := range []string{"systemd", "agent/record", "agent/deployment", "agent/runner", "agent/lifecycle", "agent/operator", "agent/rehearsal"} {
			if slices.Contains(rooms, "usher/"+room) {
				t.Errorf("usher for %s has %s in it, which is a server's", system, room)
			}
		}
		on(rooms...)
	}
}

// What is removed as a whole is removed in one place, which stays off mounts.
func TestOnePlaceRemovesTrees(t *testing.T) {
	for _, f := range program(t) {
		// A box's image lies in a mount namespace of its own, reached by /proc/PID/task/TID/root. That link's text is "/",
		// and safepath follows texts: it would look in this namespace, where the tree is not. Only tests have boxes.
		if f.pkg == "agent/safepath" || f.file == "systemd/box/image.go" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok || call.Sel.Name != "RemoveAll" {
				return true
			}
			if from, ok := call.X.(*ast.Ident); !ok || from.Name != "safepath" {
				t.Errorf("%s calls a RemoveAll that is not safepath's: that one could empty what is mounted below", f.file)
			}
			return true
		})
	}
}

func TestRooms(t *testing.T) {
	docs := map[string]string{}
	for _, f := range program(t) {
		if f.lines > maxLines {
			t.Errorf("%s has %d lines: more than %d is more than one room", f.file, f.lines, maxLines)
		}
		switch base := path.Base(f.file); base {
		case "types.go", "util.go", "utils.go", "helpers.go", "interface.go", "interfaces.go", "common.go", "misc.go":
			t.Errorf("%s: a file is named for what it does", f.file)
		}
		if _, ok := docs[f.pkg]; !ok {
			docs[f.pkg] = ""
		}
		if f.ast.Doc != nil {
			if docs[f.pkg] != "" {
				t.Errorf("%s and %s both have the doc comment of package %s", docs[f.pkg], f.file, f.pkg)
			}
			docs[f.pkg] = f.file
		}
		for _, d := range f.ast.Decls {
			undocumented(t, f, d)
		}
	}
	for pkg, file := range docs {
		if file == "" {
			t.Errorf("package %s has no doc comment: it is the package's contract", pkg)
		}
	}
}

// undocumented reports exported names of rooms without a comment.
func undocumented(t *testing.T, f goFile, d ast.Decl) {
	say := func(name string) { t.Errorf("%s: %s is exported and not documented", f.file, name) }
	switch d := d.(type) {
	case *ast.FuncDecl:
		exported := d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d.Recv)))
		standard := slices.Contains([]string{"Error", "Unwrap", "Read", "Write", "Close", "ServeHTTP", "Sync", "With", "Check", "ReadAt"}, d.Name.Name)
		if exported && d.Doc == nil && !(d.Recv != nil && standard) {
			say(d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() && cmp.Or(d.Doc, spec.Doc) == nil {
					say(spec.Name.Name)
				}
			case *ast.ValueSpec:
				if spec.Names[0].IsExported() && cmp.Or(d.Doc, spec.Doc, spec.Comment) == nil {
					say(spec.Names[0].Name)
				}
			}
		}
	}
}

func receiver(r *ast.FieldList) string {
	expr := r.List[0].Type
	if star, ok := expr.(*ast.StarExpr); ok {
		expr = star.X
	}
	if id, ok := expr.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(house)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(roots, e.Name()) && e.Name() != "usher" { // the built binary, ignored by git
			t.Errorf("%s is not of the top level, which is fixed: %v", e.Name(), roots)
		}
	}
}

// modules is every module linked into the program that runs as root, and what for.
var modules = map[string]string{
	"usher":                            "ours",
	"github.com/aws/aws-sdk-go-v2":     "the AWS SDK's core: signing, retries, endpoints",
	"github.com/aws/smithy-go":         "the SDK's protocols and errors",
	"github.com/coreos/go-systemd/v22": "the journal and sd_notify",
	"github.com/godbus/dbus/v5":        "of go-systemd: systemd's own socket, to start units",
	"github.com/goccy/go-yaml":         "appspec.yml and agent.yml, with line and column of what is wrong",
	"github.com/klauspost/compress":    "inflate and gzip, faster than the standard library's",
	"github.com/klauspost/cpuid/v2":    "of crc64nvme: whether the processor has the instruction",
	"github.com/minio/crc64nvme":       "the checksum S3 gives every object: 5 ms for 100 MB, and 56 with the standard library",
	"github.com/smallstep/pkcs7":       "the signature of deployment specifications; it needs nothing else",
	"github.com/vbauerster/mpb/v8":     "usher deploy: progress on a terminal",
	"github.com/VividCortex/ewma":      "of mpb",
	"github.com/acarl005/stripansi":    "of mpb",
	"github.com/mattn/go-runewidth":    "of mpb",
	"github.com/rivo/uniseg":           "of mpb; and where a description may be cut",
	"go.uber.org/zap":                  "structured log lines, for the journal and for a person",
	"go.uber.org/multierr":             "of zap",
	"golang.org/x/sys":                 "flock, syncfs, extended attributes",
	"mvdan.cc/sh/v3":                   "the shell parser behind errexit",

	"github.com/aws/aws-sdk-go-v2/config":                           "credentials and endpoints from the environment",
	"github.com/aws/aws-sdk-go-v2/credentials":                      "the instance role's credentials",
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds":                 "instance metadata, IMDSv2",
	"github.com/aws/aws-sdk-go-v2/service/autoscaling":              "the lifecycle action",
	"github.com/aws/aws-sdk-go-v2/service/codedeploy":               "the deployment group's revision",
	"github.com/aws/aws-sdk-go-v2/service/s3":                       "the bundle",
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream":         "of service/s3",
	"github.com/aws/aws-sdk-go-v2/internal/configsources":           "of the SDK: endpoints from the environment",
	"github.com/aws/aws-sdk-go-v2/internal/endpoints/v2":            "of the SDK: partitions",
	"github.com/aws/aws-sdk-go-v2/internal/v4a":                     "of service/s3: multi-region signing",
	"github.com/aws/aws-sdk-go-v2/service/internal/accept-encoding": "of service/s3",
	"github.com/aws/aws-sdk-go-v2/service/internal/checksum":        "of service/s3",
	"github.com/aws/aws-sdk-go-v2/service/internal/presigned-url":   "of service/s3 and sts",
	"github.com/aws/aws-sdk-go-v2/service/internal/s3shared":        "of service/s3",
	"github.com/aws/aws-sdk-go-v2/service/signin":                   "of config: the credential chain",
	"github.com/aws/aws-sdk-go-v2/service/sso":                      "of config: the credential chain",
	"github.com/aws/aws-sdk-go-v2/service/ssooidc":                  "of config: the credential chain",
	"github.com/aws/aws-sdk-go-v2/service/sts":                      "of config: the credential chain; usher deploy says in whose name it deploys",
}

func TestModulesLinked(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./agent")
	list.Dir = house
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := map[string]bool{}
	for _, m := range strings.Fields(string(out)) {
		linked[m] = true
	}
	for _, m := range slices.Sorted(maps.Keys(linked)) {
		if modules[m] == "" {
			t.Errorf("module %s is linked into usher and has no reason: weigh it, then write the reason here", m)
		}
	}
	for _, m := range slices.Sorted(maps.Keys(modules)) {
		if !linked[m] {
			t.Errorf("module %s is no longer linked into usher: take it off the list", m)
		}
	}
}

// retired are words that users read once and that the field has better ones for, with those.
var retired = map[string]string{
	"verdict was not delivered": "cannot complete the lifecycle action",
	"going on with deployment":  "resuming deployment",
	"was cut off":               "interrupted",
	"passed over":               "ignored",
	"is ahead of":               "is newer than",
	"has moved on":              "this server missed a deployment",
	"nobody vouches":            "is not verified",
	"needs holding":             "nothing to hold",
	"is taken back":             "cancelled",
	"is let go":                 "ended",
	"fit to deploy":             "valid",
	"takes back":                "reverts",
	"work tree":                 "working tree",
	"least IAM policy":          "least-privilege policy",
	"for a person to look":      "for inspection",
	"nobody is heard of":        "sends no heartbeat",
	"where to?":                 "missing ENV",
	"who you are to AWS":        "your AWS identity",
	"identity may not":          "is not authorized",
	"a server would refuse":     "servers would reject",
	"is asked again":            "retrying",
	"end the event they are in": "finish their current lifecycle event",
	"what it brought":           "some servers may run it",
	"(between)":                 "idle",
	"the rest of it":            "other",
	"lay down":                  "preload",
	"told in the journal":       "logged",
	" MiB":                      "MB",
	"-config FILE":              "--config FILE",
}

// unused are names that meant several things, or nothing to who reads them first.
var unused = strings.Fields(`settle letGo insist mayPass obey giveUp lastWords fate hoist beat hookless goBackTo Unfit Glance Undoes Forge Facts asTheService checkAgain deployDue whatIsDue whyNothing sumUp leftBehind sayEnd stir mustStay furnish patience crowd`)

// One word for one thing: what was sorted out once does not come back.
func TestRetiredWords(t *testing.T) {
	for _, f := range program(t) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				for phrase, better := range retired {
					if n.Kind == token.STRING && strings.Contains(n.Value, phrase) {
						t.Errorf("%s: %s says %q: the field says %q", f.file, n.Value, phrase, better)
					}
				}
			case *ast.FuncDecl:
				if slices.Contains(unused, n.Name.Name) {
					t.Errorf("%s: func %s: the table of words has another name", f.file, n.Name.Name)
				}
			case *ast.TypeSpec:
				if slices.Contains(unused, n.Name.Name) {
					t.Errorf("%s: type %s: the table of words has another name", f.file, n.Name.Name)
				}
			}
			return true
		})
	}
}
