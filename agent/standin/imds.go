package standin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxTokenTTL is the longest life of a session token, in seconds; the shortest is one.
const maxTokenTTL = 21600

// defaultCredentialLifetime is how long EC2's role credentials last.
const defaultCredentialLifetime = 6 * time.Hour

// The headers of IMDSv2.
const (
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
)

// MetadataMode is how an instance's metadata service behaves as a whole.
type MetadataMode int

// The modes of a metadata service.
const (
	Answering   MetadataMode = iota
	Refusing                 // nothing listens: connection refused, as before the network is up
	Unavailable              // 503 to everything
	Disabled                 // 403 to everything: HttpEndpoint disabled
)

// metadata is one instance's metadata service (IMDSv2 only, as HttpTokens=required).
type metadata struct {
	cloud  *Cloud
	inst   *Instance
	port   *port
	faults faultList

	mu     sync.Mutex
	mode   MetadataMode
	tokens map[string]time.Time // when each ends
	cred   credential
}

// startMetadata gives an instance its metadata service; fleet.mu is held.
func (c *Cloud) startMetadata(inst *Instance) {
	p, err := c.reservePort()
	if err != nil {
		panic("standin: " + err.Error())
	}
	m := &metadata{cloud: c, inst: inst, port: p, tokens: map[string]time.Time{}}
	inst.metadata = m
	inst.MetadataEndpoint = p.endpoint()
	if inst.options.MetadataRefused {
		m.mode = Refusing
		return
	}
	if err := p.open(c.dated(m)); err != nil {
		panic("standin: " + err.Error())
	}
}

// SetMetadata changes how the instance's metadata service behaves.
func (i *Instance) SetMetadata(mode MetadataMode) {
	m := i.metadata
	m.mu.Lock()
	was := m.mode
	m.mode = mode
	m.mu.Unlock() // requests that port.close waits for need it
	switch {
	case mode == Refusing && was != Refusing:
		m.port.close()
	case mode != Refusing && was == Refusing:
		if err := m.port.open(m.cloud.dated(m)); err != nil {
			panic("standin: " + err.Error())
		}
	}
}

// FailMetadata makes the next n requests of a path below /latest/ go wrong ("api/token",
// "meta-data/autoscaling/target-lifecycle-state", "*"); n < 0: all of them. A Fault with only a Body
// answers 200 with that body, so Fault{Body: []byte{}} is the empty answer real instances have been seen
// to give.
func (i *Instance) FailMetadata(path string, n int, f Fault) { i.metadata.faults.arm(path, n, f) }

// InterceptMetadata is Intercept for the instance's metadata service, with the path below /latest/ as the operation.
func (i *Instance) InterceptMetadata(decide func(Request) *Fault) { i.metadata.faults.decide(decide) }

// HealMetadata forgets the faults asked for by FailMetadata; "*" forgets all.
func (i *Instance) HealMetadata(path string) { i.metadata.faults.disarm(path) }

// MetadataCalls returns the requests of this instance's metadata service.
func (i *Instance) MetadataCalls() []Call {
	found, _ := i.metadata.cloud.imds.matching(func(c Call) bool { return c.InstanceID == i.ID })
	return found
}

// ExpireCredentials ends the role credentials the instance was given last: calls signed with them get
// ExpiredToken, and the metadata service hands out new ones.
func (i *Instance) ExpireCredentials() {
	i.metadata.mu.Lock()
	defer i.metadata.mu.Unlock()
	keys.expire(i.metadata.cred.key)
	i.metadata.cred = credential{}
}

// credentials returns the role's credentials: new ones when less than half their life is left.
func (m *metadata) credentials() credential {
	m.mu.Lock()
	defer m.mu.Unlock()
	lifetime := m.inst.options.CredentialLifetime
	if lifetime == 0 {
		lifetime = defaultCredentialLifetime
	}
	if time.Until(m.cred.expires) < lifetime/2 {
		m.cred = keys.issue(m.cloud, m.inst.ID, lifetime)
	}
	return m.cred
}

