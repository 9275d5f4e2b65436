package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"usher/agent/bundle"
	"usher/agent/standin"
)

// whoBefore is the usher that -before names.
const whoBefore = "usher before"

// befores compares two builds of usher: what a change costs a launch, a redeployment, a rollback and what follows them.
func (b *bench) befores(ctx context.Context) error {
	if b.before == "" {
		b.say("%s: nothing to compare with (-before)", b.part)
		return nil
	}
	for _, l := range []struct {
		corpus corpus
		rounds int
	}{{small, 21}, {big, 7}} {
		if b.quick && l.corpus.name == big.name {
			break
		}
		g, err := b.group(l.corpus)
		if err != nil {
			return err
		}
		launch := func(who, binary string) subject {
			return subject{who: who, run: func(ctx context.Context) (time.Duration, error) {
				return b.launch(ctx, g, func(s *server) *exec.Cmd { return s.usher(ctx, binary, "-once") })
			}}
		}
		if err := b.race(ctx, row{Name: "launch, " + l.corpus.about}, b.rounds(l.rounds), launch(whoUsher, b.usher), launch(whoBefore, b.before)); err != nil {
			return err
		}
		if err := b.inService(ctx, l.corpus, b.rounds(l.rounds)); err != nil {
			return err
		}
	}
	return nil
}

// inService races two servers that run one build each.
func (b *bench) inService(ctx context.Context, c corpus, rounds int) (err error) {
	var deploys, prunes, rollbacks []subject
	pristine := row{Part: b.part, Name: "copies of scripts, of one release of " + c.about, Unit: "bytes", Note: "the folder's files too, as blocks of the disk"}
	var used []func() (float64, error)
	for who, binary := range map[string]string{whoUsher: b.usher, whoBefore: b.before} {
		s, err := b.keptUp(ctx, c, who, binary)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		for range s.keeps + 1 { // until each deployment removes a release
			if _, err := s.next(ctx); err != nil {
				return err
			}
		}
		deploys = append(deploys, subject{who: who, run: s.next})
		prunes = append(prunes, subject{who: who, run: s.prune})
		rollbacks = append(rollbacks, subject{who: who, run: s.rollback})
		used = append(used, s.copies)
	}
	if deploys[0].who != whoUsher { // a map has no order
		slices.Reverse(deploys)
		slices.Reverse(prunes)
		slices.Reverse(rollbacks)
		slices.Reverse(used)
	}
	err = b.race(ctx, row{Name: "redeploy, seven events, " + c.about}, rounds, deploys...)
	if err == nil {
		err = b.race(ctx, row{Name: "then, until an old release is gone, " + c.about}, rounds, prunes...)
	}
	if err == nil {
		err = b.race(ctx, row{Name: "rollback by hand, " + c.about}, rounds, rollbacks...)
	}
	for i, of := range used {
		bytes, failed := of()
		err = errors.Join(err, failed)
		pristine.Entries = append(pristine.Entries, newEntry(deploys[i].who, bytes))
	}
	if err == nil {
		b.report.add(pristine)
	}
	return err
}

// A keptUp server is deployed to again and again.
type keptUp struct {
	*daemon
	b       *bench
	binary  string
	content []byte
	n       int
	keeps   int // releases
}

func (b *bench) keptUp(ctx context.Context, c corpus, who, binary string) (*keptUp, error) {
	g, err := b.group(c)
	if err != nil {
		return nil, err
	}
	archive, err := b.archive(c, bundle.Zip)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(archive)
	if err != nil {
		return nil, fmt.Errorf("cannot read the bundle: %w", err)
	}
	g.name += "-" + strings.ReplaceAll(who, " ", "-")
	b.fleet(g)
	b.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: application, Name: g.name, AutoScalingGroups: []string{g.name}})
	d, err := b.daemonWith(ctx, g, func(cmd *exec.Cmd) { cmd.Path, cmd.Args[0] = binary, binary })
	if err != nil {
		return nil, err
	}
	return &keptUp{daemon: d, b: b, binary: binary, content: content, keeps: 3}, nil
}

// next deploys the revision under another name: another release.
func (s *keptUp) next(ctx context.Context) (time.Duration, error) {
	if err := coolDown(s.b.disk); err != nil {
		return 0, err
	}
	s.n++
	revision, err := s.b.upload(fmt.Sprintf("%s-%d.zip", s.group.name, s.n), s.content)
	if err != nil {
		return 0, err
	}
	took, err := s.b.redeploy(ctx, s.group, revision)
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, s.said.Bytes())
	}
	return took, err
}

// prune is how long it takes after a deployment, until no more releases are there than before it.
func (s *keptUp) prune(ctx context.Context) (time.Duration, error) {
	if err := wait(ctx, time.Second); err != nil { // the one before has come to its end
		return 0, err
	}
	before, err := s.releases()
	if err != nil {
		return 0, err
	}
	if _, err := s.next(ctx); err != nil {
		return 0, err
	}
	for began := time.Now(); ; {
		now, err := s.releases()
		if err != nil || len(now) <= len(before) || time.Since(began) > launchLimit {
			return time.Since(began), err
		}
		if err := wait(ctx, time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// releases are the ids of what is there, the oldest first: folders, for the facts of one go first.
func (s *keptUp) releases() (ids []string, err error) {
	all, err := filepath.Glob(s.path("opt/app-releases/*"))
	if err != nil {
		return nil, err
	}
	age := map[string]time.Time{}
	for _, dir := range all {
		info, err := os.Stat(dir)
		if err == nil && info.IsDir() && filepath.Ext(dir) == "" {
			ids = append(ids, filepath.Base(dir))
			age[filepath.Base(dir)] = info.ModTime()
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	slices.SortFunc(ids, func(a, b string) int { return age[a].Compare(age[b]) })
	return ids, nil
}

// rollback goes back and forth between the release that is live and another, as an operator does.
func (s *keptUp) rollback(ctx context.Context) (time.Duration, error) {
	live, err := os.Readlink(s.path("opt/app"))
	if err != nil {
		return 0, err
	}
	all, err := s.releases()
	if err != nil {
		return 0, err
	}
	other := slices.IndexFunc(all, func(id string) bool { return id != filepath.Base(live) })
	if err := coolDown(s.b.disk); err != nil {
		return 0, err
	}
	return timed(func() error {
		return command(ctx, s.environ, s.binary, "rollback", "-config", s.path("etc/usher/agent.yml"), all[other])
	})
}

// copies is what the copies of the newest release's scripts take of the disk.
func (s *keptUp) copies() (bytes float64, err error) {
	all, err := s.releases()
	if err != nil {
		return 0, err
	}
	dir := s.path("opt/app-releases/" + all[len(all)-1] + ".scripts")
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		var of unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &of)
		}
		bytes += float64(of.Blocks * 512)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) { // a build that made none
		return 0, nil
	}
	return bytes, err
}
