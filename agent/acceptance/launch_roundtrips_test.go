package acceptance

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"usher/agent/standin"
)

// In AWS the time of a launch, and of a deployment, is its calls one after the other. Here they are counted without a clock: AWS keeps the answers
// of a round trip back until all of its calls have been made. A call that waits for another's answer of the same round is never
// made, and the launch hangs.

// A trip are calls that are under way at the same time.
type trips struct {
	mu    sync.Mutex
	calls []map[string]bool // of each trip: whether it was made
	done  []chan struct{}   // closed when all of a trip's were
	other []string          // what is in no trip
}

// inTrips are trips of the calls in each line, but for what may happen at any time. A call that several lines have is of the
// first of them when it is made first.
func inTrips(lines ...string) *trips {
	t := new(trips)
	for _, line := range lines {
		calls := map[string]bool{}
		for call := range strings.FieldsSeq(line) {
			calls[call] = false
		}
		t.calls, t.done = append(t.calls, calls), append(t.done, make(chan struct{}))
	}
	return t
}

// hold keeps a call until those of its trip are there. It is for Intercept.
func (t *trips) hold(r standin.Request) *standin.Fault {
	t.mu.Lock()
	defer t.mu.Unlock()
	again := false
	for i, calls := range t.calls {
		made, in := calls[r.Op]
		if again = again || made; made || !in {
			continue
		}
		calls[r.Op] = true
		for _, made := range calls {
			if !made {
				return &standin.Fault{Until: t.done[i]}
			}
		}
		close(t.done[i])
		return nil
	}
	if again {
		r.Op += " again"
	}
	t.other = append(t.other, r.Op)
	return nil
}

// missing are the calls that were not made.
func (t *trips) missing() (calls []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, trip := range t.calls {
		for call, made := range trip {
			if !made {
				calls = append(calls, call)
			}
		}
	}
	slices.Sort(calls)
	return calls
}

// others are the calls in no trip, but for heartbeats and what looks after the instance meanwhile.
func (t *trips) others(meanwhile ...string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(slices.DeleteFunc(slices.Clone(t.other), func(op string) bool { return slices.Contains(meanwhile, op) }), " ")
}

// A small launch: three round trips of metadata, three of AWS's services.
func TestRoundTripsOfALaunch(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	delete(s.config, "application")
	server := s.cloud.Launch("web", standin.LaunchOptions{MetadataTags: true, Tags: map[string]string{"usher:application": "shop"}})

	services := inTrips(
		"DescribeAutoScalingInstances DescribeLifecycleHooks GetDeploymentGroup",
		"HeadObject GetObject",
		"CompleteLifecycleAction")
	const role = "meta-data/iam/security-credentials/"
	metadata := inTrips(
		"api/token",
		"dynamic/instance-identity/document meta-data/services/partition meta-data/tags/instance meta-data/autoscaling/target-lifecycle-state "+role,
		"meta-data/tags/instance/usher:application meta-data/tags/instance/aws:autoscaling:groupName "+role+"usher-instance")
	s.cloud.Intercept(services.hold)
	server.InterceptMetadata(metadata.hold)

	r := s.start(server, "-once")
	select {
	case <-r.done:
	case <-time.After(soon):
		s.Fatalf("more round trips: these calls are not made before others are answered: %v %v; usher said:\n%s", metadata.missing(), services.missing(), r.text())
	}
	s.waitFor(server, standin.InService)
	s.expect("live", s.live(), "1")
	s.expect("calls that were not made", strings.Join(append(metadata.missing(), services.missing()...), " "), "")
	s.expect("other calls of services", services.others("RecordLifecycleActionHeartbeat"), "")
	s.expect("other calls of metadata", metadata.others("meta-data/autoscaling/target-lifecycle-state again"), "")
}

