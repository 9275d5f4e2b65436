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

	// From is the image this one is baked from; nil: the base.
	From *Image

	// Packages are the distribution's that its base has besides the usual, for an image that is baked from the
	// base. A base with others is another, which is made and kept as well.
	Packages []string

	// Install, if not nil, installs what the image is for, in a box that is running.
	Install func(b *Box)

	once   sync.Once
	err    error
	layers []string // its own first, the base last
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
	if err := im.bakeOnce(t, s); err != nil {
		t.Fatalf("there is no image %s: %v", im.Name, err)
	}
	b, err := s.newBox(t, o, im.layers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.finish)
	return b
}

// bakeOnce bakes the image if nobody did yet, and says for ever what became of it.
func (im *Image) bakeOnce(t testing.TB, s *session) error {
	t.Helper()
	im.once.Do(func() {
		im.err = fmt.Errorf("its installation ended %s", t.Name())
		im.err = im.bake(t, s)
	})
	return im.err
}

// bake installs the image in a box, whose own layer is the image's.
func (im *Image) bake(t testing.TB, s *session) (err error) {
	t.Helper()
	var from []string
	if im.From != nil {
		if err := im.From.bakeOnce(t, s); err != nil {
			return err
		}
		from = im.From.layers
	} else {
		base, err := s.base(im.Packages)
		if err != nil {
			return err
		}
		from = []string{base}
	}
	b, err := s.newBox(t, Options{Name: "image-" + im.Name}, from)
	if err != nil {
		return err
	}
	defer func() { // after a failure, too; when all is well the files stay
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
	im.layers = append([]string{b.layer()}, from...)
	return clean(b.Root())
}

// notInstances are files that must not be on every instance of an image.
var notInstances = []string{
	"var/log/journal/*", "var/lib/systemd/random-seed", "var/lib/systemd/credential.secret", "var/tmp/*", "tmp/*",
}

// clean takes from a root what must not be there, or not be the same, on every instance.
func clean(root string) error {
	for _, name := range notInstances {
		found, err := filepath.Glob(filepath.Join(root, name))
		for _, path := range found {
			err = errors.Join(err, os.RemoveAll(path))
		}
		if err != nil {
			return fmt.Errorf("cannot clean an image: %w", err)
		}
	}
	if err := os.Truncate(filepath.Join(root, "etc/machine-id"), 0); err != nil {
		return fmt.Errorf("cannot clean an image: %w", err)
	}
	return nil
}
