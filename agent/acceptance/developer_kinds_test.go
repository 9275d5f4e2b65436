package acceptance

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Kinds of revisions: what CodeDeploy's agent does with one, and what usher does. They were made after the kinds that public
// repositories have. The verdicts of CodeDeploy's agent (1.8.1) were read from its source and got from its YAML, with aliases.

var update = flag.Bool("update", false, "write anew what is kept: the table of the kinds of revisions in hooks/README.md, testdata/screens")

// kind is one of them: a sound revision with text at a place, and what became of it: with CodeDeploy's agent (deploys, refuses),
// with usher of commit 858b174 (taken, refused), and with usher now (taken, warned, refused).
type kind struct {
	at       func(text string) files
	text     string
	verdicts string
}

// kindsOfRevisions are the kinds by what they are about, and why those are refused that CodeDeploy's agent deploys.
var kindsOfRevisions = []struct {
	what, why string
	kinds     []kind
}{
	{"keys that CodeDeploy's agent does not read", "", []kind{
		{atEntry, "overwrite: yes", "deploys refused warned"},
		{atEntry, "overwrite: true", "deploys refused warned"},
		{atEntry, "overwrite: 'yes'", "deploys refused warned"},
		{atEntry, "overwrite:", "deploys refused warned"},
		{atEntry, "Overwrite: true", "deploys refused warned"},
		{atEntry, "overwrite: yes\noverwrite: yes", "deploys refused warned"},
		{atEntry, "owner: www-data", "deploys refused warned"},
		{atEntry, "mode: 644", "deploys refused warned"},
		{atEntry, "runas: root", "deploys refused warned"},
		{atEntry, "exclude: [node_modules]", "deploys refused warned"},
		{atEntry, "type: file", "deploys refused warned"},
		{atEntry, "file_exists_behaviour: OVERWRITE", "deploys refused warned"},
		{atEntry, "description: the site", "deploys refused warned"},
		{atTop, "name: shop", "deploys refused warned"},
		{atTop, "branch_config:\n  main: {deploymentGroupName: shop}", "deploys refused warned"},
		{atTop, "env: {variables: {A: b}}", "deploys refused warned"},
		{atTop, "phases: {build: {commands: [make]}}", "deploys refused warned"},
		{atTop, "artifacts: {files: ['**/*']}", "deploys refused warned"},
		{atTop, "Resources: []", "deploys refused warned"},
		{atTop, "resources: []", "deploys refused warned"},
		{atTop, "description: shop", "deploys refused warned"},
		{atTop, "file_exists_behaviour: OVERWRITE", "deploys refused warned"},
		{atTop, "fileExistsBehavior: OVERWRITE", "deploys refused warned"},
		{atTop, "FILE_EXISTS_BEHAVIOR: OVERWRITE", "deploys refused warned"},
		{atTop, "Version: 0.0", "deploys refused warned"},
		{atTop, "x-defaults: {a: b}", "deploys refused warned"},
		{atTop, "1: 2", "deploys refused warned"},
		{atTop, "name: a\nname: b", "deploys refused warned"},
		{atScript, "runAs: root", "deploys refused warned"},
		{atScript, "run_as: root", "deploys refused warned"},
		{atScript, "user: root", "deploys refused warned"},
		{atScript, "time_out: 300", "deploys refused warned"},
		{atScript, "Timeout: 300", "deploys refused warned"},
		{atScript, "args: [a, b]", "deploys refused warned"},
		{atScript, "arguments: a b", "deploys refused warned"},
		{atScript, "env: {A: b}", "deploys refused warned"},
		{atScript, "name: set up", "deploys refused warned"},
		{atScript, "description: sets up", "deploys refused warned"},
		{atScript, "mode: 755", "deploys refused warned"},
		{atScript, "overwrite: true", "deploys refused warned"},
		{atScript, "ignoreErrors: true", "deploys refused warned"},
		{atScript, "interpreter: bash", "deploys refused warned"},
		{atScript, "type: script", "deploys refused warned"},
		{atPermission, "owners: root", "deploys refused warned"},
		{atPermission, "Owner: root", "deploys refused warned"},
		{atPermission, "user: root", "deploys refused warned"},
		{atPermission, "chmod: 755", "deploys refused warned"},
		{atPermission, "recursive: true", "deploys refused warned"},
		{atPermission, "acl: []", "deploys refused warned"},
		{atPermission, "context: {type: tmp_t, role: object_r}", "deploys refused warned"},
	}},
	{"paths", "`~` and variables are not expanded, there neither: the files would be in a directory of that name; an empty destination is `/`, `../` what lies beside the bundle", []kind{
		{atLocation, "/scripts/setup.sh", "deploys refused warned"},
		{atLocation, "//scripts/setup.sh", "deploys refused warned"},
		{atLocation, "/./scripts/setup.sh", "deploys refused warned"},
		{atLocation, "./scripts/setup.sh", "deploys taken taken"},
		{atLocation, "scripts//setup.sh", "deploys taken taken"},
		{atLocation, "scripts/../scripts/setup.sh", "deploys taken taken"},
		{atLocation, "'scripts/setup.sh'", "deploys taken taken"},
		{atLocation, "' scripts/setup.sh '", "deploys taken taken"},
		{atLocation, "scripts/my setup.sh", "deploys taken taken"},
		{atLocation, "scripts/überprüfen.sh", "deploys taken taken"},
		{atLocation, "|-\n        scripts/setup.sh", "deploys refused taken"},
		{atLocation, ">-\n        scripts/setup.sh", "deploys refused taken"},
		{atLocation, "../setup.sh", "refuses refused refused"},
		{atLocation, "/opt/scripts/setup.sh", "refuses refused refused"},
		{atLocation, "scripts/", "refuses refused refused"},
		{atLocation, "scripts/none.sh", "refuses refused refused"},
		{atLocation, "''", "refuses refused refused"},
		{atLocation, "Scripts/setup.sh", "refuses refused refused"},
		{atLocation, "scripts\\setup.sh", "refuses refused refused"},
		{atLocation, "scripts/setup.sh --all", "refuses refused refused"},
		{atSource, "/", "deploys taken taken"},
		{atSource, "/.", "deploys taken taken"},
		{atSource, ".", "deploys taken taken"},
		{atSource, "./", "deploys taken taken"},
		{atSource, "''", "deploys refused warned"},
		{atSource, "www", "deploys taken warned"},
		{atSource, "/www", "deploys taken warned"},
		{atSource, "./www/", "deploys taken warned"},
		{atSource, "//www", "deploys taken warned"},
		{atSource, "www/../www", "deploys taken warned"},
		{atSource, "/www/index.html", "deploys taken warned"},
		{atSource, "'/www'", "deploys taken warned"},
		{atSource, "|-\n      www", "deploys refused warned"},
		{atSource, "../", "deploys refused refused"},
		{atSource, "../shop", "deploys refused refused"},
		{atSource, "none", "refuses refused refused"},
		{atSource, "www/*", "refuses refused refused"},
		{atSource, "/*", "refuses refused refused"},
		{atSource, "'*'", "refuses refused refused"},
		{atSource, "''' '''", "refuses refused refused"},
		{atDestination, "/", "deploys refused warned"},
		{atDestination, "//", "deploys refused warned"},
		{atDestination, "/srv/../srv/shop", "deploys taken taken"},
		{atDestination, "/srv/shop/", "deploys taken taken"},
		{atDestination, "srv/shop", "deploys refused warned"},
		{atDestination, "./srv/shop", "deploys refused warned"},
		{atDestination, "var/www/html", "deploys refused warned"},
		{atDestination, ".", "deploys refused warned"},
		{atDestination, "'/srv/my shop'", "deploys taken warned"},
		{atDestination, "/srv/über", "deploys taken warned"},
		{atDestination, "/srv/{{app}}", "deploys taken warned"},
		{atDestination, "''", "deploys refused refused"},
		{atDestination, "~/shop", "deploys refused refused"},
		{atDestination, "$HOME/shop", "deploys refused refused"},
		{atDestination, "${APP_DIR}", "deploys refused refused"},
		{atDestination, "C:\\shop", "deploys refused refused"},
		{atObject, "/srv/shop", "deploys taken taken"},
		{atObject, "/srv/shop/", "deploys taken taken"},
		{atObject, "/srv/shop/bin/shop", "deploys taken taken"},
		{atObject, "/", "deploys taken taken"},
		{atObject, "srv/shop/bin", "deploys refused warned"},
		{atObject, "./srv/shop", "deploys refused warned"},
		{atObject, ".", "deploys refused warned"},
		{atObject, "./", "deploys refused warned"},
		{atObject, "scripts/", "deploys refused warned"},
		{atObject, "scripts/setup.sh", "deploys refused warned"},
		{atObject, "bin", "deploys refused warned"},
		{atObject, "/srv/shop/none", "deploys taken warned"},
		{atObject, "/srv/shop/*", "deploys taken warned"},
		{atObject, "/srv/shop/**", "deploys taken warned"},
		{atObject, "/etc", "deploys taken warned"},
		{atObject, "~/shop", "deploys refused warned"},
		{atObject, "'/srv/shop '", "deploys taken taken"},
		{atObject, "''", "refuses refused refused"},
		{atPermission, "pattern: '**'", "deploys taken taken"},
		{atPermission, "pattern: '*'", "deploys taken taken"},
		{atPermission, "pattern: '*.sh'", "deploys taken warned"},
		{atPermission, "pattern: '**/*.sh'", "deploys taken warned"},
		{atPermission, "pattern: ''", "deploys refused warned"},
		{atPermission, "pattern: shop", "deploys taken taken"},
		{atPermission, "except: []", "deploys taken taken"},
		{atPermission, "except: ['']", "deploys refused warned"},
		{atPermission, "except: [shop]", "deploys taken warned"},
		{atPermission, "except: [/srv/shop/bin/shop]", "deploys taken warned"},
		{atPermission, "except: '*.sh'", "refuses refused refused"},
		{atPermission, "type: []", "deploys refused warned"},
		{atPermission, "type: [file]", "deploys taken taken"},
		{atPermission, "type: [directory]", "deploys taken warned"},
		{atPermission, "type: [file, directory]", "deploys taken taken"},
		{atPermission, "type: file", "refuses refused refused"},
		{atPermission, "type: [File]", "refuses refused refused"},
		{atPermission, "type:", "deploys taken taken"},
		{atPermission, "pattern: **", "refuses refused refused"},
	}},
	{"numbers, names and truth", "another number than the one that is written (`5m` is 5 there, `0300` is 192), an empty mode (there 000), an ACL entry for a user named g", []kind{
		{atScript, "timeout: '300'", "deploys taken taken"},
		{atScript, "timeout: ' 300 '", "deploys refused taken"},
		{atScript, "timeout: 300s", "deploys refused warned"},
		{atScript, "timeout: 300 seconds", "deploys refused warned"},
		{atScript, "timeout: 300.0", "deploys refused warned"},
		{atScript, "timeout: 300.5", "deploys refused warned"},
		{atScript, "timeout: 172801", "deploys refused warned"},
		{atScript, "timeout: 999999999", "deploys refused warned"},
		{atScript, "timeout: 99999999999999999999", "deploys refused warned"},
		{atScript, "timeout:", "deploys taken taken"},
		{atScript, "timeout: 5m", "deploys refused refused"},
		{atScript, "timeout: 0300", "deploys refused refused"},
		{atScript, "timeout: 1_000", "deploys refused refused"},
		{atScript, "timeout: 1e3", "deploys refused refused"},
		{atScript, "timeout: 3:00", "deploys refused refused"},
		{atScript, "timeout: 0x10", "deploys refused refused"},
		{atScript, "timeout: 0.5", "refuses refused refused"},
		{atScript, "timeout: 0", "refuses refused refused"},
		{atScript, "timeout: -1", "refuses refused refused"},
		{atScript, "timeout: ''", "refuses refused refused"},
		{atScript, "timeout: five", "refuses refused refused"},
		{atScript, "timeout: true", "refuses refused refused"},
		{atScript, "timeout: [300]", "refuses refused refused"},
		{atScript, "timeout: 300\ntimeout: 60", "deploys refused warned"},
		{atScript, "runas: root", "deploys taken taken"},
		{atScript, "runas: 'root'", "deploys taken taken"},
		{atScript, "runas: ' root'", "deploys taken taken"},
		{atScript, "runas: ''", "deploys refused warned"},
		{atScript, "runas:", "deploys taken taken"},
		{atScript, "runas: root\nrunas: root", "deploys refused warned"},
		{atScript, "sudo: true", "deploys taken taken"},
		{atScript, "sudo: Yes", "deploys taken taken"},
		{atScript, "sudo: off", "deploys taken taken"},
		{atScript, "sudo: 'true'", "deploys refused warned"},
		{atScript, `sudo: "false"`, "deploys refused warned"},
		{atScript, "sudo: 1", "deploys refused warned"},
		{atScript, "sudo: root", "deploys refused warned"},
		{atScript, "sudo: y", "deploys refused warned"},
		{atScript, "sudo:", "deploys taken taken"},
		{atPermission, "owner: 1000", "deploys refused warned"},
		{atPermission, "group: 0", "deploys refused warned"},
		{atPermission, "owner: '1000'", "deploys taken taken"},
		{atPermission, "owner: root", "deploys taken taken"},
		{atPermission, "owner:", "deploys taken taken"},
		{atPermission, "group: root", "deploys taken taken"},
		{atPermission, "acls: []", "deploys taken taken"},
		{atPermission, "acls: ['u:root:rw']", "deploys taken taken"},
		{atPermission, "acls: ['root:7']", "deploys taken taken"},
		{atPermission, "acls: ['g:rwx']", "deploys refused refused"},
		{atMode, "644", "deploys taken taken"},
		{atMode, "'644'", "deploys taken taken"},
		{atMode, "0644", "deploys taken taken"},
		{atMode, "'0755'", "deploys taken taken"},
		{atMode, "0755", "refuses taken taken"},
		{atMode, "4755", "deploys taken taken"},
		{atMode, "'4755'", "deploys taken taken"},
		{atMode, "02775", "deploys refused taken"},
		{atMode, "01777", "deploys refused taken"},
		{atMode, "00644", "deploys refused taken"},
		{atMode, "7", "deploys taken taken"},
		{atMode, "0", "deploys taken taken"},
		{atMode, "''", "deploys refused refused"},
		{atMode, "u+x", "refuses refused refused"},
		{atMode, "888", "refuses refused refused"},
		{atMode, "644.0", "refuses refused refused"},
		{atMode, "rwxr-xr-x", "refuses refused refused"},
		{atVersion, "0", "deploys taken taken"},
		{atVersion, "0.00", "deploys taken taken"},
		{atVersion, "-0.0", "deploys taken taken"},
		{atVersion, "0.0 # the only one", "deploys taken taken"},
		{atVersion, "'0.0'", "refuses refused refused"},
		{atVersion, "1.0", "refuses refused refused"},
		{atVersion, "0.0.0", "refuses refused refused"},
		{atVersion, "v0", "refuses refused refused"},
		{atSystem, "'linux'", "deploys taken taken"},
		{atSystem, "linux # all", "deploys taken taken"},
		{atSystem, "Linux", "refuses refused refused"},
		{atSystem, "LINUX", "refuses refused refused"},
		{atSystem, "windows", "refuses refused refused"},
		{atSystem, "'linux '", "refuses refused refused"},
		{atTop, "file_exists_behavior: OVERWRITE", "deploys taken taken"},
		{atTop, "file_exists_behavior: 'RETAIN'", "deploys taken taken"},
		{atTop, "file_exists_behavior:", "deploys taken taken"},
		{atTop, "file_exists_behavior: overwrite", "refuses refused refused"},
		{atTop, "version: 0.0", "deploys refused warned"},
		{atTop, "os: linux", "deploys refused warned"},
	}},
	{"YAML", "tags, and a second document, which that agent does not read", []kind{
		{atWhole, "version: 0.0\r\nos: linux\r\nfiles:\r\n  - source: /\r\n    destination: /srv/shop\r\npermissions:\r\n  - object: /srv/shop/bin\r\n    mode: 755\r\nhooks:\r\n  AfterInstall:\r\n    - location: scripts/setup.sh\r\n  ValidateService:\r\n    - location: scripts/check.sh\r\n", "deploys taken taken"},
		{atWhole, "version: 0.0\ros: linux\rfiles:\r  - source: /\r    destination: /srv/shop\rpermissions:\r  - object: /srv/shop/bin\r    mode: 755\rhooks:\r  AfterInstall:\r    - location: scripts/setup.sh\r  ValidateService:\r    - location: scripts/check.sh\r", "deploys refused taken"},
		{atWhole, "\ufeffversion: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/shop\npermissions:\n  - object: /srv/shop/bin\n    mode: 755\nhooks:\n  AfterInstall:\n    - location: scripts/setup.sh\n  ValidateService:\n    - location: scripts/check.sh\n", "refuses taken warned"},
		{atWhole, "# Größe ✓\nversion: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/shop\npermissions:\n  - object: /srv/shop/bin\n    mode: 755\nhooks:\n  AfterInstall:\n    - location: scripts/setup.sh\n  ValidateService:\n    - location: scripts/check.sh\n", "deploys taken taken"},
		{atWhole, "---\nversion: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/shop\npermissions:\n  - object: /srv/shop/bin\n    mode: 755\nhooks:\n  AfterInstall:\n    - location: scripts/setup.sh\n  ValidateService:\n    - location: scripts/check.sh\n...\n", "deploys taken taken"},
		{atWhole, "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/shop\npermissions:\n  - object: /srv/shop/bin\n    mode: 755\nhooks:\n  AfterInstall:\n    - location: scripts/setup.sh\n  ValidateService:\n    - location: scripts/check.sh\n---\n", "deploys taken taken"},
		{atWhole, "%YAML 1.1\n---\nversion: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/shop\npermissions:\n  - object: /srv/shop/bin\n    mode: 755\nhooks:\n  AfterInstall:\n    - location: scripts/setup.sh\n  ValidateService:\n    - location: scripts/check.sh\n", "deploys taken taken"},
		{atWhole, "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/shop\npermissions:\n  - object: /srv/shop/bin\n    mode: 755\nhooks:\n  AfterInstall:\n    - location: scripts/setup.sh\n  ValidateService:\n    - location: scripts/check.sh", "deploys taken taken"},
		{atWhole, "version: 0.0  \nos: linux  \nfiles:  \n  - source: /  \n    destination: /srv/shop  \npermissions:  \n  - object: /srv/shop/bin  \n    mode: 755  \nhooks:  \n  AfterInstall:  \n    - location: scripts/setup.sh  \n  ValidateService:  \n    - location: scripts/check.sh  \n", "deploys taken taken"},
		{atWhole, "version: 0.0\nos:\tlinux\nfiles:\n  - source: /\n    destination: /srv/shop\npermissions:\n  - object: /srv/shop/bin\n    mode: 755\nhooks:\n  AfterInstall:\n    - location: scripts/setup.sh\n  ValidateService:\n    - location: scripts/check.sh\n", "deploys taken taken"},
		{atWhole, "version: 0.0\nos: linux\t# all\nfiles:\n  - source: /\n    destination: /srv/shop\npermissions:\n  - object: /srv/shop/bin\n    mode: 755\nhooks:\n  AfterInstall:\n    - location: scripts/setup.sh\n  ValidateService:\n    - location: scripts/check.sh\n", "deploys taken taken"},
		{atWhole, "version: 0.0\nos: linux\nfiles:\n\t- source: /\n    destination: /srv/shop\npermissions:\n  - object: /srv/shop/bin\n    mode: 755\nhooks:\n  AfterInstall:\n    - location: scripts/setup.sh\n  ValidateService:\n    - location: scripts/check.sh\n", "refuses refused refused"},
		{atWhole, `{"version": 0.0, "os": "linux", "hooks": {"ValidateService": [{"location": "scripts/check.sh"}]}}`, "deploys taken taken"},
		{atWhole, `{"version":0.0,"os":"linux","hooks":{"ValidateService":[{"location":"scripts/check.sh"}]}}`, "deploys taken taken"},
		{atWhole, "{\n\t\"version\": 0.0,\n\t\"os\": \"linux\",\n\t\"hooks\": {\n\t\t\"ValidateService\": [{\"location\": \"scripts/check.sh\"}]\n\t}\n}\n", "deploys taken taken"},
		{atWhole, "version: 0.0\nos: linux\nfiles:\n- source: /\n  destination: /srv/shop\nhooks:\n  ValidateService:\n  - location: scripts/check.sh\n", "deploys taken taken"},
		{atWhole, "version: 0.0\nos: linux\nfiles:\n  -\n    source: /\n    destination: /srv/shop\nhooks:\n  ValidateService:\n    - location: scripts/check.sh\n", "deploys taken taken"},
		{atWhole, "version: 0.0\nos: linux\nfiles:\n  - source: www\n    destination: /srv/www\n# - source: x\n#   destination: y\n  - source: bin\n    destination: /srv/bin\nhooks:\n  ValidateService:\n    - location: scripts/check.sh\n", "deploys taken taken"},
		{atWhole, "version: 0.0\nos: linux\nfiles: {}\npermissions: {}\nhooks:\n  ValidateService:\n    - location: scripts/check.sh\n", "deploys refused taken"},
		{atWhole, "version: 0.0\nos: linux\nfiles: []\npermissions:\nhooks:\n  ValidateService:\n    - location: scripts/check.sh\n", "deploys taken taken"},
		{atWhole, "version: 0.0\nos: linux\nfiles:\n  - {source: /, destination: /srv/shop}\nhooks:\n#  AfterInstall:\n#    - location: x.sh\n  ValidateService:\n    - location: scripts/check.sh\n", "deploys taken taken"},
		{atWhole, "version: 0.0\nos: linux\nfiles:\n  - {source: /, destination: /srv/shop}\nhooks:\n  AfterInstall: &own\n    - location: scripts/setup.sh\n  ValidateService: *own\n", "deploys taken taken"},
		{atWhole, "version: 0.0\nos: linux\nfiles:\n  - {source: /, destination: /srv/shop}\nhooks:\n  AfterInstall:\n    - &own\n      location: scripts/setup.sh\n      timeout: 60\n  ValidateService:\n    - <<: *own\n      location: scripts/check.sh\n", "deploys refused taken"},
		{atWhole, "x-own: &own {timeout: 60, runas: root}\nversion: 0.0\nos: linux\nfiles:\n  - {source: /, destination: /srv/shop}\nhooks:\n  ValidateService:\n    - <<: *own\n      location: scripts/check.sh\n", "deploys refused warned"},
		{atWhole, "version: 0.0\nos: linux\nfiles:\n  - {source: /, destination: /srv/shop}\nhooks:\n  ValidateService:\n    - location: scripts/check.sh\n      <<: [{timeout: 60}, {runas: root}]\n", "deploys refused taken"},
		{atWhole, "version: 0.0\nos: linux\n\"files\":\n  - \"source\": \"/\"\n    'destination': \"/srv/shop\"\nhooks:\n  ValidateService:\n    - location: scripts/check.sh\n", "deploys taken taken"},
		{atWhole, "version: 0.0\nos: !!str linux\nfiles:\n  - {source: /, destination: /srv/shop}\nhooks:\n  ValidateService:\n    - location: scripts/check.sh\n", "deploys refused refused"},
		{atWhole, "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/shop\npermissions:\n  - object: /srv/shop/bin\n    mode: 755\nhooks:\n  AfterInstall:\n    - location: scripts/setup.sh\n  ValidateService:\n    - location: scripts/check.sh\n---\nversion: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/shop\npermissions:\n  - object: /srv/shop/bin\n    mode: 755\nhooks:\n  AfterInstall:\n    - location: scripts/setup.sh\n  ValidateService:\n    - location: scripts/check.sh\n", "deploys refused refused"},
		{atWhole, "version: 0.0\nos: linux\nfiles:\n  - {source: /, destination: /srv/shop}\nhooks: []\n  ValidateService:\n    - location: scripts/check.sh\n", "refuses refused refused"},
		{atWhole, "", "refuses refused refused"},
		{atWhole, "# nothing\n", "refuses refused refused"},
		{atWhole, "version: 0.0\nos: linux\nfiles:\n  source: /\n  destination: /srv/shop\nhooks:\n  ValidateService:\n    - location: scripts/check.sh\n", "refuses refused refused"},
		{atWhole, "version: 0.0\nos: linux\nfiles: /\nhooks:\n  ValidateService:\n    - location: scripts/check.sh\n", "refuses refused refused"},
		{atWhole, "version: 0.0\nos: linux\n  files:\n  - {source: /, destination: /srv/shop}\nhooks:\n  ValidateService:\n    - location: scripts/check.sh\n", "refuses refused refused"},
		{atWhole, "version: 0.0\nos: linux\nhooks\n", "refuses refused refused"},
	}},
	{"scripts that would never run", "that agent deploys, and does not run them", []kind{
		{atEvent, "AfterInstal:\n  - location: scripts/setup.sh", "deploys refused refused"},
		{atEvent, "applicationStart:\n  - location: scripts/setup.sh", "deploys refused refused"},
		{atEvent, "application_start:\n  - location: scripts/setup.sh", "deploys refused refused"},
		{atEvent, "Start:\n  - location: scripts/setup.sh", "deploys refused refused"},
		{atEvent, "ApplicationRestart:\n  - location: scripts/setup.sh", "deploys refused refused"},
		{atEvent, "Install:\n  - location: scripts/setup.sh", "deploys refused refused"},
		{atEvent, "AllowTraffic:\n  - location: scripts/setup.sh", "deploys refused refused"},
		{atEvent, "BeforeAllowTestTraffic:\n  - location: scripts/setup.sh", "deploys refused refused"},
		{atEvent, "AfterInstall:\n  - location: scripts/check.sh", "deploys refused refused"},
		{atEvent, "ApplicationStart: []", "deploys taken taken"},
		{atEvent, "ApplicationStart:", "refuses taken refused"},
		{atEvent, "ApplicationStart:\n#  - location: scripts/setup.sh", "refuses taken refused"},
		{atEvent, "ApplicationStart: scripts/setup.sh", "refuses refused refused"},
		{atEvent, "ApplicationStart:\n  - scripts/setup.sh", "refuses refused refused"},
		{atEvent, "ApplicationStart:\n  location: scripts/setup.sh", "refuses refused refused"},
		{atEvent, "ApplicationStart:\n  - script: scripts/setup.sh", "refuses refused refused"},
		{atEvent, "ApplicationStart:\n  - timeout: 60", "refuses refused refused"},
		{atEvent, "file_exists_behavior: OVERWRITE", "refuses refused refused"},
		{atTop, "ApplicationStart:\n  - location: scripts/setup.sh", "deploys refused refused"},
		{atTop, "Hooks:\n  - AfterInstall: f", "deploys refused refused"},
		{atTop, "hook:\n  AfterInstall:\n    - location: scripts/setup.sh", "deploys refused refused"},
		{atTop, "hooks:\n  AfterInstall:\n    - location: scripts/setup.sh", "deploys refused refused"},
		{atTop, "files:\n  - {source: www, destination: /srv/www}", "deploys refused refused"},
		{atScript, "location: scripts/check.sh", "deploys refused refused"},
	}},
	{"`file_exists_behavior` in an entry of `files`", "it is not read there: files that exist would end the deployment", []kind{
		{atEntry, "file_exists_behavior: OVERWRITE", "deploys refused refused"},
		{atEntry, "file_exists_behavior: RETAIN", "deploys refused refused"},
	}},
	{"contents of scripts", "each line would end in a carriage return; the first line is none, so that another shell would read the script", []kind{
		{atContent, "", "deploys refused warned"},
		{atContent, "\n", "deploys taken taken"},
		{atContent, "echo ok\n", "deploys taken taken"},
		{atContent, "# set up\necho ok\n", "deploys taken taken"},
		{atContent, "#!/usr/bin/env bash\nset -e\necho ok\n", "deploys taken taken"},
		{atContent, "#! /bin/sh -e\necho ok\n", "deploys taken taken"},
		{atContent, "#!/bin/bash -xe\necho ok\n", "deploys taken taken"},
		{atContent, "#!bin/bash\nset -e\necho ok\n", "deploys refused warned"},
		{atContent, "#!/usr/bin/env python3\nprint(1)\n", "deploys taken taken"},
		{atContent, "#!/usr/bin/env node\nconsole.log(1)\n", "deploys taken taken"},
		{atContent, "#!/bin/sh\n# sets up\n", "deploys taken taken"},
		{atContent, "\n#!/bin/bash\necho ok\n", "deploys taken taken"},
		{atContent, "#!/bin/bash", "deploys taken taken"},
		{atContent, "#!/bin/sh\nsource ./env\n", "deploys taken warned"},
		{atContent, "#!/bin/sh\n[[ -n $A ]] && echo ok\n", "deploys taken warned"},
		{atContent, "#!/bin/sh\na=(1 2)\n", "deploys taken warned"},
		{atContent, "#!/bin/bash\nset -e\necho gr\xfc\xdf\n", "deploys taken warned"},
		{atContent, "#!/bin/bash\necho ok\r\necho ok\n", "deploys taken warned"},
		{atContent, "#!/bin/sh\necho ok\x00\n", "deploys taken warned"},
		{atContent, "#!/bin/bash\ncat <<END\nok\n", "deploys taken warned"},
		{atContent, "#!/bin/sh\r\necho ok\r\n", "refuses refused refused"},
		{atContent, "echo ok\r\n", "deploys refused refused"},
		{atContent, "\ufeff#!/bin/bash\necho ok\n", "deploys refused refused"},
		{atContent, "#!\necho ok\n", "deploys refused refused"},
		{atContent, "#!/bin/bash\nif true; then\n", "refuses refused refused"},
		{atContent, "#!/bin/bash\necho 'ok\n", "refuses refused refused"},
	}},
}

