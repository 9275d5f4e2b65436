package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/smithy-go"
)

// Refusal says that the hook cannot be chosen; a person must.
type Refusal struct{ message string }

func (r *Refusal) Error() string { return r.message }

// chooseHook is the hook whose action is ours, or nil when the group has none.
func (l *Launch) chooseHook(ctx context.Context, group string) (*types.LifecycleHook, error) {
	var out *autoscaling.DescribeLifecycleHooksOutput
	err := l.opt.Limiter.Do(ctx, func() (err error) {
		out, err = l.api.DescribeLifecycleHooks(ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: &group})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the lifecycle hooks of %s (autoscaling:DescribeLifecycleHooks): %w", group, err)
	}
	var open []string // the hooks of the transition that are not CodeDeploy's
	var candidates []types.LifecycleHook
	l.mu.Lock()
	l.others = nil
	for _, h := range out.LifecycleHooks {
		l.others = append(l.others, fmt.Sprintf("%s of %s", aws.ToString(h.LifecycleHookName), aws.ToString(h.LifecycleTransition)))
	}
	l.mu.Unlock()
	for _, h := range out.LifecycleHooks {
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
			group, l.opt.Transition, l.opt.Hook, listOf(l.others))}
	case len(candidates) == 0:
		return nil, nil
	case len(candidates) > 1:
		return nil, &Refusal{fmt.Sprintf("Auto Scaling group %s has %d %s hooks (%s): set lifecycle_hook in the configuration to the one usher completes",
			group, len(candidates), l.opt.Transition, listOf(open))}
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
