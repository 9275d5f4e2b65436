package standin

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Unserved makes a Cloud that is on no network. Its Auto Scaling and CodeDeploy answer [Cloud.Do]; it has no S3, and its instances
// no metadata services. It is for servers with a simulated clock (testing/synctest), which stands still while anybody waits for
// a socket.
func Unserved(o Options) *Cloud { return newCloud(o) }

// Do answers a request to Auto Scaling or CodeDeploy, as an http.Client does. The Cloud's own Latency is the only time it takes.
func (c *Cloud) Do(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if e := recover(); e != nil {
			if e != any(http.ErrAbortHandler) {
				panic(e)
			}
			resp, err = nil, errors.Join(errors.New("the connection was closed"), r.Context().Err())
		}
	}()
	in := r.Clone(r.Context()) // as a server gets it
	in.Host = cmp.Or(in.Host, in.URL.Host)
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := &answered{head: http.Header{}, status: http.StatusOK}
	c.dated(http.HandlerFunc(c.serveControl)).ServeHTTP(w, in)
	return &http.Response{StatusCode: w.status, Status: http.StatusText(w.status), Header: w.head, Body: io.NopCloser(&w.body),
		ContentLength: int64(w.body.Len()), Request: r, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}, nil
}

// answered is an answer that is kept.
type answered struct {
	head   http.Header
	status int
	body   bytes.Buffer
}

func (a *answered) Header() http.Header         { return a.head }
func (a *answered) WriteHeader(status int)      { a.status = status }
func (a *answered) Write(b []byte) (int, error) { return a.body.Write(b) }

// Credentials are what the instance's role signs with, as its metadata would give them out.
func (i *Instance) Credentials(c *Cloud) aws.Credentials {
	made := keys.issue(c, i.ID, defaultCredentialLifetime)
	return aws.Credentials{AccessKeyID: made.key, SecretAccessKey: made.secret, SessionToken: made.token, CanExpire: true, Expires: made.expires}
}

// TargetState is where Auto Scaling is taking the instance, as its metadata would say.
func (i *Instance) TargetState() string {
	i.fleet.mu.Lock()
	defer i.fleet.mu.Unlock()
	if i.group == nil {
		return ""
	}
	return targetState(i.state, i.group.PoolState)
}
