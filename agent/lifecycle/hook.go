package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/smithy-go"
)

// Refusal says that the hook cannot be chosen; a person must.
type Refusal struct{ message string }

func (r *Refusal) Error() string { return r.message }

// hookList is an answer of DescribeLifecycleHooks.
type hookList struct {
	group string
	hooks []types.LifecycleHook
	at    time.Time // when it was asked for
}

// listHooks asks for the hooks of a group. sent is called when the call has its turn.
func (l *Launch) listHooks(ctx context.Context, group string, sent func()) (hookList, error) {
	list := hookList{group: group}
	err := l.opt.Limiter.Do(ctx, func() error {
		sent()
		list.at = time.Now()
		out, err := l.api.DescribeLifecycleHooks(ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: &group})
		if err == nil {
			list.hooks = out.LifecycleHooks
		}
		return err
	})
	if err != nil {
		return hookList{}, fmt.Errorf("cannot list the lifecycle hooks of %s (autoscaling:DescribeLifecycleHooks): %w", group, err)
	}
	return list, nil
}

// askedHooks is a question for a group's hooks that was asked beside another.
type askedHooks struct {
	l      *Launch
	ctx    context.Context
	group  string // "": nothing was asked
	cancel context.CancelFunc
	kept   bool          // nothing was asked: the list was told some time ago
	sent   atomic.Bool   // the call was made, and not only waited for its turn
	done   chan struct{} // closed when list and err are there
	list   hookList
	err    error
}

// askHooks asks for the hooks of the group that the instance was seen in, or is new in, unless they were told lately. Call drop.
func (l *Launch) askHooks(ctx context.Context) *askedHooks {
	a := &askedHooks{l: l, ctx: ctx, group: l.opt.NewIn, done: make(chan struct{})}
	if l.lately() {
		a.group = l.seen.group
	}
	ctx, a.cancel = context.WithCancel(ctx)
	if told := l.listed; a.group == "" || told.group == a.group && l.counts(told.at) {
		a.list, a.kept = told, a.group != ""
		a.sent.Store(true)
		close(a.done)
		return a
	}
	go func() {
		defer close(a.done)
		a.list, a.err = l.listHooks(ctx, a.group, func() { a.sent.Store(true) })
	}()
	return a
}

// of waits for the answer; it asks now if another group was meant.
func (a *askedHooks) of(group string) (hookList, error) {
	if a.group == group {
		<-a.done
		return a.list, a.err
	}
	return a.l.listHooks(a.ctx, group, func() {})
}

// drop ends the question. What was answered is kept for the next.
func (a *askedHooks) drop() {
	a.cancel()
	<-a.done
	if a.list.group != "" {
		a.l.listed = a.list
	}
}

// chooseHook is the hook whose action is ours, or nil when the group has none.
func (l *Launch) chooseHook(list hookList) (*types.LifecycleHook, error) {
	var open []string // the hooks of the transition that are not CodeDeploy's
	var candidates []types.LifecycleHook
	l.mu.Lock()
	l.others = nil
	for _, h := range list.hooks {
		l.others = append(l.others, fmt.Sprintf("%s of %s", aws.ToString(h.LifecycleHookName), aws.ToString(h.LifecycleTransition)))
	}
	l.mu.Unlock()
	for _, h := range list.hooks {
		name := aws.ToString(h.LifecycleHookName)
		if aws.ToString(h.LifecycleTransition) != l.opt.Transition {
			continue
		}
		if name == l.opt.Hook {
			return &h, nil
		}
		if !strings.HasPrefix(name, "CodeDeploy-managed-") {
			open, candidates = append(open, name), append(candidates, h)
		}
	}
	switch {
	case l.opt.Hook != "":
		return nil, &Refusal{fmt.Sprintf("Auto Scaling group %s has no %s hook named %q (it has: %s): correct lifecycle_hook in the configuration, or add the hook",
			list.group, l.opt.Transition, l.opt.Hook, listOf(l.others))}
	case len(candidates) == 0:
		return nil, nil
	case len(candidates) > 1:
		return nil, &Refusal{fmt.Sprintf("Auto Scaling group %s has %d %s hooks (%s): set lifecycle_hook in the configuration to the one usher completes",
			list.group, len(candidates), l.opt.Transition, listOf(open))}
	}
	return &candidates[0], nil
}

func listOf(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// noActive recognises Auto Scaling's answer for an action that is not there. The case of its words varies.
func noActive(err error) bool {
	var e smithy.APIError
	return errors.As(err, &e) && e.ErrorCode() == "ValidationError" &&
		strings.Contains(strings.ToLower(e.ErrorMessage()), "no active lifecycle action")
}

// denied says that the instance's role may not do what it asked for.
func denied(err error) bool {
	var e smithy.APIError
	if !errors.As(err, &e) {
		return false
	}
	switch e.ErrorCode() {
	case "AccessDenied", "AccessDeniedException", "UnauthorizedOperation":
		return true
	}
	return false
}

// permanent says that repeating the call cannot help.
func permanent(err error) bool {
	var e smithy.APIError
	return errors.As(err, &e) && e.ErrorCode() == "ValidationError" && !noActive(err)
}
