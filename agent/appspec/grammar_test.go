//go:build !windows

package appspec

import "testing"

func TestBadTop(t *testing.T)   { checkBad(t, "", badTop) }
func TestBadFiles(t *testing.T) { checkBad(t, head, badFiles) }
func TestBadHooks(t *testing.T) { checkBad(t, head, badHooks) }

// badTop is what can be wrong beside the three sections.
var badTop = []bad{
	{"nothing but hooks", "hooks:\n  AfterInstall:\n    - location: a.sh\n", []string{
		"appspec.yml:1:1: version is missing in the appspec: write `version: 0.0`",
		"appspec.yml:1:1: os is missing in the appspec: write `os: linux`",
	}},
	{"version in quotes", "version: \"0.0\"\nos: linux\n", []string{"appspec.yml:1:10: version must be the number 0.0: write it without quotes, or CodeDeploy refuses it"}},
	{"version 1.0", "version: 1.0\nos: linux\n", []string{"appspec.yml:1:10: version must be 0.0, the only one there is: write `version: 0.0`"}},
	{"version as text", "version: v0\nos: linux\n", []string{"appspec.yml:1:10: version must be 0.0, the only one there is: write `version: 0.0`"}},
	{"no version", "os: linux\n", []string{"appspec.yml:1:1: version is missing in the appspec: write `version: 0.0`"}},
	{"null version", "version:\nos: linux\n", []string{"appspec.yml:1:1: version is missing in the appspec: write `version: 0.0`"}},
	{"Linux", "version: 0.0\nos: Linux\n", []string{`appspec.yml:2:5: os must be linux, in small letters, not "Linux"`}},
	{"windows", "version: 0.0\nos: windows\n", []string{`appspec.yml:2:5: os must be linux, not "windows": this is an agent for Linux servers`}},
	{"os as a list", "version: 0.0\nos: [linux]\n", []string{"appspec.yml:2:5: os must be text, not a list"}},
	{"unknown key", "version: 0.0\nos: linux\nhook:\n", []string{`appspec.yml:3:1: unknown key "hook" in the appspec, and nothing of it would run: did you mean hooks?`}},
	{"capitals", "version: 0.0\nos: linux\nFiles:\n", []string{`appspec.yml:3:1: warning: unknown key "Files" in the appspec is ignored: did you mean files?`}},
	{"unknown and far from all", "version: 0.0\nos: linux\nenvironment: production\n", []string{`appspec.yml:3:1: warning: unknown key "environment" in the appspec is ignored: it takes version, os, file_exists_behavior, files, permissions, hooks`}},
	{"hooks of Lambda, beside a whole appspec", "version: 0.0\nos: linux\nHooks:\n  - BeforeAllowTraffic: f\n", []string{
		"appspec.yml:3:1: Hooks is for Lambda and ECS deployments, and nothing of it would run: an appspec for servers takes version, os, file_exists_behavior, files, permissions, hooks",
	}},
	{"a typing error of what is needed", "verson: 0.0\nos: linux\n", []string{`appspec.yml:1:1: unknown key "verson" in the appspec: did you mean version?`}},
	{"the same, beside the right one", "version: 0.0\nos: linux\nverson: 0.0\n", []string{`appspec.yml:3:1: warning: unknown key "verson" in the appspec is ignored: did you mean version?`}},
	{"event at the top", "version: 0.0\nos: linux\nAfterInstall:\n  - location: a.sh\n", []string{"appspec.yml:3:1: AfterInstall belongs under `hooks:`: indent it"}},
	{"hooks of Lambda", "version: 0.0\nResources:\n  - f: {}\n", []string{
		"appspec.yml:1:1: os is missing in the appspec: write `os: linux`",
		"appspec.yml:2:1: warning: Resources is for Lambda and ECS deployments, and is ignored: an appspec for servers takes version, os, file_exists_behavior, files, permissions, hooks",
	}},
	{"key twice", "version: 0.0\nos: linux\nhooks:\nfiles:\nhooks:\n", []string{`appspec.yml:5:1: "hooks" is given twice: line 3 has it already`}},
	{"behaviour in small letters", "version: 0.0\nos: linux\nfile_exists_behavior: overwrite\n", []string{`appspec.yml:3:23: file_exists_behavior must be DISALLOW, OVERWRITE or RETAIN, in capitals, not "overwrite"`}},
	{"behaviour as a boolean", "version: 0.0\nos: linux\nfile_exists_behavior: true\n", []string{`appspec.yml:3:23: file_exists_behavior must be text, not true or false: put quotes around it, as in "true"`}},
	{"long unknown key", "version: 0.0\nos: linux\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: y\n", []string{`appspec.yml:3:1: warning: unknown key "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…" in the appspec is ignored: it takes version, os, file_exists_behavior, files, permissions, hooks`}},
	{"key that is a number", "version: 0.0\nos: linux\n1: y\n", []string{`appspec.yml:3:1: warning: unknown key "1" in the appspec is ignored: it takes version, os, file_exists_behavior, files, permissions, hooks`}},
}

