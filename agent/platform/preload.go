//go:build linux && !developer

package platform

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"usher/agent/bundle"
	"usher/agent/cli"
	"usher/agent/clients"
	"usher/agent/config"
	"usher/agent/doctor"
	"usher/agent/format"
	"usher/agent/release"
	"usher/agent/retry"
	"usher/agent/revision"
	"usher/agent/safepath"
	"usher/hooks"
)

// preload is a revision that an image carries, so that a launch of it need not download it. An instance knows it by
// where CodeDeploy says it is: bucket, key, version and ETag must be those it is registered with.
type preload struct {
	from   string // a file, or s3://BUCKET/KEY
	region string
	s3     revision.S3

	archive *os.File // the bundle, open: no path leads to it from within the image
}

func (l *preload) flags(flags *flag.FlagSet) {
	flags.StringVar(&l.from, "revision", "", "lay a revision down: `PATH` of a zip, tar or tgz, with --bucket and --key as CodeDeploy knows it; or s3://BUCKET/KEY, which is downloaded")
	flags.StringVar(&l.s3.Bucket, "bucket", "", "`BUCKET` that the revision is registered with")
	flags.StringVar(&l.s3.Key, "key", "", "its `KEY`")
	flags.StringVar(&l.s3.Version, "version", "", "its `VERSION` of the object (s3://: the newest)")
	flags.StringVar(&l.s3.ETag, "etag", "", "its `ETAG` (s3://: what the object has)")
	flags.StringVar(&l.region, "region", "", "`REGION` of the bucket (default: of the environment, or of this instance)")
}

// usage judges the flags.
func (l *preload) usage() error {
	l.s3.ETag = strings.Trim(l.s3.ETag, `"`)
	place, inS3 := strings.CutPrefix(l.from, "s3://")
	switch {
	case l.from == "" && l.s3 != revision.S3{}:
		return cli.UsageError{Err: errors.New("--bucket, --key, --version and --etag say which revision is laid down: --revision is missing")}
	case l.from == "":
		return nil
	case inS3:
		bucket, key, _ := strings.Cut(place, "/")
		key, version, _ := strings.Cut(key, "?versionId=")
		if l.s3.Bucket != "" || l.s3.Key != "" || bucket == "" || key == "" {
			return cli.UsageError{Err: fmt.Errorf("cannot use --revision %s: it must be s3://BUCKET/KEY, without --bucket and --key", l.from)}
		}
		l.s3.Bucket, l.s3.Key = bucket, key
		if version != "" {
			v, err := url.QueryUnescape(version)
			if err != nil || l.s3.Version != "" {
				return cli.UsageError{Err: fmt.Errorf("cannot use --revision %s: give its version once, as --version", l.from)}
			}
			l.s3.Version = v
		}
	case l.s3.Bucket == "" || l.s3.Key == "" || l.s3.Version == "" && l.s3.ETag == "":
		return cli.UsageError{Err: errors.New("a revision from a file is found by an instance only under the place it is registered with: " +
			"give --bucket and --key, and both of --version and --etag that CodeDeploy has (aws deploy get-deployment-group shows them)")}
	}
	return nil
}

// prepare opens the bundle, after a download if it is in S3.
func (l *preload) prepare(ctx context.Context) (err error) {
	switch {
	case l.from == "":
		return nil
	case strings.HasPrefix(l.from, "s3://"):
		return l.download(ctx)
	}
	if l.archive, err = os.Open(l.from); err != nil {
		return cli.UsageError{Err: fmt.Errorf("cannot open the revision: %w", err)}
	}
	return l.kind()
}

