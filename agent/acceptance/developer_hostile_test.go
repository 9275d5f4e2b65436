package acceptance

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"usher/agent/standin"
)

// obeyed is what a terminal obeys: a title with a bell, a colour, a clearing by a C1 control, and the other direction.
const obeyed = "\x1b]0;own\x07\x1b[31mx\u009b2J\u202ey"

// listed are usher's commands as `usher help` lists them, which is how they are declared: "deploy", "deploy list".
func (h *shop) listed() (names []string) {
	h.Helper()
	for _, m := range regexp.MustCompile(`(?m)^  usher ([a-z-]+(?: [a-z-]+)*) `).FindAllStringSubmatch(h.usher("help").stdout, -1) {
		names = append(names, m[1])
	}
	if len(names) < 20 {
		h.Fatalf("found only the commands %q", names)
	}
	return names
}

// jsonText is a text as it stands in JSON.
func jsonText(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return strings.Trim(string(b), `"`)
}

// loudly is an endpoint before another, in whose answers every name that is another's says what a terminal obeys.
func (h *shop) loudly(to string) string {
	named := regexp.MustCompile(`"(description|targetId|instanceId|instanceName|[Kk]ey|[Vv]alue|deploymentConfigName|computePlatform|message|scriptName|logTail|lifecycleEventName)":"[^"]*"`)
	tagged := regexp.MustCompile(`<(InstanceId|Key|Value|ImageId|LifecycleState|Description|StatusMessage|Cause)>[^<]*<`) // XML has no other controls
	proxy := front(to)
	proxy.ModifyResponse = func(answer *http.Response) error {
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			return err
		}
		body = named.ReplaceAll(body, []byte(`"$1":"`+strings.ReplaceAll(jsonText(obeyed), "$", "$$")+`"`))
		body = tagged.ReplaceAll(body, []byte("<$1>own\u009b2J\u202ey<"))
		answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		answer.Header.Set("Content-Length", strconv.Itoa(len(body)))
		answer.Header.Del("X-Amz-Crc32")
		return nil
	}
	server := httptest.NewServer(proxy)
	h.Cleanup(server.Close)
	return server.URL
}

