package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"usher/agent/policy"
)

// Call adds what became of a call to AWS that a side must be able to make, and reports whether it was allowed.
func (r *Report) Call(side policy.Side, op string, err error) bool {
	switch {
	case err == nil:
		r.OK("permission", "%s is allowed", op)
		return true
	case denied(err):
		r.Problem("permission", allow(side, op), "%s is refused", op)
	case badTime(err):
		r.Problem("permission", "set the clock: let chrony or systemd-timesyncd do it", "%s: AWS does not accept the time of the request", op)
	default:
		r.Problem("permission", "", "%s failed: %v", op, err)
	}
	return false
}

// allow is what to do about a call that is refused.
func allow(side policy.Side, op string) string {
	actions, _ := policy.Actions(side, op)
	var plain []string
	for _, a := range actions {
		if !strings.HasPrefix(a, "kms:") { // a refusal of its own
			plain = append(plain, a)
		}
	}
	whose := "the policy of the instance's role"
	if side != policy.Instance {
		whose = "the policy of your AWS identity"
	}
	return fmt.Sprintf("allow %s in %s; `usher iam-policy --side %s` prints it", strings.Join(plain, ", "), whose, side)
}

// denied tells a refusal from other errors.
func denied(err error) bool {
	switch CodeOf(err) {
	case "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Forbidden":
		return true
	}
	return false
}

// badTime tells whether AWS refuses a request for its time.
func badTime(err error) bool {
	switch CodeOf(err) {
	case "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture":
		return true
	}
	return strings.Contains(err.Error(), "Signature expired") || strings.Contains(err.Error(), "Signature not yet current")
}

// CodeOf is the service's code of an error, "" when it is not a service's.
func CodeOf(err error) string {
	if e := smithy.APIError(nil); errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// statusOf is the HTTP status of an error, 0 when there was no answer.
func statusOf(err error) int {
	var answer interface{ HTTPStatusCode() int }
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}

// Actions is the subset of *autoscaling.Client that TryActions calls.
type Actions interface {
	RecordLifecycleActionHeartbeat(context.Context, *autoscaling.RecordLifecycleActionHeartbeatInput, ...func(*autoscaling.Options)) (*autoscaling.RecordLifecycleActionHeartbeatOutput, error)
	CompleteLifecycleAction(context.Context, *autoscaling.CompleteLifecycleActionInput, ...func(*autoscaling.Options)) (*autoscaling.CompleteLifecycleActionOutput, error)
}

// noSuchHook is a hook that no group has: a call about it changes nothing, also while an action waits.
const noSuchHook = "usher-doctor/no-such-hook"

// TryActions tries the two calls that decide a launch, about a hook that does not exist. Who may make them is told that
// there is no such action, and who may not that it is refused.
func (r *Report) TryActions(ctx context.Context, api Actions, group, instance string) {
	_, err := api.RecordLifecycleActionHeartbeat(ctx, &autoscaling.RecordLifecycleActionHeartbeatInput{
		AutoScalingGroupName: &group, LifecycleHookName: aws.String(noSuchHook), InstanceId: &instance})
	r.Call(policy.Instance, "RecordLifecycleActionHeartbeat", unknownAction(err))
	_, err = api.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{
		AutoScalingGroupName: &group, LifecycleHookName: aws.String(noSuchHook), InstanceId: &instance, LifecycleActionResult: aws.String("ABANDON")})
	r.Call(policy.Instance, "CompleteLifecycleAction", unknownAction(err))
}

// unknownAction drops the answer that says that the call was allowed and about nothing.
func unknownAction(err error) error {
	if CodeOf(err) == "ValidationError" {
		return nil
	}
	return err
}

// How far a clock may be from AWS's.
const (
	// skewWarn is well above what a Date header (whole seconds) and a slow answer account for.
	skewWarn = 10 * time.Second
	// skewProblem: from 5 minutes on AWS refuses what is signed.
	skewProblem = 2 * time.Minute
)

// Skew finds out from the answer to a call how far this clock is from AWS's.
func (r *Report) Skew(answer middleware.Metadata) {
	theirs, ok := awsmiddleware.GetServerTime(answer)
	ours, also := awsmiddleware.GetResponseAt(answer)
	if !ok || !also {
		r.Warn("clock", "", "AWS's answer does not tell the time")
		return
	}
	ahead := ours.Sub(theirs)
	word := "ahead of"
	if ahead < 0 {
		word = "behind"
	}
	const do = "let chrony or systemd-timesyncd set it"
	switch off := ahead.Abs().Round(time.Second); {
	case off > skewProblem:
		r.Problem("clock", do, "this clock is %s %s AWS's, which refuses what is signed 5 minutes off", off, word)
	case off > skewWarn:
		r.Warn("clock", do, "this clock is %s %s AWS's", off, word)
	default:
		r.OK("clock", "in sync with AWS")
	}
}

// redirected tells whether S3 says that the bucket is in another Region.
func redirected(err error) bool {
	switch CodeOf(err) {
	case "PermanentRedirect", "MovedPermanently", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return true
	}
	return statusOf(err) == http.StatusMovedPermanently
}