const soundAppspec = "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /srv/shop\npermissions:\n  - object: /srv/shop/bin\n    mode: 755\n" +
	"hooks:\n  AfterInstall:\n    - location: scripts/setup.sh\n  ValidateService:\n    - location: scripts/check.sh\n"

var soundRevision = files{
	"appspec.yml": soundAppspec, "www/index.html": "<p>\n", "bin/shop": "x\n",
	"scripts/setup.sh": "#!/bin/sh\nset -e\necho ok\n", "scripts/check.sh": "#!/bin/sh\nset -e\necho ok\n",
	"scripts/my setup.sh": "#!/bin/sh\nset -e\necho ok\n", "scripts/überprüfen.sh": "#!/bin/sh\nset -e\necho ok\n",
}

// The places. below is behind a line, as deep as it is given; instead is in the place of a value.
func below(line, indent string) func(string) files {
	return func(text string) files {
		text = indent + strings.ReplaceAll(text, "\n", "\n"+indent) + "\n"
		return files{"appspec.yml": strings.Replace(soundAppspec, line+"\n", line+"\n"+text, 1)}
	}
}

func instead(key, value string) func(string) files {
	return func(text string) files {
		return files{"appspec.yml": strings.Replace(soundAppspec, key+value, key+text, 1)}
	}
}