// ServeHTTP serves the paths of the metadata service.
func (m *metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/latest/")
	call := Call{At: time.Now(), Service: "imds", Op: path, InstanceID: m.inst.ID, Params: map[string]string{"method": r.Method}}
	defer func() { m.cloud.imds.add(call) }()

	fault := m.faults.next(Request{Service: "imds", Op: path, InstanceID: m.inst.ID})
	if err := m.cloud.pause(r.Context(), fault.Delay, fault.Until); err != nil || fault.DropConnection {
		call.ErrorCode = "ConnectionDropped"
		panic(http.ErrAbortHandler)
	}
	if fault.Stall {
		w = stalled{w, r}
	}
	w.Header().Set("Server", "EC2ws")
	switch {
	case fault.Body != nil:
		call.Status = max(fault.Status, http.StatusOK)
		w.WriteHeader(call.Status)
		_, _ = w.Write(fault.Body)
	case fault.Status != 0:
		call.Status = m.refuse(w, fault.Status)
	case m.is(Unavailable):
		call.Status = m.refuse(w, http.StatusServiceUnavailable)
	case m.is(Disabled):
		call.Status = m.refuse(w, http.StatusForbidden)
	case r.Method == http.MethodPut:
		call.Status = m.serveToken(w, r)
	case r.Method != http.MethodGet:
		call.Status = m.refuse(w, http.StatusMethodNotAllowed)
	case !m.knows(r.Header.Get(tokenHeader)):
		call.Status = m.refuse(w, http.StatusUnauthorized)
	case !strings.HasPrefix(r.URL.Path, "/latest/"):
		call.Status = m.refuse(w, http.StatusNotFound)
	default:
		call.Status = m.serveItem(w, path)
	}
}

func (m *metadata) is(mode MetadataMode) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mode == mode
}

// refuse answers with a status and EC2's page for it.
func (m *metadata) refuse(w http.ResponseWriter, status int) int {
	title := fmt.Sprintf("%d - %s", status, http.StatusText(status))
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>%s</title>
 </head>
 <body>
  <h1>%s</h1>
 </body>
</html>
`, title, title)
	return status
}

// serveToken makes a session token.
func (m *metadata) serveToken(w http.ResponseWriter, r *http.Request) int {
	ttl, err := strconv.Atoi(r.Header.Get(ttlHeader))
	switch {
	case r.URL.Path != "/latest/api/token", r.Header.Get("X-Forwarded-For") != "":
		return m.refuse(w, http.StatusForbidden)
	case err != nil || ttl < 1 || ttl > maxTokenTTL:
		return m.refuse(w, http.StatusBadRequest)
	}
	token := randomHex(56)
	m.mu.Lock()
	m.tokens[token] = time.Now().Add(time.Duration(ttl) * time.Second)
	m.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set(ttlHeader, strconv.Itoa(ttl))
	fmt.Fprint(w, token)
	return http.StatusOK
}

func (m *metadata) knows(token string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	ends, ok := m.tokens[token]
	return ok && time.Now().Before(ends)
}

// serveItem answers with an item, or lists the items below a path.
func (m *metadata) serveItem(w http.ResponseWriter, path string) int {
	items := m.items()
	w.Header().Set("Content-Type", "text/plain")
	if text, ok := items[path]; ok {
		fmt.Fprint(w, text)
		return http.StatusOK
	}
	names, ok := below(items, strings.TrimSuffix(path, "/"))
	if !ok {
		return m.refuse(w, http.StatusNotFound)
	}
	fmt.Fprint(w, strings.Join(names, "\n"))
	return http.StatusOK
}

// below lists the names directly under a path, those with more under them with a slash.
func below(items map[string]string, path string) (names []string, ok bool) {
	seen := map[string]string{}
	for item := range items {
		rest, under := strings.CutPrefix(item, path+"/")
		if !under {
			continue
		}
		ok = true
		if first, _, deeper := strings.Cut(rest, "/"); deeper {
			seen[first] = first + "/"
		} else if rest != "" {
			seen[first] = first
		}
	}
	for _, first := range sortedKeys(seen) {
		names = append(names, seen[first])
	}
	return names, ok
}

// toJSON writes a document as the metadata service does, indented.
func toJSON(v any) string {
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic("standin: cannot write a metadata document: " + err.Error())
	}
	return string(out)
}
