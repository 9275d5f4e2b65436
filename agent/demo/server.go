package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// visitEvery is how often a user asks for the page: often enough to meet the flip from both sides.
const visitEvery = 2 * time.Millisecond

// visitLimit is how long a user waits for a page that comes from this machine's disk.
const visitLimit = 5 * time.Second

// basePage is the application that was baked into the image.
const basePage = `<!doctype html>
<title>shop</title>
<h1>shop, from the base image</h1>
`

// server is what a fresh server of the image looks like, in a directory of its own: the base, the link to
// it, usher's configuration, and a web server that serves the application through the link.
type server struct {
	root string
	url  string
	http *http.Server
}

func (s *server) path(name string) string { return filepath.Join(s.root, name) }

// newServer makes a fresh server; more are further lines of its configuration.
func newServer(root string, more ...string) (*server, error) {
	s := &server{root: root}
	config := fmt.Sprintf("# usher's configuration on this server\napplication: %s\ndeployment_group: %s\n"+
		"link: %s\nbase: %s\nreleases: %s\nrole_hooks: %s\nstate_dir: %s\n", application, deploymentGroup,
		s.path("opt/app"), s.path("opt/app-base"), s.path("opt/app-releases"), s.path("etc/usher/hooks.d"), s.path("var/lib/usher")) + strings.Join(more, "")
	for name, content := range map[string]string{
		"opt/app-base/www/index.html": basePage,
		"etc/usher/agent.yml":         config,
	} {
		if err := writeFile(s.path(name), content, 0o644); err != nil {
			return nil, err
		}
	}
	if err := os.Symlink(s.path("opt/app-base"), s.path("opt/app")); err != nil {
		return nil, fmt.Errorf("cannot make the server: %w", err)
	}
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot serve the application: %w", err)
	}
	s.url = fmt.Sprintf("http://%s/", port.Addr())
	s.http = &http.Server{Handler: http.FileServer(http.Dir(s.path("opt/app/www")))} // the link is followed at every request
	go func() { _ = s.http.Serve(port) }()                                           // until close
	return s, nil
}

func (s *server) close() { _ = s.http.Close() }

// target is where the link points, as a person on the server sees it.
func (s *server) target() string {
	target, err := os.Readlink(s.path("opt/app"))
	if err != nil {
		return err.Error()
	}
	return strings.TrimPrefix(target, s.root)
}

// release is the release the link points to, "" when it is the base.
func (s *server) release() (string, error) {
	target := s.target()
	if target == "/opt/app-base" {
		return "", nil
	}
	if dir, id := filepath.Split(target); dir == "/opt/app-releases/" {
		return id, nil
	}
	return "", fmt.Errorf("/opt/app points to %s, which is neither the base nor a release", target)
}

// answer is the application's page.
type answer struct {
	status int
	title  string
	facts  map[string]string
	order  []string // of facts
}

var (
	heading = regexp.MustCompile(`<h1>([^<]*)</h1>`)
	fact    = regexp.MustCompile(`<dt>([^<]*)</dt><dd>([^<]*)</dd>`)
)

// get asks the application for its page, as a user does.
func (s *server) get(ctx context.Context) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, visitLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return answer{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, fmt.Errorf("the application does not answer: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, fmt.Errorf("the application's answer breaks off: %w", err)
	}
	title := heading.FindSubmatch(body)
	if response.StatusCode != http.StatusOK || title == nil {
		return answer{}, fmt.Errorf("the application answers %s with %q", response.Status, body)
	}
	a := answer{status: response.StatusCode, title: string(title[1]), facts: map[string]string{}}
	for _, f := range fact.FindAllSubmatch(body, -1) {
		a.facts[string(f[1])] = string(f[2])
		a.order = append(a.order, string(f[1]))
	}
	return a, nil
}

// users ask for the page again and again.
type users struct {
	home chan struct{} // closed to send them home
	seen chan tally
}

// watch lets users ask for the page until stop. The first has its answer when watch returns, and the last asks
// after stop was called: what was there before and what is there afterwards is always seen.
func (s *server) watch(ctx context.Context) *users {
	u := &users{home: make(chan struct{}), seen: make(chan tally, 1)}
	var t tally
	t.add(s.get(ctx))
	go func() {
		defer func() { u.seen <- t }()
		every := time.NewTicker(visitEvery)
		defer every.Stop()
		for last := false; !last; {
			select {
			case <-every.C:
			case <-u.home:
				last = true
			case <-ctx.Done():
				return
			}
			a, err := s.get(ctx)
			if ctx.Err() != nil {
				return
			}
			t.add(a, err)
		}
	}()
	return u
}

// stop sends the users home and returns what they saw.
func (u *users) stop() tally {
	close(u.home)
	return <-u.seen
}
