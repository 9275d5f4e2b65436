package box

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Image is what instances are launched from, as an AMI: the base with something installed in it. It is
// baked at the first use in a process, and shared by all its tests.
type Image struct {
	Name string

	// Files, if not nil, puts files into the image before it is booted for the installation: root is the layer
	// in which only what differs from the base is.
	Files func(root string) error

	// Install, if not nil, installs what the image is for, in a box that has started.
	Install func(b *Box)

	once  sync.Once
	err   error
	layer string
}

// Launch makes a box from the image and boots it. It is removed at the end of the test.
func (im *Image) Launch(t testing.TB, o Options) *Box {
	t.Helper()
	b := im.New(t, o)
	b.Boot()
	return b
}

// New makes a box from the image and leaves it off, so that the test can prepare what it will find: a service
// that listens, a network that is down. It is removed at the end of the test.
func (im *Image) New(t testing.TB, o Options) *Box {
	t.Helper()
	s := need(t)
	im.once.Do(func() {
		im.err = errors.New("it ended the test that baked it")
		im.err = im.bake(t, s)
	})
	if im.err != nil {
		t.Fatalf("there is no image %s: %v", im.Name, im.err)
	}
	b, err := s.newBox(t, o, im.layer, s.base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.finish)
	return b
}

// bake installs the image in a box, whose own layer is the image.
func (im *Image) bake(t testing.TB, s *session) (err error) {
	t.Helper()
	b, err := s.newBox(t, Options{Name: "image-" + im.Name, Files: im.Files}, s.base)
	if err != nil {
		return err
	}
	defer func() {
		if t.Failed() {
			b.explain()
		}
		err = errors.Join(err, b.remove())
	}()
	b.Boot()
	b.WaitRunning()
	if im.Install != nil {
		im.Install(b)
	}
	b.PowerOff()
	// Nothing may write to the layer any more when it is cleaned.
	if err := b.remove(); err != nil {
		return err
	}
	im.layer = b.Root()
	return clean(im.layer)
}

// clean takes from a layer what must not be the same, or not be there, on every instance.
func clean(layer string) error {
	id := filepath.Join(layer, "etc/machine-id")
	if err := os.MkdirAll(filepath.Dir(id), 0o755); err != nil {
		return fmt.Errorf("cannot clean an image: %w", err)
	}
	if err := os.WriteFile(id, nil, 0o444); err != nil {
		return fmt.Errorf("cannot clean an image: %w", err)
	}
	for _, name := range []string{"var/log/journal", "var/lib/systemd/random-seed", "var/lib/systemd/credential.secret", "var/tmp", "tmp"} {
		in := filepath.Join(layer, name)
		entries, err := os.ReadDir(in)
		if err != nil {
			entries = nil
			_ = os.Remove(in) // a file, or nothing
		}
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(in, e.Name())); err != nil {
				return fmt.Errorf("cannot clean an image: %w", err)
			}
		}
	}
	return nil
}
