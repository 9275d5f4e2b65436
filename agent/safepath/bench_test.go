//go:build linux && !developer

package safepath

import (
	"fmt"
	"os"
	"testing"
)

// What it costs to stay off mounts: a tree of 5,000 files in 100 directories, removed both ways.
func BenchmarkRemoveAll(b *testing.B) {
	for name, remove := range map[string]func(string) error{"safepath": RemoveAll, "os": os.RemoveAll} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				dir := b.TempDir() + "/tree"
				for d := range 100 {
					at := fmt.Sprintf("%s/%d", dir, d)
					must(b, os.MkdirAll(at, 0o755))
					for f := range 50 {
						must(b, os.WriteFile(fmt.Sprintf("%s/%d", at, f), []byte("x"), 0o644))
					}
				}
				b.StartTimer()
				must(b, remove(dir))
			}
		})
	}
}