func (l *preload) download(ctx context.Context) (err error) {
	if l.archive, err = os.CreateTemp("", "usher-bundle-"); err != nil {
		return fmt.Errorf("cannot make a file for the bundle: %w", err)
	}
	if err := os.Remove(l.archive.Name()); err != nil { // nothing is left behind
		return fmt.Errorf("cannot unlink the file for the bundle: %w", err)
	}
	options := []func(*awsconfig.LoadOptions) error{awsconfig.WithEC2IMDSRegion(), awsconfig.WithHTTPClient(
		awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.ResponseHeaderTimeout = clients.DeveloperTimeout })),
		awsconfig.WithAPIOptions(retry.Deadline(clients.DeveloperTimeout))}
	if l.region != "" {
		options = append(options, awsconfig.WithRegion(l.region))
	}
	cfg, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return fmt.Errorf("cannot read the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return cli.UsageError{Err: errors.New("cannot tell the AWS Region: give --region")}
	}
	got, err := bundle.FetchS3(ctx, s3.NewFromConfig(cfg), bundle.S3Object{Bucket: l.s3.Bucket, Key: l.s3.Key, Version: l.s3.Version, ETag: l.s3.ETag}, l.archive, nil)
	if err != nil {
		return err
	}
	l.s3 = *(revision.Revision{S3: &l.s3}).Pin(got.Version, got.ETag).S3
	return l.kind()
}

// kind finds out what the bundle is packed as.
func (l *preload) kind() (err error) {
	head := make([]byte, 512)
	n, err := l.archive.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("cannot read the revision: %w", err)
	}
	if l.s3.BundleType, err = bundle.Kind(l.from, head[:n]); err != nil {
		return cli.UsageError{Err: err}
	}
	return nil
}

func (l *preload) close() {
	if l.archive != nil {
		l.archive.Close()
	}
}

// judge tells what is wrong with the revision, without leaving anything of it.
func (l *preload) judge(ctx context.Context, r *doctor.Report, layout release.Layout, cfg config.Config) {
	if l.archive == nil {
		return
	}
	dir, err := os.MkdirTemp(filepath.Dir(cfg.Releases), ".usher-bake-") // an image's tree need not have /tmp
	if err != nil {
		r.Problem("revision", "", "cannot make a scratch directory: %v", err)
		return
	}
	defer safepath.RemoveAll(dir)
	if _, err := bundle.Unpack(ctx, l.archive, l.s3.BundleType, dir, bundle.Limits{MaxFiles: cfg.MaxFiles, MaxBytes: cfg.MaxBytes,
		Narrow: true,
		Warn:   func(text string) { r.Warn("revision", "", "%s", text) }}); err != nil {
		r.Problem("revision", "", "%v", err)
		return
	}
	_, problems := release.Check(layout, dir, noRoleHooks, cfg.Errexit, hooks.Check)
	checkScripts(r, "revision", "", problems)
}

// install makes the revision a release that no deployment has touched, and tells what is wrong with it otherwise.
func (l *preload) install(ctx context.Context, r *doctor.Report, layout release.Layout, cfg config.Config) (id, detail string, err error) {
	if l.archive == nil {
		return "", "", nil
	}
	rev := revision.Revision{S3: &l.s3}
	id = rev.ID()
	if _, ok := layout.Load(id); ok {
		return id, "it was there already", nil // checked with the other releases
	}
	if err := layout.Check(); err != nil {
		return "", "", err
	}
	dir, err := layout.StagingDir(id)
	if err != nil {
		return "", "", err
	}
	defer safepath.RemoveAll(dir) // renamed away when all is well
	stats, err := bundle.Unpack(ctx, l.archive, l.s3.BundleType, dir, bundle.Limits{MaxFiles: cfg.MaxFiles, MaxBytes: cfg.MaxBytes,
		Narrow: true,
		Warn:   func(text string) { r.Warn("revision", "", "%s", text) }})
	if err != nil {
		r.Problem("revision", "", "%v", err)
		return "", "", nil
	}
	plan, problems := release.Check(layout, dir, noRoleHooks, cfg.Errexit, hooks.Check)
	checkScripts(r, "revision", "", problems)
	if len(hooks.Errors(problems)) > 0 {
		return "", "", nil
	}
	facts := release.Metadata{ID: id, Revision: rev.String(), ETag: l.s3.ETag}
	if _, err := layout.Add(dir, facts, plan.Separate); err != nil {
		return "", "", err
	}
	return id, fmt.Sprintf("%s; %s, %s unpacked", rev, format.Plural(stats.Files, "file"), format.Bytes(stats.Bytes)), nil
}
