package developer

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"

	"usher/agent/cli"
	"usher/agent/rollout"
)

// Several environments in one command. All are made ready, and shown, before any is changed; then they are deployed to one
// after the other, or side by side.

// oneOf is one of several.
type oneOf struct {
	*Session
	ready ready
	err   error // it is not begun, and need not be where this ends with ExitDone
}

// deploySeveral deploys to environments, and returns the exit code of the first that failed, in their order.
func (d *Session) deploySeveral(ctx context.Context, names []string, in cli.Call, o deployOptions) int {
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
		one.ready, one.err = one.prepare(ctx, in.Arg(1), o)
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
				one.err = one.again(ctx, o)
			}
			if one.err == nil {
				one.err = one.begin(ctx, one.ready)
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

// again looks once more at an environment whose turn has come after another's deployment: somebody may have deployed to it.
func (d *oneOf) again(ctx context.Context, o deployOptions) error {
	group, err := rollout.DescribeGroup(ctx, d.AWS.CodeDeploy, d.Env)
	if err == nil && group.Active != "" {
		group, err = d.waitForTurn(ctx, group, o.wait)
	}
	if err == nil && o.forwardOnly {
		err = d.forwardOnly(ctx, group, d.ready.commit)
	}
	return err
}

// sideBySide begins all of them at once, and waits for the end of each.
func sideBySide(ctx context.Context, all []*oneOf, in cli.Call) int {
	codes := make([]int, len(all))
	var running sync.WaitGroup
	for i, one := range all {
		one.shows(in, true)
		running.Go(func() {
			if one.err == nil {
				one.err = one.begin(ctx, one.ready)
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
