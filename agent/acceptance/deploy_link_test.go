package acceptance

import (
	"os"
	"testing"
)

// What the link is before, after a launch that succeeds, and after one that fails in its last event.
func TestLinkBefore(t *testing.T) {
	relink := func(target string) func(s *stage) {
		return func(s *stage) {
			s.must(os.Remove(s.path("opt/app")))
			if target != "" {
				s.must(os.Symlink(target, s.path("opt/app")))
			}
		}
	}
	for _, c := range []struct {
		name    string
		prepare func(s *stage)
		failed  string // where the link points after a failure, below opt; "" for no link
	}{
		{"a link to the base", func(*stage) {}, "app-base"},
		{"a relative link to the base", relink("app-base"), "app-base"},
		{"a link that leads nowhere", relink("app-releases/gone"), "app-base"},
		{"no link", relink(""), "app-base"},
		{"no link and no base", func(s *stage) {
			relink("")(s)
			s.must(os.RemoveAll(s.path("opt/app-base")))
		}, ""},
		{"a link to a folder an operator chose", func(s *stage) {
			relink(s.path("opt/hotfix"))(s)
			s.write("opt/hotfix/VERSION", "hotfix")
		}, "hotfix"},
	} {
		f := func(s *stage) files { // its scripts do not look through the link
			return s.app("1").with(files{"scripts/before.sh": "#!/bin/sh\nset -e\n", "scripts/after.sh": "#!/bin/sh\nset -e\n"})
		}
		t.Run(c.name+", and it succeeds", func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", f(s))
			c.prepare(s)
			server, _, code := s.launch()
			s.expect("exit code", itoa(code), "0")
			s.expect("verdict", answers(server), "usher-launch CONTINUE")
			s.expect("live", s.live(), "1")
			s.clean()
		})
		t.Run(c.name+", and it fails", func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", f(s).with(files{"scripts/validate.sh": "#!/bin/sh\nset -e\nfalse\n"}))
			c.prepare(s)
			server, _, code := s.launch()
			s.expect("exit code", itoa(code), "1")
			s.expect("verdict", answers(server), "usher-launch ABANDON")
			if c.failed == "" {
				if target, err := os.Readlink(s.path("opt/app")); err == nil {
					t.Errorf("there is a link to %s", target)
				}
				return
			}
			s.expect("link", s.target(), s.path("opt/"+c.failed))
		})
	}
}
