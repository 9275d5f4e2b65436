package acceptance

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"testing"

	"usher/agent/standin"
)

// A bundle that cannot be had, or is not what was registered, is refused: nothing of it stays on the disk.
func TestBadBundle(t *testing.T) {
	const key = "shop-1.zip"
	put := func(s *stage, data []byte) (etag, version string) {
		etag, version, err := s.cloud.Upload(s.cloud.Bucket, key, data)
		s.must(err)
		return etag, version
	}
	register := func(s *stage, bucket, key, version, etag string) {
		s.cloud.PublishRevision("shop", "production", standin.S3Revision(bucket, key, "zip", version, etag))
	}
	for _, c := range []struct {
		name    string
		publish func(s *stage)
		says    string
	}{
		{"was overwritten since it was registered", func(s *stage) {
			etag, _ := put(s, zipped(s.T, s.app("1")))
			put(s, zipped(s.T, s.app("2")))
			register(s, s.cloud.Bucket, key, "", etag)
		}, ", and the revision was registered with "},
		{"is not there", func(s *stage) { register(s, s.cloud.Bucket, key, "", "0123456789abcdef0123456789abcdef") }, "there is no object s3://BUCKET/shop-1.zip, or no such bucket: it was deleted or never uploaded: deploy a revision that exists"},
		{"is not there, and was registered as a mere name", func(s *stage) { register(s, s.cloud.Bucket, key, "", "") }, "the revision was registered without ETag and version: cannot download the bundle: there is no object s3://BUCKET/shop-1.zip, or no such bucket"},
		{"is not there or must not be seen", func(s *stage) {
			register(s, s.cloud.Bucket, key, "", "")
			s.cloud.Fail("HeadObject", -1, standin.Fault{Code: "AccessDenied"}) // S3's answer for either, to a role without s3:ListBucket
		}, "; or there is no object s3://BUCKET/shop-1.zip, which S3 does not tell to a role without s3:ListBucket: then deploy a revision that exists"},
		{"is not there in this version", func(s *stage) {
			etag, _ := put(s, zipped(s.T, s.app("1")))
			register(s, s.cloud.Bucket, key, "01BX5ZZKBKACTAV9WEVGEMMVRZ", etag)
		}, "there is no object s3://BUCKET/shop-1.zip (version 01BX5ZZKBKACTAV9WEVGEMMVRZ): the version was deleted: deploy a revision that exists"},
		{"is in a bucket that is not there", func(s *stage) { register(s, "revisions-of-nobody", key, "", "0123456789abcdef0123456789abcdef") }, "there is no object s3://revisions-of-nobody/shop-1.zip, or no such bucket: "},
		{"must not be read by the instance", func(s *stage) {
			s.publish("shop-1", s.app("1"))
			s.cloud.Fail("HeadObject", -1, standin.Fault{Code: "AccessDenied"})
			s.cloud.Fail("GetObject", -1, standin.Fault{Code: "AccessDenied"})
		}, "access denied: allow s3:GetObjectVersion on arn:aws:s3:::"},
		{"comes with another content each time", func(s *stage) {
			s.publish("shop-1", s.app("1"))
			s.cloud.Fail("GetObject", -1, standin.Fault{Corrupt: true})
		}, ": upload the bundle again"},
		{"breaks off each time", func(s *stage) {
			s.publish("shop-1", s.app("1"))
			s.cloud.Fail("GetObject", -1, standin.Fault{CutAfter: 1})
		}, ": unexpected EOF (6 attempts)"},
		{"is empty", func(s *stage) { s.publishBytes(key, "zip", nil) }, ": it is empty: upload the bundle again"},
		{"is not a zip", func(s *stage) { s.publishBytes(key, "zip", []byte("<html>Sign in</html>")) }, "cannot unpack the bundle: it is damaged, cut off or not a zip archive"},
		{"is half a zip", func(s *stage) {
			whole := zipped(s.T, s.app("1"))
			s.publishBytes(key, "zip", whole[:len(whole)/2])
		}, "cannot unpack the bundle: it is damaged, cut off or not a zip archive"},
		{"is a zip that calls itself tgz", func(s *stage) { s.publishBytes("shop-1.tgz", "tgz", zipped(s.T, s.app("1"))) }, "cannot unpack the bundle: its bundle type says tgz, but its content is zip: register the revision with the right bundle type"},
		{"is a tgz that calls itself zip", func(s *stage) { s.publishBytes(key, "zip", tarred(s.T, s.app("1"))) }, "cannot unpack the bundle: its bundle type says zip, but its content is tgz: register the revision with the right bundle type"},
		{"is of a type that no server takes", func(s *stage) { s.publishBytes("shop-1.yaml", "YAML", []byte("version: 0.0")) }, "the bundle type of s3://BUCKET/shop-1.yaml is YAML: a server needs tar, tgz or zip"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			c.publish(s)
			s.refused(strings.ReplaceAll(c.says, "BUCKET", s.cloud.Bucket))
			s.expect("live", s.live(), "base")
		})
	}
}

