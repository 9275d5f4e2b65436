package acceptance

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"usher/agent/config"
	"usher/agent/rollout"
)

// What the documents say, as far as a program can check it. What is written once more elsewhere is checked there: the contract
// of scripts (hooks), messages and fields of the journal (systemd), the keys of agent.yml (config), Terraform's variables
// (packaging).

// document is one of the pages in Markdown.
type document struct {
	name  string // from the top of the repository
	lines []string
}

// house is the top of the repository. It is absolute because the S3 server of other tests moves the process.
var house, _ = filepath.Abs("../..")

// filesOf are the texts of the repository's files with this ending, by their names from its top, but for those that tests
// have for their own use.
func filesOf(t *testing.T, ending string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(house), ".", func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == "testdata" || at != "." && strings.HasPrefix(e.Name(), ".")) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(at, ending) {
			return nil
		}
		text, err := os.ReadFile(filepath.Join(house, at))
		all[at] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 8 {
		t.Fatalf("found only %d files *%s: this looks in the wrong place", len(all), ending)
	}
	return all
}

// documents are all pages.
func documents(t *testing.T) (all []document) {
	t.Helper()
	texts := filesOf(t, ".md")
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		all = append(all, document{name, strings.Split(texts[name], "\n")})
	}
	return all
}

// fence begins or ends a block; the second word of its language is the file that the block shows.
var fence = regexp.MustCompile("^ *```(\\S*) ?(\\S*)")

// block is what stands between two fences.
type block struct {
	language, file string
	line           int // of the document, from 1
	text           string
}

// blocks are the document's; prose is the rest, with empty lines in their place.
func (d document) blocks() (all []block, prose []string) {
	var open *block
	for n, line := range d.lines {
		m := fence.FindStringSubmatch(line)
		switch {
		case m != nil && open == nil:
			open = &block{language: m[1], file: m[2], line: n + 1}
		case m != nil:
			all, open = append(all, *open), nil
		case open != nil:
			open.text += line + "\n"
		default:
			prose = append(prose, line)
			continue
		}
		prose = append(prose, "")
	}
	return all, prose
}

// The page that a newcomer reads first stays one.
func TestTheReadmeIsShort(t *testing.T) {
	for _, d := range documents(t) {
		if d.name == "README.md" && len(d.lines) > 140 {
			t.Errorf("%s has %d lines: what is for one reader alone belongs into that reader's document", d.name, len(d.lines))
		}
	}
}

var (
	inline  = regexp.MustCompile("`[^`]*`")
	linked  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`^#{1,6} (.*)$`)
	nonSlug = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// anchors are the fragments by which a document's headings are linked to, as the hosts of repositories make them.
func anchors(d document) map[string]bool {
	_, prose := d.blocks()
	all := map[string]bool{}
	for _, line := range prose {
		if m := heading.FindStringSubmatch(line); m != nil {
			slug := strings.ReplaceAll(nonSlug.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")
			for base, n := slug, 1; all[slug]; n++ {
				slug = fmt.Sprintf("%s-%d", base, n)
			}
			all[slug] = true
		}
	}
	return all
}

// Every link that leads into the repository arrives, at a heading too.
func TestLinksInDocuments(t *testing.T) {
	all, count := map[string]map[string]bool{}, 0
	pages := documents(t)
	for _, d := range pages {
		all[d.name] = anchors(d)
	}
	for _, d := range pages {
		_, prose := d.blocks()
		for n, line := range prose {
			for _, m := range linked.FindAllStringSubmatch(inline.ReplaceAllString(line, "code"), -1) {
				if strings.Contains(m[1], "://") {
					continue
				}
				count++
				target, fragment, _ := strings.Cut(m[1], "#")
				at := d.name
				if target != "" {
					at = filepath.Join(filepath.Dir(d.name), target)
				}
				if _, err := os.Stat(filepath.Join(house, at)); err != nil {
					t.Errorf("%s:%d: there is no %s", d.name, n+1, at)
				} else if fragment != "" && !all[at][fragment] {
					t.Errorf("%s:%d: %s has no heading #%s: it has %v", d.name, n+1, at, fragment, slices.Sorted(maps.Keys(all[at])))
				}
			}
		}
	}
	if count < 30 {
		t.Errorf("found only %d links: does this test still see them?", count)
	}
}

// An example of a file that usher reads is one that usher takes, and any other YAML, JSON or shell is at least that.
func TestExamplesInDocuments(t *testing.T) {
	seen := map[string]int{}
	for _, d := range documents(t) {
		all, _ := d.blocks()
		for _, b := range all {
			seen[strings.TrimSpace(b.language+" "+b.file)]++
			if err := parseExample(t, b); err != nil {
				t.Errorf("%s:%d: %v\n%s", d.name, b.line, err, b.text)
			}
		}
	}
	for _, kind := range []string{"yaml usher.yml", "yaml agent.yml", "yaml", "json", "sh"} {
		if seen[kind] == 0 {
			t.Errorf("no document has an example in %q: does this test still see them?", kind)
		}
	}
}

func parseExample(t *testing.T, b block) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "example")
	if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
		t.Fatal(err)
	}
	var any any
	switch {
	case b.file == "usher.yml":
		_, err := rollout.Load(file)
		return err
	case b.file == "agent.yml":
		_, err := config.Load(file)
		return err
	case b.file != "":
		return fmt.Errorf("a block of %s, which this test does not know", b.file)
	case b.language == "yaml":
		return yaml.Unmarshal([]byte(b.text), &any)
	case b.language == "json":
		return json.Unmarshal([]byte(b.text), &any)
	case b.language == "sh":
		if out, err := exec.Command("bash", "-n", file).CombinedOutput(); err != nil {
			return fmt.Errorf("bash -n: %v: %s", err, out)
		}
	}
	return nil
}

