package rollout

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	autoscalingtypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
)

// What a server got by its launch, and when nobody can tell.
func TestLaunched(t *testing.T) {
	at := func(second int) time.Time { return time.Date(2020, 1, 1, 0, 0, second, 0, time.UTC) }
	launch := autoscalingtypes.Activity{StartTime: aws.Time(at(10)), EndTime: aws.Time(at(20))}
	done := func(id string, ended time.Time) Deployment {
		return Deployment{ID: id, Creator: "user", Status: Succeeded, Ended: ended, Revision: Revision{Key: id}}
	}
	of := func(d Deployment, creator, status string) Deployment {
		d.Creator, d.Status = creator, status
		return d
	}
	for _, c := range []struct {
		name, want string
		past       []Deployment // the newest first
	}{
		{"nothing was deployed", "", nil},
		{"before it", "d-1", []Deployment{done("d-1", at(5))}},
		{"in the second in which it began", "d-1", []Deployment{done("d-1", at(10).Add(900*time.Millisecond))}},
		{"the newest before it", "d-2", []Deployment{done("d-2", at(7)), done("d-1", at(5))}},
		{"after it", "d-1", []Deployment{done("d-2", at(30)), done("d-1", at(5))}},
		{"in the midst of it", "", []Deployment{done("d-2", at(15)), done("d-1", at(5))}},
		{"one that failed in the midst", "d-1", []Deployment{of(done("d-2", at(15)), "user", Failed), done("d-1", at(5))}},
		{"CodeDeploy's for another new server", "d-1", []Deployment{of(done("d-2", at(15)), "autoscaling", Succeeded), done("d-1", at(5))}},
		{"one that is in progress", "d-1", []Deployment{of(done("d-2", time.Time{}), "user", InProgress), done("d-1", at(5))}},
	} {
		s := Server{}
		s.launched(launch, c.past)
		if s.Deployment != c.want || s.Revision.Key != c.want || s.By != "" != (c.want != "") {
			t.Errorf("%s: %+v, and not %s", c.name, s, c.want)
		}
	}
}
