//go:build !windows

package appspec

import (
	"io/fs"
	"strings"
	"testing"
)

func TestBadPermissions(t *testing.T) { checkBad(t, head, badPermissions) }

// badPermissions begins at line 3, below head.
var badPermissions = []bad{
	{"no object", `
permissions:
  - owner: deploy
`, []string{"appspec.yml:4:5: object is missing in an entry of permissions: it is the installed file or directory they are for"}},
	{"relative object", `
permissions:
  - object: .
    owner: deploy
`, []string{`appspec.yml:4:13: warning: object "." is not an absolute path: it is taken as /, because CodeDeploy's agent works in /`}},
	{"sets nothing", `
permissions:
  - object: /opt/app
    type: [file]
`, []string{"appspec.yml:4:5: warning: this permission sets nothing: give it owner, group, mode, acls or context"}},
	{"pattern with a path", `
permissions:
  - object: /opt/app
    pattern: "**/*.sh"
    mode: 755
`, []string{`appspec.yml:5:14: warning: pattern "**/*.sh" matches nothing: * and ** cannot be part of a path; name the directory in object, and a file name such as "*.sh" here`}},
	{"absolute except", `
permissions:
  - object: /opt/app
    except: [/opt/app/a.sh]
    mode: 755
`, []string{`appspec.yml:5:14: warning: except "/opt/app/a.sh" matches nothing: it takes names of what lies directly in object, without a path`}},
	{"except is text", `
permissions:
  - object: /opt/app
    except: a.sh
    mode: 755
`, []string{"appspec.yml:5:13: except must be a list, not text: write `except: [\"*.sh\"]`"}},
	{"except holds a number", `
permissions:
  - object: /opt/app
    except: [404]
    mode: 755
`, []string{`appspec.yml:5:14: an entry of except must be text, not a number: put quotes around it, as in "404"`}},
	{"type is text", `
permissions:
  - object: /opt/app
    type: file
    mode: 755
`, []string{"appspec.yml:5:11: type must be a list, not text: write `type: [file]`"}},
	{"type folder", `
permissions:
  - object: /opt/app
    type: [folder]
    mode: 755
`, []string{`appspec.yml:5:12: unknown type "folder": it is file or directory`}},
	{"no types", `
permissions:
  - object: /opt/app
    type: []
    mode: 755
`, []string{"appspec.yml:5:11: warning: type is an empty list, and the entry applies to nothing: name file or directory, or leave type out for both"}},
	{"user for owner", `
permissions:
  - object: /opt/app
    user: deploy
`, []string{`appspec.yml:5:5: warning: unknown key "user" in an entry of permissions is ignored: it takes object, pattern, except, type, owner, group, mode, acls, context`}},
	{"owner and group in one", `
permissions:
  - object: /opt/app
    owner: deploy:deploy
`, []string{`appspec.yml:5:12: owner "deploy:deploy" must be one name: no spaces, no slash, no colon`}},
	{"owner a number", `
permissions:
  - object: /opt/app
    owner: 1000
`, []string{`appspec.yml:5:12: warning: owner 1000 is taken as a number, whoever has it on the server: a name says who is meant`}},
	{"group a number with a zero in front", `
permissions:
  - object: /opt/app
    group: 0100
`, []string{`appspec.yml:5:12: group 0100 is no number of a user or a group: write a name, or 0 to 2147483647`}},
	{"owner a number that is too large", `
permissions:
  - object: /opt/app
    owner: 4294967295
`, []string{`appspec.yml:5:12: owner 4294967295 is no number of a user or a group: write a name, or 0 to 2147483647`}},
	{"group empty", `
permissions:
  - object: /opt/app
    group: ""
`, []string{"appspec.yml:5:12: group is empty"}},
	{"mode in letters", `
permissions:
  - object: /opt/app
    mode: u+x
`, []string{`appspec.yml:5:11: mode "u+x" must be 1 to 4 octal digits, such as 0644`}},
	{"mode with 8", `
permissions:
  - object: /opt/app
    mode: 0844
`, []string{`appspec.yml:5:11: mode "0844" must be 1 to 4 octal digits, such as 0644`}},
	{"mode too long", `
permissions:
  - object: /opt/app
    mode: 000755
`, []string{`appspec.yml:5:11: mode "000755" must be 1 to 4 octal digits, such as 0644`}},
	{"mode of YAML 1.2", `
permissions:
  - object: /opt/app
    mode: 0o755
`, []string{`appspec.yml:5:11: mode "0o755" must be 1 to 4 octal digits, such as 0644`}},
	{"negative mode", `
permissions:
  - object: /opt/app
    mode: -755
`, []string{`appspec.yml:5:11: mode "-755" must be 1 to 4 octal digits, such as 0644`}},
	{"fraction for a mode", `
permissions:
  - object: /opt/app
    mode: 7.5
`, []string{`appspec.yml:5:11: mode "7.5" must be 1 to 4 octal digits, such as 0644`}},
	{"underscore in a mode", `
permissions:
  - object: /opt/app
    mode: 7_55
`, []string{`appspec.yml:5:11: mode "7_55" must be 1 to 4 octal digits, such as 0644`}},
	{"empty mode", `
permissions:
  - object: /opt/app
    mode: ''
`, []string{`appspec.yml:5:11: mode "" must be 1 to 4 octal digits, such as 0644`}},
	{"mode a list", `
permissions:
  - object: /opt/app
    mode: [755]
`, []string{"appspec.yml:5:11: mode must be octal digits, such as 0644, not a list"}},
	{"acls is text", `
permissions:
  - object: /opt/app
    acls: u:deploy:rw
`, []string{"appspec.yml:5:11: acls must be a list, not text: write `- \"u:deploy:rw\"`"}},
	{"ACL entry is a map", `
permissions:
  - object: /opt/app
    acls: [u: rw]
`, []string{"appspec.yml:5:12: an entry of acls must be text, not a map"}},
	{"base ACL entry", `
permissions:
  - object: /opt/app
    acls: ["g::rw"]
`, []string{`appspec.yml:5:12: ACL entry "g::rw": sets the permissions of owner, group or others: use mode for those`}},
	{"ACL entry twice", `
permissions:
  - object: /opt/app
    acls: ["deploy:rw", "u:deploy:r"]
`, []string{`appspec.yml:5:25: ACL entry "u:deploy:r": there is an entry for the same user, group or mask already`}},
	{"ACL permissions", `
permissions:
  - object: /opt/app
    acls: ["deploy:rwX"]
`, []string{`appspec.yml:5:12: ACL entry "deploy:rwX": permissions "rwX" must be one digit from 0 to 7, or letters such as rw- or r-x`}},
	{"context without a type", `
permissions:
  - object: /opt/app
    context: {name: system_u}
`, []string{"appspec.yml:5:14: type is missing in context: it is the SELinux type, such as httpd_sys_content_t"}},
	{"context with a role", `
permissions:
  - object: /opt/app
    context: {type: tmp_t, role: object_r}
`, []string{"appspec.yml:5:34: warning: role of context is ignored, here and by CodeDeploy: it is always object_r"}},
	{"context with two users", `
permissions:
  - object: /opt/app
    context: {type: tmp_t, user: a, name: b}
`, []string{"appspec.yml:5:34: user and name are the same in context: give one"}},
	{"context whole", `
permissions:
  - object: /opt/app
    context: system_u:object_r:tmp_t:s0
`, []string{"appspec.yml:5:14: context must be a map of `key: value` lines, not text"}},
	{"context type with a colon", `
permissions:
  - object: /opt/app
    context: {type: "object_r:tmp_t"}
`, []string{`appspec.yml:5:21: type "object_r:tmp_t" of context must be letters, digits, and _ . -`}},
	{"range", `
permissions:
  - object: /opt/app
    context: {type: tmp_t, range: s0-c3}
`, []string{`appspec.yml:5:35: range "s0-c3": must be sN or sN-sN, then :cN, :cN.cN or a list of them, such as s0-s3:c0.c7,c13`}},
}

