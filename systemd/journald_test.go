package systemd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// The journal's socket has one fixed place. So that a test can have a journald of its own there, and
// stop it, this test binary runs itself again in a private mount namespace with an empty /run, in one
// of these roles.
const (
	roleVariable = "USHER_TEST_ROLE"
	roleJournald = "journald"
	roleNoReader = "no-reader"
)

// journaldPaths are where distributions keep systemd-journald.
var journaldPaths = []string{"/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald"}

// patience bounds everything a test waits for; on a loaded machine journald needs a second or two.
const patience = 5 * time.Minute

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case roleJournald:
		exitWith(withJournald())
	case roleNoReader:
		zap.New(NewCore(zapcore.InfoLevel)).Error("nobody reads this")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func exitWith(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "in the namespace:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// inNamespace runs this test binary again in a role, in a mount namespace of its own.
func inNamespace(t *testing.T, role string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return cmd
}

func TestARealJournal(t *testing.T) {
	if !slices.ContainsFunc(journaldPaths, exists) && os.Getenv("CI") == "" {
		t.Skip("systemd-journald is not installed; CI installs it")
	}
	cmd := inNamespace(t, roleJournald)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}

	// On standard error: what was logged before journald ran, and after.
	for _, line := range []string{"before journald", "after journald"} {
		if strings.Count(errs.String(), line) != 1 {
			t.Errorf("%q is not once on standard error:\n%s", line, errs.String())
		}
	}

	// In the journal: what was logged in between.
	want := []map[string]string{
		{"MESSAGE": "AfterInstall finished", "PRIORITY": "6", "MESSAGE_ID": MessageStepFinished, "SYSLOG_IDENTIFIER": "usher",
			"DEPLOYMENT_ID": "d-1", "LIFECYCLE_EVENT": "AfterInstall", "DURATION_USEC": "1800000"},
		{"MESSAGE": "two\nlines", "PRIORITY": "4", "DEPLOYMENT_ID": "d-1"},
		{"MESSAGE": "big", "PRIORITY": "3", "TAIL": strings.Repeat("x", bigField)},
		{"MESSAGE": "a line of a script", "PRIORITY": "6", "HOOK_OUTPUT": "true", "SYSLOG_IDENTIFIER": "usher"},
	}
	got := journalEntries(t, out.Bytes())
	if len(got) != len(want) {
		t.Fatalf("%d entries in the journal, want %d:\n%.2000s", len(got), len(want), out.String())
	}
	for i := range want {
		for name, value := range want[i] {
			if got[i][name] != value {
				t.Errorf("entry %d: %s=%.100q, want %.100q", i+1, name, got[i][name], value)
			}
		}
	}
}

// bigField is more than fits into one datagram, so that the entry goes through a file.
const bigField = 1 << 20

// withJournald logs before, while and after a journald runs, and prints its journal as JSON.
func withJournald() error {
	// No mount of ours may come to the outside.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("cannot mount an empty /run: %w", err)
	}
	if err := errors.Join(
		os.MkdirAll("/run/systemd/journald.conf.d", 0o755),
		os.MkdirAll("/run/systemd/journal", 0o755),
		os.MkdirAll("/run/log/journal", 0o755),
		// Only what is sent to the socket; neither the kernel's log nor audit.
		os.WriteFile("/run/systemd/journald.conf.d/test.conf",
			[]byte("[Journal]\nReadKMsg=no\nAudit=no\nStorage=volatile\nRateLimitBurst=0\n"), 0o644),
	); err != nil {
		return err
	}

	log := zap.New(NewCore(zapcore.InfoLevel))
	log.Info("before journald")

	i := slices.IndexFunc(journaldPaths, exists)
	if i < 0 {
		return fmt.Errorf("systemd-journald is at none of %q", journaldPaths)
	}
	journald := exec.Command(journaldPaths[i])
	journald.Env = []string{"SYSTEMD_LOG_TARGET=null"}
	runtime.LockOSThread() // the signal comes when the starting thread ends
	journald.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := journald.Start(); err != nil {
		return err
	}
	defer func() { _ = journald.Process.Kill(); _ = journald.Wait() }()
	if err := until(func() bool { return exists("/run/systemd/journal/socket") }); err != nil {
		return fmt.Errorf("journald made no socket: %w", err)
	}

	deployment := log.With(zap.String("deployment_id", "d-1"))
	deployment.Info("AfterInstall finished", ID(MessageStepFinished),
		zap.String("lifecycle_event", "AfterInstall"), zap.Duration("duration", 1800*time.Millisecond))
	deployment.Warn("two\nlines")
	deployment.Error("big", zap.String("tail", strings.Repeat("x", bigField)))
	deployment.Info("a line of a script", Output())

	var entries []byte
	if err := until(func() bool {
		entries, _ = exec.Command("journalctl", "--directory=/run/log/journal", "--identifier=usher",
			"--output=json", "--all", "--no-pager", "--quiet").Output()
		return bytes.Count(entries, []byte("\n")) >= 4
	}); err != nil {
		return fmt.Errorf("the journal has only:\n%.2000s", entries)
	}
	fmt.Printf("%s", entries)

	if err := journald.Process.Kill(); err != nil {
		return err
	}
	_ = journald.Wait() // killed, as asked
	log.Info("after journald")
	return nil
}

// until asks again and again whether something came true, for patience.
func until(true func() bool) error {
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !true() {
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("not within %s", patience)
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(filepath.Clean(path))
	return err == nil
}

// journalEntries reads journalctl's JSON: one object a line, values that are not printable text as
// arrays of bytes.
func journalEntries(t *testing.T, lines []byte) []map[string]string {
	var entries []map[string]string
	for line := range bytes.Lines(lines) {
		var raw map[string]any
		if err := json.Unmarshal(line, &raw); err != nil {
			t.Fatalf("%v in %.200s", err, line)
		}
		entry := make(map[string]string)
		for name, value := range raw {
			switch v := value.(type) {
			case string:
				entry[name] = v
			case []any:
				var text []byte
				for _, b := range v {
					text = append(text, byte(b.(float64)))
				}
				entry[name] = string(text)
			}
		}
		entries = append(entries, entry)
	}
	return entries
}

// Journald gone takes the other end of standard error with it. Writing there must not end the agent.
func TestStandardErrorWithoutAReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+roleNoReader)
	cmd.Stderr = w
	r.Close()
	if err := cmd.Run(); err != nil {
		t.Errorf("the process ended with: %v", err)
	}
}
