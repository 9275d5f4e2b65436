package bundle

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/crc64nvme"
)

// lengthOnly is Fetched.Checksum when nothing but the number of bytes could be verified.
const lengthOnly = "length only"

// A checksum is what an object must sum up to, and how. Its zero value, besides the name, verifies nothing.
type checksum struct {
	algorithm string
	hash      func() hash.Hash
	want      string // base64, as S3 writes checksums
	parts     int    // 0: it is the object's; else it sums up the checksums of that many parts
}

// name is Fetched.Checksum.
func (c checksum) name() string {
	switch c.parts {
	case 0:
		return c.algorithm
	case 1:
		return c.algorithm + " of 1 part"
	}
	return fmt.Sprintf("%s of %d parts", c.algorithm, c.parts)
}

// checksumOf is the best checksum S3 has of the object: one it was uploaded with, strongest first, else the MD5 that
// the ETag is when it is not encrypted with a key of KMS or of the customer. Of an object that was uploaded in parts
// most of them are "composite": the checksum of the parts' checksums, with "-" and the number of parts behind it.
func checksumOf(head *s3.HeadObjectOutput) checksum {
	for _, c := range []struct {
		name string
		want *string
		hash func() hash.Hash
	}{
		{"sha512", head.ChecksumSHA512, sha512.New},
		{"sha256", head.ChecksumSHA256, sha256.New},
		{"sha1", head.ChecksumSHA1, sha1.New},
		{"crc64nvme", head.ChecksumCRC64NVME, func() hash.Hash { return crc64nvme.New() }},
		{"crc32c", head.ChecksumCRC32C, func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }},
		{"crc32", head.ChecksumCRC32, func() hash.Hash { return crc32.NewIEEE() }},
	} {
		if c.want == nil || *c.want == "" {
			continue
		}
		// The number of parts also tells a composite checksum of servers without a type.
		want, parts, ok := composite(*c.want)
		if ok && (parts > 0 || head.ChecksumType != types.ChecksumTypeComposite) {
			return checksum{c.name, c.hash, want, parts}
		}
	}
	encrypted := head.ServerSideEncryption != "" && head.ServerSideEncryption != types.ServerSideEncryptionAes256
	etag, parts, ok := composite(unquote(head.ETag))
	if md, err := hex.DecodeString(etag); ok && err == nil && len(md) == md5.Size && !encrypted && head.SSECustomerAlgorithm == nil {
		return checksum{"md5", md5.New, base64.StdEncoding.EncodeToString(md), parts}
	}
	return checksum{algorithm: lengthOnly}
}

// composite takes the number of parts off a checksum, 0 when it has none. It is not ok when what stands there is no
// number of parts.
func composite(sum string) (value string, parts int, ok bool) {
	value, count, found := strings.Cut(sum, "-")
	if !found {
		return sum, 0, true
	}
	parts, err := strconv.Atoi(count)
	return value, parts, err == nil && parts > 0 && parts <= maxParts
}

// A mismatch is a download that does not sum up to its checksum.
type mismatch struct{ error }

// A summing is a checksum of what has arrived so far.
type summing struct {
	checksum
	sum interface { // nil: nothing is verified
		io.Writer
		Sum([]byte) []byte
	}
}

// begin starts to sum up an object; sizes are those of its parts, for a composite checksum.
func (c checksum) begin(sizes []int64) summing {
	switch {
	case c.hash == nil:
		return summing{c, nil}
	case c.parts > 0:
		return summing{c, &partsSum{new: c.hash, sizes: sizes, all: c.hash(), one: c.hash()}}
	}
	return summing{c, c.hash()}
}

// add sums up the next n bytes of r.
func (s summing) add(r io.Reader, n int64, buf []byte) error {
	if s.sum == nil {
		return nil
	}
	_, err := io.CopyBuffer(s.sum, io.LimitReader(r, n), buf)
	return err
}

// verify compares. The file is the same length as the object already.
func (s summing) verify() error {
	if s.sum == nil {
		return nil
	}
	if got := base64.StdEncoding.EncodeToString(s.sum.Sum(nil)); got != s.want {
		return mismatch{fmt.Errorf("what was downloaded, twice, has the %s checksum %s, and the object in S3 has %s: upload the bundle again", s.name(), got, s.want)}
	}
	return nil
}

func unquote(etag *string) string {
	if etag == nil {
		return ""
	}
	return strings.Trim(strings.TrimPrefix(*etag, "W/"), `"`)
}
