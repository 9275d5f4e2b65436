package bundle

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Archives as other programs make them, by those programs.

// shell runs a script in a directory that has a revision with a link, a second copy of it by `cp -al`, and a file.
func shell(t *testing.T, script string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "packed")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-ec", "mkdir -p one/lib; echo x >one/lib/x.so.1; ln -s x.so.1 one/lib/x.so; cp -al one two; echo a >appspec.yml\n"+script)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

func unpackFile(t *testing.T, name, kind string) (map[string]string, []string, error) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	var warned []string
	_, err = Unpack(t.Context(), f, kind, dir, Limits{Warn: func(text string) { warned = append(warned, text) }})
	return picture(t, dir), warned, err
}

func TestArchivesOfGNUTar(t *testing.T) {
	t.Parallel()
	whole := map[string]string{"appspec.yml": "0644 a\n", "one/": "0755", "one/lib/": "0755", "one/lib/x.so.1": "0644 x\n", "one/lib/x.so": "-> x.so.1",
		"two/": "0755", "two/lib/": "0755", "two/lib/x.so.1": "0644 x\n", "two/lib/x.so": "-> x.so.1"}
	for name, script := range map[string]string{
		"a copy of hard links": "tar -cf OUT one two appspec.yml",
		"a label":              "tar -V 'release 1' -cf OUT one two appspec.yml",
		"an incremental one":   "tar --format=gnu -g snapshot -cf OUT one two appspec.yml",
		"zeros behind gzip":    "tar -czf OUT one two appspec.yml; head -c 700 /dev/zero >>OUT",
		"two gzip members":     "tar -cf all one two appspec.yml; (head -c 1000 all | gzip; tail -c +1001 all | gzip) >OUT",
		"and zeros behind":     "tar -cf all one two appspec.yml; (head -c 1000 all | gzip; tail -c +1001 all | gzip; head -c 100000 /dev/zero) >OUT",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := shell(t, strings.ReplaceAll(script, "OUT", "out"))
			got, warned, err := unpackFile(t, filepath.Join(dir, "out"), Tgz)
			if err != nil || len(warned) > 0 {
				t.Fatal(err, warned)
			}
			if !maps.Equal(got, whole) {
				t.Errorf("unpacked:\n%v\nwant:\n%v", got, whole)
			}
		})
	}
	for _, c := range []struct{ name, script, want string }{
		{"a volume that is not the first", "yes | head -c 60000 >one/large; tar -M -L 40 -cf v1 -F 'mv v1 v0' one appspec.yml; cp v1 OUT", "goes on from another volume: make the archive in one piece"},
		{"garbage behind gzip", "tar -czf OUT one; echo garbage >>OUT", "it is damaged or cut off after its last entry"},
		{"garbage behind zeros behind gzip", "tar -czf OUT one; (head -c 700 /dev/zero; echo garbage) >>OUT", "it is damaged or cut off after its last entry"},
		{"a member cut off", "tar -cf all one; (head -c 1000 all | gzip; tail -c +1001 all | gzip | head -c 40) >OUT", "cut off"},
		{"a Python venv", "mkdir bin; ln -s /usr/bin/python3 bin/python3; tar -cf OUT bin", `create it in a hook script instead: ln -sfn /usr/bin/python3 "$USHER_RELEASE_DIR/bin/python3"`},
		{"a shared folder", "ln -s ../../shared storage; tar -cf OUT storage", `link "storage" to "../../shared" leaves the bundle: create it in a hook script instead, with ln -sfn below "$USHER_RELEASE_DIR"`},
		{"a hard link to a link that leaves from there", "mkdir -p a/b; ln -s ../../appspec.yml a/b/up; ln a/b/up up; tar -cf OUT appspec.yml a up", `link "up" to "../../appspec.yml" leaves the bundle`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := shell(t, strings.ReplaceAll(c.script, "OUT", "out"))
			if _, _, err := unpackFile(t, filepath.Join(dir, "out"), Tgz); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// pathField is the Unicode path field for a name that stands in its header as raw.
func pathField(raw, name string) []byte {
	b := binary.LittleEndian.AppendUint16(nil, unicodePath)
	b = binary.LittleEndian.AppendUint16(b, uint16(5+len(name)))
	b = append(b, 1)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE([]byte(raw)))
	return append(b, name...)
}

func TestNamesInZips(t *testing.T) {
	t.Parallel()
	const dos, unix = 0, madeOnUnix << 8
	guessed := []string{"the zip has 1 name that is not in UTF-8, and does not say in which code page: read as the format's own, 437; make the archive with UTF-8 names"}
	for _, c := range []struct {
		name   string
		raw    string
		maker  uint16
		extra  []byte
		want   string
		warned []string
		fails  string
	}{
		{name: "ASCII", raw: "a/b.txt", want: "a/b.txt"},
		{name: "code page 437", raw: "a/\x82t\x82.txt", want: "a/été.txt", warned: guessed},
		{name: "UTF-8 without the flag", raw: "a/été.txt", want: "a/été.txt"},
		{name: "bytes of Unix", raw: "a/\xe9.txt", maker: unix, want: "a/\xe9.txt"},
		{name: "a Unicode path field", raw: "a/\x82t\x82.txt", extra: pathField("a/\x82t\x82.txt", "a/été.txt"), want: "a/été.txt"},
		{name: "one of another name", raw: "a/\x82.txt", extra: pathField("b", "a/x.txt"), want: "a/é.txt", warned: guessed},
		{name: "one behind another field", raw: "a/?.txt", extra: append([]byte{1, 0, 2, 0, 7, 7}, pathField("a/?.txt", "a/ж.txt")...), want: "a/ж.txt"},
		{name: "one that is cut off", raw: "a/x.txt", extra: pathField("a/x.txt", "a/y.txt")[:12], want: "a/x.txt"},
		{name: "one that leads out", raw: "a/x.txt", extra: pathField("a/x.txt", "../../etc/cron.d/x"), fails: `entry "../../etc/cron.d/x" leaves the archive through ".."`},
		{name: "one with an absolute name", raw: "a/x.txt", extra: pathField("a/x.txt", "/etc/cron.d/x"), fails: "absolute name"},
		{name: "Windows' separators", raw: `a\b\c.txt`, maker: 10 << 8, want: "a/b/c.txt", warned: []string{`the zip was made on Windows, with "\" in 1 name where the format has "/": read as such`}},
		{name: "backslashes of Unix", raw: `a\b`, maker: unix, want: `a\b`},
		{name: "one that is what another is", raw: "kept", extra: pathField("kept", "a"), fails: "earlier in the archive"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var buf bytes.Buffer
			w := zip.NewWriter(&buf)
			if c.name == "one that is what another is" {
				if _, err := w.Create("a/"); err != nil {
					t.Fatal(err)
				}
			}
			f, err := w.CreateRaw(&zip.FileHeader{Name: c.raw, Extra: c.extra, CreatorVersion: c.maker, NonUTF8: true, Method: zip.Store,
				CRC32: crc32.ChecksumIEEE([]byte("x")), CompressedSize64: 1, UncompressedSize64: 1})
			if err == nil {
				_, err = f.Write([]byte("x"))
			}
			if err := errors.Join(err, w.Close()); err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(t.TempDir(), "x.zip")
			if err := os.WriteFile(name, buf.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			got, warned, err := unpackFile(t, name, Zip)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("%v, want %s", err, c.fails)
				}
				return
			}
			if err != nil || got[c.want] == "" || !slices.Equal(warned, c.warned) {
				t.Errorf("%q, %q, %v; want %q, %q", got, warned, err, c.want, c.warned)
			}
		})
	}
}

