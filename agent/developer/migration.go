package developer

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"usher/agent/format"
	"usher/agent/release"
	"usher/hooks"
)

// How a comparison with CodeDeploy's agent is shown: on one page, in the order in which it matters.

// onePage is how many lines of one kind are shown; the JSON has all of them.
const onePage = 8

func (m migration) print(w io.Writer) {
	line := func(text string, args ...any) { fmt.Fprintln(w, format.Printable(fmt.Sprintf(text, args...))) }
	list := func(title string, problems []hooks.Problem) {
		if len(problems) == 0 {
			return
		}
		line("%s", title)
		for i, p := range problems {
			if i == onePage {
				line("  and %d more: usher check, or --json", len(problems)-onePage)
				break
			}
			p.Warning = false // here it is neither
			line("  %s", p)
		}
		line("")
	}
	list("Refused: not deployed until it is corrected", m.Refused)
	list("Ends under -e: CodeDeploy's agent goes on there, usher (`errexit: enforce`) ends the script", m.Ends)
	list("Runs differently", m.Differs)

	if len(m.Destinations) > 0 {
		line("Destinations, with link: %s", m.Link)
		for _, d := range m.Destinations {
			line("  %-24s %-10s %s", d.Path, format.Plural(d.Files, "file"), becomes(d))
		}
		m.Switch.print(line, m.Link)
		line("")
	}
	if needs := needed(m.Needs); len(needs) > 0 {
		line("The server must have, from its image or by BeforeInstall")
		for _, n := range needs {
			line("  %s: %s", n.what, strings.Join(n.names, ", "))
		}
		line("")
	}
	line("Steps")
	for i, s := range m.Steps {
		line("  %d. %s", i+1, s)
	}
	if m.others > 0 {
		line("")
		line("`usher check` has %s more, as true with CodeDeploy's agent.", format.Plural(m.others, "warning"))
	}
}

// becomes is what a deployment makes of a destination.
func becomes(d release.Destination) string {
	switch d.Switched {
	case d.Files:
		return "switched, all at once"
	case 0:
		return "replaced in place, file by file"
	}
	return fmt.Sprintf("%d switched, all at once; the others replaced in place", d.Switched)
}

func (s *switching) print(line func(string, ...any), link string) {
	if s == nil {
		return
	}
	if s.Link != "" {
		line("  With `link: %s` in agent.yml %d of %s are switched, and %[1]s is a link in the image (to the base)", s.Link, s.Switched, format.Plural(s.Files, "file"))
		for i, p := range s.Problems {
			if i == onePage {
				line("    and %d more", len(s.Problems)-onePage)
				break
			}
			line("    then %s", p)
		}
	}
	if len(s.Lines) > 0 {
		word := "Or write"
		if s.Link == "" {
			word = "Write"
		}
		line("  %s %s for %s in %s: %s", word, link, s.Instead, format.Plural(len(s.Lines), "line"), format.AtMost(onePage, s.Lines))
	}
}

// need is one kind of what scripts need of a server.
type need struct {
	what  string
	names []string
}

func needed(n hooks.Needs) (needs []need) {
	for _, n := range []need{{"users", n.Users}, {"interpreters", n.Interpreters}, {"commands", n.Commands}, {"variables that nobody sets", n.Variables}} {
		if len(n.names) > 0 {
			needs = append(needs, n)
		}
	}
	return needs
}

// writeJSON writes one object, for a person to read too.
func writeJSON(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(v)
}
