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
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/crc64nvme"
)

// lengthOnly is Fetched.Checksum when nothing but the number of bytes could be verified.
const lengthOnly = "length only"

// A checksum is what a whole object must sum up to, and how. Its zero value, besides the name,
// verifies nothing.
type checksum struct {
	name string
	sum  hash.Hash
	want string // base64, as S3 writes checksums
}

// checksumOf is the best checksum S3 has of the whole object: one it was uploaded with, strongest
// first, else the MD5 that the ETag is when the object was uploaded in one part and not encrypted
// with a key of KMS or of the customer. A "composite" checksum is one of the parts' checksums and
// says nothing about the object.
func checksumOf(head *s3.HeadObjectOutput) checksum {
	if head.ChecksumType != types.ChecksumTypeComposite {
		for _, c := range []struct {
			name string
			want *string
			sum  func() hash.Hash
		}{
			{"sha512", head.ChecksumSHA512, sha512.New},
			{"sha256", head.ChecksumSHA256, sha256.New},
			{"sha1", head.ChecksumSHA1, sha1.New},
			{"crc64nvme", head.ChecksumCRC64NVME, func() hash.Hash { return crc64nvme.New() }},
			{"crc32c", head.ChecksumCRC32C, func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }},
			{"crc32", head.ChecksumCRC32, func() hash.Hash { return crc32.NewIEEE() }},
		} {
			// "-5" at the end counts the parts of a composite checksum, for servers without a type.
			if c.want != nil && *c.want != "" && !strings.Contains(*c.want, "-") {
				return checksum{c.name, c.sum(), *c.want}
			}
		}
	}
	encrypted := head.ServerSideEncryption != "" && head.ServerSideEncryption != types.ServerSideEncryptionAes256
	if md, err := hex.DecodeString(unquote(head.ETag)); err == nil && len(md) == md5.Size && !encrypted && head.SSECustomerAlgorithm == nil {
		return checksum{"md5", md5.New(), base64.StdEncoding.EncodeToString(md)}
	}
	return checksum{name: lengthOnly}
}

// A mismatch is a download that does not sum up to its checksum.
type mismatch struct{ error }

// add sums up the next n bytes of r.
func (c checksum) add(r io.Reader, n int64, buf []byte) error {
	if c.sum == nil {
		return nil
	}
	_, err := io.CopyBuffer(c.sum, io.LimitReader(r, n), buf)
	return err
}

// verify compares. The file is the same length as the object already.
func (c checksum) verify() error {
	if c.sum == nil {
		return nil
	}
	if got := base64.StdEncoding.EncodeToString(c.sum.Sum(nil)); got != c.want {
		return mismatch{fmt.Errorf("what was downloaded, twice, has the %s checksum %s, and the object in S3 has %s: upload the bundle again", c.name, got, c.want)}
	}
	return nil
}

func unquote(etag *string) string {
	if etag == nil {
		return ""
	}
	return strings.Trim(strings.TrimPrefix(*etag, "W/"), `"`)
}
