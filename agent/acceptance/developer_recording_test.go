package acceptance

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What a person sees: the commands' pictures in a terminal of 80 columns, in a narrow one, and in a pipe, kept in testdata/screens.
// go test ./agent/acceptance -run TestScreens -update writes them anew; they are there to be looked at.

// sized changes the size of a terminal.
func (s *screen) sized(columns int) {
	s.t.Helper()
	if err := unix.IoctlSetWinsize(int(s.file.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: uint16(columns)}); err != nil {
		s.t.Fatal(err)
	}
}

// escapes is a sequence that moves the cursor or clears; those that usher's bars use, and colours.
var escapes = regexp.MustCompile("^\x1b\\[([0-9;?]*)([A-Za-z])")

// shown is what a terminal of that many columns shows after all that was written to it.
func shown(t *testing.T, text string, columns int) string {
	t.Helper()
	lines, row, column := [][]rune{{}}, 0, 0
	down := func() {
		if row++; row == len(lines) {
			lines = append(lines, nil)
		}
	}
	for text != "" {
		if m := escapes.FindStringSubmatch(text); m != nil {
			text = text[len(m[0]):]
			n, _ := strconv.Atoi(m[1])
			switch m[2] {
			case "A":
				row = max(row-max(n, 1), 0)
			case "J":
				lines = lines[:row+1]
				lines[row] = lines[row][:min(column, len(lines[row]))]
			case "K":
				lines[row] = lines[row][:min(column, len(lines[row]))]
			case "h", "l": // the cursor is hidden and shown
			default:
				t.Fatalf("a terminal is told %q", m[0])
			}
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		switch r {
		case '\n':
			down()
		case '\r':
			column = 0
		default:
			if column == columns {
				down()
				column = 0
			}
			for len(lines[row]) <= column {
				lines[row] = append(lines[row], ' ')
			}
			lines[row][column] = r
			column++
		}
	}
	var all []string
	for _, line := range lines {
		all = append(all, strings.TrimRight(string(line), " "))
	}
	return strings.TrimRight(strings.Join(all, "\n"), "\n") + "\n"
}

// alike puts the same in place of all that differs from run to run, of the same width.
func (h *shop) alike(text string) string {
	for at, id := range h.ids {
		text = strings.ReplaceAll(text, id, "i-0000000000000000"+strconv.Itoa(at+1))
	}
	for at, sha := range h.commits {
		same := strings.Repeat(strconv.Itoa(at+1), len(sha))
		text = strings.ReplaceAll(strings.ReplaceAll(text, sha, same), sha[:10], same[:10])
	}
	seen := map[string]string{}
	text = idForm.ReplaceAllStringFunc(text, func(id string) string {
		if seen[id] == "" {
			seen[id] = "d-00000000" + strconv.Itoa(len(seen)+1)
		}
		return seen[id]
	})
	text = releaseForm.ReplaceAllString(strings.ReplaceAll(text, h.cloud.Bucket, "revisions-00000000"), "${1}-00000000")
	text = regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`).ReplaceAllString(text, "12:00:00")
	text = regexp.MustCompile(`\d{4}-\d\d-\d\d`).ReplaceAllString(text, "2000-01-01")
	if !strings.Contains(text, "\x1b") { // of a pipe: what a look happens to see
		text = passingForm.ReplaceAllString(text, "")
	}
	text = agoForm.ReplaceAllString(sizeForm.ReplaceAllString(tookForm.ReplaceAllString(text, "1.0s"), "1.0 kB"), "just now")
	return regexp.MustCompile(`  \d+s`).ReplaceAllString(text, "  1s")
}

// keeps compares a picture with the one that is kept.
func (h *shop) keeps(name, got string) {
	h.Helper()
	file := filepath.Join(house, "agent/acceptance/testdata/screens", name+".txt")
	if *update {
		h.must(os.MkdirAll(filepath.Dir(file), 0o755))
		h.must(os.WriteFile(file, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(file)
	h.must(err)
	if got != string(want) {
		h.Errorf("%s shows\n%s\nand not\n%s", name, got, want)
	}
}

// One deployment, seen at its end and in its midst; the list and the servers after one that failed.
func TestScreens(t *testing.T) {
	group := production()
	group.AutoRollback = true
	h := newShop(t, 2, group)
	h.fifos()
	h.ended(h.usher("deploy production"), 0)
	on := func(line string, columns int, more ...string) (*typing, *screen, *os.File) {
		s, tty := terminal(t)
		s.sized(columns)
		return h.types(line, func(c *exec.Cmd) {
			c.Stdin, c.Stdout, c.Stderr = tty, tty, tty
			c.Env = append(append(c.Env, "TERM=xterm-256color", "LANG=C.UTF-8", "CI="), more...)
		}), s, tty
	}
	whole := func(line string, columns int, more ...string) string {
		h.Helper()
		typed, s, tty := on(line, columns, more...)
		typed.ends()
		tty.WriteString("(end)")
		s.says("(end)")
		return strings.TrimSuffix(s.text(), "(end)")
	}
	for _, c := range []struct {
		version string
		columns int
	}{{"2", 80}, {"3", 40}} {
		h.commit(c.version, h.waiting(c.version))
		typed, s, _ := on("deploy production", c.columns)
		for range 2 {
			h.hasBegun()
			s.says("AfterInstall  2s")
			h.goOn()
		}
		h.expect("exit code", itoa(typed.ends().code), "0")
		s.says("production runs")
		text := s.text()
		middle := text[:strings.Index(text, "AfterInstall  2s")]
		middle = text[:len(middle)+strings.Index(text[len(middle):], "\x1b[")] // to the end of that frame
		h.keeps("deploying-"+itoa(c.columns), shown(t, h.alike(middle), c.columns))
		h.keeps("deploy-"+itoa(c.columns), shown(t, h.alike(text), c.columns))
	}
	h.commit("4", broken("4"))
	failed := h.usher("deploy production")
	h.ended(failed, 3)
	h.keeps("deploy-fails-pipe", h.alike(failed.stdout+failed.stderr))
	for _, name := range []string{"deploy list", "servers"} {
		file := strings.ReplaceAll(name, " ", "-")
		h.keeps(file+"-pipe", h.alike(h.usher(name+" production").stdout))
		for _, columns := range []int{80, 40} {
			text := whole(name+" production", columns)
			h.keeps(file+"-"+itoa(columns), shown(t, h.alike(text), columns))
			if plain := whole(name+" production", columns, "NO_COLOR=1"); h.alike(plain) != h.alike(text) || strings.Contains(text, "\x1b") {
				t.Errorf("%s is coloured: %q", name, text)
			}
		}
	}
}
