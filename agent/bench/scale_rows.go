package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What a request budget is in the bench: that of EC2's Describe calls, which AWS publishes. Those of Auto Scaling and of
// CodeDeploy it does not.
const (
	budgetRate  = 20 // calls a second
	budgetBurst = 100
)

// scale is a storm of launches against a request budget, and heartbeats of servers that were launched at once.
func (b *bench) scale(ctx context.Context) error {
	servers := 1000
	if b.quick {
		servers = 200
	}
	s := burst{servers: servers, rate: budgetRate, burst: budgetBurst, heartbeat: 5 * time.Minute, work: 5 * time.Second}
	b.say("%s: %d launches at once, with a budget of %d calls a second", b.part, servers, budgetRate)
	a, err := s.run(ctx)
	if err != nil {
		return err
	}
	if len(a.lost) > 0 {
		return fmt.Errorf("%d of %d servers did not get into service:\n%s", len(a.lost), servers, strings.Join(a.lost[:min(len(a.lost), 5)], "\n"))
	}
	name := fmt.Sprintf("%d launches at once", servers)
	b.report.add(row{Part: b.part, Name: name + ": calls", Unit: "calls", Goals: []goal{{AtMost: 8}},
		Entries: []entry{summed(whoUsher, a.calls), summed("of them throttled", a.throttled)},
		Note: fmt.Sprintf("of a launch, to Auto Scaling and CodeDeploy, each with %d a second after the first %d; at the most %v, %v throttled; all in service",
			budgetRate, budgetBurst, slices.Max(a.calls), slices.Max(a.throttled))})
	const who = "what the budget allows, 3 calls a launch"
	b.report.add(row{Part: b.part, Name: name + ": the last", Unit: "s", Goals: []goal{{Against: who, AtMost: 1.2}},
		Entries: []entry{newEntry(whoUsher, a.last.Seconds()), newEntry(who, a.asked.Seconds())},
		Note: fmt.Sprintf("CONTINUE; with the %d calls of Auto Scaling that a launch in a crowd needs, and no heartbeat (there were %d), the budget allows %s: %.2f",
			neededCalls, len(a.beats), a.bound.Round(time.Second), a.last.Seconds()/a.bound.Seconds())})

	s = burst{servers: 300, heartbeat: 30 * time.Second, work: 45 * time.Second}
	if b.quick {
		s.servers = 100
	}
	b.say("%s: heartbeats of %d servers", b.part, s.servers)
	if a, err = s.run(ctx); err != nil {
		return err
	}
	most, overEven := a.busiest(time.Second)
	b.report.add(row{Part: b.part, Name: "heartbeats in one second", Unit: "calls", Entries: []entry{newEntry(whoUsher, float64(most))},
		Note: fmt.Sprintf("the most of %d, by %d servers launched at once, in %s: %.1f times what it would be if they came evenly; in step it were %d",
			len(a.beats), s.servers, s.work, overEven, s.servers)})
	return nil
}

// summed is an entry without its samples: a thousand would be most of the report.
func summed(who string, samples []float64) entry {
	e := newEntry(who, samples...)
	e.Samples = nil
	return e
}