var (
	// typedUsher is usher as it is typed: at the beginning of code, or behind a prompt, a pipe or the like.
	typedUsher = regexp.MustCompile("(?:^|[`$(|&;] ?|- (?:run: )?)usher ([^`|;&#)>]*)")
	longFlag   = regexp.MustCompile(`^-[a-z]{2,}`)
	helpFlag   = regexp.MustCompile(`(?m)^  --?(\S+)`)
)

// Each command in the documents is one of usher's, with flags that it has, written as --flag.
func TestCommandsInDocuments(t *testing.T) {
	type asked struct{ command string }
	flags, count := map[asked]map[string]bool{}, 0
	of := func(args ...string) map[string]bool {
		key := asked{strings.Join(args, " ")}
		if flags[key] == nil {
			got := usher(t, t.TempDir(), append(slices.Clone(args), "-h"))
			if got.code != 0 {
				return nil
			}
			flags[key] = map[string]bool{"h": true}
			for _, m := range helpFlag.FindAllStringSubmatch(got.stdout, -1) {
				flags[key][m[1]] = true
			}
		}
		return flags[key]
	}
	for _, d := range documents(t) {
		all, prose := d.blocks()
		lines := map[int]string{}
		for n, line := range prose {
			for _, code := range inline.FindAllString(line, -1) {
				lines[n+1] += code + "\n"
			}
		}
		for _, b := range all {
			for n, line := range strings.Split(b.text, "\n") {
				if line = strings.TrimSpace(line); b.language == "" && !strings.HasPrefix(line, "$ ") {
					continue // a picture, or what usher printed
				}
				lines[b.line+1+n] = line
			}
		}
		for n, text := range lines {
			for _, line := range strings.Split(text, "\n") {
				for _, m := range typedUsher.FindAllStringSubmatch(strings.TrimSpace(line), -1) {
					words := strings.Fields(strings.Trim(m[1], "`"))
					if len(words) == 0 || strings.ToUpper(words[0]) == words[0] || words[0] == "help" || strings.HasPrefix(words[0], "--") {
						continue
					}
					count++
					command := []string{strings.Trim(words[0], "`.,:")}
					if len(words) > 1 && command[0] == "deploy" && (words[1] == "status" || words[1] == "list") {
						command = append(command, words[1])
					}
					known := of(command...)
					if known == nil {
						t.Errorf("%s:%d: usher has no command %q", d.name, n, strings.Join(command, " "))
						continue
					}
					known = maps.Clone(known)
					if command[0] == "rollback" { // it has others on a server
						maps.Copy(known, of("rollback", "--config", config.DefaultFile))
					}
					for _, word := range words[1:] {
						word, _, _ = strings.Cut(strings.TrimRight(strings.Trim(word, "[]`"), ".,:"), "=")
						if longFlag.MatchString(word) {
							t.Errorf("%s:%d: %s of usher %s is written -%s", d.name, n, word, command[0], word)
						} else if name := strings.TrimLeft(word, "-"); strings.HasPrefix(word, "-") && !known[name] {
							t.Errorf("%s:%d: usher %s has no flag %s", d.name, n, strings.Join(command, " "), word)
						}
					}
				}
			}
		}
	}
	if count < 60 {
		t.Errorf("found only %d commands: does this test still see them?", count)
	}
}

// commandRow is a line of a table whose first cell is a command: flags that its other cells name are the command's.
var commandRow = regexp.MustCompile("^\\| `usher ([^`]*)` \\|(.*)$")

