package standin

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"
)

// The statuses of a deployment.
const (
	statusCreated    = "Created"
	statusInProgress = "InProgress"
	statusSucceeded  = "Succeeded"
	statusFailed     = "Failed"
	statusStopped    = "Stopped"
)

// deployments is the state of CodeDeploy: what it was asked for, and the engine that carries it out
// (rollout.go). The engine does all that can be done at once whenever something changes: a call, a
// host command's result, an instance's state, a deadline. Calls drive it themselves, under mu; a
// goroutine drives it for the fleet and the clock.
//
// mu is taken before fleet.mu, never while fleet.mu is held: the fleet tells the engine of a change
// without waiting for it.
type deployments struct {
	fleet   *fleet
	stirred chan struct{} // a token: something changed behind the engine's back
	quit    context.CancelFunc
	done    chan struct{} // closed when the engine's goroutine has ended

	mu           sync.Mutex
	applications map[string]*application
	all          []*deployment
	commands     []*hostCommand
	changed      chan struct{} // closed and replaced with every change
	closed       bool
	behind       time.Duration // Options.Eventual
}

// deployment is one deployment to the instances of a group.
type deployment struct {
	id       string
	group    *deploymentGroup
	settings DeploymentGroup // the group's, when it was created
	order    order
	revision json.RawMessage
	previous json.RawMessage // the target revision when it was created; nil: none
	creator  string

	status                  string
	created, started, ended time.Time // zero: not yet
	targets                 []*target
	stopping                bool // StopDeployment was called
	failure                 *failure
	rollback                *rollbackInfo
}

// order is what CreateDeployment may say of a deployment beside its revision.
type order struct {
	config, description, fileExists string
	ignoreStopFailures              bool
	outdatedOnly                    bool
	rollback                        autoRollback
	rollbackOnStop                  bool
}

// failure is a deployment's errorInformation.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// rollbackInfo ties a failed deployment and the rollback that followed together.
type rollbackInfo struct {
	Deployment string `json:"rollbackDeploymentId,omitempty"`
	Triggering string `json:"rollbackTriggeringDeploymentId,omitempty"`
	Message    string `json:"rollbackMessage,omitempty"`
}

// hasEnded tells whether nothing more will happen in the deployment.
func (d *deployment) hasEnded() bool {
	return d.status == statusSucceeded || d.status == statusFailed || d.status == statusStopped
}

func newDeployments(f *fleet) *deployments {
	ctx, quit := context.WithCancel(context.Background())
	d := &deployments{
		fleet:        f,
		stirred:      make(chan struct{}, 1),
		quit:         quit,
		done:         make(chan struct{}),
		applications: map[string]*application{},
		changed:      make(chan struct{}),
	}
	f.moved = d.wake
	go d.run(ctx)
	return d
}

// wake wakes the engine's goroutine. It does not wait, and takes no lock.
func (d *deployments) wake() {
	select {
	case d.stirred <- struct{}{}:
	default: // it is to wake already
	}
}

// run drives the engine for the fleet and the clock until close.
func (d *deployments) run(ctx context.Context) {
	defer close(d.done)
	overdue := time.NewTimer(0)
	defer overdue.Stop()
	for {
		select {
		case <-d.stirred:
		case <-overdue.C:
		case <-ctx.Done():
			return
		}
		d.mu.Lock()
		d.work()
		wait := d.nextDeadline()
		d.mu.Unlock()
		overdue.Reset(wait)
	}
}

// close ends the engine: nothing changes any more.
func (d *deployments) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.quit()
	<-d.done
}

// advance does what is due after a change, and has the clock set anew; mu is held.
func (d *deployments) advance() {
	d.work()
	d.wake()
}

