package acceptance

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"usher/agent/standin"
	"usher/agent/standin/awsmodel"
)

// A server that answers with what is in testdata/recorded: AWS's documented examples, and recordings of the real service.

// recording is one of them: of an operation, what it was asked and what it answered. What is not recorded is nil.
type recording struct {
	name, op      string
	input, output map[string]any
	status        int
	codedeploy    bool
}

// recordings are all there are, with how often each half was of use to somebody.
type recordings struct {
	all []*recording

	mu   sync.Mutex
	used map[string]int // "NAME input" and "NAME output"
}

func readRecordings(t *testing.T) *recordings {
	r := &recordings{used: map[string]int{}}
	read := func(file string, into any) {
		text, err := os.ReadFile(file)
		if err == nil {
			d := json.NewDecoder(bytes.NewReader(text))
			d.UseNumber()
			err = d.Decode(into)
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	files, _ := filepath.Glob(filepath.Join(house, "agent/acceptance/testdata/recorded/*.json"))
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if name == "autoscaling" {
			documented := map[string][]struct{ Input, Output map[string]any }{}
			read(file, &documented)
			for _, op := range slices.Sorted(maps.Keys(documented)) {
				for i, x := range documented[op] {
					r.all = append(r.all, &recording{name: fmt.Sprintf("%s %d", op, i+1), op: op, input: x.Input, output: x.Output, status: http.StatusOK})
				}
			}
			continue
		}
		op, _, ok := strings.Cut(strings.TrimPrefix(name, "codedeploy."), "_")
		var answer struct {
			Status int `json:"status_code"`
			Data   map[string]any
		}
		if read(file, &answer); !ok || answer.Status == 0 {
			t.Fatalf("%s is no recording that is known here", file)
		}
		delete(answer.Data, "ResponseMetadata") // of the client that recorded it
		r.all = append(r.all, &recording{name: name, op: op, output: answer.Data, status: answer.Status, codedeploy: true})
	}
	if len(r.all) < 15 {
		t.Fatalf("there are only %d examples", len(r.all))
	}
	return r
}

// of is an example by its name, or an operation's first.
func (r *recordings) of(name string) *recording {
	for _, x := range r.all {
		if x.name == name || x.name == name+" 1" {
			return x
		}
	}
	panic("there is no recording of " + name)
}

func (r *recordings) use(x *recording, half string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used[x.name+" "+half]++
}

// unused are the halves that were of use to nobody.
func (r *recordings) unused() (all []string) {
	for _, x := range r.all {
		if x.input != nil && r.used[x.name+" input"] == 0 {
			all = append(all, x.name+" input")
		}
		if x.output != nil && r.used[x.name+" output"] == 0 {
			all = append(all, x.name+" output")
		}
	}
	return all
}

// wire is an answer as the service writes it.
func (x *recording) wire(output map[string]any) []byte {
	var b bytes.Buffer
	switch {
	case x.codedeploy && x.status != http.StatusOK:
		failure := output["Error"].(map[string]any)
		output = map[string]any{"__type": failure["Code"], "message": failure["Message"]}
		fallthrough
	case x.codedeploy:
		_ = json.NewEncoder(&b).Encode(withTimes(output, seconds))
	default:
		fmt.Fprintf(&b, `<%sResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/">`, x.op)
		element(&b, x.op+"Result", output)
		fmt.Fprintf(&b, "<ResponseMetadata><RequestId>7c6e177f-f082-11e1-ac58-3714bEXAMPLE</RequestId></ResponseMetadata></%sResponse>", x.op)
	}
	return b.Bytes()
}

// element writes a value as the Query protocol does; times of the examples are as it writes them already.
func element(b *bytes.Buffer, name string, v any) {
	fmt.Fprintf(b, "<%s>", name)
	switch v := v.(type) {
	case map[string]any:
		for _, member := range slices.Sorted(maps.Keys(v)) {
			element(b, member, v[member])
		}
	case []any:
		for _, one := range v {
			element(b, "member", one)
		}
	default:
		_ = xml.EscapeText(b, []byte(fmt.Sprint(v)))
	}
	fmt.Fprintf(b, "</%s>", name)
}

// seconds is a time as JSON 1.1 has it.
func seconds(at time.Time) any {
	return json.Number(strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', -1, 64))
}

// withTimes is a copy of what was recorded, its times, which are a Python client's, in the form that is wanted.
func withTimes(v any, form func(time.Time) any) any {
	switch v := v.(type) {
	case []any:
		all := []any{}
		for _, one := range v {
			all = append(all, withTimes(one, form))
		}
		return all
	case map[string]any:
		if v["__class__"] == "datetime" {
			n := func(part string) int { i, _ := v[part].(json.Number).Int64(); return int(i) }
			return form(time.Date(n("year"), time.Month(n("month")), n("day"), n("hour"), n("minute"), n("second"), n("microsecond")*1000, time.UTC))
		}
		all := map[string]any{}
		for name, one := range v {
			if epoch, ok := one.(json.Number); ok && strings.HasSuffix(name, "Time") {
				f, _ := epoch.Float64()
				one = form(time.UnixMilli(int64(f*1000 + 0.5)).UTC())
			}
			all[name] = withTimes(one, form)
		}
		return all
	}
	return v
}

// replay is a server in front of a stand-in: what it has a recording of is answered from that, and the rest of AWS is the
// stand-in.
type replay struct {
	*testing.T
	*recordings
	url     string
	answers map[string]*recording // by operation

	mu     sync.Mutex                      // guards what follows: usher, between the test and the server, orders nothing for the race detector
	change map[string]func(map[string]any) // of a copy of the output, before it is sent
	told   func(op string)                 // after each answer from a recording; may be nil
	ready  map[string]<-chan struct{}      // what an answer waits for
	seen   map[string][]map[string]string  // by operation: the parameters of Auto Scaling's
}

// replay starts one. All documented examples of Auto Scaling are answered with, and these recordings of CodeDeploy's.
func (r *recordings) replay(t *testing.T, behind string, names ...string) *replay {
	p := &replay{T: t, recordings: r, answers: map[string]*recording{}, change: map[string]func(map[string]any){},
		ready: map[string]<-chan struct{}{}, seen: map[string][]map[string]string{}}
	for _, x := range r.all {
		if _, has := p.answers[x.op]; !has && !x.codedeploy {
			p.answers[x.op] = x
		}
	}
	for _, name := range names {
		x := r.of(name)
		p.answers[x.op] = x
	}
	there, err := url.Parse(behind)
	if err != nil {
		t.Fatal(err)
	}
	rest := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(there); r.Out.Host = r.In.Host }} // the signature is over it
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // the client has gone
		}
		form, _ := url.ParseQuery(string(body))
		op := form.Get("Action")
		if _, target, ok := strings.Cut(req.Header.Get("X-Amz-Target"), "CodeDeploy_20141006."); ok {
			op = target
		}
		x := p.answers[op]
		if x == nil {
			req.Body = io.NopCloser(bytes.NewReader(body))
			rest.ServeHTTP(w, req)
			return
		}
		p.answer(w, req, x, form)
	}))
	t.Cleanup(front.Close)
	p.url = front.URL
	return p
}

