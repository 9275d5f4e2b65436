//go:build !windows

package appspec

import (
	"testing"
)

func TestBadText(t *testing.T) { checkBad(t, "", badText) }
func TestBadYAML(t *testing.T) { checkBad(t, head, badYAML) }

// badText is what is no YAML document of one map.
var badText = []bad{
	{"empty", "", []string{"appspec.yml: is empty: it needs at least `version: 0.0` and `os: linux`"}},
	{"only comments", "# nothing yet\n", []string{"appspec.yml: is empty: it needs at least `version: 0.0` and `os: linux`"}},
	{"null document", "---\n~\n", []string{"appspec.yml: is empty: it needs at least `version: 0.0` and `os: linux`"}},
	{"text, not a map", "hello\n", []string{"appspec.yml:1:1: the appspec must be a map of `key: value` lines, not text"}},
	{"a list", "- version: 0.0\n", []string{"appspec.yml:1:1: the appspec must be a map of `key: value` lines, not a list"}},
	{"not UTF-8", "version: 0.0\nos: lin\xffux\n", []string{"appspec.yml:2:8: is not UTF-8 here (byte 0xff): save the file as UTF-8"}},
	{"a byte order mark", "\ufeffversion: 0.0\nos: linux\n", []string{"appspec.yml:1:1: warning: begins with a byte order mark, with which CodeDeploy's agent does not find the second line: save it as UTF-8 without one"}},
	{"UTF-16", "\xff\xfev\x00e\x00", []string{"appspec.yml:1:1: is not UTF-8 here (byte 0xff): save the file as UTF-8"}},
	{"control character", "version: 0.0\nos: linux\a\n", []string{"appspec.yml:2:10: the control character U+0007 stands here: remove it"}},
	{"two documents", "version: 0.0\nos: linux\n---\nhooks:\n", []string{"appspec.yml:4:1: a second YAML document begins before this line: an appspec is one document, remove the `---`"}},
}

