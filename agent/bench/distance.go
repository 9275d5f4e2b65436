package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"usher/agent/standin"
)

// A far is AWS at a distance: Auto Scaling, CodeDeploy, its host commands and S3 behind a link each, as four hosts. Metadata stays near,
// as it is.
type far struct {
	trip    time.Duration // there and back
	service time.Duration // until a call is answered, at AWS
	links   []net.Listener
	environ []string
}

// setUpTrips are the round trips before a new connection carries a request: TCP's and TLS 1.3's. What TLS computes, some
// two milliseconds, is left out, for each subject alike.
const setUpTrips = 2

// far puts AWS at a distance until it is closed.
func (b *bench) far(ctx context.Context, trip, service time.Duration) (*far, error) {
	f := &far{trip: trip, service: service}
	for _, host := range []struct{ variable, endpoint string }{
		{"AWS_ENDPOINT_URL_AUTO_SCALING", b.cloud.Endpoint}, {"AWS_ENDPOINT_URL_CODEDEPLOY", b.cloud.Endpoint},
		{"AWS_ENDPOINT_URL_CODEDEPLOY_COMMANDS", b.cloud.Endpoint}, {"AWS_ENDPOINT_URL_S3", b.cloud.S3Endpoint},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			f.close(b)
			return nil, fmt.Errorf("cannot make a link to AWS: %w", err)
		}
		f.links, f.environ = append(f.links, l), append(f.environ, host.variable+"=http://"+l.Addr().String())
		go f.serve(l, strings.TrimPrefix(host.endpoint, "http://"))
	}
	b.cloud.Intercept(func(standin.Request) *standin.Fault { return &standin.Fault{Delay: service} })
	return f, nil
}

func (f *far) close(b *bench) {
	b.cloud.Intercept(nil)
	for _, l := range f.links {
		l.Close()
	}
}

func (f *far) serve(l net.Listener, to string) {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		go f.connect(near, to)
	}
}

// connect carries the bytes of one connection, which takes its round trips to be set up.
func (f *far) connect(near net.Conn, to string) {
	defer near.Close()
	there, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer there.Close()
	ready := time.Now().Add(setUpTrips * f.trip)
	var both sync.WaitGroup // what is under way when the one side is closed still arrives
	both.Go(func() { f.carry(there, near, ready) })
	both.Go(func() { f.carry(near, there, ready) })
	both.Wait()
}

// carry takes what is read to the other side half a round trip later, and not before ready; it is not slower for more.
func (f *far) carry(to, from net.Conn, ready time.Time) {
	type packet struct {
		content []byte
		due     time.Time
	}
	way := make(chan packet, 1024)
	var writing sync.WaitGroup
	writing.Go(func() {
		for p := range way {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.content); err != nil {
				from.Close()
			}
		}
		if c, ok := to.(*net.TCPConn); ok {
			_ = c.CloseWrite()
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			sent := time.Now()
			if sent.Before(ready) {
				sent = ready
			}
			way <- packet{slices.Clone(buf[:n]), sent.Add(f.trip / 2)}
		}
		if err != nil {
			break
		}
	}
	close(way)
	writing.Wait()
}

// distances are launches with AWS at several distances, and a deployment to a server in service.
func (b *bench) distances(ctx context.Context) error {
	for _, d := range []struct {
		corpus        corpus
		trip, service time.Duration
		atMost        float64 // of the script's time; 0: no goal
	}{
		{small, 0, 30 * time.Millisecond, 0},
		{small, 5 * time.Millisecond, 30 * time.Millisecond, 0},
		{small, 50 * time.Millisecond, 30 * time.Millisecond, 0.15},
		{small, 50 * time.Millisecond, 100 * time.Millisecond, 0},
		{big, 50 * time.Millisecond, 30 * time.Millisecond, 0.25},
	} {
		if b.quick && d.atMost == 0 {
			continue
		}
		g, err := b.group(d.corpus)
		if err != nil {
			return err
		}
		var goals []goal
		if d.atMost > 0 {
			goals = []goal{{Against: whoScript, AtMost: d.atMost}}
		}
		if err := b.distance(ctx, g, d.corpus, d.trip, d.service, goals); err != nil {
			return err
		}
	}
	return b.farRedeploys(ctx, 50*time.Millisecond, 30*time.Millisecond)
}

