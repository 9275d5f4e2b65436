package bundle

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// largeBundles are of some parts each. They are not compressed, which would take longer than everything else here.
var largeBundles = sync.OnceValue(func() map[string][]byte {
	var plain, gzipped, zipped bytes.Buffer
	g, err := gzip.NewWriterLevel(&gzipped, gzip.NoCompression)
	t, z := tar.NewWriter(io.MultiWriter(&plain, g)), zip.NewWriter(&zipped)
	add := func(name string, body []byte) {
		w, e := z.CreateHeader(&zip.FileHeader{Name: name, Modified: noon})
		err = errors.Join(err, e, t.WriteHeader(&tar.Header{Name: name, Size: int64(len(body)), Mode: 0o644, ModTime: noon}))
		for _, w := range []io.Writer{w, t} {
			_, e := w.Write(body)
			err = errors.Join(err, e)
		}
	}
	noise := random(2 << 20)
	for n := range largeFiles {
		add(fmt.Sprintf("app/%c/%02d", 'a'+n%3, n), noise[n*1000:1<<20+n*3000])
	}
	if err := errors.Join(err, t.Close(), g.Close(), z.Close()); err != nil {
		panic(err)
	}
	return map[string][]byte{Zip: zipped.Bytes(), Tar: plain.Bytes(), Tgz: gzipped.Bytes()}
})

// largeFiles is how many files they hold.
const largeFiles = 24

// unpacked is what Unpack makes of an archive on the disk.
func unpacked(t testing.TB, kind string, archive []byte) map[string]string {
	dir := t.TempDir()
	if _, err := Unpack(t.Context(), saved(t, "b", archive), kind, dir, Limits{}); err != nil {
		t.Fatal(err)
	}
	return picture(t, dir)
}

// One part does not come before a file is on the disk that needs others only.
func TestUnpackS3WhileItArrives(t *testing.T) {
	b := bucket(t, false)
	for kind, archive := range largeBundles() {
		t.Run(kind, func(t *testing.T) {
			put(t, b, kind, archive, types.ChecksumAlgorithmCrc64nvme)
			dir, dst := t.TempDir(), saved(t, "b", nil)
			held := fmt.Sprintf("bytes=%d-", 2*PartSize)
			endpoint, _ := proxy(t, func(w http.ResponseWriter, r *http.Request, _ int, s3 http.Handler) {
				if strings.HasPrefix(r.Header.Get("Range"), held) {
					appears(t, r.Context(), filepath.Join(dir, "app/a/00"))
				}
				s3.ServeHTTP(w, r)
			})
			got, stats, err := unpackS3(t.Context(), ask(t.Context(), client(endpoint), S3Object{Bucket: b, Key: kind}, hasty), dst, kind, dir, Limits{}.withDefaults(), nil, hasty)
			if err != nil {
				t.Fatal(err)
			}
			if got.Checksum != "crc64nvme" || got.Size != int64(len(archive)) || got.Arrived.IsZero() || stats.Files != largeFiles {
				t.Errorf("fetched %+v, unpacked %+v", got, stats)
			}
			if !maps.Equal(picture(t, dir), unpacked(t, kind, archive)) {
				t.Error("it is not what is unpacked from the disk")
			}
		})
	}
}

// appears waits until a file is there.
func appears(t testing.TB, ctx context.Context, file string) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(file); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Errorf("%s: %v", file, context.Cause(ctx))
			return
		}
	}
}

