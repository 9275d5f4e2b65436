package standin

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Call is one request that reached a service, answered or not.
type Call struct {
	At         time.Time
	Took       time.Duration
	Service    string // SigV4's name of it, such as "autoscaling" or "codedeploy"; "imds" for metadata
	Op         string // the service's operation; for imds the path below /latest/
	InstanceID string // whose credentials signed it (imds: whose metadata); "" for a user
	Params     map[string]string
	Status     int    // HTTP status; 0 when the connection was dropped
	ErrorCode  string // the service's error code; "" when it went well
}

// callLog keeps calls in the order in which they were answered.
type callLog struct {
	mu      sync.Mutex
	calls   []Call
	changed chan struct{} // closed and replaced with every call
}

func newCallLog() *callLog { return &callLog{changed: make(chan struct{})} }

func (l *callLog) add(c Call) {
	c.Took = time.Since(c.At)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, c)
	close(l.changed)
	l.changed = make(chan struct{})
}

// matching returns the calls that match, and a channel that tells of the next one.
func (l *callLog) matching(match func(Call) bool) ([]Call, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []Call
	for _, c := range l.calls {
		if match(c) {
			found = append(found, c)
		}
	}
	return found, l.changed
}

// await returns when n calls match.
func (l *callLog) await(ctx context.Context, what string, n int, match func(Call) bool) ([]Call, error) {
	for {
		found, changed := l.matching(match)
		if len(found) >= n {
			return found, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return found, fmt.Errorf("cannot see %d calls of %s, there were %d: %w", n, what, len(found), ctx.Err())
		}
	}
}

// Calls returns every call of Auto Scaling, CodeDeploy and S3 so far, in the order of their
// answers. Calls of the metadata services are in MetadataCalls.
func (c *Cloud) Calls() []Call {
	all, _ := c.calls.matching(func(Call) bool { return true })
	return all
}

// CallsOf returns the calls of one operation, such as "CompleteLifecycleAction" or "GetObject".
func (c *Cloud) CallsOf(op string) []Call {
	found, _ := c.calls.matching(func(call Call) bool { return call.Op == op })
	return found
}

// WaitForCalls returns when there have been n calls of an operation, whatever their result.
func (c *Cloud) WaitForCalls(ctx context.Context, op string, n int) ([]Call, error) {
	return c.calls.await(ctx, op, n, func(call Call) bool { return call.Op == op })
}

// MetadataCalls returns every call of every instance's metadata service.
func (c *Cloud) MetadataCalls() []Call {
	all, _ := c.imds.matching(func(Call) bool { return true })
	return all
}

// Request is what an Intercept function is told of a call before it is served.
type Request struct {
	Service, Op, InstanceID string
	Params                  map[string]string
}

// Fault is what goes wrong with a call. The zero Fault is no fault: the call is served.
type Fault struct {
	Delay          time.Duration // before anything else
	Until          chan struct{} // the call is served when this is closed; nil: at once
	DropConnection bool          // no answer: the connection is closed (Go's client repeats a GET once by itself)
	Stall          bool          // the call is served; of its answer only the head and half of the body arrive, and the connection stays open
	AfterEffect    bool          // the call takes effect first, then its answer is replaced by this fault

	Status  int    // the answer's HTTP status; 0 with a Code: what the service uses for it
	Code    string // the service's error code, such as "Throttling"
	Message string
	Body    []byte // answered as it is, when not nil; Status 0 then means 200

	// S3 only: a served object whose body ends after CutAfter bytes, or has one byte changed.
	CutAfter int64
	Corrupt  bool
}

// answers tells whether the fault replaces the service's answer.
func (f Fault) answers() bool { return f.Status != 0 || f.Code != "" || f.Body != nil }

// faultList holds the faults still to happen.
type faultList struct {
	mu        sync.Mutex
	armed     []*armedFault
	intercept func(Request) *Fault
}

type armedFault struct {
	op    string
	left  int // calls still to fail; negative: all
	fault Fault
}

func (l *faultList) arm(op string, n int, f Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = append(l.armed, &armedFault{op, n, f})
}

// disarm forgets the faults of op, or of every operation for "*".
func (l *faultList) disarm(op string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = slices.DeleteFunc(l.armed, func(a *armedFault) bool { return op == "*" || a.op == op })
}

// next takes the fault that is to happen to r; the zero Fault when none is.
func (l *faultList) next(r Request) Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.armed {
		if (a.op != "*" && a.op != r.Op) || a.left == 0 {
			continue
		}
		if a.left > 0 {
			a.left--
		}
		return a.fault
	}
	if l.intercept != nil {
		if f := l.intercept(r); f != nil {
			return *f
		}
	}
	return Fault{}
}

// Fail makes the next n calls of an operation go wrong; n < 0: all of them, until Heal. The
// operation is named as in the log ("CompleteLifecycleAction", "GetObject"), "*" is any. Faults of one
// operation happen in the order in which they were asked for.
func (c *Cloud) Fail(op string, n int, f Fault) { c.faults.arm(op, n, f) }

// Heal forgets the faults asked for by Fail for an operation; "*" forgets all.
func (c *Cloud) Heal(op string) { c.faults.disarm(op) }

// Intercept lets decide say, for every call that Fail left alone, what goes wrong with it; nil is
// nothing. It replaces an earlier function, and must not call the Cloud's Fail, Heal or Intercept.
func (c *Cloud) Intercept(decide func(Request) *Fault) { c.faults.decide(decide) }

func (l *faultList) decide(decide func(Request) *Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.intercept = decide
}

// budget is a token bucket.
type budget struct {
	mu     sync.Mutex
	rate   float64 // tokens a second; 0: no limit
	burst  float64
	tokens float64
	filled time.Time
}

func newBudget(rate float64, burst int) *budget {
	full := max(float64(burst), 1)
	return &budget{rate: rate, burst: full, tokens: full, filled: time.Now()}
}

// take tells whether a call is within the budget, and spends it. A service without a budget has no limit.
func (b *budget) take() bool {
	if b == nil || b.rate == 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.tokens = min(b.burst, b.tokens+b.rate*now.Sub(b.filled).Seconds())
	b.filled = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