// badFiles begins at line 3, below head.
var badFiles = []bad{
	{"a map", `
files:
  source: /
  destination: /opt/app
`, []string{"appspec.yml:4:3: files must be a list, not a map: write `- source: ...` and, below it, `destination: ...`"}},
	{"text", `
files: /
`, []string{"appspec.yml:3:8: files must be a list, not text: write `- source: ...` and, below it, `destination: ...`"}},
	{"entry is text", `
files:
  - /opt/app
`, []string{"appspec.yml:4:5: an entry of files must be a map of `key: value` lines, not text"}},
	{"empty entry", `
files:
  -
`, []string{"appspec.yml:4:3: an entry of files is empty: remove its `-`, or fill it in"}},
	{"no source", `
files:
  - destination: /opt/app
`, []string{"appspec.yml:4:5: source is missing in an entry of files: / is the whole bundle"}},
	{"null source", `
files:
  - source:
    destination: /opt/app
`, []string{"appspec.yml:4:5: source is missing in an entry of files: / is the whole bundle"}},
	{"empty source", `
files:
  - source: ''
    destination: /opt/app
`, []string{"appspec.yml:4:13: warning: source is empty, which is the whole bundle: write /"}},
	{"no destination", `
files:
  - source: /
`, []string{"appspec.yml:4:5: destination is missing in an entry of files: it is the directory to copy into"}},
	{"target", `
files:
  - source: /
    target: /opt/app
`, []string{
		"appspec.yml:4:5: destination is missing in an entry of files: it is the directory to copy into",
		`appspec.yml:5:5: warning: unknown key "target" in an entry of files is ignored: it takes source, destination`,
	}},
	{"a key of another tool", `
files:
  - source: /
    destination: /opt/app
    owner: deploy
`, []string{`appspec.yml:6:5: warning: unknown key "owner" in an entry of files is ignored: it takes source, destination`}},
	{"overwrite", `
files:
  - source: /
    destination: /srv/shop
    overwrite: yes
`, []string{"appspec.yml:6:5: warning: overwrite is no key of an appspec and is ignored, here and by CodeDeploy: `file_exists_behavior: OVERWRITE` at the top replaces files that no deployment installed; without it they end the deployment"}},
	{"file_exists_behavior in an entry", `
files:
  - source: /
    destination: /srv/shop
    file_exists_behavior: OVERWRITE
`, []string{"appspec.yml:6:5: file_exists_behavior is not read here, and files that exist would end the deployment: it belongs at the top, beside `files:`, and is for all of them"}},
	{"file_exists_behavior in an entry and at the top", `
file_exists_behavior: OVERWRITE
files:
  - source: /
    destination: /srv/shop
    file_exists_behavior: OVERWRITE
`, []string{"appspec.yml:7:5: warning: file_exists_behavior is not read here: the one at the top is for all of files"}},
	{"source of spaces", `
files:
  - source: ' '
    destination: /opt/app
`, []string{"appspec.yml:4:13: source is empty"}},
	{"source with a typing error beside it", `
files:
  - source: /
    sources: /
    destination: /opt/app
`, []string{`appspec.yml:5:5: warning: unknown key "sources" in an entry of files is ignored: did you mean source?`}},
	{"destinaton", `
files:
  - source: /
    destinaton: /opt/app
`, []string{`appspec.yml:5:5: unknown key "destinaton" in an entry of files: did you mean destination?`}},
	{"source leaves", `
files:
  - source: ../secrets
    destination: /opt/app
`, []string{`appspec.yml:4:13: source "../secrets" leads out of the bundle: it must name something inside it`}},
	{"source leaves in the end", `
files:
  - source: /web/../../secrets
    destination: /opt/app
`, []string{`appspec.yml:4:13: source "/web/../../secrets" leads out of the bundle: it must name something inside it`}},
	{"source a number", `
files:
  - source: 1.0
    destination: /opt/app
`, []string{`appspec.yml:4:13: source must be text, not a number: put quotes around it, as in "1.0"`}},
	{"source a list", `
files:
  - source: [a, b]
    destination: /opt/app
`, []string{"appspec.yml:4:13: source must be text, not a list"}},
	{"relative destination", `
files:
  - source: /
    destination: opt/app
`, []string{`appspec.yml:5:18: warning: destination "opt/app" is not an absolute path: it is taken as /opt/app, because CodeDeploy's agent works in /`}},
	{"home directory", `
files:
  - source: /
    destination: ~/app
`, []string{`appspec.yml:5:18: destination "~/app" must be an absolute path, which begins with /: nothing is put in for ~ or a variable`}},
	{"Windows destination", `
files:
  - source: /
    destination: C:\app
`, []string{`appspec.yml:5:18: destination "C:\\app" must be an absolute path, which begins with /: nothing is put in for ~ or a variable`}},
	{"root", `
files:
  - source: /
    destination: /
`, []string{"appspec.yml:5:18: warning: destination / is the root of the machine: each file of the source is installed where its path there says, and replaced in place if it is not in the release"}},
	{"root in disguise", `
files:
  - source: /
    destination: /opt/..
`, []string{"appspec.yml:5:18: warning: destination / is the root of the machine: each file of the source is installed where its path there says, and replaced in place if it is not in the release"}},
	{"NUL in a path", `
files:
  - source: "a\0b"
    destination: /opt/app
`, []string{`appspec.yml:4:13: source "a\x00b" holds a character that is not printable`}},
	{"source over two lines", `
files:
  - source: web
      static
    destination: /opt/app
`, []string{`appspec.yml:4:13: source runs on over the next line ("web static"): check the indentation there, and the space after its colon`}},
	{"source as a block", `
files:
  - source: |
      web
    destination: /opt/app
`, []string{"appspec.yml:4:13: source must be one line of text: write it without | or >"}},
	{"several at once", `
files:
  - source: ../a
    destination: b
  - sorce: c
    destination: /
`, []string{
		`appspec.yml:4:13: source "../a" leads out of the bundle: it must name something inside it`,
		`appspec.yml:5:18: warning: destination "b" is not an absolute path: it is taken as /b, because CodeDeploy's agent works in /`,
		`appspec.yml:6:5: unknown key "sorce" in an entry of files: did you mean source?`,
		"appspec.yml:7:18: warning: destination / is the root of the machine: each file of the source is installed where its path there says, and replaced in place if it is not in the release",
	}},
}