// What passes is waited out: the rest of the bundle is fetched, or all of it again.
func TestBundleAtSecondTry(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault standin.Fault
	}{
		{"breaks off", standin.Fault{CutAfter: 100}},
		{"is refused for a moment", standin.Fault{Code: "SlowDown"}},
		{"loses its connection", standin.Fault{DropConnection: true}},
		{"is damaged on its way", standin.Fault{Corrupt: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1"))
			s.cloud.Fail("GetObject", 1, c.fault)
			server, _, code := s.launch()
			s.waitFor(server, standin.InService)
			s.expect("exit code", itoa(code), "0")
			s.expect("live", s.live(), "1")
			s.clean()
		})
	}
}

// An archive that tries to get out, or to fill the server up, is refused.
func TestHostileArchive(t *testing.T) {
	for _, c := range []struct {
		name    string
		archive func(s *stage) []byte
		says    string
	}{
		{"with .. in a name", zipWith("../../escaped"), `entry "../../escaped" leaves the archive through ".."`},
		{"with an absolute name", func(s *stage) []byte { return zipWith(s.path("escaped"))(s) }, `/escaped" has an absolute name: make the archive with relative names`},
		{"with a link out", tarWith(tar.Header{Name: "www", Linkname: "../../..", Typeflag: tar.TypeSymlink}), `link "www" to "../../.." leaves the bundle`},
		{"with a link to a file of the server", tarWith(tar.Header{Name: "passwd", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink}), `link "passwd" points to the absolute path "/etc/passwd": links must stay inside the bundle; create it in a hook script instead: ln -sfn /etc/passwd "$USHER_RELEASE_DIR/passwd"`},
		{"with a file behind a link out", tarWith(tar.Header{Name: "out", Linkname: "..", Typeflag: tar.TypeSymlink}, tar.Header{Name: "out/escaped"}), `entry "out/escaped" lies below "out", which is a link`},
		{"with a hard link out", tarWith(tar.Header{Name: "shadow", Linkname: "../../app-base/VERSION", Typeflag: tar.TypeLink}), `hard link "shadow": its target: entry "../../app-base/VERSION" leaves the archive through ".."`},
		{"with a device", tarWith(tar.Header{Name: "sda", Typeflag: tar.TypeBlock, Devmajor: 8}), `entry "sda" is a device: a bundle holds files, directories and links only`},
		{"with a FIFO for an appspec", tarWith(tar.Header{Name: "appspec.yml", Typeflag: tar.TypeFifo}), `entry "appspec.yml" is a FIFO: a bundle holds files, directories and links only`},
		{"with too many files", func(s *stage) []byte {
			s.config["max_files"] = "10"
			f := s.app("1")
			for _, name := range strings.Fields("a b c d e f g h i j") {
				f["www/"+name] = name
			}
			return tarred(s.T, f)
		}, "it holds more than 10 files, directories and links: raise max_files if that is meant"},
		{"with too much in it", func(s *stage) []byte {
			s.config["max_bytes"] = "1000000"
			return tarred(s.T, s.app("1").with(files{"www/zeros": strings.Repeat("0", 1_000_001)}))
		}, `entry "www/zeros": it holds more than 1.0 MB unpacked: raise max_bytes if that is meant`},
		{"with a bomb", func(s *stage) []byte {
			s.config["max_bytes"] = "1000000"
			return bomb(s, 64<<20)
		}, "it holds more than 1.0 MB unpacked: raise max_bytes if that is meant"},
		{"with a bomb that says it is small", func(s *stage) []byte { return bomb(s, 1000) }, `entry "bomb" is damaged or cut off, make the archive again`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			archive, kind := c.archive(s), "tgz"
			if bytes.HasPrefix(archive, []byte("PK")) {
				kind = "zip"
			}
			s.publishBytes("shop-1."+kind, kind, archive)
			s.refused(c.says)
			s.expect("live", s.live(), "base")
		})
	}
}

// zipWith is a whole revision and one file more.
func zipWith(name string) func(s *stage) []byte {
	return func(s *stage) []byte { return zipped(s.T, s.app("1").with(files{name: "escaped"})) }
}

// tarWith is a whole revision with other entries first.
func tarWith(entries ...tar.Header) func(s *stage) []byte {
	return func(s *stage) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range entries {
			h.Mode = 0o644
			s.must(w.WriteHeader(&h))
		}
		f := s.app("1")
		for _, name := range slices.Sorted(maps.Keys(f)) {
			s.must(w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(f[name]))}))
			_, err := w.Write([]byte(f[name]))
			s.must(err)
		}
		s.must(w.Close())
		return b.Bytes()
	}
}

// bomb is a zip of 64 MiB of zeros that says they are a number of bytes.
func bomb(s *stage, says uint64) []byte {
	const mib = 64
	var one, packed, b bytes.Buffer
	f, err := flate.NewWriter(&one, flate.BestSpeed)
	s.must(err)
	_, err = f.Write(make([]byte, 1<<20))
	s.must(errors.Join(err, f.Flush()))
	packed.Write(bytes.Repeat(one.Bytes(), mib)) // compressed once: the race detector makes seconds of each
	f.Reset(&packed)
	s.must(f.Close())
	w := zip.NewWriter(&b)
	entry, err := w.CreateRaw(&zip.FileHeader{Name: "bomb", Method: zip.Deflate, CRC32: crc32.ChecksumIEEE(make([]byte, mib<<20)),
		CompressedSize64: uint64(packed.Len()), UncompressedSize64: says})
	s.must(err)
	_, err = entry.Write(packed.Bytes())
	s.must(err)
	s.must(w.Close())
	return b.Bytes()
}