var (
	atTop         = below("    - location: scripts/check.sh", "")
	atEvent       = below("    - location: scripts/check.sh", "  ")
	atEntry       = below("    destination: /srv/shop", "    ")
	atPermission  = below("    mode: 755", "    ")
	atScript      = below("    - location: scripts/setup.sh", "      ")
	atVersion     = instead("version: ", "0.0")
	atSystem      = instead("os: ", "linux")
	atSource      = instead("source: ", "/")
	atDestination = instead("destination: ", "/srv/shop")
	atObject      = instead("object: ", "/srv/shop/bin")
	atMode        = instead("mode: ", "755")
	atLocation    = instead("location: ", "scripts/setup.sh")
	atWhole       = func(text string) files { return files{"appspec.yml": text} }
	atContent     = func(text string) files { return files{"scripts/setup.sh": text} }
)

func TestKindsOfRevisions(t *testing.T) {
	t.Parallel()
	table := []string{
		"| what it is about | kinds | CodeDeploy's agent deploys | of these refused by commit 858b174 | refused now | why those |",
		"|---|---:|---:|---:|---:|---|",
	}
	type count struct{ kinds, deployed, before, now int }
	add := func(what string, n count, why string) {
		table = append(table, fmt.Sprintf("| %s | %d | %d | %d | %d | %s |", what, n.kinds, n.deployed, n.before, n.now, why))
	}
	var all count
	for _, group := range kindsOfRevisions {
		var n count
		for i, k := range group.kinds {
			aws, before, now := threeWords(k.verdicts)
			n.kinds++
			if aws == "deploys" {
				n.deployed++
				if before == "refused" {
					n.before++
				}
				if now == "refused" {
					n.now++
				}
			}
			t.Run(fmt.Sprintf("%s/%d", group.what, i), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				for name, text := range soundRevision.with(k.at(k.text)) {
					writeIn(t, filepath.Join(dir, "shop", name), text)
				}
				got := usher(t, dir, []string{"check", "--json", "shop"})
				var found struct {
					Errors, Warnings int
					Problems         []struct{ Message string }
				}
				if err := json.Unmarshal([]byte(got.stdout), &found); err != nil {
					t.Fatalf("%v: %s%s", err, got.stdout, got.stderr)
				}
				verdict := "taken"
				if found.Errors > 0 {
					verdict = "refused"
				} else if found.Warnings > 0 {
					verdict = "warned"
				}
				if verdict != now {
					t.Errorf("%q is %s, want %s: %+v", k.text, verdict, now, found.Problems)
				}
			})
		}
		if n.now > 0 == (group.why == "") {
			t.Errorf("%s: %d are refused that CodeDeploy's agent deploys, and the reason is %q", group.what, n.now, group.why)
		}
		all.kinds, all.deployed, all.before, all.now = all.kinds+n.kinds, all.deployed+n.deployed, all.before+n.before, all.now+n.now
		add(group.what, n, group.why)
	}
	add("together", all, "")

	const begin, end = "<!-- kinds: go test ./agent/acceptance -run TestKindsOfRevisions -update -->\n", "<!-- end of kinds -->"
	page := filepath.Join(house, "hooks/README.md")
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	there, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", page)
	}
	want := strings.Join(slices.Concat(table, []string{""}), "\n")
	if *update {
		if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if there != want {
		t.Errorf("the table in hooks/README.md is another one: go test ./agent/acceptance -run TestKindsOfRevisions -update\n%s", want)
	}
}

func threeWords(s string) (a, b, c string) {
	w := strings.Fields(s)
	return w[0], w[1], w[2]
}
