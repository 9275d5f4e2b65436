package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func readUnit(t *testing.T) string {
	t.Helper()
	unit, err := os.ReadFile("usher.service")
	if err != nil {
		t.Fatal(err)
	}
	return string(unit)
}

// verify is what systemd-analyze verify says of usher.service, next to the units given, which stand in for
// those of the machine. The program it starts need not be installed.
func verify(t *testing.T, unit string, others map[string]string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil && os.Getenv("CI") == "" {
		t.Skip("systemd-analyze is not installed; CI installs it")
	}
	dir := t.TempDir()
	unit = regexp.MustCompile(`(?m)^ExecStart=.*$`).ReplaceAllString(unit, "ExecStart=/bin/true")
	file := filepath.Join(dir, "usher.service")
	if err := os.WriteFile(file, []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	wants := filepath.Join(dir, "multi-user.target.wants")
	if err := os.Mkdir(wants, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, filepath.Join(wants, "usher.service")); err != nil {
		t.Fatal(err)
	}
	start := []string{"verify", "--man=no", file}
	for name, text := range others {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		start = append(start, filepath.Join(dir, name))
	}
	cmd := exec.CommandContext(t.Context(), "systemd-analyze", start...)
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":", "SYSTEMD_LOG_COLOR=0")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestUnitIsValid(t *testing.T) {
	if out, err := verify(t, readUnit(t), nil); err != nil || strings.Contains(out, "usher.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// cloudInit are the units of cloud-init that matter for the order, as its 23.x and later ship them.
var cloudInit = map[string]string{
	"cloud-config.service": "[Unit]\nAfter=network-online.target\n[Service]\nType=oneshot\nExecStart=/bin/true\n",
	"cloud-final.service":  "[Unit]\nAfter=network-online.target cloud-config.service multi-user.target\n[Service]\nType=oneshot\nExecStart=/bin/true\n",
	"cloud-init.target":    "[Unit]\nAfter=multi-user.target\nWants=cloud-config.service cloud-final.service multi-user.target\n",
}

func TestUnitFitsIntoTheBootWithCloudInit(t *testing.T) {
	for _, c := range []struct {
		name, after string
		cycle       bool
	}{
		{"as it is", "cloud-config.service", false},
		{"after the last stage", "cloud-config.service cloud-final.service", true},
		{"after all of cloud-init", "cloud-config.service cloud-init.target", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			unit := strings.Replace(readUnit(t), "[Unit]\n", "[Unit]\nAfter="+c.after+"\n", 1) // what a drop-in may add
			out, _ := verify(t, unit, cloudInit)
			if got := strings.Contains(out, "ordering cycle"); got != c.cycle {
				t.Errorf("ordering cycle: %v, want %v\n%s", got, c.cycle, out)
			}
		})
	}
}

// What may be said about the unit without a systemd, because other rooms rely on it.
func TestUnitKeepsItsPromises(t *testing.T) {
	unit := "\n" + readUnit(t)
	for _, want := range []struct{ line, why string }{
		{"ExecStart=/usr/bin/usher run", "the binary's place on the image"},
		{"Type=notify", "Notifier.Ready"},
		{"WatchdogSec=5min", "Notifier.Alive"},
		{"KillMode=process", "daemons that hooks start survive the agent"},
		{"StateDirectory=usher", "the record's place"},
		{"RuntimeDirectory=usher", "usher apply-files"},
		{"RuntimeDirectoryMode=0711", "scripts of other users tell there where errexit ended them"},
		{"ReadWritePaths=-/opt", "the link and the releases"},
		{"SuccessExitStatus=3", "exit code 3: nothing to do"},
		{"EnvironmentFile=-/etc/default/usher", "optional environment"},
	} {
		if !strings.Contains(unit, "\n"+want.line+"\n") {
			t.Errorf("no line %q: %s", want.line, want.why)
		}
	}
	// What the agent's work needs, and the application's that it leaves behind.
	for _, forbidden := range []string{"ProtectHome=yes", "MemoryMax=", "OOMScoreAdjust=", "ProcSubset=", "IPAddressDeny="} {
		if strings.Contains(unit, "\n"+forbidden) {
			t.Errorf("%s would keep the agent from its work", forbidden)
		}
	}
}

// The sandbox, in the figures of systemd-analyze: 0 is no exposure, 100 no sandbox. The rest is the network, root,
// and what root needs to give files away.
func TestSandboxIsTight(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil && os.Getenv("CI") == "" {
		t.Skip("systemd-analyze is not installed; CI installs it")
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=22", "usher.service").CombinedOutput()
	if err != nil {
		t.Errorf("exposed to more than 22: %v\n%s", err, out)
	}
}

func TestEveryLineOfTheUnitHasItsReason(t *testing.T) {
	for i, block := range strings.Split(readUnit(t), "\n\n") {
		lines := strings.Split(strings.TrimSpace(block), "\n")
		plain := strings.HasPrefix(lines[0], "[") && !strings.Contains(block, "#") // a section's head with its first lines
		if !plain && !strings.Contains(block, "#") {
			t.Errorf("block %d has no comment:\n%s", i+1, block)
		}
	}
}
