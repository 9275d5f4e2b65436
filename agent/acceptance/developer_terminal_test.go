package acceptance

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// screen is a pseudo-terminal, from the side of the person in front of it.
type screen struct {
	t    *testing.T
	file *os.File

	mu   sync.Mutex
	all  strings.Builder
	read int // how much of it was waited for
	more chan struct{}
}

// terminal opens a terminal of 24 lines and 80 columns; programs get tty.
func terminal(t *testing.T) (s *screen, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})
	}
	if err == nil {
		tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatalf("cannot open a terminal: %v", err)
	}
	s = &screen{t: t, file: master, more: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			s.mu.Lock()
			s.all.Write(b[:n])
			close(s.more)
			s.more = make(chan struct{})
			s.mu.Unlock()
			if err != nil { // the last program has closed it
				return
			}
		}
	}()
	t.Cleanup(func() { tty.Close(); <-done; master.Close() })
	return s, tty
}

func (s *screen) types(keys string) {
	s.t.Helper()
	if _, err := s.file.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

// says waits until something was printed behind what was waited for before.
func (s *screen) says(what string) {
	s.t.Helper()
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		at, more := strings.Index(s.all.String()[s.read:], what), s.more
		if at >= 0 {
			s.read += at + len(what)
		}
		s.mu.Unlock()
		if at >= 0 {
			return
		}
		select {
		case <-more:
		case <-deadline:
			s.t.Fatalf("the terminal does not show %q but\n%s", what, s.text())
		}
	}
}