// What seven events are allowed: four calls each, one after the other, as AWS's own agent makes them. Polls are among them.
const eventTrips = 7 * 4

// farRedeploys are deployments to a server in service with AWS at a distance.
func (b *bench) farRedeploys(ctx context.Context, trip, service time.Duration) error {
	server := small
	server.name = "far" // a group whose only server runs usher
	f, err := b.far(ctx, trip, service)
	if err != nil {
		return err
	}
	defer f.close(b)
	most := (eventTrips * (trip + service)).Seconds()
	return b.redeploysOf(ctx, server, f.environ, row{Name: fmt.Sprintf("seven events, %s away, %s a call", trip, service), Goals: []goal{{AtMost: most}},
		Note: fmt.Sprintf("host commands, from the deployment's creation to its end; %d calls one after the other would be %.2f s, without the scripts", eventTrips, most)}, 7)
}

func (b *bench) distance(ctx context.Context, g *group, c corpus, trip, service time.Duration, goals []goal) error {
	f, err := b.far(ctx, trip, service)
	if err != nil {
		return err
	}
	defer f.close(b)
	var path []string
	launch := func(program func(*server) *exec.Cmd, picture bool) func(context.Context) (time.Duration, error) {
		return func(ctx context.Context) (time.Duration, error) {
			var s *server
			began := time.Now()
			took, err := b.launch(ctx, g, func(on *server) *exec.Cmd {
				s, began = on, time.Now()
				on.environ = append(on.environ, f.environ...)
				return program(on)
			})
			if err == nil && picture {
				path, err = drawCalls(b.cloud.Calls(), s.instance, began)
			}
			return took, err
		}
	}
	err = b.race(ctx, row{Name: fmt.Sprintf("a %s revision, %s away, %s a call", c.name, trip, service), Goals: goals,
		Note: fmt.Sprintf("a new connection takes %d round trips (TCP, TLS 1.3); metadata is near", setUpTrips)}, b.rounds(7),
		subject{who: whoUsher, run: launch(func(s *server) *exec.Cmd { return s.usher(ctx, b.usher, "-once") }, true)},
		subject{whoScript, []string{"aws", "curl", "unzip"}, launch(func(s *server) *exec.Cmd { return s.userData(ctx) }, false)})
	if err == nil {
		b.report.Rows[len(b.report.Rows)-1].Picture = path
	}
	return err
}

// drawCalls is a launch as AWS saw it, a line for each call. Marked are those of the critical path: from CONTINUE back, each
// time the call that was answered last before the next was made.
func drawCalls(all []standin.Call, server *standin.Instance, began time.Time) ([]string, error) {
	var calls []standin.Call
	for _, c := range append(all, server.MetadataCalls()...) {
		if c.InstanceID == server.ID {
			calls = append(calls, c)
		}
	}
	slices.SortFunc(calls, func(a, b standin.Call) int { return a.At.Compare(b.At) })
	last := slices.IndexFunc(calls, func(c standin.Call) bool { return c.Op == "CompleteLifecycleAction" })
	if last < 0 {
		return nil, errors.New("AWS saw no CONTINUE")
	}
	critical := map[int]bool{last: true}
	for next := last; next >= 0; {
		before := -1
		for i, c := range calls {
			if end := c.At.Add(c.Took); !end.After(calls[next].At) && (before < 0 || end.After(calls[before].At.Add(calls[before].Took))) {
				before = i
			}
		}
		if next = before; before >= 0 {
			critical[before] = true
		}
	}
	const width = 48
	whole := calls[last].At.Add(calls[last].Took).Sub(began)
	at := func(t time.Time) int { return min(width, max(0, int(float64(t.Sub(began))/float64(whole)*width))) }
	lines := []string{fmt.Sprintf("the last launch as AWS saw it; # is the critical path, the whole line %d ms", whole.Milliseconds())}
	for i, c := range calls {
		from, to, mark := at(c.At), at(c.At.Add(c.Took)), "-"
		if critical[i] {
			mark = "#"
		}
		bar := strings.Repeat(" ", from) + strings.Repeat(mark, max(1, to-from))
		op := c.Op
		if c.Service == "imds" {
			op = "metadata " + strings.TrimPrefix(op, "meta-data/")
		}
		lines = append(lines, fmt.Sprintf("%4d ms |%-*s| %s", c.At.Sub(began).Milliseconds(), width+1, bar, op))
	}
	return lines, nil
}
