package retry

import (
	"fmt"
	"regexp"
	"sync"
	"time"

	"usher/agent/format"
)

const (
	// minRepeat .. maxRepeat is until the same is logged again, twice as long each time.
	minRepeat, maxRepeat = time.Minute, 16 * time.Minute
	// repeatReset: what was not seen for so long is news when it comes back. It is longer than any pause between tries.
	repeatReset = 20 * time.Minute
)

// Repeats says which messages about failures that go on are worth a line in the journal: one when it begins and when it
// changes, and then now and then with a count. An outage of an hour is not to fill the journal of every server. A nil one
// logs everything. It is safe for concurrent use.
type Repeats struct {
	mu  sync.Mutex
	all map[string]*repeated
}

// repeated is one message.
type repeated struct {
	began, last, due time.Time
	pause            time.Duration
	times            int
}

// varying is what differs between two tries that fail in the same way: ids of requests, ports, counts and times.
var varying = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(request ?id|host ?id): [^,\s]*|[0-9a-f]{8}-[0-9a-f-]{27}|\d+`)
})

// Due says whether a message is to be logged now. count is what to add to it: how often it came since it began, "" the
// first time.
func (r *Repeats) Due(text string) (count string, due bool) {
	if r == nil {
		return "", true
	}
	key, now := varying().ReplaceAllString(text, "#"), time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, one := range r.all {
		if now.Sub(one.last) > repeatReset {
			delete(r.all, k)
		}
	}
	one := r.all[key]
	if one == nil {
		if r.all == nil {
			r.all = map[string]*repeated{}
		}
		r.all[key] = &repeated{began: now, last: now, due: now.Add(minRepeat), pause: minRepeat, times: 1}
		return "", true
	}
	one.times, one.last = one.times+1, now
	if now.Before(one.due) {
		return "", false
	}
	one.pause = min(2*one.pause, maxRepeat)
	one.due = now.Add(one.pause)
	return fmt.Sprintf(" (%d times in %s)", one.times, format.Duration(now.Sub(one.began))), true
}
