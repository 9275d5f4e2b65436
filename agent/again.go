package main

import (
	"fmt"
	"regexp"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"usher/systemd"
)

// What goes wrong again and again is said when it begins and when it changes, and then now and then with a count: an
// outage of an hour is not to fill the journal of every server.

const (
	// repeatFirst .. repeatMost is until the same is said again, twice as long each time.
	repeatFirst, repeatMost = time.Minute, 16 * time.Minute
	// repeatForgotten: what was not seen for so long is news when it comes back. It is longer than any pause between tries.
	repeatForgotten = 20 * time.Minute
)

// repeats are the warnings that may come again. A nil one says everything. It is safe for concurrent use.
type repeats struct {
	mu  sync.Mutex
	all map[string]*repeated
}

// repeated is one warning.
type repeated struct {
	began, last, due time.Time
	pause            time.Duration
	times            int
}

// passing is what differs between two tries that fail in the same way: ids of requests, ports, counts and times.
var passing = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(request ?id|host ?id): [^,\s]*|[0-9a-f]{8}-[0-9a-f-]{27}|\d+`)
})

// worth says whether a text is to be said now. so is what to add to it: how often it came since it was said last.
func (r *repeats) worth(text string) (so string, say bool) {
	if r == nil {
		return "", true
	}
	key, now := passing().ReplaceAllString(text, "#"), time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, one := range r.all {
		if now.Sub(one.last) > repeatForgotten {
			delete(r.all, k)
		}
	}
	one := r.all[key]
	if one == nil {
		if r.all == nil {
			r.all = map[string]*repeated{}
		}
		r.all[key] = &repeated{began: now, last: now, due: now.Add(repeatFirst), pause: repeatFirst, times: 1}
		return "", true
	}
	one.times, one.last = one.times+1, now
	if now.Before(one.due) {
		return "", false
	}
	one.pause = min(2*one.pause, repeatMost)
	one.due = now.Add(one.pause)
	return fmt.Sprintf(" (%d times in %s)", one.times, took(now.Sub(one.began))), true
}

// again warns of what has failed and will be tried again, after next unless that is 0; what may be "".
func (a *agent) again(what string, next time.Duration, err error) {
	a.againAs(systemd.MessageRetrying, what, next, err)
}

// againAs is again with another MESSAGE_ID.
func (a *agent) againAs(id, what string, next time.Duration, err error) {
	a.repeat(zap.WarnLevel, id, what, next, err)
}

// repeat is again at another level too.
func (a *agent) repeat(level zapcore.Level, id, what string, next time.Duration, err error) {
	so, say := a.repeats.worth(what + ": " + err.Error())
	if next > 0 {
		what += " in " + took(next)
	}
	text := err.Error() + so
	if what != "" {
		text = what + ": " + text
	}
	if !say {
		level = zap.DebugLevel
	}
	a.log.Log(level, text, systemd.ID(id))
}
