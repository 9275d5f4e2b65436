package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// text is the report for people.
func (r *report) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "usher against what a user would have instead\n\n")
	fact := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-9s %s\n", name, value)
		}
	}
	fact("made", r.Made+" by `"+r.Command+"`, in "+r.Took)
	fact("machine", r.Machine.hardware())
	fact("system", fmt.Sprintf("Linux %s; the disk is %s", r.Machine.Kernel, r.Machine.Disk))
	fact("load", r.Machine.Load)
	fact("usher", r.Machine.Usher)
	for _, p := range r.Machine.Programs {
		fact(p.Name, p.Version)
	}
	fact("left out", strings.Join(r.LeftOut, ", "))
	b.WriteString("\nTimes are medians, with the shortest. A ratio is usher's time over the other's, the median of the rounds, with the\n" +
		"smallest and the largest of them: below 1 usher is faster.\n")

	part := ""
	for _, w := range r.Rows {
		if family, _, _ := strings.Cut(w.Part, "-"); family != part {
			part = family
			fmt.Fprintf(&b, "\n%-34s %-28s %9s %9s %7s  %-13s %s%s\n", part, "", "median", "min", "ratio", "of rounds", r.earlierHead(), "goal")
		}
		w.text(&b, r.earlierHead() != "")
	}
	counts, all := r.goals()
	fmt.Fprintf(&b, "\n%d goals: %d reached, %d missed", all, counts[reached], counts[missed])
	if n := counts[unknown]; n > 0 {
		fmt.Fprintf(&b, ", %d not measured", n)
	}
	b.WriteString(".\n")
	return b.String()
}

// earlierHead heads the column of an earlier report's ratios, "" when there is none.
func (r *report) earlierHead() string {
	for _, w := range r.Rows {
		for _, e := range w.Entries {
			if e.Ratio != nil && e.Ratio.Earlier != nil {
				return "earlier  "
			}
		}
	}
	return ""
}

func (w row) text(b *strings.Builder, earlier bool) {
	name := w.Name
	for _, e := range w.Entries {
		line := fmt.Sprintf("  %-32s %-28s", name, e.Who)
		name = ""
		if e.Missing != "" {
			fmt.Fprintf(b, "%s %s is not installed\n", line, e.Missing)
			continue
		}
		line += fmt.Sprintf(" %9s %9s", figure(e.Median, w.Unit), figure(e.Min, w.Unit))
		ratio, rounds, before := "", "", ""
		if e.Ratio != nil {
			ratio, rounds = proportion(e.Ratio.Median), proportion(e.Ratio.Min)+" .. "+proportion(e.Ratio.Max)
			if e.Ratio.Earlier != nil {
				before = proportion(*e.Ratio.Earlier)
			}
		}
		line += fmt.Sprintf(" %7s  %-13s", ratio, rounds)
		if earlier {
			line += fmt.Sprintf(" %-8s", before)
		}
		who := e.Who
		if e.Ratio == nil {
			who = "" // usher's own figure
		}
		if atMost, outcome := w.against(who); !math.IsNaN(atMost) && (e.Ratio != nil || e.Who == whoUsher) {
			most := proportion(atMost)
			if e.Ratio == nil {
				most = figure(atMost, w.Unit)
			}
			line += fmt.Sprintf(" <= %s %s", most, outcome)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if w.Note != "" {
		fmt.Fprintf(b, "  %-32s %s\n", "", w.Note)
	}
	for _, line := range w.Picture {
		fmt.Fprintf(b, "    %s\n", line)
	}
}

// figure is a number with its unit, to three digits.
func figure(v float64, unit string) string {
	switch {
	case unit == "bytes" && v >= 1e6:
		return digits(v/1e6) + " MB"
	case unit == "bytes":
		return digits(v/1e3) + " kB"
	case unit != "s":
		return strconv.FormatFloat(v, 'f', -1, 64)
	case v >= 1:
		return digits(v) + " s"
	case v >= 1e-3:
		return digits(v*1e3) + " ms"
	}
	return digits(v*1e6) + " us"
}

// proportion is a ratio: to two places, and small ones to two digits.
func proportion(v float64) string {
	if v < 0.1 {
		return strconv.FormatFloat(v, 'f', 3, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// digits writes a number to three digits.
func digits(v float64) string {
	places := 2
	switch {
	case v >= 100:
		places = 0
	case v >= 10:
		places = 1
	}
	return strconv.FormatFloat(v, 'f', places, 64)
}
