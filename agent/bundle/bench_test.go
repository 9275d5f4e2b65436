//go:build linux && !developer

package bundle

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// BenchmarkUnpack unpacks 5,000 files, 100 MB, beside what CodeDeploy's agent would run for it.
func BenchmarkUnpack(b *testing.B) {
	text := make([]byte, 20_000)
	for i, c := range random(len(text)) {
		text[i] = "etaoin shrdlu\n\t{}"[c%17] // compresses to about half, as source text does
	}
	var entries []entry
	for i := range 5000 {
		shift := i * 7 % len(text)
		entries = append(entries, entry{name: fmt.Sprintf("app/d%02d/e%d/file%d.rb", i%50, i%7, i), body: string(text[shift:]) + string(text[:shift])})
	}
	zip, tgz := makeZip(b, entries...), makeTgz(b, entries...)
	for _, bench := range []struct {
		name    string
		archive []byte
		run     func(archive *os.File, dir string) error
	}{
		{"zip/usher", zip, func(f *os.File, dir string) error {
			_, err := Unpack(b.Context(), f, Zip, dir, Limits{})
			return err
		}},
		{"zip/unzip", zip, func(f *os.File, dir string) error { return exec.Command("unzip", "-qo", f.Name(), "-d", dir).Run() }},
		{"tgz/usher", tgz, func(f *os.File, dir string) error {
			_, err := Unpack(b.Context(), f, Tgz, dir, Limits{})
			return err
		}},
		{"tgz/tar", tgz, func(f *os.File, dir string) error { return exec.Command("tar", "-xzpsf", f.Name(), "-C", dir).Run() }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			archive := saved(b, "bundle", bench.archive)
			b.SetBytes(5000 * 20_000)
			for b.Loop() {
				b.StopTimer()
				dir, err := os.MkdirTemp(b.TempDir(), "")
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if err := bench.run(archive, dir); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				os.RemoveAll(dir)
				b.StartTimer()
			}
		})
	}
}

// BenchmarkSync compares the two ways to sync small trees: fewFiles lies where they meet.
func BenchmarkSync(b *testing.B) {
	for _, files := range []int{10, 30, 60, fewFiles - 6} {
		var entries []entry
		for i := range files {
			entries = append(entries, entry{name: fmt.Sprintf("d%d/f%d", i%5, i), body: "some text"})
		}
		archive := saved(b, "bundle", makeTar(b, entries...))
		for name, sync := range map[string]func(string) error{"each": syncFew, "all": syncAll} {
			b.Run(fmt.Sprintf("%d/%s", files, name), func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					dir := b.TempDir()
					if _, err := Unpack(b.Context(), archive, Tar, dir, Limits{}); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					if err := sync(dir); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
