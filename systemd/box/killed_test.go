package box_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"usher/systemd/box"
)

// role makes this test binary, run again by a test, another run of tests.
const role = "USHER_BOX_TEST_ROLE"

// ends is how long the processes of a killed box may take to end.
const ends = 10 * time.Second

// A run of tests that is killed takes its boxes with it, and the next run removes what is left of it.
func TestAKilledRun(t *testing.T) {
	switch os.Getenv(role) {
	case "killed":
		i := image.Launch(t, box.Options{})
		i.WaitRunning()
		io.WriteString(os.Stdout, i.Root()+"\nis up\n")
		i.WaitForEntry("MESSAGE=nobody says this")
	case "next":
		image.New(t, box.Options{})
		return
	}
	t.Parallel()
	image.New(t, box.Options{}) // or skips the test

	killed := again(t, "killed")
	out, err := killed.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 0, 4096)
	for !bytes.Contains(said, []byte("is up\n")) {
		n, err := out.Read(said[len(said):cap(said)])
		if err != nil {
			t.Fatalf("the run that is to be killed did not boot: %v\n%s", err, said)
		}
		said = said[:len(said)+n]
	}
	_, name, _ := strings.Cut(string(said), "/run/usher-box-")
	name, _, _ = strings.Cut(name, "/")
	session := "usher-box-" + name
	left := func(kind string) (found []string) {
		for _, l := range box.Leftovers() {
			if strings.HasPrefix(l, kind) && strings.Contains(l, session) {
				found = append(found, l)
			}
		}
		return found
	}
	if found := left(""); found != nil {
		t.Errorf("called left over while it runs: %q", found)
	}
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait() // killed, as asked

	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(ends); left("process") != nil; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("processes outlive their run: %q", left("process"))
		}
	}
	if out, err := again(t, "next").CombinedOutput(); err != nil {
		t.Fatalf("the next run: %v\n%s", err, out)
	}
	if found := left(""); found != nil {
		t.Errorf("the next run did not remove %q", found)
	}
}

func again(t *testing.T, as string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestAKilledRun$")
	cmd.Env = append(os.Environ(), role+"="+as)
	return cmd
}