// badHooks begins at line 3, below head.
var badHooks = []bad{
	{"a list", `
hooks:
  - AfterInstall
`, []string{"appspec.yml:4:3: hooks must be a map of `key: value` lines, not a list"}},
	{"unknown event", `
hooks:
  AfterInstal:
    - location: a.sh
`, []string{`appspec.yml:4:3: unknown lifecycle event "AfterInstal": did you mean AfterInstall?`}},
	{"event in small letters", `
hooks:
  afterinstall:
    - location: a.sh
`, []string{`appspec.yml:4:3: unknown lifecycle event "afterinstall": did you mean AfterInstall?`}},
	{"event in pieces", `
hooks:
  after_install:
    - location: a.sh
`, []string{`appspec.yml:4:3: unknown lifecycle event "after_install": did you mean AfterInstall?`}},
	{"event in capitals", `
hooks:
  VALIDATESERVICE:
    - location: a.sh
`, []string{`appspec.yml:4:3: unknown lifecycle event "VALIDATESERVICE": did you mean ValidateService?`}},
	{"event of another kind of deployment", `
hooks:
  AfterAllowTestTraffic:
    - location: a.sh
`, []string{`appspec.yml:4:3: unknown lifecycle event "AfterAllowTestTraffic": events that run scripts are BeforeBlockTraffic, AfterBlockTraffic, ApplicationStop, BeforeInstall, AfterInstall, ApplicationStart, ValidateService, BeforeAllowTraffic, AfterAllowTraffic`}},
	{"Install", `
hooks:
  Install:
    - location: a.sh
`, []string{"appspec.yml:4:3: Install runs no scripts: the deployment does it by itself; events that run scripts are BeforeBlockTraffic, AfterBlockTraffic, ApplicationStop, BeforeInstall, AfterInstall, ApplicationStart, ValidateService, BeforeAllowTraffic, AfterAllowTraffic"}},
	{"BlockTraffic, even empty", `
hooks:
  BlockTraffic:
`, []string{"appspec.yml:4:3: BlockTraffic runs no scripts: the deployment does it by itself; events that run scripts are BeforeBlockTraffic, AfterBlockTraffic, ApplicationStop, BeforeInstall, AfterInstall, ApplicationStart, ValidateService, BeforeAllowTraffic, AfterAllowTraffic"}},
	{"event twice", `
hooks:
  AfterInstall:
    - location: a.sh
  AfterInstall:
    - location: b.sh
`, []string{`appspec.yml:6:3: "AfterInstall" is given twice: line 4 has it already`}},
	{"event is text", `
hooks:
  AfterInstall: a.sh
`, []string{"appspec.yml:4:17: AfterInstall must be a list, not text: write `- location: ...`"}},
	{"no dash", `
hooks:
  AfterInstall:
    location: a.sh
`, []string{"appspec.yml:5:5: AfterInstall must be a list, not a map: write `- location: ...`"}},
	{"script is text", `
hooks:
  AfterInstall:
    - scripts/a.sh
`, []string{"appspec.yml:5:7: a script must be a map: write `- location: scripts/a.sh`"}},
	{"empty script", `
hooks:
  AfterInstall:
    - location: a.sh
    -
`, []string{"appspec.yml:5:5: an entry of AfterInstall is empty: remove its `-`, or fill it in"}},
	{"no location", `
hooks:
  AfterInstall:
    - timeout: 30
`, []string{"appspec.yml:5:7: location is missing in a script: it names the script, relative to the bundle"}},
	{"script for location", `
hooks:
  AfterInstall:
    - script: a.sh
`, []string{
		`appspec.yml:5:7: warning: unknown key "script" in a script is ignored: it takes location, timeout, runas, sudo`,
		"appspec.yml:5:7: location is missing in a script: it names the script, relative to the bundle",
	}},
	{"time_out", `
hooks:
  AfterInstall:
    - location: a.sh
      time_out: 30
`, []string{`appspec.yml:6:7: warning: unknown key "time_out" in a script is ignored: did you mean timeout?`}},
	{"runAs", `
hooks:
  AfterInstall:
    - location: a.sh
      runAs: root
`, []string{`appspec.yml:6:7: warning: unknown key "runAs" in a script is ignored: did you mean runas?`}},
	{"owner in a script", `
hooks:
  AfterInstall:
    - location: a.sh
      owner: root
`, []string{`appspec.yml:6:7: warning: unknown key "owner" in a script is ignored: it takes location, timeout, runas, sudo`}},
	{"absolute location", `
hooks:
  AfterInstall:
    - location: /scripts/a.sh
`, []string{`appspec.yml:5:17: warning: location "/scripts/a.sh" is scripts/a.sh in the bundle, not a file of the server: scripts come with the revision; write it without the / in front`}},
	{"location leaves from the top", `
hooks:
  AfterInstall:
    - location: /../a.sh
`, []string{`appspec.yml:5:17: location "/../a.sh" leads out of the bundle: scripts come with the revision`}},
	{"location /", `
hooks:
  AfterInstall:
    - location: /
`, []string{`appspec.yml:5:17: location "/" is a directory: name the script`}},
	{"locaton", `
hooks:
  AfterInstall:
    - locaton: a.sh
`, []string{`appspec.yml:5:7: unknown key "locaton" in a script: did you mean location?`}},
	{"location leaves", `
hooks:
  AfterInstall:
    - location: scripts/../../a.sh
`, []string{`appspec.yml:5:17: location "scripts/../../a.sh" leads out of the bundle: scripts come with the revision`}},
	{"location a directory", `
hooks:
  AfterInstall:
    - location: scripts/
`, []string{`appspec.yml:5:17: location "scripts/" is a directory: name the script`}},
	{"location the bundle", `
hooks:
  AfterInstall:
    - location: .
`, []string{`appspec.yml:5:17: location "." is a directory: name the script`}},
	{"timeout 0", `
hooks:
  AfterInstall:
    - location: a.sh
      timeout: 0
`, []string{"appspec.yml:6:16: timeout 0 must be more than 0 seconds: leave it out for the default of 3600"}},
	{"negative timeout", `
hooks:
  AfterInstall:
    - location: a.sh
      timeout: -1
`, []string{"appspec.yml:6:16: timeout -1 must be more than 0 seconds: leave it out for the default of 3600"}},
	{"timeout with a unit", `
hooks:
  AfterInstall:
    - location: a.sh
      timeout: 5m
`, []string{`appspec.yml:6:16: timeout "5m" must be a whole number of seconds, such as 300`}},
	{"timeout with a fraction", `
hooks:
  AfterInstall:
    - location: a.sh
      timeout: 0.5
`, []string{`appspec.yml:6:16: timeout "0.5" must be a whole number of seconds, such as 300`}},
	{"timeout octal", `
hooks:
  AfterInstall:
    - location: a.sh
      timeout: 0300
`, []string{"appspec.yml:6:16: timeout 0300 begins with 0, which YAML may take for octal: write 300"}},
	{"timeout hexadecimal", `
hooks:
  AfterInstall:
    - location: a.sh
      timeout: 0x10
`, []string{`appspec.yml:6:16: timeout "0x10" must be a whole number of seconds, such as 300`}},
	{"timeout of three days", `
hooks:
  AfterInstall:
    - location: a.sh
      timeout: 259200
`, []string{"appspec.yml:6:16: warning: timeout 259200 is taken as 172800: no launch may take longer"}},
	{"timeout beyond all numbers", `
hooks:
  AfterInstall:
    - location: a.sh
      timeout: 99999999999999999999
`, []string{"appspec.yml:6:16: warning: timeout 99999999999999999999 is taken as 172800: no launch may take longer"}},
	{"timeout true", `
hooks:
  AfterInstall:
    - location: a.sh
      timeout: true
`, []string{"appspec.yml:6:16: timeout must be a number of seconds, not true or false"}},
	{"runas true", `
hooks:
  AfterInstall:
    - location: a.sh
      runas: true
`, []string{`appspec.yml:6:14: runas must be text, not true or false: put quotes around it, as in "true"`}},
	{"runas with a space", `
hooks:
  AfterInstall:
    - location: a.sh
      runas: sudo deploy
`, []string{`appspec.yml:6:14: runas "sudo deploy" must be one name: no spaces, no slash, no colon`}},
	{"sudo in quotes", `
hooks:
  AfterInstall:
    - location: a.sh
      sudo: "false"
`, []string{`appspec.yml:6:13: warning: sudo "false" counts as true, here and by CodeDeploy: write true or false, without quotes`}},
	{"sudo maybe", `
hooks:
  AfterInstall:
    - location: a.sh
      sudo: deploy
`, []string{`appspec.yml:6:13: warning: sudo "deploy" counts as true, here and by CodeDeploy: write true or false, without quotes`}},
	{"sudo a list", `
hooks:
  AfterInstall:
    - location: a.sh
      sudo: [yes]
`, []string{"appspec.yml:6:13: sudo must be true or false, not a list"}},
	{"event of comments", `
hooks:
  AfterInstall:
  #  - location: a.sh
`, []string{"appspec.yml:4:3: AfterInstall has no scripts, and CodeDeploy's agent fails at that: remove the line, or write `AfterInstall: []`"}},
	{"timeout with its unit", `
hooks:
  AfterInstall:
    - location: a.sh
      timeout: 300 seconds
`, []string{`appspec.yml:6:16: warning: timeout "300 seconds" is taken as 300, as by CodeDeploy's agent: write a whole number of seconds`}},
	{"timeout with a fraction behind seconds", `
hooks:
  AfterInstall:
    - location: a.sh
      timeout: 300.5
`, []string{`appspec.yml:6:16: warning: timeout "300.5" is taken as 300, as by CodeDeploy's agent: write a whole number of seconds`}},
	{"timeout twice", `
hooks:
  AfterInstall:
    - location: a.sh
      timeout: 300
      timeout: 60
`, []string{`appspec.yml:7:7: warning: "timeout" is given twice, and this one counts: line 6 has it already`}},
	{"location twice", `
hooks:
  AfterInstall:
    - location: a.sh
      location: b.sh
`, []string{`appspec.yml:6:7: "location" is given twice: line 5 has it already`}},
	{"runas empty", `
hooks:
  AfterInstall:
    - location: a.sh
      runas: ''
`, []string{"appspec.yml:6:14: warning: runas is empty, and counts as if it were not there"}},
}