// What lay beside the folder of the appspec is named.
func TestWhatLayBesideTheAppspec(t *testing.T) {
	t.Parallel()
	dir := shell(t, "mkdir shop; mv appspec.yml shop; cp -al one/lib/x.so.1 shop; touch a b c d e f g h i; tar -cf out shop ?")
	got, warned, err := unpackFile(t, filepath.Join(dir, "out"), Tar)
	if want := `the appspec is in the folder "shop": what lies beside it is left out, as by CodeDeploy's agent: a, b, c, d, e and 4 more`; err != nil || len(got) != 2 || !slices.Equal(warned, []string{want}) {
		t.Errorf("%v, %q, %q; want %q", err, got, warned, want)
	}
	dir = shell(t, "mkdir shop; mv appspec.yml shop; tar -cf out shop one; ln one/lib/x.so.1 shop/hard; tar -rf out one shop")
	if _, _, err := unpackFile(t, filepath.Join(dir, "out"), Tar); err == nil || !strings.Contains(err.Error(), `hard link "shop/hard" points to "one/lib/x.so.1", which lies beside the folder of the appspec`) {
		t.Error(err)
	}
}

// What is in a tar twice becomes what tar makes of it. A name that is twice on its command line is a hard link to itself.
func TestNamesThatComeTwice(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"a folder and a file of it":       "tar -czf OUT one one/lib/x.so.1 two appspec.yml",
		"all, and the appspec":            "tar -czf OUT . appspec.yml ./one one/lib/x.so",
		"a link":                          "rm -rf two; tar -czf OUT one/lib/x.so one/lib/x.so appspec.yml one one",
		"all twice, with copies":          "tar --hard-dereference -czf OUT one one two two appspec.yml",
		"a file that changed":             "tar -cf OUT appspec.yml one; echo b >appspec.yml; tar -uf OUT appspec.yml; tar -rf OUT appspec.yml",
		"one that has hard links":         "ln appspec.yml a; ln appspec.yml b; tar -cf OUT appspec.yml a b; rm appspec.yml; echo new >appspec.yml; tar -rf OUT appspec.yml; echo c >c; rm a; mv c a; tar -rf OUT a",
		"one that became a hard link":     "tar -cf OUT appspec.yml one; ln -f one/lib/x.so.1 appspec.yml; tar -rf OUT one/lib/x.so.1 appspec.yml",
		"a file that became a link":       "tar -cf OUT appspec.yml one; rm one/lib/x.so.1; ln -s ../../appspec.yml one/lib/x.so.1; tar -rf OUT one/lib/x.so.1",
		"a link that became a file":       "tar -cf OUT appspec.yml one; rm one/lib/x.so; echo y >one/lib/x.so; tar -rf OUT one/lib/x.so",
		"a link that became another":      "tar -cf OUT appspec.yml one; ln -sfn . one/lib/x.so; tar -rf OUT one/lib/x.so",
		"a file that became a directory":  "echo f >f; tar -cf OUT appspec.yml f; rm f; mkdir f; echo g >f/g; tar -rf OUT f",
		"a link that became a directory":  "ln -s one f; tar -cf OUT appspec.yml one f; rm f; mkdir f; echo g >f/g; tar -rf OUT f",
		"a large file that became small":  "head -c 1000000 /dev/zero >f; tar -cf OUT appspec.yml f; echo f >f; tar -rf OUT f",
		"a small file that became large":  "echo f >f; tar -cf OUT appspec.yml f; head -c 1000000 /dev/zero >f; tar -rf OUT f one",
		"links in a circle that were put": "ln -s b a; ln -s a b; tar -cf OUT a b appspec.yml; rm a; echo a >a; tar -rf OUT a",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := shell(t, strings.ReplaceAll(script, "OUT", "../$(basename $PWD).tar")+"; mkdir ../unpacked; mv ../$(basename $PWD).tar ../out; tar -xpf ../out -C ../unpacked")
			got, _, err := unpackFile(t, filepath.Join(dir, "../out"), Tar)
			if want := picture(t, filepath.Join(dir, "../unpacked")); err != nil || !maps.Equal(got, want) {
				t.Errorf("%v, unpacked:\n%v\ntar:\n%v", err, got, want)
			}
		})
	}
}

// Zeros behind gzip are not a way to have usher read without end, nor to hide a second archive.
func TestZerosBehindGzip(t *testing.T) {
	t.Parallel()
	var one bytes.Buffer
	z := gzip.NewWriter(&one)
	z.Write(makeTar(t, entry{name: "a", body: "x"}))
	z.Close()
	both := slices.Concat(one.Bytes(), make([]byte, 512), one.Bytes())
	if _, err := Unpack(t.Context(), saved(t, "b", both), Tgz, t.TempDir(), Limits{}); err == nil {
		t.Error("what is behind the zeros was passed over")
	}
}
