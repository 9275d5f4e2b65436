package systemd

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// machineConsole is where what is written outlives an EC2 instance for a while (GetConsoleOutput), when
// its disk and its journal are gone.
const machineConsole = "/dev/console"

// consoleWait bounds writing to the console. A serial line takes 10 kB/s and may be stopped by whoever
// looks at it; a verdict does not wait for that.
const consoleWait = 2 * time.Second

// WriteConsole writes lines to the machine's console, each after "usher: ". What is not printable in a line
// is shown as "?". Where this process is not a service of a systemd it does nothing: there the console is
// somebody's screen.
func WriteConsole(lines []string) error {
	if !isService() {
		return nil
	}
	return writeConsole(machineConsole, lines)
}

func writeConsole(console string, lines []string) error {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString("usher: " + printable(line) + "\n")
	}
	// Never the terminal that controls this process; and nonblocking, so that the deadline holds.
	f, err := os.OpenFile(console, os.O_WRONLY|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err == nil {
		_ = f.SetWriteDeadline(time.Now().Add(consoleWait)) // a console that is a file has none
		_, err = f.WriteString(b.String())
		f.Close()
	}
	if err != nil {
		return fmt.Errorf("cannot write to the console: %w", err)
	}
	return nil
}

// printable is a text for a line of a terminal: what is not printable is shown as "?".
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && r != '\t' {
			return '?'
		}
		return r
	}, text)
}

// isService reports whether this process is a service of Type=notify of the machine's own systemd.
func isService() bool { return os.Getenv("NOTIFY_SOCKET") != "" && Booted() }
