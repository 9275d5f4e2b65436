package hooks

import (
	"cmp"
	"fmt"
	"slices"
)

// The lifecycle events of CodeDeploy, in the order of an in-place deployment.
const (
	BeforeBlockTraffic = "BeforeBlockTraffic"
	BlockTraffic       = "BlockTraffic" // run by the service: no scripts
	AfterBlockTraffic  = "AfterBlockTraffic"
	ApplicationStop    = "ApplicationStop"
	DownloadBundle     = "DownloadBundle" // run by the agent: no scripts
	BeforeInstall      = "BeforeInstall"
	Install            = "Install" // run by the agent: no scripts
	AfterInstall       = "AfterInstall"
	ApplicationStart   = "ApplicationStart"
	ValidateService    = "ValidateService"
	BeforeAllowTraffic = "BeforeAllowTraffic"
	AllowTraffic       = "AllowTraffic" // run by the service: no scripts
	AfterAllowTraffic  = "AfterAllowTraffic"
)

// Events are the lifecycle events that run scripts on a Linux server, in order. These are the names
// an appspec's hooks section and a folder of role hooks may use.
var Events = []string{
	BeforeBlockTraffic, AfterBlockTraffic,
	ApplicationStop, BeforeInstall, AfterInstall, ApplicationStart, ValidateService,
	BeforeAllowTraffic, AfterAllowTraffic,
}

// IsEvent says whether a name is one of a lifecycle event that is carried out on a server: of those that run scripts, and of
// the two that are the agent's own work.
func IsEvent(name string) bool {
	return slices.Contains(Events, name) || name == DownloadBundle || name == Install
}

// Problem is one thing wrong with a revision, where it is, and what to do about it.
type Problem struct {
	File    string `json:"file"`             // as its author knows it: relative to the revision, or an absolute path
	Line    int    `json:"line,omitempty"`   // from 1; 0 when the problem is the file as a whole
	Col     int    `json:"column,omitempty"` // from 1, or 0
	Message string `json:"message"`          // one line, no full stop
	Warning bool   `json:"warning"`          // worth saying, but the revision may be deployed
	Kind    Kind   `json:"kind,omitempty"`   // what it is about
}

// Kind is what a problem is about: by it a program sorts problems, whatever their words are.
type Kind string

// The kinds of problems.
const (
	KindBundle    Kind = "bundle"     // the revision as an archive or a folder
	KindAppspec   Kind = "appspec"    // the appspec's grammar
	KindFiles     Kind = "files"      // what it installs, and where
	KindScript    Kind = "script"     // a script that cannot be started, or that another shell than it needs would run
	KindServer    Kind = "server"     // a user or an interpreter that this machine does not have
	KindErrexit   Kind = "errexit"    // a command at which -e ends a script though nothing is wrong
	KindUnchecked Kind = "unchecked"  // a failure that -e does not see, as CodeDeploy's agent does not
	KindLive      Kind = "live"       // a script names the link, which is what is live before the flip, and no folder
	KindAgentPath Kind = "agent-path" // a place of CodeDeploy's own agent
	KindRestart   Kind = "restart"    // the application would not be started anew
	KindRoleHook  Kind = "role-hook"  // the image's own scripts
)

// Of gives problems a kind, but for those that have one.
func Of(kind Kind, problems []Problem) []Problem {
	for i := range problems {
		problems[i].Kind = cmp.Or(problems[i].Kind, kind)
	}
	return problems
}

// String is the line that `usher check` prints: file:line:col: message.
func (p Problem) String() string {
	where := p.File
	if p.Line > 0 {
		where = fmt.Sprintf("%s:%d:%d", p.File, p.Line, max(p.Col, 1))
	}
	if p.Warning {
		return where + ": warning: " + p.Message
	}
	return where + ": " + p.Message
}

// Errors are the problems that are more than warnings.
func Errors(problems []Problem) []Problem {
	return slices.DeleteFunc(slices.Clone(problems), func(p Problem) bool { return p.Warning })
}

// Sort brings problems into the order of their files and lines. The same place keeps the order it had.
func Sort(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
}

// Closest is the candidate that was probably meant by word, or "" when none is near: at most two
// letters added, dropped, changed or swapped, and fewer than half the word.
func Closest(word string, candidates []string) string {
	best, bestDistance := "", 3
	for _, c := range candidates {
		if len(word) > len(c)+2 { // no need to measure a long word
			continue
		}
		if d := distance(word, c); d < bestDistance && 2*d < len(c) {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the optimal string alignment distance of a and b: letters added, dropped, changed,
// or two neighbours swapped.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