func (p *replay) answer(w http.ResponseWriter, req *http.Request, x *recording, form url.Values) {
	params := map[string]string{}
	for name := range form {
		params[name] = form.Get(name)
	}
	p.mu.Lock()
	p.seen[x.op] = append(p.seen[x.op], params)
	ready := p.ready[x.op]
	p.mu.Unlock()
	if ready != nil {
		select {
		case <-ready:
		case <-req.Context().Done():
			return
		}
	}
	output, _ := withTimes(x.output, func(at time.Time) any {
		return json.Number(strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', -1, 64))
	}).(map[string]any)
	p.mu.Lock()
	if change := p.change[x.op]; change != nil {
		change(output)
	}
	p.mu.Unlock()
	kind := "text/xml"
	if x.codedeploy {
		kind = "application/x-amz-json-1.1"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Amzn-Requestid", "7c6e177f-f082-11e1-ac58-3714bEXAMPLE")
	w.WriteHeader(x.status)
	_, _ = w.Write(x.wire(output))
	if x.output != nil {
		p.use(x, "output")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told != nil {
		p.told(x.op)
	}
}

// changes has the output of an operation changed before it is sent.
func (p *replay) changes(op string, change func(output map[string]any)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.change[op] = change
}

// asked checks that the last request of an operation is the documented one but for some parameters, which are as given;
// "" for absent.
func (p *replay) asked(op string, but map[string]string) {
	p.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.seen[op]
	if len(all) == 0 {
		p.Errorf("nobody asked for %s", op)
		return
	}
	x, want := p.of(op), map[string]string{"Action": op, "Version": "2011-01-01"}
	parameters(want, "", x.input)
	for name, value := range but {
		if want[name] = value; value == "" {
			delete(want, name)
		}
	}
	if got := all[len(all)-1]; !maps.Equal(got, want) {
		p.Errorf("%s was asked for with\n%v, and is documented with\n%v", op, got, want)
	}
	p.use(x, "input")
}

// times is how often an operation was asked for.
func (p *replay) times(op string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.seen[op])
}

// parameters writes an input as the Query protocol does.
func parameters(into map[string]string, prefix string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, one := range v {
			parameters(into, strings.TrimPrefix(prefix+"."+name, "."), one)
		}
	case []any:
		for i, one := range v {
			parameters(into, fmt.Sprintf("%s.member.%d", prefix, i+1), one)
		}
	default:
		into[prefix] = fmt.Sprint(v)
	}
}

// metadataOf is a server's metadata, in which the instance has another id.
func metadataOf(t *testing.T, server *standin.Instance, id string) (endpoint string) {
	there, err := url.Parse(server.MetadataEndpoint)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(there) },
		ModifyResponse: func(r *http.Response) error {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			body = bytes.ReplaceAll(body, []byte(server.ID), []byte(id))
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			r.Header.Set("Content-Length", strconv.Itoa(len(body)))
			return nil
		},
	})
	t.Cleanup(front.Close)
	return front.URL
}

// The form that the examples get here is the one that AWS's own models give them.
func (r *recordings) heldAgainstModels(t *testing.T) {
	for _, x := range r.all {
		if x.output == nil {
			continue
		}
		service, code := "autoscaling", ""
		if x.codedeploy {
			service = "codedeploy"
		}
		if failure, ok := x.output["Error"].(map[string]any); ok {
			code = failure["Code"].(string)
		}
		for _, wrong := range awsmodel.Of(t, service).Check(standin.Exchange{Service: service, Op: x.op, Status: x.status, ErrorCode: code, Body: x.wire(x.output)}) {
			t.Errorf("%s: %s", x.name, wrong)
		}
	}
}
