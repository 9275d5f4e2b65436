package instance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// How long Discover waits between two tries: a random time up to a bound that starts low, because
// metadata is usually ready within the first second of a boot, and doubles to one at which an
// instance without metadata costs nothing.
const (
	firstWait = 200 * time.Millisecond
	maxWait   = 5 * time.Second
)

// tagPrefix is what the tags that configure usher start with. No other tags are read: they are nobody's
// business here, and may be many.
const tagPrefix = "usher:"

// groupTag is the tag that Auto Scaling puts on every instance of a group: the group's name.
const groupTag = "aws:autoscaling:groupName"

// bootIDFile is where the kernel gives this boot its random UUID.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// Identity is who this instance is. It is fixed for one boot; PendingTime and BootID differ after a
// stop and start, BootID alone after a reboot, and neither when the instance resumes from hibernation.
type Identity struct {
	InstanceID       string // i-…
	Region           string // eu-west-1
	AccountID        string // twelve digits
	AvailabilityZone string // eu-west-1a
	ImageID          string // ami-…
	InstanceType     string // m7g.large
	Partition        string // aws, aws-cn, aws-us-gov, …; "" when metadata does not say
	PendingTime      time.Time

	// Tags are the instance's usher:* tags, under their full names; empty when there are none or the
	// launch template does not show tags in metadata.
	Tags map[string]string

	// AutoScalingGroup is the name of the instance's group as its tag says; "" when tags are not
	// shown in metadata (Auto Scaling itself knows then) or the instance is in no group.
	AutoScalingGroup string

	BootID string // the kernel's, /proc/sys/kernel/random/boot_id
}

// Discover asks the metadata service who this instance is, and does not give up before ctx ends:
// metadata that is not ready yet, or not for a moment, is normal at boot. After each failed try waiting,
// if not nil, is told what is wrong and when the next try is; how much of that to log is its matter.
// An answer counts only as a whole: an instance that is taken for one without tags could get the wrong
// application.
//
// The error, when ctx ends, wraps ctx's and the last try's. [ErrSwitchedOff], and a kernel without a boot
// id, are returned at once.
func (m *Metadata) Discover(ctx context.Context, waiting func(err error, next time.Duration)) (Identity, error) {
	bootID, err := os.ReadFile(bootIDFile)
	if err != nil {
		return Identity{}, fmt.Errorf("cannot read the kernel's boot id: %w", err)
	}
	for bound := firstWait; ; bound = min(2*bound, maxWait) {
		me, err := m.identity(ctx)
		switch {
		case err == nil:
			me.BootID = strings.TrimSpace(string(bootID))
			return me, nil
		case errors.Is(err, ErrSwitchedOff):
			return Identity{}, err
		case ctx.Err() != nil:
			return Identity{}, fmt.Errorf("cannot learn from metadata which instance this is: %w: %w", ctx.Err(), err)
		}
		next := rand.N(bound)
		if waiting != nil {
			waiting(err, next)
		}
		select {
		case <-time.After(next):
		case <-ctx.Done():
			return Identity{}, fmt.Errorf("cannot learn from metadata which instance this is: %w; the last try: %w",
				ctx.Err(), err)
		}
	}
}

// identity is one try: everything but the boot id, or an error. It takes three round trips: one for the session token, one
// for all that needs nothing else, one for the values of the tags. Nothing is asked beside the document before there is a
// token, so that metadata that is not ready is asked by one request at a time. The target lifecycle state, which the
// agent asks for next, comes with the rest.
func (m *Metadata) identity(ctx context.Context) (me Identity, err error) {
	var partition, list string
	var errPartition, errList error
	ready, stop := context.WithCancel(ctx) // ends when there is no token to be had
	defer stop()
	var beside sync.WaitGroup
	for _, ask := range []func(){
		func() { partition, errPartition = m.partition(ctx) },
		func() { list, _, errList = m.value(ctx, "tags/instance") },
		func() { m.readTarget(ctx) },
	} {
		beside.Go(func() {
			if m.Ready(ready) {
				ask()
			}
		})
	}
	me, err = m.document(ctx)
	stop()
	beside.Wait()
	if err = cmp.Or(err, errPartition, errList); err != nil {
		return Identity{}, err
	}
	me.Partition, me.Tags = partition, make(map[string]string)
	keys := slices.DeleteFunc(strings.Fields(list), func(key string) bool { return key != groupTag && !strings.HasPrefix(key, tagPrefix) })
	values, there, errs := make([]string, len(keys)), make([]bool, len(keys)), make([]error, len(keys))
	for i, key := range keys {
		beside.Go(func() { values[i], there[i], errs[i] = m.Tag(ctx, key) })
	}
	beside.Wait()
	for i, key := range keys {
		switch {
		case errs[i] != nil:
			return Identity{}, errs[i]
		case !there[i]: // removed since the list was read
		case key == groupTag:
			me.AutoScalingGroup = values[i]
		default:
			me.Tags[key] = values[i]
		}
	}
	return me, nil
}

// document is the identity that is in the instance identity document.
func (m *Metadata) document(ctx context.Context) (Identity, error) {
	var out *imds.GetInstanceIdentityDocumentOutput
	_, err := m.ask(ctx, func(ctx context.Context) (err error) {
		out, err = m.client.GetInstanceIdentityDocument(ctx, nil)
		return err
	})
	if err != nil {
		return Identity{}, fmt.Errorf("cannot read dynamic/instance-identity/document: %w", err)
	}
	me := Identity{
		InstanceID:       out.InstanceID,
		Region:           out.Region,
		AccountID:        out.AccountID,
		AvailabilityZone: out.AvailabilityZone,
		ImageID:          out.ImageID,
		InstanceType:     out.InstanceType,
		PendingTime:      out.PendingTime,
	}
	var missing []string
	for _, f := range []struct{ name, value string }{
		{"instanceId", me.InstanceID},
		{"region", me.Region},
		{"accountId", me.AccountID},
		{"availabilityZone", me.AvailabilityZone},
		{"imageId", me.ImageID},
		{"instanceType", me.InstanceType},
	} {
		if strings.TrimSpace(f.value) == "" {
			missing = append(missing, f.name)
		}
	}
	if me.PendingTime.IsZero() {
		missing = append(missing, "pendingTime")
	}
	if len(missing) > 0 {
		return Identity{}, fmt.Errorf("cannot use dynamic/instance-identity/document: it has no %s", strings.Join(missing, ", "))
	}
	return me, nil
}

// partition is the AWS partition of this instance (services/partition), "" when metadata has none.
func (m *Metadata) partition(ctx context.Context) (string, error) {
	partition, _, err := m.value(ctx, "services/partition")
	return partition, err
}
