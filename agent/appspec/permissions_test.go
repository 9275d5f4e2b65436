package appspec

import "testing"

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
`, []string{`appspec.yml:4:13: object "." must be an absolute path: it must begin with /`}},
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
`, []string{"appspec.yml:5:14: an entry of except must be text, not a number: put quotes around 404"}},
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
`, []string{"appspec.yml:5:11: type is an empty list: name file or directory, or leave type out for both"}},
	{"user for owner", `
permissions:
  - object: /opt/app
    user: deploy
`, []string{`appspec.yml:5:5: unknown key "user" in an entry of permissions: it takes object, pattern, except, type, owner, group, mode, acls, context`}},
	{"owner and group in one", `
permissions:
  - object: /opt/app
    owner: deploy:deploy
`, []string{`appspec.yml:5:12: owner "deploy:deploy" must be one name: no spaces, no slash, no colon`}},
	{"owner a number", `
permissions:
  - object: /opt/app
    owner: 1000
`, []string{"appspec.yml:5:12: owner must be text, not a number: put quotes around 1000"}},
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
    mode: 00755
`, []string{`appspec.yml:5:11: mode "00755" must be 1 to 4 octal digits, such as 0644`}},
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
`, []string{"appspec.yml:5:28: context takes no role: it is always object_r; remove it"}},
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