// Where the bucket is known before its object, connections to S3 are opened while CodeDeploy is asked, and then used.
func TestConnectionsToS3AreOpenedAhead(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	// TLS, as S3 has it: no connection is done before the relay lets its handshake pass, when both are there.
	s3, accepted := s.relay(2, strings.TrimPrefix(s.inspected(s.cloud.S3Endpoint, s.path("roots.pem")), "https://"))
	s.env = []string{"AWS_ENDPOINT_URL_S3=https://" + s3, "AWS_CA_BUNDLE=" + s.path("roots.pem")}
	server := s.cloud.Launch("web", standin.LaunchOptions{MetadataTags: true, Tags: map[string]string{"usher:bucket": s.cloud.Bucket}})
	opened := make(chan struct{})
	s.cloud.Intercept(func(r standin.Request) *standin.Fault {
		if r.Op != "GetDeploymentGroup" {
			return nil
		}
		return &standin.Fault{Until: opened}
	})

	r := s.start(server, "-once")
	select {
	case <-accepted:
	case <-time.After(soon):
		s.Fatalf("no two connections to S3 before CodeDeploy's answer; usher said:\n%s", r.text())
	}
	close(opened)
	s.expect("exit code", itoa(r.wait()), "0")
	s.waitFor(server, standin.InService)
	s.expect("live", s.live(), "1")
}

// relay carries n connections to an address, from when all are there, and refuses more. accepted is closed then.
func (s *stage) relay(n int, to string) (addr string, accepted chan struct{}) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	s.Cleanup(func() { l.Close() })
	accepted = make(chan struct{})
	go func() {
		defer close(accepted)
		defer l.Close()
		for range n {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				return
			}
			go func() { <-accepted; _, _ = io.Copy(far, near); far.Close() }()
			go func() { <-accepted; _, _ = io.Copy(near, far); near.Close() }()
		}
	}()
	return l.Addr().String(), accepted
}

// Seven events of a deployment to a server in service: AWS's own agent makes four calls for each, one after the other, and two more
// for the bundle.
func TestRoundTripsOfADeployment(t *testing.T) {
	s := newStage(t, standin.Options{LongPoll: time.Hour})
	polls := make(chan struct{})
	s.cloud.Intercept(func() func(standin.Request) *standin.Fault {
		first := sync.OnceFunc(func() { close(polls) })
		return func(r standin.Request) *standin.Fault {
			if r.Op == "PollHostCommand" {
				first()
			}
			return nil
		}
	}())
	_, r := s.serving()
	<-polls

	// What is new here is asked for first; after that an event is two round trips, the wait for the next command among them.
	lines := []string{
		"GetDeploymentSpecification", "PutHostCommandAcknowledgement", "PutHostCommandComplete PollHostCommand", // ApplicationStop
		"GetDeploymentSpecification PutHostCommandAcknowledgement", "HeadObject GetObject", "PutHostCommandComplete PollHostCommand", // DownloadBundle
	}
	for range 5 {
		lines = append(lines, "GetDeploymentSpecification PutHostCommandAcknowledgement", "PutHostCommandComplete PollHostCommand")
	}
	if len(lines) > 7*4 {
		t.Errorf("%d round trips, for seven events", len(lines))
	}
	services := inTrips(lines...)
	next := s.revision("shop-2", s.app("2"))
	s.cloud.Intercept(services.hold)
	id, err := s.cloud.Deploy("shop", "production", next)
	s.must(err)
	inTime, cancel := context.WithTimeout(s.ctx, soon)
	defer cancel()
	status, err := s.cloud.WaitForDeployment(inTime, id)
	if err != nil {
		s.Fatalf("more round trips: these calls are not made before others are answered: %v; usher said:\n%s", services.missing(), r.text())
	}
	s.expect("deployment", status, "Succeeded")
	s.expect("live", s.live(), "2")
	s.expect("commands", s.commands(id), inPlace)
	s.expect("other calls", services.others(), "")
	s.expect("exit code", itoa(r.stop()), "0")
}

// What is asked for ahead is not more than was asked before: a deployment that begins meanwhile is not missed, and a failure is
// that of who needed the answer.
func TestAskedAheadInVain(t *testing.T) {
	s := newStage(t)
	s.cloud.PutDeploymentGroup(fleetGroup())
	s.publish("shop-1", s.app("1"))
	s.cloud.Fail("GetDeploymentGroup", 1, standin.Fault{DropConnection: true})
	s.cloud.Fail("HeadObject", 1, standin.Fault{Status: 503, Code: "SlowDown"})
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	s.waitFor(server, standin.InService)
	s.expect("live", s.live(), "1")
	s.expect("exit code", itoa(r.stop()), "0")
}
