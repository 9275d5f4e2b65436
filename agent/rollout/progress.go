package rollout

import (
	"io"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// uploadProgress measures an upload where its bytes leave this program, so that it moves also within a part: on a slow
// line a part takes a minute. What a request that is made again had sent counts once.
type uploadProgress struct {
	total    int64
	progress func(done, total int64)

	mu    sync.Mutex
	parts map[int32]int64
	said  int64
}

func newUploadProgress(total int64, progress func(done, total int64)) *uploadProgress {
	return &uploadProgress{total: total, progress: progress, parts: map[int32]int64{}}
}

// measure is the option of a call that sends a part.
func (m *uploadProgress) measure(part int32) func(*s3.Options) {
	return func(o *s3.Options) { o.HTTPClient = sending{o.HTTPClient, m, part} }
}

// restart forgets what was sent: an upload is begun anew. What was said stands until there is more.
func (m *uploadProgress) restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.parts)
}

// set says how much of a part the present request has sent.
func (m *uploadProgress) set(part int32, sent int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.parts[part] = sent
	done := int64(0)
	for _, n := range m.parts {
		done += n
	}
	// Requests carry a little more than the part: the sums between its chunks. The last byte is done when
	// S3 says so.
	m.say(min(done, m.total-1))
}

// finish says that all is done.
func (m *uploadProgress) finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.say(m.total)
}

func (m *uploadProgress) say(done int64) {
	if m.progress != nil && done > m.said {
		m.said = done
		m.progress(done, m.total)
	}
}

// sending is the HTTP client of one part.
type sending struct {
	s3.HTTPClient
	meter *uploadProgress
	part  int32
}

// Do makes one try.
func (s sending) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r = r.WithContext(r.Context()) // a copy: the SDK keeps the other for its next try
		r.Body = &measured{ReadCloser: r.Body, sending: s}
	}
	return s.HTTPClient.Do(r)
}

// measured is a request's body.
type measured struct {
	io.ReadCloser
	sending sending
	sent    int64
}

func (b *measured) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.sent += int64(n)
		b.sending.meter.set(b.sending.part, b.sent)
	}
	return n, err
}