// work does all that can be done at once and wakes everyone who waits for a change; mu is held.
func (d *deployments) work() {
	if d.closed {
		return
	}
	now := time.Now()
	d.launches()
	for n := 0; n < len(d.all); n++ { // a rollback is added on the way
		if dep := d.all[n]; !dep.hasEnded() {
			d.drive(dep, now)
		}
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

// idleCheck is how long the engine sleeps when no deadline is in sight; everything else wakes it.
const idleCheck = time.Hour

// nextDeadline is how long it is until the engine has to look again by itself; mu is held.
func (d *deployments) nextDeadline() time.Duration {
	wait := idleCheck
	for _, dep := range d.all {
		if dep.hasEnded() {
			continue
		}
		if dep.status == statusCreated {
			wait = min(wait, time.Until(dep.starts()))
		}
		for _, t := range dep.targets {
			if e := t.current(); t.status == statusInProgress && e != nil && e.command != nil {
				wait = min(wait, time.Until(dep.deadline(e.command)))
			}
		}
	}
	return max(wait, 0)
}

// PublishRevision records a successful deployment of a revision: it becomes the group's target
// revision, which is what new instances get. Application and group are made when there are none. It
// returns the deployment's id; with the zero Revision it only makes the group and returns "". No instance is
// told: Deploy does that.
func (c *Cloud) PublishRevision(app, group string, r Revision) string {
	return c.deployed(app, group, r, statusSucceeded)
}

// FailDeployment records a deployment that failed: it is the group's last attempt, and the target
// revision stays what it was.
func (c *Cloud) FailDeployment(app, group string, r Revision) string {
	return c.deployed(app, group, r, statusFailed)
}

func (c *Cloud) deployed(app, group string, r Revision, status string) string {
	location := r.wire()
	d := c.deploys
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.group(app, group)
	if location == nil {
		return ""
	}
	dep := d.add(g, location, createdByUser, order{})
	dep.started = dep.created
	if status == statusFailed {
		dep.failure = &failure{"HEALTH_CONSTRAINTS", tooFewHealthy}
	}
	d.end(dep, status)
	g.replaced = nil // as if it was long ago
	d.advance()
	return dep.id
}

// add puts a new deployment on the list; mu is held.
func (d *deployments) add(g *deploymentGroup, location json.RawMessage, creator string, o order) *deployment {
	if o.config == "" {
		o.config = g.Config
	}
	dep := &deployment{
		id: newDeploymentID(), group: g, settings: g.DeploymentGroup, order: o,
		revision: location, previous: g.revision, creator: creator,
		status: statusCreated, created: time.Now(),
	}
	d.all = append(d.all, dep)
	d.applications[g.Application].used(location, g.Name)
	if creator != createdByAutoScaling { // a launch brings nothing new to the group
		g.changing()
		g.tried = dep
	}
	return dep
}

// deployment finds one by its id; mu is held.
func (d *deployments) deployment(id string) *deployment {
	at := slices.IndexFunc(d.all, func(dep *deployment) bool { return dep.id == id })
	if at < 0 {
		return nil
	}
	return d.all[at]
}

// Deploy does what CreateDeployment does: it deploys a revision to the instances of a group. The error
// is the service's, its code in front: DeploymentLimitExceededException while another deployment is under way.
func (c *Cloud) Deploy(app, group string, r Revision) (id string, err error) {
	d := c.deploys
	d.mu.Lock()
	defer d.mu.Unlock()
	g, bad := d.find(app, group)
	if bad == nil {
		id, bad = d.create(g, r.wire(), order{rollback: g.rollback()})
	}
	if bad != nil {
		return "", fmt.Errorf("%s: %s", bad.code, bad.message)
	}
	return id, nil
}

// WaitForDeployment returns a deployment's status when it has ended: Succeeded, Failed or Stopped.
func (c *Cloud) WaitForDeployment(ctx context.Context, id string) (status string, err error) {
	for {
		c.deploys.mu.Lock()
		dep, changed := c.deploys.deployment(id), c.deploys.changed
		if dep != nil {
			status = dep.status
		}
		over := dep == nil || dep.hasEnded()
		c.deploys.mu.Unlock()
		switch {
		case dep == nil:
			return "", fmt.Errorf("cannot wait for %s: there is no such deployment", id)
		case over:
			return status, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return status, fmt.Errorf("cannot see %s end, it is %s: %w", id, status, ctx.Err())
		}
	}
}
