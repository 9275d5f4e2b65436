//go:build linux && !developer

package hooks_test

import (
	"strings"
	"testing"

	"usher/hooks"
)

const atTheEnd = "this makes a success of every failure: the script ends with status 0 whatever happens; write `trap 'status=$?; ...; exit $status' EXIT`"

const endsIt = ", and -e ends the script: write "

// TestRisks is what `usher check` says of scripts that worked with CodeDeploy's own agent: at which line, and what to write.
func TestRisks(t *testing.T) {
	const newServer = "has status 1 when no such process runs, as on a new server"
	for _, c := range []struct {
		name, script string
		want         []string
	}{
		{"a first launch", "#!/bin/bash\nLOG=/tmp/shop-start.log\necho starting >> $LOG\nPID=$(pgrep -f shop-0.jar)\nif [ -z \"$PID\" ]; then\n  echo nothing\nelse\n  kill -15 $PID\nfi\necho started\n", []string{
			"4:1: warning: `pgrep -f shop-0.jar` " + newServer + endsIt + "`pgrep -f shop-0.jar || true`"}},
		{"asked before", "#!/bin/bash\nid shop >/dev/null 2>&1 || useradd shop\n[ -d /srv/shop ] || mkdir /srv/shop\nif [ -f /etc/old ]; then rm /etc/old; fi\n[ -n \"$PID\" ] && kill $PID\nif true; then pgrep shop; fi\n", []string{
			"6:15: warning: `pgrep shop` " + newServer + endsIt + "`pgrep shop || true`"}},
		{"a pipeline that SIGPIPE ends", "#!/bin/bash\nset -euo pipefail\nKEY=$(tr -dc a-z </dev/urandom | head -c 8)\nyes | head -1\nhead -c 400 /dev/urandom | tr -dc a-z | head -c 8\nX=$(yes | head -1) || true\ncat /etc/hostname | head -1\n", []string{
			"3:1: warning: `tr -dc a-z </dev/urandom | head -c 8` has status 141 under pipefail, because its last command stops reading what has no end" + endsIt + "`head -c 4096 /dev/urandom | ...`, or `tr -dc a-z </dev/urandom | head -c 8 || true`",
			"4:1: warning: `yes | head -1` has status 141 under pipefail, because its last command stops reading what has no end" + endsIt + "`head -c 4096 /dev/urandom | ...`, or `yes | head -1 || true`"}},
		{"and without pipefail, which is not what it lacks", "#!/bin/bash\ntr -dc a-z </dev/urandom | head -c 8\n", nil},
		{"nothing to kill, and then none is run", "#!/bin/bash\nset -o pipefail\npgrep shop | xargs -r kill || true\necho 1 | xargs -r kill\nid -u root\n", nil},
		{"errors that go nowhere", "#!/bin/bash\nls /x >/dev/null 2>&1\nls /x 2>&1 >/dev/null\nls /x >/tmp/log 2>&1\nls /x &>>/dev/null\nls /x >/dev/null\nif ls /x >/dev/null 2>&1; then :; fi\n", []string{
			"2:1: warning: `ls /x` throws its errors away, so it is expected to fail" + endsIt + "`ls /x || true`",
			"5:1: warning: `ls /x` throws its errors away, so it is expected to fail" + endsIt + "`ls /x || true`"}},
		{"kill -0 where it is not asked", "#!/bin/bash\nkill -0 $(cat shop.pid)\n", []string{"2:1: warning: `kill -0 $(cat shop.pid)` fails when there is nothing to kill, as on a new server" + endsIt + "`kill -0 $(cat shop.pid) || true`"}},
		{"kill", "#!/bin/bash\nkill $(pgrep shop)\n", []string{"2:1: warning: `kill $(pgrep shop)` fails when there is nothing to kill, as on a new server" + endsIt + "`kill $(pgrep shop) || true`"}},
		{"a status that the next line reads", "#!/bin/bash\nlast=$(cat /tmp/shop-last-run 2>/dev/null)\nif [ $? -ne 0 ]; then\n  last=none\nfi\n",
			[]string{"2:1: warning: line 3 reads the status of this with $?, and -e ends the script before that: write `last=$(cat /tmp/shop-last-run 2>/dev/null) || status=$?`, or make it the condition of the `if`"}},
		{"its own way out", "#!/bin/bash\nset +e\nlast=$(cat /tmp/x)\nif [ $? -ne 0 ]; then last=none; fi\npkill shop\ndocker stop shop\n",
			[]string{"2:1: warning: errexit is off from here to the end of the script"}},
		{"and back", "#!/bin/bash\nset +e\npkill shop\nset -e\npkill shop\n", []string{
			"2:1: warning: errexit is off from line 2 to line 4",
			"5:1: warning: `pkill shop` " + newServer + endsIt + "`pkill shop || true`"}},
		{"caught", "#!/bin/bash\npkill shop || true\nif pgrep shop; then :; fi\n! grep -q x /etc/hosts\nwhile pgrep shop; do sleep 1; done\npkill shop &\necho $(pgrep shop)\nlocal_only() { grep x y || return 0; }\nid\nrm -f /tmp/x\nmkdir -p /srv/x\nln -sfn a b\ndocker rm -f shop\nsystemctl start shop\n", nil},
		{"with sudo", "#!/bin/bash\nsudo -u shop pkill -f shop\n", []string{"2:1: warning: `sudo -u shop pkill -f shop` " + newServer + endsIt + "`sudo -u shop pkill -f shop || true`"}},
		{"services", "#!/bin/bash\nservice httpd stop\nsystemctl stop shop\n/etc/init.d/shop status\nsystemctl is-active shop\n", []string{
			"2:1: warning: `service httpd stop` fails when the service is not there, or does not run" + endsIt + "`service httpd stop || true`",
			"3:1: warning: `systemctl stop shop` fails when the unit is not there, or does not run" + endsIt + "`systemctl stop shop || true`",
			"4:1: warning: `/etc/init.d/shop status` fails when the service is not there, or does not run" + endsIt + "`/etc/init.d/shop status || true`",
			"5:1: warning: `systemctl is-active shop` fails when the unit is not there, or does not run" + endsIt + "`systemctl is-active shop || true`"}},
		{"what is there, or is not, by another tool's word", "#!/bin/bash\npm2 restart shop\npm2 reload ecosystem.config.js\npm2 restart all --update-env\ndocker network create shop\ndocker inspect shop\n/opt/tomcat/bin/shutdown.sh\ncatalina.sh stop\nps -p 12\nyum list installed nginx\nstart-stop-daemon --stop --pidfile x\nstart-stop-daemon --stop --oknodo --pidfile x\ndeluser shop\nsystemctl reset-failed shop\nsemanage port -a -t http_port_t -p tcp 81\ncreatedb shop\ncat /run/shop.pid\nps aux\nyum list\n", []string{
			"2:1: warning: `pm2 restart shop` fails when the process is not known, as on a new server" + endsIt + "`pm2 restart shop || pm2 start ...`",
			"4:1: warning: `pm2 restart all --update-env` fails when the process is not known, as on a new server" + endsIt + "`pm2 restart all --update-env || pm2 start ...`",
			"5:1: warning: `docker network create shop` fails when it is there, as in the second deployment" + endsIt + "`docker network create shop || true`",
			"6:1: warning: `docker inspect shop` fails when there is nothing of that name, as on a new server" + endsIt + "`docker inspect shop || true`",
			"7:1: warning: `/opt/tomcat/bin/shutdown.sh` fails when Tomcat does not run, as on a new server" + endsIt + "`/opt/tomcat/bin/shutdown.sh || true`",
			"8:1: warning: `catalina.sh stop` fails when Tomcat does not run, as on a new server" + endsIt + "`catalina.sh stop || true`",
			"9:1: warning: `ps -p 12` has status 1 when no such process runs, as on a new server" + endsIt + "`if ps -p 12; then`",
			"10:1: warning: `yum list installed nginx` has status 1 when it is not installed" + endsIt + "`yum list installed nginx || true`",
			"11:1: warning: `start-stop-daemon --stop --pidfile x` has status 1 when nothing runs, as on a new server" + endsIt + "`--oknodo`",
			"13:1: warning: `deluser shop` fails when there is no such user" + endsIt + "`deluser shop || true`",
			"14:1: warning: `systemctl reset-failed shop` fails when the unit is not there, or does not run" + endsIt + "`systemctl reset-failed shop || true`",
			"15:1: warning: `semanage port -a -t http_port_t -p tcp 81` fails when it is there, as in the second deployment" + endsIt + "`semanage port -a -t http_port_t -p tcp 81 || true`",
			"16:1: warning: `createdb shop` fails when it is there, as in the second deployment" + endsIt + "`createdb shop || true`",
			"17:1: warning: `cat /run/shop.pid` fails when it is not there, as on a new server" + endsIt + "`if [ -e FILE ]; then cat /run/shop.pid; fi`"}},
		{"a question that nobody answers", "#!/bin/bash\nread -p 'Go on? ' answer\necho a | read b\nread c <<< x\nwhile read d; do :; done\n{ read e; } < /etc/hostname\nf() { read g; }\nf < /etc/hostname\nread h || true\nexec < /etc/hostname\nread i\n", []string{
			"2:1: warning: `read -p 'Go on? ' answer` has status 1, because a hook has no input" + endsIt + "an assignment"}},
		{"sessions", "#!/bin/bash\nscreen -S shop -X quit\nscreen -dmS shop ./shop\nmonit unmonitor shop\nmonit start shop\n", []string{
			"2:1: warning: `screen -S shop -X quit` fails when there is no such session" + endsIt + "`screen -S shop -X quit || true`",
			"4:1: warning: `monit unmonitor shop` fails when the service is not known" + endsIt + "`monit unmonitor shop || true`"}},
		{"containers", "#!/bin/bash\ndocker stop shop\ndocker container rm shop\ndocker kill $(docker ps -q)\n", []string{
			"2:1: warning: `docker stop shop` fails when there is nothing of that name, as on a new server" + endsIt + "`docker stop shop || true`",
			"3:1: warning: `docker container rm shop` fails when there is nothing of that name, as on a new server" + endsIt + "`docker container rm shop || true`",
			"4:1: warning: `docker kill $(docker ps -q)` fails when there is nothing of that name, as on a new server" + endsIt + "`docker kill $(docker ps -q) || true`"}},
		{"files", "#!/bin/bash\nrm /var/www/html/index.html\nmv /etc/old.conf /etc/new.conf\nmkdir /srv/shop\nln -s /srv/shop/current /srv/live\nrm VERSION\ntouch /tmp/made; rm /tmp/made\n", []string{
			"2:1: warning: `rm /var/www/html/index.html` fails when it is not there, as in the first deployment" + endsIt + "`rm -f`",
			"3:1: warning: `mv /etc/old.conf /etc/new.conf` fails when it is not there, as in the first deployment" + endsIt + "`if [ -e FILE ]; then mv /etc/old.conf /etc/new.conf; fi`",
			"4:1: warning: `mkdir /srv/shop` fails when it is there, as in the second deployment" + endsIt + "`mkdir -p`",
			"5:1: warning: `ln -s /srv/shop/current /srv/live` fails when it is there, as in the second deployment" + endsIt + "`ln -sfn`"}},
		{"looking", "#!/bin/bash\ngrep -q shop /etc/hosts\ncrontab -l > /tmp/cron\nx=$(ps aux | grep [s]hop)\ndiff a b\ncmp a b\nid shop\ngetent passwd shop\ncommand -v node\nread -r -d '' TEXT <<END\na\nEND\ni=0\n((i++))\nuseradd shop\n", []string{
			"2:1: warning: `grep -q shop /etc/hosts` has status 1 when no line matches" + endsIt + "`if grep -q shop /etc/hosts; then`, or `grep -q shop /etc/hosts || true`",
			"3:1: warning: `crontab -l` has status 1 when the user has no crontab, as on a new server" + endsIt + "`crontab -l || true`",
			"4:1: warning: `grep [s]hop` has status 1 when no line matches" + endsIt + "`if grep [s]hop; then`, or `grep [s]hop || true`",
			"4:5: warning: only the last command of this pipeline counts: add `set -o pipefail`",
			"5:1: warning: `diff a b` has status 1 when there is a difference" + endsIt + "`if ! diff a b; then`, or `diff a b || true`",
			"6:1: warning: `cmp a b` has status 1 when there is a difference" + endsIt + "`if ! cmp a b; then`, or `cmp a b || true`",
			"7:1: warning: `id shop` fails when there is no such user" + endsIt + "`if ! id shop; then`",
			"8:1: warning: `getent passwd shop` has status 2 when there is no such entry" + endsIt + "`if ! getent passwd shop; then`",
			"9:1: warning: `command -v node` has status 1 when there is no such program" + endsIt + "`if ! command -v node; then`, or `command -v node || true`",
			"10:1: warning: `read -r -d '' TEXT` has status 1 at the end of its input, which it always reaches" + endsIt + "`read -r -d '' TEXT || true`",
			"14:1: warning: `((i++))` has status 1 when its result is 0, and -e ends the script: write `: $((...))`, or an assignment",
			"15:1: warning: `useradd shop` has status 9 when the user is there, as in the second deployment" + endsIt + "`id USER >/dev/null 2>&1 || useradd shop`"}},
		{"a function that is a condition", "#!/bin/bash\nrunning() {\n  pgrep shop\n}\nif running; then echo yes; fi\nrunning || echo no\n", nil},
		{"a test at the end of a function", "#!/bin/bash\nsetup() {\n  [ -f /etc/shop.conf ] && . /etc/shop.conf\n}\nsetup\n",
			[]string{"3:3: warning: function setup has status 1 when this test is false, and -e ends the script where it is called: write `if ...; then ...; fi`, or `return 0` below"}},
		{"what gets past in a function", "#!/bin/bash\nset -e\nend() {\n  rm -f lock\n  exit 0\n}\nsound() { status=$?; rm -f lock; exit $status; }\nquiet() { rm -f lock; exit; }\nlost() { rm -f lock; exit $?; }\nfirst() { exit $?; }\nasked() { if [ -e x ]; then exit 0; fi; }\ntrap end EXIT\ntrap sound EXIT\ntrap quiet EXIT\ntrap lost EXIT INT TERM\ntrap first EXIT\ntrap 'rm -f lock; lost' EXIT\ntrap 'rm -f lock; exit $?' EXIT\ntrap 'exit $?' EXIT\ntrap end INT\ntrap asked EXIT\ntrap 'false; first' ERR\n", []string{
			"9:10: warning: line 9 reads the status of this with $?, and -e ends the script before that: write `rm -f lock || status=$?`, or make it the condition of the `if`",
			"12:1: warning: " + atTheEnd, "15:1: warning: " + atTheEnd, "17:1: warning: " + atTheEnd, "18:1: warning: " + atTheEnd, "22:1: warning: " + atTheEnd}},
		{"what gets past in another shell's words", "#!/bin/bash\nset -e\ndocker exec shop sh -c 'a; b'\nfind . -exec bash -c 'a {}; b {}' \\;\nkubectl exec pod -- bash -lc 'a && b'\ncd scripts\n./child.sh\n. ./lib-of-it.sh\nmake & wait\nmake & wait $!\n", []string{
			"3:1: warning: this shell has no -e, and only its last command counts: write `sh -ec`",
			"4:1: warning: this shell has no -e, and only its last command counts: write `bash -ec`",
			"7:1: warning: scripts/child.sh is run by a shell of its own, without -e: at its line 2 it goes on after a failure; put `set -e` at its top",
			"9:8: warning: `wait` has status 0 whatever became of what it waits for: write `wait PID`, for each",
			"scripts/lib-of-it.sh:1:1: warning: `pkill shop` has status 1 when no such process runs, as on a new server" + endsIt + "`pkill shop || true`"}},
		{"what gets past", "#!/bin/bash\nset -e\nbash -c 'false; true'\nsu shop -c \"cd /srv; make\"\nsudo -u shop bash <<END\ncd /srv\nmake\nEND\nbash scripts/child.sh\n./scripts/child.sh\n\"$(dirname \"$0\")\"/child.sh\nbash -ec 'false; true'\nbash -c 'one'\nbash -e scripts/child.sh\nscripts/sound.sh\ntrap 'rm -f lock; exit 0' EXIT\ntrap 'rm -f lock' EXIT\n", []string{
			"3:1: warning: this shell has no -e, and only its last command counts: write `bash -ec`",
			"4:1: warning: the shell that su starts has no -e, and only its last command counts: begin it with `set -e; `",
			"5:1: warning: this shell has no -e, and only its last command counts: write `bash -e`",
			"9:1: warning: scripts/child.sh is run by a shell of its own, without -e: at its line 2 it goes on after a failure; put `set -e` at its top",
			"10:1: warning: scripts/child.sh is run by a shell of its own, without -e: at its line 2 it goes on after a failure; put `set -e` at its top",
			"11:1: warning: scripts/child.sh is run by a shell of its own, without -e: at its line 2 it goes on after a failure; put `set -e` at its top",
			"16:1: warning: this makes a success of every failure: the script ends with status 0 whatever happens; write `trap 'status=$?; ...; exit $status' EXIT`"}},
		{"what it reads", "#!/bin/bash\n. ./scripts/runtime.sh\n. /etc/profile\nsource ~/.bashrc\necho built\n", []string{
			"scripts/runtime.sh:1:1: warning: `pgrep shop` " + newServer + endsIt + "`pgrep shop || true`",
			"scripts/runtime.sh:3:3: warning: `cat ./none` throws its errors away, so it is expected to fail" + endsIt + "`cat ./none || true`",
			"3:1: warning: what `. /etc/profile` reads runs under -e too, and files of a login are not written for that: put `set +e` before it and `set -e` behind it",
			"4:1: warning: what `source ~/.bashrc` reads runs under -e too, and files of a login are not written for that: put `set +e` before it and `set -e` behind it"}},
		{"words of bash in sh", "#!/bin/sh\nset -e\nsource ./lib.sh\n[[ -d / ]] && echo ok\na=(1 2)\nfunction f { :; }\ncat <<<x\necho ${PWD/a/b} &>/dev/null\n[ a == b ] || true\n", []string{
			"3:1: warning: `source` is bash's, and a /bin/sh that is dash stops here: use #!/bin/bash, or write `.` and the file's path",
			"4:1: warning: `[[` is bash's, and a /bin/sh that is dash stops here: use #!/bin/bash, or `[`",
			"5:3: warning: an array is bash's, and a /bin/sh that is dash stops here: use #!/bin/bash",
			"6:1: warning: the word `function` is bash's, and a /bin/sh that is dash stops here: use #!/bin/bash, or write `name() {`",
			"7:5: warning: `<<<` is bash's, and a /bin/sh that is dash stops here: use #!/bin/bash, or printf and a pipe",
			"8:6: warning: `${x/y/z}` is bash's, and a /bin/sh that is dash stops here: use #!/bin/bash, or sed",
			"8:17: warning: `&>` is bash's, and a /bin/sh that is dash runs it in the background: use #!/bin/bash, or write `>FILE 2>&1`",
			"9:1: warning: `==` in `[` is bash's, and a /bin/sh that is dash takes it for false: use #!/bin/bash, or write `=`"}},
		{"bash's words under sh that go on, and do something else", `#!/bin/sh
if [ "$DEPLOYMENT_GROUP_NAME" == "production" ]; then A=1; fi
echo -e "a\tb"
for i in {1..3}; do :; done
cp /etc/{hosts,hostname} /tmp
A+=2
X=$(</etc/hostname)
if [ "$EUID" -ne 0 ]; then echo "$RANDOM"; fi
sleep 1 & kill -SIGTERM $!
trap 'rm -f x' EXIT SIGTERM
echo $((i++)) $((2**3))
wait -n
HOSTNAME=x; echo $HOSTNAME {a} -x; echo a -e; grep -e x; kill -TERM 1 || true
`, []string{
			"2:4: warning: `==` in `[` is bash's, and a /bin/sh that is dash takes it for false: use #!/bin/bash, or write `=`",
			"3:1: warning: `echo -e` is bash's, and a /bin/sh that is dash writes the -e too: use #!/bin/bash, or printf",
			"4:10: warning: `{a,b}` is bash's, and a /bin/sh that is dash takes it as it is: use #!/bin/bash, or write all of them",
			"6:1: warning: `x+=y` is bash's, and a /bin/sh that is dash stops here: use #!/bin/bash, or write `x=$x...`",
			"7:3: warning: `$(<FILE)` is bash's, and a /bin/sh that is dash leaves it empty: use #!/bin/bash, or write `$(cat FILE)`",
			"8:7: warning: `$EUID` is bash's, and a /bin/sh that is dash leaves it empty: use #!/bin/bash, or `id -u`",
			"8:34: warning: `$RANDOM` is bash's, and a /bin/sh that is dash leaves it empty: use #!/bin/bash",
			"9:11: warning: `kill -SIGTERM` is bash's, and a /bin/sh that is dash stops here: use #!/bin/bash, or write `kill -TERM`",
			"10:1: warning: `trap ... SIGTERM` is bash's, and a /bin/sh that is dash stops here: use #!/bin/bash, or write `TERM`",
			"11:9: warning: `++` is bash's, and a /bin/sh that is dash stops here: use #!/bin/bash, or write `i=$((i + 1))`",
			"11:18: warning: `**` is bash's, and a /bin/sh that is dash stops here: use #!/bin/bash",
			"12:1: warning: `wait -n` is bash's, and a /bin/sh that is dash stops here: use #!/bin/bash",
			"9:11: warning: `kill -SIGTERM $!` fails when there is nothing to kill, as on a new server" + endsIt + "`kill -SIGTERM $! || true`",
			"13:47: warning: `grep -e x` has status 1 when no line matches" + endsIt + "`if grep -e x; then`, or `grep -e x || true`"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := revision(t, c.script, map[string]string{"VERSION": "1", "scripts/child.sh": "#!/bin/bash\nfalse\necho migrated\n", "scripts/sound.sh": "#!/bin/bash\nset -e\nfalse\ntrue\n",
				"scripts/lib-of-it.sh": "pkill shop\n", "scripts/runtime.sh": "pgrep shop\nf() {\n  x=$(cat ./none 2>/dev/null)\n}\nf\n"})
			var got []string
			for _, p := range hooks.CheckSource([]hooks.Script{s}, hooks.Enforce) {
				got = append(got, strings.TrimPrefix(p.String(), "scripts/a.sh:"))
			}
			if a, b := strings.Join(got, "\n"), strings.Join(c.want, "\n"); a != b {
				t.Errorf("got\n%s\nwant\n%s", a, b)
			}
		})
	}
}

// In ValidateService what only asks fails because it is meant to; what it stops does not.
func TestRisksOfValidateService(t *testing.T) {
	s := revision(t, "#!/bin/bash\ngrep -q up /tmp/shop\nkill -0 $(cat shop.pid)\nsystemctl is-active shop\npgrep shop\nkill $(cat old.pid)\n", nil)
	s.Event = hooks.ValidateService
	want := "scripts/a.sh:6:1: warning: `kill $(cat old.pid)` fails when there is nothing to kill, as on a new server" + endsIt + "`kill $(cat old.pid) || true`"
	if got := hooks.CheckSource([]hooks.Script{s}, hooks.Enforce); len(got) != 1 || got[0].String() != want {
		t.Errorf("%v\nwant %s", got, want)
	}
}
