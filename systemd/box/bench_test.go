package box_test

import (
	"testing"

	"usher/systemd/box"
)

// What a test pays: go test -run '^$' -bench . ./systemd/box
func BenchmarkBox(b *testing.B) {
	image.New(b, box.Options{}) // bakes, outside of the measure
	b.Run("launch to running", func(b *testing.B) {
		for b.Loop() {
			image.Launch(b, box.Options{}).WaitRunning()
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
			b.StartTimer()
		}
	})
	up.WaitRunning()
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