// Text of somebody else - a commit's subject, a script's output, a file's name, a value of an appspec or of usher.yml, an
// argument, an error of AWS - through every command, into a pipe and onto a terminal: it is shown, and not obeyed.
func TestHostileTextThroughEveryCommand(t *testing.T) {
	h := newShop(t, 1, production())
	h.environ = []string{"TERM=xterm", "LANG=C.UTF-8"}
	shout := "#!/bin/sh\nprintf '" + strings.NewReplacer("\x1b", `\033`, "\x07", `\007`).Replace(obeyed) + "\\n'\n"
	h.commit(obeyed, edition("2").with(files{"scripts/render.sh": shout + "exit 1\n", obeyed + ".txt": "x"}))
	h.write("odd/appspec.yml", `version: 0.0
os: linux
hooks: {ValidateService: [{location: "`+strings.NewReplacer("\x1b", `\e`, "\x07", `\a`).Replace(obeyed)+`.sh"}]}
`)
	h.write("loud/appspec.yml", "version: 0.0\nos: linux\nhooks: {ValidateService: [{location: loud.sh}]}\n")
	h.write("loud/loud.sh", shout+"exit 1\n")
	h.write("bad.tar", string(tarred(t, files{"appspec.yml": "version: 0.0\nos: linux\n", "../" + obeyed: "x"})))
	h.write("image/etc/usher/agent.yml", obeyed+": 1\n")
	server := h.servers[0]
	config, odd, loud, bad := " --config "+server.path("agent.yml"), h.path("odd"), h.path("loud"), h.path("bad.tar")
	h.write("short.yml", "application: shop\ndeployment_group: production\nretry_timeout: 1s\nlink: "+h.path("short/app")+"\nbase: "+h.path("short/base")+"\nreleases: "+h.path("short/releases")+"\nstate_dir: "+h.path("short/state")+"\n")
	h.write("odd.yml", "application: \""+strings.NewReplacer("\x1b", `\e`, "\x07", `\a`).Replace(obeyed)+"\"\nlinks: x\n")

	lines := map[string][]string{ // each command's, where others' text comes in
		"run": {"run --once --config " + h.path("odd.yml")}, "status": {"status" + config, "status --json" + config}, "history": {"history" + config, "history --json" + config},
		"blame": {"blame" + config, "blame --json" + config}, "plot": {"plot" + config}, "hold": {"hold" + config + " " + obeyed}, "unhold": {"unhold --config " + obeyed},
		"migrate": {"migrate", "migrate " + odd}, "check": {"check " + odd, "check " + bad, "check " + h.repo, "check " + obeyed},
		"rehearse": {"rehearse --root " + h.path("scratch") + " " + loud, "rehearse --root " + h.path("scratch") + " " + bad},
		"deploy":   {"deploy production", "deploy --json production", "deploy " + obeyed, "deploy production " + obeyed}, "deploy status": {"deploy status production", "deploy status --json production"},
		"deploy list": {"deploy list production", "deploy list --json production"}, "deploy stop": {"deploy stop production", "deploy stop --json " + obeyed}, "rollback": {"rollback production", "rollback production " + obeyed},
		"servers": {"servers production", "servers --json production"}, "doctor": {"doctor production", "doctor --json production", "doctor" + config},
		"bake": {"bake --check --root " + h.path("image"), "bake --check --root " + obeyed}, "attach": {"attach --dry-run production"},
		"lock": {"lock production " + obeyed, "lock " + obeyed + " x"}, "unlock": {"unlock production", "unlock " + obeyed},
		"init":       {"init --dry-run", "init --dry-run --link /" + obeyed, "init --dry-run --application " + obeyed, "init --kind " + obeyed},
		"iam-policy": {"iam-policy --bucket " + obeyed}, "version": {"version " + obeyed}, "completion": {"completion " + obeyed},
	}
	shown := 0
	through := func(line string) {
		h.Helper()
		got := h.usher(line)
		for _, text := range []string{got.stdout, got.stderr} {
			for _, r := range text {
				if unicode.IsControl(r) && r != '\t' && r != '\n' || unicode.Is(unicode.Bidi_Control, r) {
					h.Errorf("usher %q writes %q into a pipe: %q", line, r, text)
					break
				}
			}
			shown += strings.Count(text, `own`)
		}
		screen, tty := terminal(t)
		h.types(line, func(c *exec.Cmd) { c.Stdin, c.Stdout, c.Stderr = tty, tty, tty }).ends()
		tty.WriteString("\nthat was all\n")
		screen.says("that was all")
		for _, part := range []string{"\x1b]", "\x07", "\x1b[31mx", "\u009b", "\u202e"} { // bars have cursor movements of their own
			if strings.Contains(screen.text(), part) {
				h.Errorf("usher %q: a terminal obeys %q: %q", line, part, screen.text())
			}
		}
	}
	names := h.listed()
	for name := range lines {
		if !slices.Contains(names, name) {
			t.Errorf("there is no command %s any more", name)
		}
	}
	for _, name := range names {
		if len(lines[name]) == 0 {
			t.Errorf("usher %s is not looked at: where does text of others come into it?", name)
		}
		through(name + " --" + obeyed)
		for _, line := range lines[name] {
			through(line)
		}
	}
	// What AWS answers with: an instance's id, tags of a group and of a server, another one's description.
	environ := h.environ
	h.environ = append(slices.Clone(environ), "AWS_ENDPOINT_URL="+h.loudly(h.cloud.Endpoint))
	before := shown
	for _, name := range []string{"deploy status", "deploy list", "rollback", "servers", "doctor", "attach", "deploy"} {
		for _, line := range lines[name] {
			through(line)
		}
	}
	if shown < before+20 {
		t.Errorf("of AWS's answers the text was shown only %d times", shown-before)
	}
	h.environ = environ
	instance := h.cloud.Instances()[0]
	h.environ = append(slices.Clone(environ), h.cloud.Environ(instance)...)
	for item, text := range map[string]string{"dynamic/instance-identity/document": `{"instanceId":"i-` + jsonText(obeyed) + `","region":"eu-west-1","accountId":"1","imageId":"ami-` + jsonText(obeyed) +
		`","availabilityZone":"eu-west-1a","instanceType":"` + jsonText(obeyed) + `","pendingTime":"2026-01-01T00:00:00Z","privateIp":"10.0.0.1","architecture":"x86_64"}`,
		"meta-data/tags/instance": "usher:application\n" + obeyed, "meta-data/tags/instance/usher:application": obeyed, "meta-data/autoscaling/target-lifecycle-state": obeyed} {
		instance.FailMetadata(item, -1, standin.Fault{Body: []byte(text)})
		through("run --once --config " + h.path("short.yml"))
		instance.HealMetadata(item)
	}
	h.environ = environ
	h.cloud.Fail("*", -1, standin.Fault{Code: "AccessDenied", Message: obeyed})
	for _, name := range []string{"deploy", "deploy status", "deploy list", "rollback", "servers", "doctor", "attach"} {
		through(lines[name][0])
	}
	if shown < 2*len(names) {
		t.Errorf("the text was shown only %d times: does it still come in?", shown)
	}
	if log, err := filepath.Glob(h.repo + "/*own*"); err != nil || len(log) != 1 {
		t.Errorf("the file with the odd name: %q, %v", log, err)
	}
}