// Flags that a table names beside a command are flags that it has.
func TestFlagsInTables(t *testing.T) {
	count := 0
	for _, d := range documents(t) {
		for n, line := range d.lines {
			m := commandRow.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			words := strings.Fields(m[1])
			args := words[:1]
			switch {
			case len(words) > 1 && (words[1] == "status" || words[1] == "list"):
				args = words[:2]
			case words[0] == "rollback" && strings.Contains(m[1], "RELEASE"):
				args = []string{"rollback", "--config", config.DefaultFile}
			}
			help := usher(t, t.TempDir(), append(slices.Clone(args), "-h")).stdout
			for _, code := range regexp.MustCompile("`(--?[a-z][a-z-]*)").FindAllStringSubmatch(m[2], -1) {
				count++
				name := strings.TrimLeft(code[1], "-")
				if !regexp.MustCompile(`(?m)^  --?` + regexp.QuoteMeta(name) + `\b`).MatchString(help) {
					t.Errorf("%s:%d: usher %s has no flag %s", d.name, n+1, strings.Join(args, " "), code[1])
				}
			}
		}
	}
	if count < 20 {
		t.Errorf("found only %d flags: does this test still see them?", count)
	}
}

// A test that a document names for a proof is there.
func TestProofsInDocuments(t *testing.T) {
	declared := map[string]bool{}
	for _, text := range filesOf(t, "_test.go") {
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(text, -1) {
			declared[m[1]] = true
		}
	}
	count := 0
	for _, d := range documents(t) {
		for n, line := range d.lines {
			for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(line, -1) {
				if count++; !declared[name] {
					t.Errorf("%s:%d: there is no test %s", d.name, n+1, name)
				}
			}
		}
	}
	if count < 10 {
		t.Errorf("found only %d names of tests: does this test still see them?", count)
	}
}

// Each difference from CodeDeploy's agent names a test that shows it.
func TestEveryDifferenceHasATest(t *testing.T) {
	rows := 0
	for _, d := range documents(t) {
		_, section, _ := strings.Cut(strings.Join(d.lines, "\n"), "\n## What is different from CodeDeploy's agent\n")
		section = regexp.MustCompile(`(?s)<!-- kinds: .*?<!-- end of kinds -->`).ReplaceAllString(section, "") // counts, with a test of their own
		for line := range strings.Lines(section) {
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
			if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| |") {
				continue
			}
			rows++
			if last := strings.TrimSpace(cells[len(cells)-1]); len(cells) != 4 || !strings.HasPrefix(last, "`Test") && last != "nothing to show" {
				t.Errorf("%s: a difference without a test: %s", d.name, line)
			}
		}
	}
	if rows < 40 {
		t.Errorf("found only %d differences: does this test still see them?", rows)
	}
}

// jsonTable stands above a table of the fields of a struct.
var jsonTable = regexp.MustCompile(`^<!-- json: (\w+) -->$`)

// The tables of JSON fields have those of the struct that is printed, and no others.
func TestJSONInDocuments(t *testing.T) {
	structs := jsonFields(t)
	count := 0
	for _, d := range documents(t) {
		for n, line := range d.lines {
			m := jsonTable.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			count++
			var shown []string
			for _, row := range d.lines[n+3:] {
				if !strings.HasPrefix(row, "|") {
					break
				}
				for _, name := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(strings.Split(row, "|")[1], -1) {
					shown = append(shown, name[1])
				}
			}
			slices.Sort(shown)
			if want := structs[m[1]]; len(want) != 1 {
				t.Errorf("%s:%d: %d structs are called %s and have JSON: one is meant", d.name, n+1, len(want), m[1])
			} else if !slices.Equal(shown, want[0]) {
				t.Errorf("%s:%d: JSON of %s\n shown: %v\n it has: %v", d.name, n+1, m[1], shown, want[0])
			}
		}
	}
	if count < 8 {
		t.Errorf("found only %d tables: does this test still see them?", count)
	}
}

// jsonFields are the structs of the program with tags for JSON: the names of their fields in JSON, in order. The stand-in,
// which has AWS's, is left out.
func jsonFields(t *testing.T) map[string][][]string {
	all := map[string][][]string{}
	for name, text := range filesOf(t, ".go") {
		if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "agent/standin") || strings.HasPrefix(name, "agent/hostcommand") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(node ast.Node) bool {
			spec, ok := node.(*ast.TypeSpec)
			if !ok {
				return true
			}
			fields, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			var names []string
			for _, field := range fields.Fields.List {
				if field.Tag == nil {
					continue
				}
				name, _, _ := strings.Cut(reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("json"), ",")
				if name != "" && name != "-" {
					names = append(names, name)
				}
			}
			if len(names) > 0 {
				slices.Sort(names)
				all[spec.Name.Name] = append(all[spec.Name.Name], names)
			}
			return true
		})
	}
	return all
}
