package doctor

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Watch sees the calls of AWS clients: where each service's went, whether it was answered, and what the answers were.
// The zero Watch is ready; give Observe to the clients' APIOptions.
type Watch struct {
	mu      sync.Mutex
	places  map[string]place // by service
	answers []any            // outputs of calls that went well
}

// place is where the calls of a service went.
type place struct {
	url      string // scheme and host
	answered bool   // with any status: who answers is there
	err      error  // of the last one that was not
}

// Observe is an option of AWS clients.
func (w *Watch) Observe(calls *middleware.Stack) error {
	err := calls.Deserialize.Add(middleware.DeserializeMiddlewareFunc("DoctorPlaces", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
		middleware.DeserializeOutput, middleware.Metadata, error) {
		out, about, failed := next.HandleDeserialize(ctx, in)
		err := failed
		if req, ok := in.Request.(*smithyhttp.Request); ok {
			raw, ok := out.RawResponse.(*smithyhttp.Response) // where nobody answers, it is one of status 0
			if ok && raw.StatusCode != 0 {
				err = nil
			}
			w.Asked(awsmiddleware.GetServiceID(ctx), req.URL.String(), err)
		}
		return out, about, failed
	}), middleware.After)
	if err != nil {
		return err
	}
	return calls.Initialize.Add(middleware.InitializeMiddlewareFunc("DoctorAnswers", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
		middleware.InitializeOutput, middleware.Metadata, error) {
		out, about, err := next.HandleInitialize(ctx, in)
		if err == nil {
			w.mu.Lock()
			w.answers = append(w.answers, out.Result)
			w.mu.Unlock()
		}
		return out, about, err
	}), middleware.Before)
}

// Asked notes that a service was asked at a URL; err is why nobody answered there, nil when somebody did.
func (w *Watch) Asked(service, at string, err error) {
	u, bad := url.Parse(at)
	if bad != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.places == nil {
		w.places = map[string]place{}
	}
	key := strings.ToLower(service)
	was := w.places[key]
	w.places[key] = place{u.Scheme + "://" + u.Host, was.answered || err == nil, err}
}

// Unanswered reports whether a service was asked, and nobody answered.
func (w *Watch) Unanswered(service string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, asked := w.places[service]
	return asked && !p.answered
}

// Places adds a line for each service that was asked: where its calls went, through which proxy, and whether somebody
// answered there. An answer of any kind counts: what it said is for other lines.
func (w *Watch) Places(r *Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, service := range slices.Sorted(maps.Keys(w.places)) {
		p := w.places[service]
		way := "directly"
		if service != metadata {
			way = wayTo(p.url)
		}
		if p.answered {
			r.OK("endpoint", "%s: %s %s", service, p.url, way)
			continue
		}
		r.Problem("endpoint", "let the server reach it over HTTPS: a route and a security group, a proxy (HTTPS_PROXY, NO_PROXY), or a VPC endpoint", "%s: %s %s: no answer: %v", service, p.url, way, p.err)
	}
}

// metadata is the service that no proxy is used for.
const metadata = "metadata"

// wayTo is how the clients reach a URL, by the environment's variables. A proxy's password is not shown.
func wayTo(at string) string {
	req, err := http.NewRequest(http.MethodGet, at, nil)
	if err != nil {
		return "directly"
	}
	proxy, err := http.ProxyFromEnvironment(req)
	switch {
	case err != nil:
		return "through a proxy that cannot be read: " + err.Error()
	case proxy == nil:
		return "directly"
	}
	return "through the proxy " + proxy.Redacted()
}
