package box

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// thread is an OS thread with namespaces of its own. Processes started and sockets made on it belong to
// those namespaces, wherever they are used from. A namespace lives as long as something is in it, so
// that nothing has a name on the machine and nothing can be left behind.
type thread struct {
	work chan func()
	over chan struct{}
	id   int
}

// newThread starts a thread that has left the process's namespaces of these kinds (unix.CLONE_NEW…).
func newThread(kinds int) (*thread, error) {
	t := &thread{work: make(chan func()), over: make(chan struct{})}
	failed := make(chan error)
	go onOwnThread(func() {
		defer close(t.over)
		t.id = unix.Gettid()
		err := unix.Unshare(kinds)
		failed <- err
		if err != nil {
			return
		}
		for f := range t.work {
			f()
		}
	})
	if err := <-failed; err != nil {
		return nil, fmt.Errorf("cannot make a namespace (root is needed): %w", err)
	}
	return t, nil
}

// onOwnThread runs f on a thread that ends with it. The main thread is never used: it cannot end, and the
// rest of the machine takes its namespaces for the process's.
func onOwnThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		done := make(chan struct{})
		go func() { defer close(done); onOwnThread(f) }()
		<-done // keeps the main thread busy meanwhile
		runtime.UnlockOSThread()
		return
	}
	f() // and never unlocked: the thread is thrown away with the goroutine
}

// do runs f on the thread. Only one at a time; f must not wait for another do.
func (t *thread) do(f func() error) error {
	done := make(chan error, 1)
	t.work <- func() { done <- f() }
	return <-done
}

// end ends the thread.
func (t *thread) end() {
	close(t.work)
	<-t.over
}

// proc is the path of something the kernel tells about the thread ("ns/net", "root"), for other processes too.
func (t *thread) proc(name string) string {
	return fmt.Sprintf("/proc/%d/task/%d/%s", os.Getpid(), t.id, name)
}
