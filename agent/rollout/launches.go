package rollout

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
)

// The launches of an Auto Scaling group, by its scaling activities.

// FailedLaunch is a launch that did not come to a good end.
type FailedLaunch struct {
	Time    time.Time
	Server  string // "" when there was not even an instance
	Group   string
	Message string // Auto Scaling's
}

const (
	// launchesOf is how far back launches that failed are told.
	launchesOf = 24 * time.Hour
	// activityPages is how many pages of a group's activities are read for the launches of its servers: 2,000.
	activityPages = 20
)

// launchForm is the description of a launch's activity.
var launchForm = form(`^Launching a new EC2 instance(?: from warm pool)?: (i-[0-9a-f]+)`)

// activities shows see the group's activities, the newest first, for as long as it returns true.
func activities(ctx context.Context, scaling AutoScaling, env Environment, group string, see func(types.Activity) bool) error {
	pages := autoscaling.NewDescribeScalingActivitiesPaginator(scaling, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: &group, MaxRecords: aws.Int32(100)})
	for n := 0; pages.HasMorePages() && n < activityPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return Explain("list the scaling activities of "+group, env, err)
		}
		for _, a := range page.Activities {
			if !see(a) {
				return nil
			}
		}
	}
	return nil
}

// launches puts the newest launch of each of the servers into began, and returns those of the last day that failed.
func launches(ctx context.Context, scaling AutoScaling, env Environment, group string, servers []Server, began map[string]types.Activity) (failed []FailedLaunch, err error) {
	since := time.Now().Add(-launchesOf)
	err = activities(ctx, scaling, env, group, func(a types.Activity) bool {
		recent := aws.ToTime(a.StartTime).After(since)
		if !recent && !slices.ContainsFunc(servers, func(s Server) bool { _, ok := began[s.ID]; return !ok }) {
			return false
		}
		if m := launchForm().FindStringSubmatch(aws.ToString(a.Description)); m != nil {
			if _, ok := began[m[1]]; !ok {
				began[m[1]] = a
			}
		}
		if f, ok := failedLaunch(group, a); ok && recent {
			failed = append(failed, f)
		}
		return true
	})
	return failed, err
}

// LaunchesFailed are the newest launches of a group up to the last one that came to a good end, of the last day, the newest
// first; those that have not ended are passed over. some tells whether any launch has ended in that time.
func LaunchesFailed(ctx context.Context, scaling AutoScaling, env Environment, group string) (failed []FailedLaunch, some bool, err error) {
	since := time.Now().Add(-launchesOf)
	err = activities(ctx, scaling, env, group, func(a types.Activity) bool {
		if aws.ToTime(a.StartTime).Before(since) {
			return false
		}
		f, ok := failedLaunch(group, a)
		if ok {
			failed = append(failed, f)
		}
		good := isLaunch(a) && a.StatusCode == types.ScalingActivityStatusCodeSuccessful
		some = some || ok || good
		return !good
	})
	return failed, some, err
}

func isLaunch(a types.Activity) bool {
	return strings.HasPrefix(aws.ToString(a.Description), "Launching a new EC2 instance")
}

// failedLaunch is an activity as a launch that failed; false for any other.
func failedLaunch(group string, a types.Activity) (FailedLaunch, bool) {
	if !isLaunch(a) || a.StatusCode != types.ScalingActivityStatusCodeFailed && a.StatusCode != types.ScalingActivityStatusCodeCancelled {
		return FailedLaunch{}, false
	}
	f := FailedLaunch{Time: aws.ToTime(a.StartTime), Group: group, Message: cmp.Or(aws.ToString(a.StatusMessage), aws.ToString(a.Description))}
	if m := launchForm().FindStringSubmatch(aws.ToString(a.Description)); m != nil {
		f.Server = m[1]
	}
	return f, true
}
