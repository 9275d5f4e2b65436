package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usher/agent/format"
)

// What goes where on the page: a section begins with a line of its own; what the demo says is indented by
// two, what a program or a file says by four. Nothing is only in a colour.

// printer is what the demo prints on.
type printer struct {
	out    io.Writer
	colour bool
}

func newPage(out io.Writer) *printer { return &printer{&whole{to: out}, isTerminal(out)} }

// whole keeps what two write at the same time apart: every line of the page is one Write.
type whole struct {
	mu sync.Mutex
	to io.Writer
}

func (w *whole) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(b)
}

// isTerminal tells whether out is one whose user did not ask for plain text (https://no-color.org).
func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

// Styles of a terminal.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	yellow = "33"
)

func (p *printer) styled(style, text string) string {
	if !p.colour || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (p *printer) title(text string) { fmt.Fprintln(p.out, p.styled(bold, text)) }

// section begins a part of the demo.
func (p *printer) section(name, about string) {
	const width = 78
	text := name + ": " + about + " "
	fmt.Fprintf(p.out, "\n%s%s\n\n", p.styled(bold, text), p.styled(dim, strings.Repeat("-", max(0, width-len(text)))))
}

// say prints lines; "" is an empty one.
func (p *printer) say(lines ...string) {
	for _, line := range lines {
		if line != "" {
			line = "  " + line
		}
		fmt.Fprintln(p.out, line)
	}
}

// item is a named fact.
func (p *printer) item(name, text string) { fmt.Fprintf(p.out, "  %-11s %s\n", name, text) }

// begin and end are an item that takes time.
func (p *printer) begin(name, text string) { fmt.Fprintf(p.out, "  %-11s %s ... ", name, text) }
func (p *printer) end(text string)         { fmt.Fprintln(p.out, text) }

// row is a line of a table whose columns have the widths; the last has what is left.
func (p *printer) row(widths []int, cells ...string) {
	var line strings.Builder
	for n, cell := range cells {
		if n < len(widths) {
			cell = fmt.Sprintf("%-*s", widths[n], cell)
		}
		line.WriteString(cell)
	}
	fmt.Fprintln(p.out, "    "+strings.TrimRight(line.String(), " "))
}

// journal prints a line of usher's, as it came but for the server's root directory.
func (p *printer) journal(s *server, line string) {
	line = strings.ReplaceAll(line, s.root, "")
	style := ""
	switch {
	case strings.Contains(line, " error: "):
		style = red
	case strings.Contains(line, " warning: "):
		style = yellow
	case strings.HasPrefix(line, "     "):
		style = dim
	}
	if style != "" {
		line = p.styled(style, line)
	}
	fmt.Fprintln(p.out, "    "+line)
}

// program prints a line of a command's output.
func (p *printer) program(line string) {
	if line != "" {
		line = "    " + line
	}
	fmt.Fprintln(p.out, line)
}

// script prints a script with the numbers of its lines, and what is to be said about some.
func (p *printer) script(text string, notes map[int]string) {
	for n, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if note := notes[n+1]; note != "" {
			line = fmt.Sprintf("%-53s %s", line, p.styled(yellow, "<- "+note))
		}
		fmt.Fprintf(p.out, "    %d  %s\n", n+1, line)
	}
}

// answer prints the application's page, and where it comes from.
func (p *printer) answer(s *server, a answer) {
	p.row([]int{13}, "readlink", "/opt/app -> "+s.target())
	p.row([]int{13}, "GET", fmt.Sprintf("%s %d %s", s.url, a.status, p.styled(bold, a.title)))
	for _, name := range a.order {
		p.row([]int{13, 12}, "", name, a.facts[name])
	}
}

// wrap breaks a text into lines of at most width, where it can.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }

// fileSize is the size of a file.
func fileSize(file string) string {
	info, err := os.Stat(file)
	if err != nil {
		return err.Error()
	}
	return format.Bytes(info.Size())
}