// TestMode writes the mode as appspecs do and asks what os.Chmod would be given.
func TestMode(t *testing.T) {
	for _, c := range []struct {
		in   string
		want fs.FileMode
	}{
		{"0644", 0o644},
		{"644", 0o644},
		{`"0644"`, 0o644},
		{"'644'", 0o644},
		{"0", 0},
		{"7", 0o007},
		{"75", 0o075},
		{"0777", 0o777},
		{"4755", 0o755 | fs.ModeSetuid},
		{"2775", 0o775 | fs.ModeSetgid},
		{"1777", 0o777 | fs.ModeSticky},
		{"02775", 0o775 | fs.ModeSetgid},
		{"01777", 0o777 | fs.ModeSticky},
		{"7000", fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky},
	} {
		spec, problems := Parse("appspec.yml", []byte(head+"\npermissions:\n  - object: /a\n    mode: "+c.in+"\n"))
		if spec == nil || spec.Permissions[0].Mode == nil {
			t.Errorf("mode: %s is not taken: %v", c.in, problems)
		} else if got := *spec.Permissions[0].Mode; got != c.want {
			t.Errorf("mode: %s is %v, want %v", c.in, got, c.want)
		}
	}
}

// TestMatches asks of each permission which of these installed paths it is for. The answers are
// those of CodeDeploy's agent.
func TestMatches(t *testing.T) {
	const both = "file directory"
	for _, c := range []struct {
		object, pattern, except, types string
		path                           string // a directory when it ends in /
		want                           bool
	}{
		// ** is everything below the object, at any depth, but not the object.
		{"/opt/app", "**", "", both, "/opt/app/a.sh", true},
		{"/opt/app", "**", "", both, "/opt/app/.env", true},
		{"/opt/app", "**", "", both, "/opt/app/bin/", true},
		{"/opt/app", "**", "", both, "/opt/app/bin/x/y.sh", true},
		{"/opt/app", "**", "", both, "/opt/app/", false},
		{"/opt/app", "**", "", both, "/opt/application/a.sh", false},
		{"/opt/app", "**", "", both, "/opt/", false},
		{"/opt/app", "**", "", both, "/etc/passwd", false},
		{"/", "**", "", both, "/etc/passwd", true},
		{"/", "**", "", both, "/etc/", true},
		{"/", "**", "", both, "/", false},

		// An object that is a file is meant itself.
		{"/opt/app/a.sh", "**", "", both, "/opt/app/a.sh", true},
		{"/opt/app/a.sh", "**", "", "directory", "/opt/app/a.sh", false},
		{"/opt/app/a.sh", "**", "", both, "/opt/app/a.sh.bak", false},

		// * stays within a directory.
		{"/opt/app", "*", "", both, "/opt/app/a.sh", true},
		{"/opt/app", "*", "", both, "/opt/app/.env", true},
		{"/opt/app", "*", "", both, "/opt/app/bin/", true},
		{"/opt/app", "*", "", both, "/opt/app/bin/a.sh", false},
		{"/", "*", "", both, "/etc/", true},
		{"/", "*", "", both, "/etc/passwd", false},
		{"/opt/app", "*.sh", "", both, "/opt/app/a.sh", true},
		{"/opt/app", "*.sh", "", both, "/opt/app/.sh", true},
		{"/opt/app", "*.sh", "", both, "/opt/app/a.sh.bak", false},
		{"/opt/app", "*.sh", "", both, "/opt/app/bin/a.sh", false},
		{"/opt/app", "a*", "", both, "/opt/app/a", true},
		{"/opt/app", "a*a", "", both, "/opt/app/a", false},
		{"/opt/app", "a*a", "", both, "/opt/app/aa", true},
		{"/opt/app", "a*b*c", "", both, "/opt/app/aXbXbXc", true},
		{"/opt/app", "a*b*c", "", both, "/opt/app/aXcXb", false},
		{"/opt/app", "*ab*ab", "", both, "/opt/app/abXab", true},
		{"/opt/app", "*ab*ab", "", both, "/opt/app/Xab", false},
		{"/opt/app", "***.sh", "", both, "/opt/app/a.sh", true},
		{"/opt/app", "**.sh", "", both, "/opt/app/bin/a.sh", false},
		{"/opt/app", "**/*.sh", "", both, "/opt/app/bin/a.sh", false},
		{"/opt/app", "a.sh", "", both, "/opt/app/a.sh", true},
		{"/opt/app", "a.sh", "", both, "/opt/app/aXsh", false},

		// Only the asterisk is special.
		{"/opt/app", "?.sh", "", both, "/opt/app/a.sh", false},
		{"/opt/app", "?.sh", "", both, "/opt/app/?.sh", true},
		{"/opt/app", "[ab].sh", "", both, "/opt/app/a.sh", false},
		{"/opt/app", `\*`, "", both, `/opt/app/\a`, true},
		{"/opt/app", "é*", "", both, "/opt/app/été", true},

		// except is for names directly in the object, whatever the pattern.
		{"/opt/app", "**", "*.sh", both, "/opt/app/a.sh", false},
		{"/opt/app", "**", "*.sh", both, "/opt/app/bin/a.sh", true},
		{"/opt/app", "**", "bin", both, "/opt/app/bin/", false},
		{"/opt/app", "**", "bin", both, "/opt/app/bin/a.sh", true},
		{"/opt/app", "**", "**", both, "/opt/app/a.sh", false},
		{"/opt/app", "**", "/opt/app/a.sh", both, "/opt/app/a.sh", true},
		{"/opt/app", "*.sh", "a.sh b.sh", both, "/opt/app/b.sh", false},
		{"/opt/app", "*.sh", "a.sh b.sh", both, "/opt/app/c.sh", true},

		// type
		{"/opt/app", "**", "", "file", "/opt/app/a.sh", true},
		{"/opt/app", "**", "", "file", "/opt/app/bin/", false},
		{"/opt/app", "**", "", "directory", "/opt/app/a.sh", false},
		{"/opt/app", "**", "", "directory", "/opt/app/bin/", true},
	} {
		p := Permission{
			Object: c.object, Pattern: c.pattern, Except: strings.Fields(c.except),
			Files: strings.Contains(c.types, "file"), Directories: strings.Contains(c.types, "directory"),
		}
		dir := strings.HasSuffix(c.path, "/")
		if got := p.Matches(c.path, dir); got != c.want {
			t.Errorf("object %s pattern %s except [%s] type [%s] on %s: %v, want %v",
				c.object, c.pattern, c.except, c.types, c.path, got, c.want)
		}
	}
}

