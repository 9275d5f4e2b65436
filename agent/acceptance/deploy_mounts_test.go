package acceptance

import (
	"os"
	"testing"

	"usher/agent/standin"
)

// A volume of /etc/fstab that is mounted late, or not at all: what was written before would be covered by it.
func TestAVolumeThatIsNotMounted(t *testing.T) {
	fstab := func(s *stage, dir string) string {
		return "# <file system> <mount point> <type> <options> <dump> <pass>\nUUID=1 / ext4 defaults 0 1\nLABEL=apps\t" + s.path(dir) + "\txfs\tdefaults,nofail\t0\t2\n"
	}
	const says = "a volume of /etc/fstab that is not mounted"
	for _, dir := range []string{"opt", "opt/app-releases", "opt/app-base", "state"} {
		t.Run(dir+" is not mounted", func(t *testing.T) {
			s := newStage(t)
			s.mounting("/etc/fstab", fstab(s, dir))
			s.publish("shop-1", s.app("1"))
			server, r, code := s.launch()
			s.expect("exit code", itoa(code), "1")
			s.expect("verdict", answers(server), "usher-launch ABANDON")
			s.said(r, says, s.path(dir))
			s.expect("live", s.live(), "base")
			s.expect("the scripts saw", s.trace(), "")
			if _, err := os.Stat(s.path("opt/app-releases")); err == nil {
				t.Error("releases were written below the mount point")
			}
		})
	}
	t.Run("it is mounted later", func(t *testing.T) {
		s := newStage(t)
		s.config["retry_timeout"] = "2m"
		s.mounting("/etc/fstab", fstab(s, "opt"))
		s.publish("shop-1", s.app("1"))
		server := s.cloud.Launch("web", standin.LaunchOptions{})
		r := s.start(server, "-once")
		r.says(says)
		s.write("machine-etc-fstab", "") // as good as mounted: no volume is missing any more
		s.expect("exit code", itoa(r.wait()), "0")
		s.expect("verdict", answers(server), "usher-launch CONTINUE")
		s.expect("live", s.live(), "1")
	})
	t.Run("it is missing when the link is to change", func(t *testing.T) {
		s := newStage(t)
		s.mounting("/etc/fstab", "")
		app, open := s.gate(s.app("1"), "scripts/after.sh")
		s.publish("shop-1", app)
		server := s.cloud.Launch("web", standin.LaunchOptions{})
		r := s.start(server, "-once")
		r.says("at the gate")
		s.write("machine-etc-fstab", fstab(s, "opt"))
		open()
		s.expect("exit code", itoa(r.wait()), "1")
		s.expect("verdict", answers(server), "usher-launch ABANDON")
		s.said(r, "Flip failed", says)
		s.expect("live", s.live(), "base")
	})
	t.Run("what is mounted by hand does not count", func(t *testing.T) {
		s := newStage(t)
		s.mounting("/etc/fstab", "LABEL=apps "+s.path("opt")+" xfs noauto,nofail 0 2\n")
		s.publish("shop-1", s.app("1"))
		_, _, code := s.launch()
		s.expect("exit code", itoa(code), "0")
	})
}
