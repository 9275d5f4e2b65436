package systemd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every message is explained once, and nothing else is.
func TestCatalogExplainsEveryMessage(t *testing.T) {
	source, err := os.ReadFile("messages.go")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]string) // by ID
	for _, m := range regexp.MustCompile(`(?m)^\t(Message\w+) = "([0-9a-f]{32})"$`).FindAllStringSubmatch(string(source), -1) {
		names[m[2]] = m[1]
	}
	if len(names) < 20 {
		t.Fatalf("found %d messages only: is this test looking at the right file?", len(names))
	}
	explained := make(map[string]string) // ID -> entry
	for _, entry := range catalogEntries(t) {
		id, text, _ := strings.Cut(entry, "\n")
		switch {
		case names[id] == "":
			t.Errorf("the catalog explains %s, which no message has", id)
		case explained[id] != "":
			t.Errorf("%s (%s) is explained twice", names[id], id)
		}
		explained[id] = text
	}
	for id, name := range names {
		if explained[id] == "" {
			t.Errorf("%s (%s) is not explained in usher.catalog", name, id)
		}
	}
}

// An entry has a subject, says who defines it, then what happened and what to do. It fits a terminal.
func TestCatalogEntriesHaveTheirForm(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{32}\nSubject: [^\n]{3,72}\nDefined-By: usher\n\n\S(?s:.{60,})$`)
	field := regexp.MustCompile(`@[^@\s]*@`)
	for _, entry := range catalogEntries(t) {
		if !form.MatchString(entry) {
			t.Errorf("this entry lacks something:\n%s", entry)
		}
		for _, line := range strings.Split(entry, "\n") {
			if len(line) > 80 {
				t.Errorf("longer than 80 columns: %s", line)
			}
		}
		// A name that no entry of the journal has is shown as it stands: these are the ones logged.
		for _, f := range field.FindAllString(entry, -1) {
			if !slices.Contains(catalogFields, strings.Trim(f, "@")) {
				t.Errorf("%s is a field that no message carries:\n%s", f, entry)
			}
		}
	}
}

var catalogFields = []string{"INSTANCE_ID", "APPLICATION", "DEPLOYMENT_GROUP", "DEPLOYMENT_ID", "REVISION", "RELEASE",
	"AUTO_SCALING_GROUP", "LIFECYCLE_HOOK", "LIFECYCLE_EVENT", "LIFECYCLE_RESULT", "HOOK_SCRIPT"}

// journalctl compiles the catalog, and gives back every entry as it stands here.
func TestCatalogCompiles(t *testing.T) {
	journalctl, err := exec.LookPath("journalctl")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("journalctl is missing, and CI installs it: ", err)
		}
		t.Skip("journalctl is missing: ", err)
	}
	root := t.TempDir()
	installed := filepath.Join(root, "usr/lib/systemd/catalog/usher.catalog")
	source, err := os.ReadFile("usher.catalog")
	for _, do := range []func() error{
		func() error { return err },
		func() error { return os.MkdirAll(filepath.Dir(installed), 0o755) },
		func() error { return os.MkdirAll(filepath.Join(root, "var/lib/systemd/catalog"), 0o755) },
		func() error { return os.WriteFile(installed, source, 0o644) },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(journalctl, "--root="+root, "--update-catalog").CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("journalctl --update-catalog: %v\n%s", err, out)
	}
	dump, err := exec.Command(journalctl, "--root="+root, "--dump-catalog").Output()
	if err != nil {
		t.Fatalf("journalctl --dump-catalog: %v", err)
	}
	for _, entry := range catalogEntries(t) {
		if !bytes.Contains(dump, []byte(strings.TrimSpace(entry))) {
			t.Errorf("journalctl does not have this entry as it stands:\n%s", entry)
		}
	}
}

// catalogEntries are the entries of the catalog, each from its ID on.
func catalogEntries(t *testing.T) []string {
	t.Helper()
	source, err := os.ReadFile("usher.catalog")
	if err != nil {
		t.Fatal(err)
	}
	entries := strings.Split(string(source), "\n-- ")[1:]
	for i := range entries {
		entries[i] = strings.TrimSpace(entries[i])
	}
	return entries
}
