package bundle

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
)

// The kinds of archive that CodeDeploy knows, as its API spells them.
const (
	Zip = "zip"
	Tar = "tar"
	Tgz = "tgz"
)

// headSize is how much of a file tells its kind: one tar header.
const headSize = 512

// Kind is the kind of the archive at path ("zip", "tar" or "tgz"), judged by head, its first bytes
// (512 are enough), and only if those say nothing by its name. A kind that CodeDeploy does not know
// is an error that names it.
func Kind(path string, head []byte) (string, error) {
	name := filepath.Base(path)
	if len(head) == 0 {
		return "", fmt.Errorf("cannot use %s as a bundle: it is empty", name)
	}
	switch kind := sniff(head); kind {
	case Zip, Tar, Tgz:
		return kind, nil
	case "":
	default:
		return "", fmt.Errorf("cannot use %s as a bundle: its content is %s, and CodeDeploy knows zip, tar and tgz", name, kind)
	}
	lower := strings.ToLower(name)
	switch {
	case strings.HasSuffix(lower, ".zip"):
		return Zip, nil
	case strings.HasSuffix(lower, ".tar"):
		return Tar, nil
	case strings.HasSuffix(lower, ".tgz"), strings.HasSuffix(lower, ".tar.gz"):
		return Tgz, nil
	}
	return "", fmt.Errorf("cannot use %s as a bundle: it is neither a zip, tar or tgz archive nor named like one", name)
}

// sniff is the kind of archive that starts with head, by its magic bytes, or "" when they say nothing.
func sniff(head []byte) string {
	for _, m := range []struct{ magic, kind string }{
		{"PK\x03\x04", Zip},
		{"PK\x05\x06", Zip}, // a zip without entries
		{"\x1f\x8b", Tgz},
		{"BZh", "bzip2"},
		{"\xfd7zXZ\x00", "xz"},
		{"\x28\xb5\x2f\xfd", "zstd"},
		{"7z\xbc\xaf\x27\x1c", "7z"},
		{"Rar!", "rar"},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.kind
		}
	}
	if len(head) >= headSize && (string(head[257:262]) == "ustar" || tarChecksum(head)) {
		return Tar
	}
	return ""
}

// tarChecksum reports whether head starts with a tar header from before POSIX, which has no magic,
// only a checksum of itself in octal.
func tarChecksum(head []byte) bool {
	sum, stored, digits := 0, 0, 0
	for i, c := range head[:headSize] {
		if i >= 148 && i < 156 { // the checksum's own field counts as spaces
			if c >= '0' && c <= '7' {
				stored, digits = stored*8+int(c-'0'), digits+1
			}
			c = ' '
		}
		sum += int(c)
	}
	return digits > 0 && sum == stored
}