// badYAML is what developers get wrong in YAML before the grammar of an appspec even begins. Line 3
// is the first of each input.
var badYAML = []bad{
	{"tab", "\nhooks:\n\tAfterInstall:\n", []string{"appspec.yml:4:1: a tab stands in the indentation, which YAML does not allow: use spaces"}},
	{"tab after a dash", "\nfiles:\n  -\tsource: /\n    destination: /opt/app\n", []string{"appspec.yml:4:4: a tab stands in the indentation, which YAML does not allow: use spaces"}},
	{"indented less than its list", `
hooks:
  AfterInstall:
    - location: a.sh
   timeout: 3
`, []string{"appspec.yml:6:4: this does not fit here: check its indentation against the lines above"}},
	{"indented more than its neighbour", `
hooks:
  AfterInstall:
    - location: a.sh
        timeout: 3
`, []string{"appspec.yml:5:17: a second `key: value` begins within this value: check the indentation here and on the next line, or put quotes around the value"}},
	{"dashes not in line", `
hooks:
  AfterInstall:
    - location: a.sh
     - location: b.sh
`, []string{"appspec.yml:6:6: this does not fit here: check its indentation against the lines above"}},
	{"no space after the colon", `
hooks:
  AfterInstall:
    - location: a.sh
      timeout:300
`, []string{"appspec.yml:6:7: this line is not `key: value`: is the colon, or the space after it, missing?"}},
	{"no space after the dash", `
hooks:
  AfterInstall:
    -location: a.sh
`, []string{"appspec.yml:5:5: AfterInstall must be a list, not a map: write `- location: ...`"}},
	{"no colon", `
hooks
`, []string{"appspec.yml:3:1: this line is not `key: value`: is the colon, or the space after it, missing?"}},
	{"list on the key's line", `
hooks:
  AfterInstall: - location: a.sh
`, []string{"appspec.yml:4:17: a list begins here, and its first `- ` must be on a line of its own"}},
	{"two colons", `
hooks:
  AfterInstall:
    - location: a: b
`, []string{"appspec.yml:5:17: a second `key: value` begins within this value: check the indentation here and on the next line, or put quotes around the value"}},
	{"open bracket", `
permissions:
  - object: /opt/app
    type: [file
`, []string{"appspec.yml:5:11: this [ is never closed with ]"}},
	{"open brace", `
files:
  - {source: /, destination: /opt/app
`, []string{"appspec.yml:4:5: this { is never closed with }"}},
	{"closing bracket alone", `
files: ]
`, []string{"appspec.yml:3:8: this ] closes nothing"}},
	{"closing brace alone", `
files: }
`, []string{"appspec.yml:3:8: files must be a list, not text: write `- source: ...` and, below it, `destination: ...`"}},
	{"open double quote", `
files:
  - source: "web
    destination: /opt/app
`, []string{"appspec.yml:4:13: this text in double quotes is never closed"}},
	{"open single quote", `
files:
  - source: 'web
    destination: /opt/app
`, []string{"appspec.yml:4:13: this text in single quotes is never closed"}},
	{"text after quotes", `
files:
  - source: "web"/static
    destination: /opt/app
`, []string{"appspec.yml:4:18: text follows a value that has ended: put quotes around the whole value"}},
	{"backslash in quotes", `
files:
  - source: "web\static"
    destination: /opt/app
`, []string{"appspec.yml:4:18: this backslash is no escape that YAML knows: use single quotes around the value, or write \\\\"}},
	{"reserved character", `
permissions:
  - object: /opt/app
    owner: @deploy
`, []string{"appspec.yml:5:12: a value cannot begin with this character: put quotes around it"}},
	{"bare **", `
permissions:
  - object: /opt/app
    pattern: **
    owner: deploy
`, []string{`appspec.yml:5:15: an asterisk begins a YAML alias here: put quotes around the pattern, as in "**"`}},
	{"bare *", `
permissions:
  - object: /opt/app
    pattern: *
    owner: deploy
`, []string{`appspec.yml:5:14: an asterisk begins a YAML alias here: put quotes around the pattern, as in "**"`}},
	{"bare *.sh", `
permissions:
  - object: /opt/app
    pattern: *.sh
    owner: deploy
`, []string{`appspec.yml:5:14: *.sh is a YAML alias, and no anchor &.sh stands before it: put quotes around text that begins with an asterisk: "*.sh"`}},
	{"alias before its anchor", `
files: *f
hooks: &f {}
`, []string{`appspec.yml:3:8: *f is a YAML alias, and no anchor &f stands before it: put quotes around text that begins with an asterisk: "*f"`}},
	{"alias in a circle", `
files: &f
  - *f
`, []string{"appspec.yml:4:3: an entry of files must be a map of `key: value` lines, not a list"}},
	{"pipe", `
permissions:
  - object: /opt/app
    owner: |deploy
`, []string{"appspec.yml:5:12: | or > begins a block of text here: put quotes around text that begins so"}},
	{"tab below a list", "\nhooks:\n  AfterInstall:\n    - location: a.sh\n    \ttimeout: 5\n", []string{"appspec.yml:6:5: a tab stands in the indentation, which YAML does not allow: use spaces"}},
	{"ampersand", `
hooks:
  AfterInstall:
    - location: a.sh
      runas: &
`, []string{"appspec.yml:6:14: an anchor (&) begins here, and no value follows it: put quotes around text that begins with &"}},
	{"alias in itself", `
files: &f [*f]
`, []string{"appspec.yml:3:11: an entry of files must be a map of `key: value` lines, not a list"}},
	{"anchor twice", `
files:
  - source: &a web
    destination: &a /opt/app
`, []string{"appspec.yml:5:18: the anchor &a is defined twice: give each its own name"}},
	{"anchor without a value", `
files: &f
`, []string{"appspec.yml:3:8: an anchor (&) begins here, and no value follows it: put quotes around text that begins with &"}},
	{"merge key of a text", `
files:
  - <<: x
    source: /
    destination: /opt/app
`, []string{"appspec.yml:4:9: an entry of files must be a map of `key: value` lines, not text"}},
	{"merge key in a circle", `
files:
  - &f
    <<: *f
    source: /
    destination: /opt/app
`, []string{"appspec.yml:5:9: its merge keys (<<) lead in a circle: write the keys out"}},
	{"question mark key", `
? hooks
: {}
`, []string{"appspec.yml:3:1: a key of the appspec must be plain text"}},
	{"tag", `
files:
  - source: !!str 1.0
    destination: /opt/app
`, []string{`appspec.yml:4:13: YAML tags such as "!!str" are not used in an appspec: remove it`}},
	{"Ruby object", `
files: !ruby/object:Gem::Installer
  i: x
`, []string{`appspec.yml:3:8: YAML tags such as "!ruby/object:Gem::Installer" are not used in an appspec: remove it`}},
}
