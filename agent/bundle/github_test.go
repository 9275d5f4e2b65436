package bundle

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A GitHub on loopback: the API redirects to another host, which sends the archive in chunks.
func serveGitHub(t *testing.T, archive []byte, api http.HandlerFunc, codeload fault) (address string, requests func() []string) {
	t.Helper()
	var mu sync.Mutex
	var list []string
	n := 0
	note := func(r *http.Request) int {
		mu.Lock()
		defer mu.Unlock()
		list = append(list, r.URL.Path)
		n++
		return n
	}
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		codeload(w, r, note(r), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `W/"abc"`)
			for chunk := archive; len(chunk) > 0; { // in pieces, so that no Content-Length is known
				n := min(1000, len(chunk))
				_, _ = w.Write(chunk[:n])
				_ = http.NewResponseController(w).Flush()
				chunk = chunk[n:]
			}
		}))
	}))
	t.Cleanup(files.Close)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note(r)
		if api != nil {
			api(w, r)
			return
		}
		if r.UserAgent() == "" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		http.Redirect(w, r, files.URL+"/archive", http.StatusFound)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), list...)
	}
}

const sha = "1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d"

func TestFetchGitHub(t *testing.T) {
	top := "shop-web-1a2b3c4/"
	entries := []entry{{name: top}, {name: top + "appspec.yml", body: "version: 0.0"}, {name: top + "x", body: strings.Repeat("x", 5000)}}
	for kind, archive := range map[string][]byte{"tar": makeTgz(t, entries...), "zip": makeZip(t, entries...), "": makeTgz(t, entries...)} {
		direct := func(w http.ResponseWriter, r *http.Request, _ int, s http.Handler) { s.ServeHTTP(w, r) }
		address, requests := serveGitHub(t, archive, nil, direct)
		dst := saved(t, "b", []byte(strings.Repeat("old", 10_000)))
		var last int64
		got, err := FetchGitHub(t.Context(), http.DefaultClient, GitHub{address, "shop/web", sha, kind}, dst, 1<<20, func(done, _ int64) { last = done })
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(content(t, dst), archive) || last != int64(len(archive)) {
			t.Errorf("%s: the file differs from the archive", kind)
		}
		if want := (Fetched{Size: int64(len(archive)), ETag: "abc", Checksum: "none", Arrived: got.Arrived}); got != want {
			t.Errorf("%s: fetched %+v, want %+v", kind, got, want)
		}
		ball := map[string]string{"tar": "tarball", "zip": "zipball", "": "tarball"}[kind]
		if got := requests()[0]; got != "/repos/shop/web/"+ball+"/"+sha {
			t.Errorf("%s: asked for %s", kind, got)
		}
		dir := t.TempDir()
		if kind == "" {
			kind = Tar
		}
		if _, err := Unpack(t.Context(), dst, kind, dir, Limits{}); err != nil {
			t.Fatal(err)
		}
		if got := picture(t, dir)["appspec.yml"]; got != "0644 version: 0.0" {
			t.Errorf("%s: appspec.yml is %q", kind, got)
		}
	}
}

