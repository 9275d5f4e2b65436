package acceptance

import (
	"testing"

	"usher/agent/standin"
)

// An object that is gone when the servers in service are to get it: the host command fails, and says which it was to
// CodeDeploy, where whoever looks at the deployment reads it.
func TestMissingObjectInService(t *testing.T) {
	h := newShop(t, 1, production())
	for _, c := range []struct {
		name, version, etag string
		says                string
	}{
		{"gone.zip", "", "", "there is no object s3://" + h.cloud.Bucket + "/gone.zip, or no such bucket: it was deleted or never uploaded: deploy a revision that exists"},
		{"lost.zip", "", "0123456789abcdef0123456789abcdef", "there is no object s3://" + h.cloud.Bucket + "/lost.zip, or no such bucket: it was deleted or never uploaded"},
		{"old.zip", "01BX5ZZKBKACTAV9WEVGEMMVRZ", "", "there is no object s3://" + h.cloud.Bucket + "/old.zip (version 01BX5ZZKBKACTAV9WEVGEMMVRZ): the version was deleted: deploy a revision that exists"},
	} {
		if c.version != "" { // a key that is there, in another version
			_, _, err := h.cloud.Upload(h.cloud.Bucket, c.name, zipped(t, h.app("1")))
			h.must(err)
		}
		id, status := h.deploy(standin.S3Revision(h.cloud.Bucket, c.name, "zip", c.version, c.etag))
		h.expect(c.name, status, "Failed")
		h.ended(h.usher("deploy status "+id), 1, c.says)
	}
	h.expect("live", h.live(), "base")
}