// What is wrong on the way, in the archive or on the disk: the tree whole, or this error and nothing.
func TestUnpackS3Faults(t *testing.T) {
	b := bucket(t, false)
	for kind, archive := range largeBundles() {
		damaged := append([]byte(nil), archive...)
		damaged[PartSize+PartSize/2] ^= 1
		put(t, b, kind, archive, types.ChecksumAlgorithmCrc64nvme)
		put(t, b, kind+"-damaged", damaged, types.ChecksumAlgorithmCrc64nvme)
		put(t, b, kind+"-short", archive[:2*PartSize], types.ChecksumAlgorithmCrc64nvme)
		want := unpacked(t, kind, archive)
		get := func(when func(n int) bool, do func(w http.ResponseWriter, r *http.Request, s3 http.Handler)) fault {
			return func(w http.ResponseWriter, r *http.Request, n int, s3 http.Handler) {
				if r.Method == http.MethodGet && when(n) {
					do(w, r, s3)
					return
				}
				s3.ServeHTTP(w, r)
			}
		}
		flip := func(w http.ResponseWriter, r *http.Request, s3 http.Handler) {
			s3.ServeHTTP(&flipper{ResponseWriter: w}, r)
		}
		cut := func(w http.ResponseWriter, r *http.Request, s3 http.Handler) {
			s3.ServeHTTP(&cutter{w, 123_456, nil}, r)
		}
		deny := func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			answer(w, r, http.StatusForbidden, "AccessDenied")
		}
		always, second, thirds := func(int) bool { return true }, func(n int) bool { return n == 2 }, func(n int) bool { return n%3 == 0 }
		never := func(int) bool { return false }
		parts := (len(archive) + PartSize - 1) / PartSize
		for _, c := range []struct {
			name, key string
			fault     fault
			limits    Limits
			err       string
			gets      int // 0: whatever it takes
		}{
			{"every third connection breaks", kind, get(thirds, cut), Limits{}, "", 0},
			{"a part is damaged on the way, once", kind, get(second, flip), Limits{}, "", 2 * parts},
			{"every part is", kind, get(always, flip), Limits{}, "what was downloaded, twice, has the crc64nvme checksum", 2 * parts},
			{"one part is refused", kind, get(second, deny), Limits{}, "access denied", 0},
			{"it was damaged before it was uploaded", kind + "-damaged", get(never, nil), Limits{}, "cannot unpack the bundle: ", parts},
			{"it was cut off before it was uploaded", kind + "-short", get(never, nil), Limits{}, "cannot unpack the bundle: ", 2},
			{"it holds more than is allowed", kind, get(never, nil), Limits{MaxBytes: 5 << 20}, "raise max_bytes if that is meant", parts},
		} {
			if c.key == Tar+"-damaged" {
				continue // nothing in a tar tells it
			}
			t.Run(kind+"/"+c.name, func(t *testing.T) {
				dir := t.TempDir()
				endpoint, calls := proxy(t, c.fault)
				_, _, err := unpackS3(t.Context(), ask(t.Context(), client(endpoint), S3Object{Bucket: b, Key: c.key}, hasty), saved(t, "b", nil), kind, dir, c.limits.withDefaults(), nil, hasty)
				got := picture(t, dir)
				switch {
				case c.err == "" && err != nil:
					t.Error(err)
				case c.err == "":
					if !maps.Equal(got, want) {
						t.Error("the tree is not what the archive holds")
					}
				case err == nil || !strings.Contains(err.Error(), c.err):
					t.Errorf("error %v\nwant  %s", err, c.err)
				case strings.HasPrefix(c.err, "cannot unpack") != errors.As(err, new(UnpackError)) && !strings.Contains(c.err, "max_bytes"):
					t.Errorf("%v: whether to fetch it again is not told", err)
				case len(got) > 0:
					t.Errorf("%d files are left", len(got))
				}
				if n := len(calls()) - 1; c.gets > 0 && n != c.gets {
					t.Errorf("%d requests, want %d", n, c.gets)
				}
			})
		}
	}
}

// What is in the directory already is somebody's.
func TestUnpackS3WantsAnEmptyDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kept"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := FetchAndUnpackS3(t.Context(), AskS3(t.Context(), client(gateway()), S3Object{Bucket: "b", Key: "k"}), saved(t, "b", nil), Zip, dir, Limits{}, nil)
	if err == nil || !strings.Contains(err.Error(), dir+", is not empty") {
		t.Errorf("error %v", err)
	}
	if len(picture(t, dir)) != 1 {
		t.Error("it was removed")
	}
}

// Whoever stops it gets an empty directory.
func TestUnpackS3Stops(t *testing.T) {
	b := bucket(t, false)
	for kind, archive := range largeBundles() {
		put(t, b, kind, archive, types.ChecksumAlgorithmCrc64nvme)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		dir := t.TempDir()
		_, _, err := FetchAndUnpackS3(ctx, AskS3(ctx, client(gateway()), S3Object{Bucket: b, Key: kind}), saved(t, "b", nil), kind, dir, Limits{}, func(done, _ int64) {
			if done > 2*PartSize {
				cancel()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v, want context.Canceled", kind, err)
		}
		if left := picture(t, dir); len(left) > 0 {
			t.Errorf("%s: %d files are left", kind, len(left))
		}
	}
}
