package systemd

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// runbook is the operator's page.
const runbook = "README.md"

// The table of messages in the runbook has each message with its ID, in the words of messages.go, and no other.
func TestMessagesInTheRunbook(t *testing.T) {
	source, err := os.ReadFile("messages.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, m := range regexp.MustCompile(`((?:\t// .*\n)+)\tMessage(\w+) = "([0-9a-f]{32})"`).FindAllStringSubmatch(string(source), -1) {
		text := strings.Join(strings.Fields(strings.ReplaceAll(m[1], "\t// ", "")), " ")
		text = strings.TrimPrefix(text, "Message"+m[2]+": ")
		line := "| " + m[2] + " | `" + m[3] + "` | " + strings.ToUpper(text[:1]) + strings.ReplaceAll(text[1:], "|", `\|`) + " |"
		want[line] = true
		if !bytes.Contains(page, []byte("\n"+line+"\n")) {
			t.Errorf("%s lacks this line, in the table below MESSAGE_ID:\n%s", runbook, line)
		}
	}
	if len(want) < 20 {
		t.Fatalf("found %d messages only: is this test looking at the right file?", len(want))
	}
	for _, line := range regexp.MustCompile("(?m)^\\| \\w+ \\| `[0-9a-f]{32}` \\|.*$").FindAllString(string(page), -1) {
		if !want[line] {
			t.Errorf("%s has a line that is no message's of messages.go:\n%s", runbook, line)
		}
	}
	// Where an ID stands elsewhere, it is one of these.
	for _, id := range regexp.MustCompile(`MESSAGE_ID=(\w+)`).FindAllStringSubmatch(string(page), -1) {
		if !bytes.Contains(source, []byte(`"`+id[1]+`"`)) {
			t.Errorf("%s names the MESSAGE_ID %s, which no message has", runbook, id[1])
		}
	}
}

// The table of fields has every field that a message may carry, and no other.
func TestFieldsInTheRunbook(t *testing.T) {
	page, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "<!-- journal fields -->\n")
	table, _, _ = strings.Cut(table, "\n\n")
	if !found {
		t.Fatalf("%s has no table of journal fields", runbook)
	}
	explained := map[string]bool{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		for _, name := range regexp.MustCompile("`([A-Z_]+)`").FindAllStringSubmatch(cells[1], -1) {
			explained[name[1]] = true
		}
	}
	logged := map[string]bool{"MESSAGE_ID": true, "PRIORITY": true, "SYSLOG_IDENTIFIER": true, strings.ToUpper(outputField): true}
	made := regexp.MustCompile(`zap\.(\w+)\("([a-z_]+)"`)
	err = filepath.WalkDir("../agent", func(at string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() && (e.Name() == "testdata" || e.Name() == "standin" || e.Name() == "bench" || e.Name() == "demo") {
			if err == nil {
				err = fs.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(at, ".go") || strings.HasSuffix(at, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(at)
		for _, m := range made.FindAllSubmatch(text, -1) {
			name := strings.ToUpper(string(m[2]))
			if string(m[1]) == "Duration" {
				name += "_USEC"
			}
			logged[name] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(logged) < 15 {
		t.Fatalf("found %d fields only: is this test looking at the right files?", len(logged))
	}
	for name := range logged {
		if !explained[name] {
			t.Errorf("%s does not explain the field %s", runbook, name)
		}
	}
	for name := range explained {
		if !logged[name] {
			t.Errorf("%s explains the field %s, which no message has", runbook, name)
		}
	}
}
