package main

import (
	"cmp"
	"math"
	"slices"
)

// A report is what report.json says.
type report struct {
	Command string   `json:"command"`
	Made    string   `json:"made"` // when, UTC
	Took    string   `json:"took"`
	Machine machine  `json:"machine"`
	LeftOut []string `json:"left_out,omitempty"` // what -quick did not measure
	Rows    []row    `json:"rows"`
}

// A row is one piece of work, and who did it: usher first, then what it is compared with.
type row struct {
	Part    string   `json:"part"`
	Name    string   `json:"name"`
	Unit    string   `json:"unit"` // of the figures: "s", "bytes", or what is counted
	Entries []entry  `json:"entries"`
	Goals   []goal   `json:"goals,omitempty"`
	Note    string   `json:"note,omitempty"`
	Picture []string `json:"picture,omitempty"` // lines under it
}

// An entry is one subject's figures.
type entry struct {
	Who     string    `json:"who"`
	Missing string    `json:"missing,omitempty"` // the program that is not installed; there are no figures then
	Samples []float64 `json:"samples,omitempty"` // as they were taken
	Median  float64   `json:"median"`
	Min     float64   `json:"min"`
	Max     float64   `json:"max"`
	Ratio   *ratio    `json:"ratio,omitempty"` // usher's figure over this one's, round by round
}

// A ratio is the median of the ratios of the rounds, with the smallest and the largest.
type ratio struct {
	Median  float64  `json:"median"`
	Min     float64  `json:"min"`
	Max     float64  `json:"max"`
	Earlier *float64 `json:"earlier,omitempty"` // the median in the report this one is beside
}

// A goal is the most that usher's median may be, or its ratio to another subject.
type goal struct {
	Against string  `json:"against,omitempty"` // "" for usher's own figure
	AtMost  float64 `json:"at_most"`
	Outcome string  `json:"outcome"`
}

// What becomes of a goal.
const (
	reached = "reached"
	missed  = "missed"
	unknown = "not measured" // who it is against is missing
)

// newEntry sums samples up.
func newEntry(who string, samples ...float64) entry {
	return entry{Who: who, Samples: samples, Median: median(samples), Min: slices.Min(samples), Max: slices.Max(samples)}
}

func median(samples []float64) float64 {
	sorted := slices.Sorted(slices.Values(samples))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

// ratioOf compares two subjects round by round. A figure of nothing has no ratio.
func ratioOf(a, b []float64) *ratio {
	var all []float64
	for i := range min(len(a), len(b)) {
		if b[i] > 0 {
			all = append(all, a[i]/b[i])
		}
	}
	if len(all) == 0 {
		return nil
	}
	return &ratio{Median: median(all), Min: slices.Min(all), Max: slices.Max(all)}
}

// add takes a row into the report: its ratios and outcomes are worked out here.
func (r *report) add(w row) {
	usher := w.Entries[0]
	for i := range w.Entries[1:] {
		w.Entries[i+1].Ratio = ratioOf(usher.Samples, w.Entries[i+1].Samples)
	}
	for i := range w.Goals {
		w.Goals[i].Outcome = w.outcome(w.Goals[i])
	}
	r.Rows = append(r.Rows, w)
}

func (w row) outcome(g goal) string {
	figure, known := w.Entries[0].Median, g.Against == ""
	for _, e := range w.Entries[1:] {
		if e.Who == g.Against && e.Ratio != nil {
			figure, known = e.Ratio.Median, true
		}
	}
	switch {
	case !known:
		return unknown
	case figure <= g.AtMost:
		return reached
	}
	return missed
}

// beside puts the ratios of an earlier report beside this one's.
func (r *report) beside(earlier report) {
	for _, w := range r.Rows {
		for _, before := range earlier.Rows {
			if before.Part != w.Part || before.Name != w.Name {
				continue
			}
			for _, e := range w.Entries {
				i := slices.IndexFunc(before.Entries, func(b entry) bool { return b.Who == e.Who })
				if i >= 0 && e.Ratio != nil && before.Entries[i].Ratio != nil {
					e.Ratio.Earlier = &before.Entries[i].Ratio.Median
				}
			}
		}
	}
}

// goals counts what became of them.
func (r *report) goals() (counts map[string]int, all int) {
	counts = map[string]int{}
	for _, w := range r.Rows {
		for _, g := range w.Goals {
			counts[g.Outcome]++
			all++
		}
	}
	return counts, all
}

// rival is the entry that a row is most of all about: whom its first goal is against, else the first of the others
// that was there; nil when usher was alone.
func (w row) rival() *entry {
	against := ""
	for _, g := range w.Goals {
		against = cmp.Or(against, g.Against)
	}
	var first *entry
	for i := range w.Entries[1:] {
		e := &w.Entries[i+1]
		if e.Ratio == nil {
			continue
		}
		if e.Who == against {
			return e
		}
		if first == nil {
			first = e
		}
	}
	return first
}

// against is the row's goal against a subject, NaN when it has none.
func (w row) against(who string) (atMost float64, outcome string) {
	for _, g := range w.Goals {
		if g.Against == who {
			return g.AtMost, g.Outcome
		}
	}
	return math.NaN(), ""
}
