package box_test

import (
	"testing"

	"usher/systemd/box"
)

// What a test pays: go test -run '^$' -bench . ./systemd/box
func BenchmarkBox(b *testing.B) {
	image.New(b, box.Options{}) // bakes, outside of the measure
	b.Run("bake", func(b *testing.B) {
		for b.Loop() {
			again := &box.Image{Name: image.Name, Install: image.Install}
			again.New(b, box.Options{}).Close()
		}
	})
	b.Run("launch to running", func(b *testing.B) {
		for b.Loop() {
			i := image.Launch(b, box.Options{})
			i.WaitRunning()
			b.StopTimer()
			i.Close()
			b.StartTimer()
		}
	})
	b.Run("remove", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			i := image.Launch(b, box.Options{})
			i.WaitRunning()
			b.StartTimer()
			i.Close()
		}
	})
	up := image.Launch(b, box.Options{})
	up.WaitRunning()
	b.Run("exec", func(b *testing.B) {
		for b.Loop() {
			up.Run("true")
		}
	})
	b.Run("read the journal", func(b *testing.B) {
		for b.Loop() {
			up.Journal()
		}
	})
	b.Run("reboot to running", func(b *testing.B) {
		for b.Loop() {
			up.Reboot()
			up.WaitRunning()
		}
	})
	b.Run("power cut", func(b *testing.B) {
		for b.Loop() {
			up.PowerCut()
			b.StopTimer()
			up.Boot()
			up.WaitRunning()
			b.StartTimer()
		}
	})
	b.Run("power off", func(b *testing.B) {
		for b.Loop() {
			up.PowerOff()
			b.StopTimer()
			up.Boot()
			up.WaitRunning()
			b.StartTimer()
		}
	})
}
