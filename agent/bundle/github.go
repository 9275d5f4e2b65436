package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"usher/agent/format"
)

const (
	// DefaultGitHubAPI is GitHub's own API; GitHub Enterprise Server has another for each host.
	DefaultGitHubAPI = "https://api.github.com"

	// longestRetryAfter is the longest pause GitHub may ask for before the deployment fails instead:
	// its rate limits last up to an hour, and a launch does not wait that long.
	longestRetryAfter = time.Minute
)

// GitHub names a revision in a public repository.
type GitHub struct {
	API        string // base address of the API; "" means DefaultGitHubAPI
	Repository string // "owner/name"
	CommitID   string // the commit's SHA
	BundleType string // "tar" (or "", CodeDeploy's default on Linux) or "zip"
}

// String is the revision's name in messages: "github.com/owner/name@1a2b3c4".
func (g GitHub) String() string { return "github.com/" + g.Repository + "@" + g.CommitID }

var (
	repository = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$`) })
	commit     = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9a-fA-F]{7,64}$`) })
)

// address is where GitHub serves the archive: gzipped tar, or zip.
func (g GitHub) address() (string, error) {
	archive, ok := map[string]string{"": "tarball", Tar: "tarball", Tgz: "tarball", Zip: "zipball"}[g.BundleType]
	switch {
	case !ok:
		return "", fmt.Errorf("its bundle type is %q: GitHub has tar and zip", g.BundleType)
	case !repository().MatchString(g.Repository):
		return "", errors.New("the repository must be named owner/name")
	case !commit().MatchString(g.CommitID):
		return "", errors.New("the commit must be the SHA of a commit")
	}
	api := g.API
	if api == "" {
		api = DefaultGitHubAPI
	}
	return url.JoinPath(api, "repos", g.Repository, archive, g.CommitID)
}

// FetchGitHub downloads the archive of a commit into dst, from its beginning, by way of GitHub's
// redirect. More than limit bytes are refused. GitHub makes archives on request and says neither
// their length nor a checksum as a rule, so total is 0 in the calls of progress, and a download that
// breaks off starts again; it is verified when it is unpacked. On an error dst holds nothing of use.
func FetchGitHub(ctx context.Context, c *http.Client, g GitHub, dst *os.File, limit int64, progress func(done, total int64)) (Fetched, error) {
	return fetchGitHub(ctx, c, g, dst, limit, progress, backoffPolicy{})
}

func fetchGitHub(ctx context.Context, c *http.Client, g GitHub, dst *os.File, limit int64, progress func(done, total int64), p backoffPolicy) (Fetched, error) {
	address, err := g.address()
	if err != nil {
		return Fetched{}, fmt.Errorf("cannot download %s: %w", g, err)
	}
	if err := CheckSpace(filepath.Dir(dst.Name()), 0, 1); err != nil {
		return Fetched{}, fmt.Errorf("cannot download %s: %w", g, err)
	}
	var fetched Fetched
	err = p.retry(ctx, func() error {
		fetched, err = getGitHub(ctx, c, address, dst, limit, progress, p)
		return err
	})
	if err != nil {
		return Fetched{}, fmt.Errorf("cannot download %s: %w", g, err)
	}
	return fetched, nil
}

// getGitHub makes one request, redirects included.
func getGitHub(ctx context.Context, c *http.Client, address string, dst *os.File, limit int64, progress func(done, total int64), p backoffPolicy) (Fetched, error) {
	ctx, alive, stop := p.withStallTimeout(ctx)
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return Fetched{}, permanentError{err}
	}
	request.Header.Set("User-Agent", "usher") // GitHub refuses requests without one
	request.Header.Set("Accept-Encoding", "identity")
	response, err := c.Do(request)
	if err != nil {
		return Fetched{}, classify(ctx, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return Fetched{}, explainGitHub(response)
	}
	if request.URL.Scheme == "https" && response.Request.URL.Scheme != "https" {
		return Fetched{}, permanentError{fmt.Errorf("it was redirected to %s without TLS, which nothing else would verify", response.Request.URL.Host)}
	}
	if response.ContentLength > limit {
		return Fetched{}, permanentError{fmt.Errorf("it is larger than %s", format.Bytes(limit))}
	}
	if err := dst.Truncate(0); err != nil {
		return Fetched{}, permanentError{err}
	}

	var at int64
	total := max(response.ContentLength, 0)
	_, err = copyBody(response.Body, limit+1, alive, func(b []byte) error {
		if at+int64(len(b)) > limit {
			return fmt.Errorf("it is larger than %s", format.Bytes(limit))
		}
		n, err := dst.WriteAt(b, at)
		at += int64(n)
		if progress != nil {
			progress(at, total)
		}
		return err
	}, make([]byte, copyBuffer))
	switch {
	case err != io.EOF: // limit+1 bytes never come without an error
		return Fetched{}, classify(ctx, err)
	case at == 0:
		return Fetched{}, errors.New("GitHub sent an empty archive")
	}
	fetched := Fetched{Size: at, ETag: strings.Trim(strings.TrimPrefix(response.Header.Get("ETag"), "W/"), `"`), Checksum: "none", Arrived: time.Now()}
	if response.ContentLength >= 0 {
		fetched.Checksum = lengthOnly
	}
	return fetched, nil
}

// explainGitHub says what an answer other than 200 means.
func explainGitHub(r *http.Response) error {
	now, err := http.ParseTime(r.Header.Get("Date")) // GitHub's clock, which is right
	if err != nil {
		now = time.Now()
	}
	wait, limited := rateLimit(r.Header, now)
	err = fmt.Errorf("%s answered %s", r.Request.URL.Host, r.Status)
	switch {
	case r.StatusCode == http.StatusNotFound:
		return permanentError{fmt.Errorf("there is no such repository or commit, or it is private: usher reads public repositories only, put private ones into S3: %w", err)}
	case limited && wait > longestRetryAfter:
		return permanentError{fmt.Errorf("GitHub's rate limit for this address is used up for another %s: put the bundle into S3: %w", wait.Round(time.Minute), err)}
	case limited:
		return retryAfter{err, wait}
	case r.StatusCode >= 500, r.StatusCode == http.StatusTooManyRequests:
		return err
	}
	return permanentError{err}
}

// rateLimit reads how long GitHub wants to be left alone, from Retry-After or from the time its
// hourly allowance starts again.
func rateLimit(h http.Header, now time.Time) (wait time.Duration, limited bool) {
	if seconds, err := strconv.Atoi(h.Get("Retry-After")); err == nil {
		return time.Duration(max(seconds, 0)) * time.Second, true
	}
	if h.Get("X-Ratelimit-Remaining") == "0" {
		reset, _ := strconv.ParseInt(h.Get("X-Ratelimit-Reset"), 10, 64)
		return max(time.Unix(reset, 0).Sub(now), 0), true
	}
	return 0, false
}
