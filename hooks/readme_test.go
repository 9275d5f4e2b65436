package hooks_test

import (
	"flag"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the contract of the package doc into README.md")

// marks are around the contract in README.md.
var marks = regexp.MustCompile(`(?s)(<!-- doc\.go: [^\n]*-->\n).*(<!-- end of doc\.go -->\n)`)

// The contract is written once, in the package doc, for who reads it with go doc. README.md has the same words, for who reads
// it in the repository or in /usr/share/doc.
func TestTheContractInTheReadme(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	_, contract, found := strings.Cut(file.Doc.Text(), "\n# ") // the first paragraph says what the package is
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	if !found || !marks.MatchString(page) {
		t.Fatal("doc.go has no headings, or README.md not the marks of the contract")
	}
	at := marks.FindStringSubmatchIndex(page)
	want := page[:at[3]] + "\n" + markdown("# "+contract) + "\n" + page[at[4]:]
	if page == want {
		return
	}
	if !*update {
		t.Fatal("README.md has another contract than doc.go: go test ./hooks -run TestTheContractInTheReadme -update")
	}
	if err := os.WriteFile("README.md", []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}

// markdown is a doc comment in Markdown: headings are one level down, indented blocks are fenced.
func markdown(doc string) string {
	var out []string
	block := false
	lines := strings.Split(strings.TrimSpace(doc), "\n")
	for n, line := range lines {
		indented := strings.HasPrefix(line, "\t")
		inside := block && line == "" && n+1 < len(lines) && strings.HasPrefix(lines[n+1], "\t")
		switch {
		case indented && !block:
			block, out = true, append(out, "```text")
		case block && !indented && !inside:
			block, out = false, append(out, "```")
		}
		if strings.HasPrefix(line, "# ") {
			line = "#" + line
		}
		out = append(out, strings.TrimPrefix(line, "\t"))
	}
	if block {
		out = append(out, "```")
	}
	return strings.Join(out, "\n") + "\n"
}
