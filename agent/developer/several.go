package developer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"

	"usher/agent/cli"
	"usher/agent/rollout"
)

// Several environments in one command. All are made ready, and shown, before any is changed; then they are deployed to, or rolled
// back, one after the other or side by side.

// order is how several are gone through.
type order struct{ sideBySide, keepGoing bool }

func (o *order) flags(f *flag.FlagSet) {
	f.BoolVar(&o.sideBySide, "side-by-side", false, "of several environments: all of them at the same time")
	f.BoolVar(&o.keepGoing, "keep-going", false, "of several environments: go on with the next when one has failed")
}

// check refuses what says nothing.
func (o order) check(environment string) error {
	if several := strings.Contains(environment, ","); !several && (o.sideBySide || o.keepGoing) {
		return cli.UsageError{Err: fmt.Errorf("--side-by-side and --keep-going are for several environments, such as staging,%s", environment)}
	}
	if o.sideBySide && o.keepGoing {
		return cli.UsageError{Err: errors.New("--keep-going says nothing with --side-by-side: all are begun at the same time")}
	}
	return nil
}

// prepared is a deployment that only has to be begun. What is made of a session is of that session.
type prepared interface {
	again(context.Context, *Session) error // looks once more, where another's deployment came before it
	begin(context.Context, *Session) error
	remove()
}

// each does the same to an environment, or to several with commas between their names, and returns the exit code: of the first that
// failed, in their order.
func (d *Session) each(ctx context.Context, in cli.Call, o order, prepare func(context.Context, *Session) (prepared, error)) int {
	d.Show(in.Stdout, in.Stderr)
	err := o.check(in.Arg(0))
	if names := strings.Split(in.Arg(0), ","); err == nil && len(names) > 1 {
		return d.several(ctx, names, in, o, prepare)
	}
	if err == nil {
		err = d.Begin(ctx, in.Arg(0), in.Stdout, in.Stderr)
	}
	if err == nil {
		var r prepared
		if r, err = prepare(ctx, d); err == nil {
			err = d.confirm(ctx)
		}
		defer r.remove()
		if err == nil {
			err = r.begin(ctx, d)
		}
	}
	return d.End(ctx, err)
}

// oneOf is one of several.
type oneOf struct {
	*Session
	ready prepared
	err   error // it is not begun, and need not be where this ends with ExitDone
}

func (d *Session) several(ctx context.Context, names []string, in cli.Call, o order, prepare func(context.Context, *Session) (prepared, error)) int {
	d.commits, d.credentials = map[string]rollout.Commit{}, map[string]aws.CredentialsProvider{}
	var all []*oneOf
	for i, name := range names {
		s := *d
		one := &oneOf{Session: &s}
		one.err = s.Begin(ctx, name, in.Stdout, in.Stderr)
		if slices.Contains(names[:i], name) {
			one.err = cli.UsageError{Err: fmt.Errorf("%s is named twice", name)}
		}
		if one.err != nil { // of what was typed, or of usher.yml: it is of no environment
			return s.End(ctx, one.err)
		}
		all = append(all, one)
		one.shows(in, false)
	}
	for _, one := range all {
		one.ready, one.err = prepare(ctx, one.Session)
		defer one.ready.remove()
		if code, _, _ := one.exitOf(ctx, one.err); code != cli.ExitDone {
			return notBegun(ctx, all, one)
		}
	}
	if err := confirmAll(ctx, all, names); err != nil {
		first := all[max(slices.IndexFunc(all, wantsPerson), 0)]
		first.err = err
		return notBegun(ctx, all, first)
	}
	if o.sideBySide {
		return sideBySide(ctx, all, in)
	}
	first := cli.ExitDone
	for i, one := range all {
		if one.err == nil {
			fmt.Fprintf(one.People, "%s:\n", one.Env.Name)
			if i > 0 {
				one.err = one.ready.again(ctx, one.Session)
			}
			if one.err == nil {
				one.err = one.ready.begin(ctx, one.Session)
			}
		}
		if code, _, _ := one.exitOf(ctx, one.err); code != cli.ExitDone && (!o.keepGoing || ctx.Err() != nil) {
			return cmp.Or(first, notBegun(ctx, all[i:], one))
		}
		first = cmp.Or(first, one.End(ctx, one.err))
	}
	return first
}

// shows says where what is to be seen of one goes: errors with its name before them, and of several that go on side by side
// all of it.
func (d *oneOf) shows(in cli.Call, beside bool) {
	out := in.Stdout
	if beside && !d.json {
		out = &prefixed{to: out, prefix: d.Env.Name + " | "}
	}
	d.Show(out, &prefixed{to: in.Stderr, prefix: d.Env.Name + " | "})
	d.view.Of(d.Env.Name)
}

// confirmAll asks once, where one of them wants that.
func confirmAll(ctx context.Context, all []*oneOf, names []string) error {
	asks := *all[0].Session
	asks.Env.Name, asks.Env.Confirm = strings.Join(names, ","), slices.ContainsFunc(all, wantsPerson)
	return asks.confirm(ctx)
}

// wantsPerson tells whether one is to be confirmed.
func wantsPerson(one *oneOf) bool { return one.Env.Confirm && one.err == nil }

// notBegun ends those that have no deployment, because of one, and that one last: what is wrong stands at the end.
func notBegun(ctx context.Context, all []*oneOf, because *oneOf) int {
	code, _, _ := because.exitOf(ctx, because.err)
	for _, one := range all {
		if one != because {
			one.End(ctx, cmp.Or[error](one.err, ExitError{code, rollout.EndedNotBegun, "not begun, because of " + because.Env.Name}))
		}
	}
	return because.End(ctx, because.err)
}

// sideBySide begins all of them at once, and waits for the end of each.
func sideBySide(ctx context.Context, all []*oneOf, in cli.Call) int {
	codes := make([]int, len(all))
	var running sync.WaitGroup
	for i, one := range all {
		one.shows(in, true)
		running.Go(func() {
			if one.err == nil {
				one.err = one.ready.begin(ctx, one.Session)
			}
			codes[i] = one.End(ctx, one.err)
		})
	}
	running.Wait()
	return cmp.Or(codes...)
}

// prefixed writes whole lines, each with a prefix. One goroutine uses it; several of them may have the same writer behind.
type prefixed struct {
	to     io.Writer
	prefix string
	rest   []byte // the beginning of a line
}

func (p *prefixed) Write(text []byte) (int, error) {
	p.rest = append(p.rest, text...)
	end := bytes.LastIndexByte(p.rest, '\n') + 1
	var out []byte
	for line := range bytes.Lines(p.rest[:end]) {
		out = append(append(out, p.prefix...), line...)
	}
	p.rest = append([]byte(nil), p.rest[end:]...)
	if len(out) > 0 {
		if _, err := p.to.Write(out); err != nil {
			return 0, err
		}
	}
	return len(text), nil
}
