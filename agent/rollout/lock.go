package rollout

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"usher/agent/format"
	"usher/agent/retry"
)

// A lock is an object in the environment's bucket. While it is there, usher deploys nothing to the environment. CodeDeploy
// knows nothing of it: what is deployed without usher, a rollback of CodeDeploy's own and new servers go on.

// Lock says who locked an environment, when and why.
type Lock struct {
	By     string    `json:"by"`            // see Who
	ARN    string    `json:"arn"`           // their AWS identity
	Job    string    `json:"job,omitempty"` // the page of the CI job that it was
	Time   time.Time `json:"time"`          //
	Reason string    `json:"reason"`        //
	ID     string    `json:"id"`            // no two locks have the same

	version string // of the object; "" in a bucket without versions
}

// String is the lock in words, as a sentence goes on after "locked".
func (l Lock) String() string {
	when, job := "", ""
	if !l.Time.IsZero() {
		when = ", " + format.Ago(l.Time)
	}
	if l.Job != "" {
		job = ", " + l.Job
	}
	return fmt.Sprintf("by %s (%s%s%s): %s", l.By, l.ARN, when, job, l.Reason)
}

// LockAPI is the subset of *s3.Client that locks need.
type LockAPI interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	DeleteObject(context.Context, *s3.DeleteObjectInput, ...func(*s3.Options)) (*s3.DeleteObjectOutput, error)
}

// lockKey is where the lock is: it is the deployment group that is locked, whatever usher.yml calls the environment.
func (e Environment) lockKey() string {
	return e.Prefix + e.Application + "/locks/" + e.DeploymentGroup + ".json"
}

// longestLock is how much of the object is read, in bytes: usher writes less.
const longestLock = 64 << 10

// Locked is the environment's lock, nil when there is none. An object there that is not one of usher's locks too.
func Locked(ctx context.Context, api LockAPI, e Environment) (*Lock, error) {
	key := e.lockKey()
	out, err := api.GetObject(ctx, &s3.GetObjectInput{Bucket: &e.Bucket, Key: &key})
	if retry.Status(err) == http.StatusNotFound && retry.Code(err) != "NoSuchBucket" { // a HEAD would not tell the two apart
		return nil, nil
	}
	if err != nil {
		return nil, explainS3("read the lock", e, key, err)
	}
	defer out.Body.Close()
	text, err := io.ReadAll(io.LimitReader(out.Body, longestLock))
	if err != nil {
		return nil, explainS3("read the lock", e, key, err)
	}
	l := &Lock{version: aws.ToString(out.VersionId)}
	if json.Unmarshal(text, l) != nil || l.By == "" {
		return &Lock{version: l.version, By: "somebody", ARN: "unknown", Time: aws.ToTime(out.LastModified), Reason: "s3://" + e.Bucket + "/" + key + " is there, and was not written by usher lock"}, nil
	}
	return l, nil
}

// SetLock locks the environment. When it is locked already that stays, and is returned.
func SetLock(ctx context.Context, api LockAPI, e Environment, l Lock) (already *Lock, err error) {
	l.ID = rand.Text()
	text, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("cannot write the lock: %w", err)
	}
	key := e.lockKey()
	for try := 0; ; try++ {
		_, err := api.PutObject(ctx, &s3.PutObjectInput{Bucket: &e.Bucket, Key: &key, Body: bytes.NewReader(text),
			ContentType: aws.String("application/json"), IfNoneMatch: aws.String("*")})
		if err == nil {
			return nil, nil
		}
		if !lostRace(err) || try == conflictTries {
			return nil, explainLock("write the lock", e, key, err)
		}
		there, err := Locked(ctx, api, e)
		switch {
		case err != nil:
			return nil, err
		case there != nil && there.ID == l.ID: // an answer was lost, and the SDK asked again
			return nil, nil
		case there != nil:
			return there, nil
		}
		retry.Pause(ctx, conflictPause) // when ctx ends in it, the next call says so
	}
}

// RemoveLock unlocks the environment, and returns what was there; nil when it was not locked.
func RemoveLock(ctx context.Context, api LockAPI, e Environment) (*Lock, error) {
	l, err := Locked(ctx, api, e)
	if l == nil || err != nil {
		return nil, err
	}
	key := e.lockKey()
	in := &s3.DeleteObjectInput{Bucket: &e.Bucket, Key: &key}
	if l.version != "" { // exactly that one: not what somebody else locked with since it was read
		in.VersionId = &l.version
	}
	if _, err := api.DeleteObject(ctx, in); err != nil {
		return nil, explainLock("remove the lock", e, key, err)
	}
	return l, nil
}

// explainLock is explainS3 for calls that other permissions are for than an upload's.
func explainLock(verb string, e Environment, key string, err error) error {
	if retry.Status(err) == http.StatusForbidden {
		return Explain(fmt.Sprintf("%s s3://%s/%s", verb, e.Bucket, key), e, err)
	}
	return explainS3(verb, e, key, err)
}