func TestFetchGitHubFaults(t *testing.T) {
	archive := makeTgz(t, entry{name: "f", body: string(random(50_000))})
	direct := func(w http.ResponseWriter, r *http.Request, _ int, s http.Handler) { s.ServeHTTP(w, r) }
	status := func(status int, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
		}
	}
	in := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }
	tests := []struct {
		name     string
		revision GitHub
		limit    int64
		api      http.HandlerFunc
		codeload fault
		err      string
		requests int
	}{
		{name: "breaks off twice, starts again", codeload: func(w http.ResponseWriter, r *http.Request, n int, s http.Handler) {
			if n < 5 {
				w = &cutter{w, 20_000, nil}
			}
			s.ServeHTTP(w, r)
		}, requests: 6},
		{name: "bad gateway once", codeload: func(w http.ResponseWriter, r *http.Request, n int, s http.Handler) {
			if n == 2 {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			s.ServeHTTP(w, r)
		}, requests: 4},
		{name: "always a bad gateway", api: status(http.StatusBadGateway), err: "answered 502 Bad Gateway (6 attempts)", requests: 6},
		{name: "silence", codeload: func(w http.ResponseWriter, r *http.Request, n int, s http.Handler) {
			if n == 2 {
				<-r.Context().Done()
				return
			}
			s.ServeHTTP(w, r)
		}, requests: 4},
		{name: "private or absent", api: status(http.StatusNotFound), err: "there is no such repository or commit, or it is private: usher reads public repositories only, put private ones into S3", requests: 1},
		{name: "rate limit for long", api: status(http.StatusForbidden, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", in(30*time.Minute)), err: "GitHub's rate limit for this address is used up for another 30m0s: put the bundle into S3", requests: 1},
		{name: "rate limit for a moment", api: func() http.HandlerFunc {
			var n int
			return func(w http.ResponseWriter, r *http.Request) {
				if n++; n == 1 {
					status(http.StatusTooManyRequests, "Retry-After", "0")(w, r)
					return
				}
				_, _ = w.Write(archive)
			}
		}(), requests: 2},
		{name: "forbidden for another reason", api: status(http.StatusForbidden), err: "answered 403 Forbidden", requests: 1},
		{name: "too large", limit: 30_000, err: "it is larger than 30.0 kB", requests: 2},
		{name: "too large, as it says itself", limit: 30_000, api: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(archive)))
			_, _ = w.Write(archive)
		}, err: "it is larger than 30.0 kB", requests: 1},
		{name: "as large as it may be", limit: int64(len(archive)), requests: 2},
		{name: "empty", api: status(http.StatusOK), err: "GitHub sent an empty archive (6 attempts)", requests: 6},
		{name: "no repository", revision: GitHub{Repository: "../../x", CommitID: sha}, err: "the repository must be named owner/name"},
		{name: "no commit", revision: GitHub{Repository: "a/b", CommitID: "master"}, err: "the commit must be the SHA of a commit"},
		{name: "no such type", revision: GitHub{Repository: "a/b", CommitID: sha, BundleType: "rar"}, err: `its bundle type is "rar": GitHub has tar and zip`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.codeload == nil {
				test.codeload = direct
			}
			g := test.revision
			if g.Repository == "" {
				g = GitHub{Repository: "shop/web", CommitID: sha}
			}
			if test.limit == 0 {
				test.limit = 1 << 20
			}
			var requests func() []string
			g.API, requests = serveGitHub(t, archive, test.api, test.codeload)
			dst := saved(t, "b", nil)
			_, err := fetchGitHub(t.Context(), http.DefaultClient, g, dst, test.limit, nil, backoffPolicy{first: time.Millisecond, stall: 300 * time.Millisecond})
			switch {
			case test.err == "" && err != nil:
				t.Fatal(err)
			case test.err == "" && !bytes.Equal(content(t, dst), archive):
				t.Error("the file differs from the archive")
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err) || !strings.HasPrefix(err.Error(), "cannot download github.com/"+g.Repository+"@")):
				t.Errorf("error %v\nwant  %s", err, test.err)
			}
			if n := len(requests()); n != test.requests {
				t.Errorf("%d requests, want %d: %v", n, test.requests, requests())
			}
		})
	}
}

// An archive that TLS no longer protects is not taken.
func TestFetchGitHubStaysWithTLS(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x") }))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer secure.Close()
	_, err := FetchGitHub(t.Context(), secure.Client(), GitHub{API: secure.URL, Repository: "a/b", CommitID: sha}, saved(t, "b", nil), 100, nil)
	if err == nil || !strings.Contains(err.Error(), "without TLS") {
		t.Errorf("error %v", err)
	}
}