// TestCheckFile is what CodeDeploy finds out only when it installs.
func TestCheckFile(t *testing.T) {
	for _, c := range []struct {
		name string
		p    Permission
		path string
		want string
	}{
		{"a file", Permission{Object: "/opt/app/a.sh", Pattern: "**"}, "/opt/app/a.sh", ""},
		{"a file with a pattern", Permission{Object: "/opt/app/a.sh", Pattern: "*.sh"}, "/opt/app/a.sh",
			"cannot set permissions of /opt/app/a.sh: it is a file, and pattern and except are for directories: remove them"},
		{"a file with except", Permission{Object: "/opt/app/a.sh", Pattern: "**", Except: []string{"b"}}, "/opt/app/a.sh",
			"cannot set permissions of /opt/app/a.sh: it is a file, and pattern and except are for directories: remove them"},
		{"a file in a directory", Permission{Object: "/opt/app", Pattern: "*.sh", Except: []string{"b"}}, "/opt/app/a.sh", ""},
		{"a default entry", Permission{Object: "/opt/app", Pattern: "**", ACLs: []ACE{{Default: true, Tag: 'u', Name: "deploy", Perm: 6}}}, "/opt/app/a.sh",
			"cannot set permissions of /opt/app/a.sh: it is a file, and the default ACL entry default:user:deploy:rw- is for directories: add `type: [directory]`"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := c.p.CheckFile(c.path); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
