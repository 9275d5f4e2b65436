package operator

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"usher/agent/cli"
)

// PlotCommand is `usher plot`: a launch as a picture.
func PlotCommand() cli.Command {
	var file string
	var noBoot bool
	c := cli.Command{Name: "plot", Args: []string{"[d-ID]"}, Group: cli.Server, About: "a launch or deployment as a picture (SVG): the last one, or d-ID",
		More: "What happened when, from the launch of the instance to the verdict: usher plot > launch.svg. Any browser shows it.",
		Flags: func(f *flag.FlagSet) {
			cli.ConfigFlag(f, &file)
			f.BoolVar(&noBoot, "no-boot", false, "leave out the launch and the boot of the instance, which are long and not usher's")
		}}
	c.Run = func(_ context.Context, in cli.Call) int {
		t, code, err := readTimeline(file, "plot", in.Arg(0), in.Stderr)
		if err == nil {
			if noBoot {
				t = t.withoutBoot()
			}
			code = cli.ExitFailed
			_, err = io.WriteString(in.Stdout, t.svg())
		}
		if err != nil {
			return in.Fail(code, err)
		}
		return cli.ExitDone
	}
	return c
}

// Measures of the picture, in pixels. Its width is fixed: that of a page; it is as high as there are rows.
const (
	plotWidth  = 1000
	plotMargin = 20
	rowHeight  = 20
	barHeight  = 12
	textSize   = 12
	smallSize  = 11
	titleSize  = 16
	labelMost  = 330 // of the column of names
	labelGap   = 10  // between the names and the bars
	behindBar  = 120 // right of the bars: room for the duration of one that ends at the end
	leastBar   = 1.5 // a shorter one could not be seen
	tickGap    = 70  // between two ticks, at least
)

// niceTicks are the distances between ticks that a person can count in.
var niceTicks = []time.Duration{
	10 * time.Microsecond, 20 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
	20 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 48 * time.Hour,
}

// scale maps the time of a timeline to the width of its picture.
type scale struct {
	began time.Time
	all   time.Duration
	left  float64 // where it begins
	width float64
}

func (s scale) x(at time.Time) float64 {
	return s.left + s.width*float64(at.Sub(s.began))/float64(s.all)
}

// tick is the distance between two ticks.
func (s scale) tick() time.Duration {
	for _, d := range niceTicks {
		if s.width*float64(d)/float64(s.all) >= tickGap {
			return d
		}
	}
	weeks := s.all / (7 * 24 * time.Hour)
	return max(weeks/5, 1) * 7 * 24 * time.Hour
}

// tickLabel is a time on the axis: 0, 250ms, 1.5s, 2m30s, 1h20m.
func tickLabel(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d < time.Millisecond:
		return fmt.Sprintf("%dµs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%gms", float64(d.Microseconds())/1e3)
	case d < time.Minute:
		return fmt.Sprintf("%gs", d.Seconds())
	}
	text := ""
	if h := d / time.Hour; h > 0 {
		text += fmt.Sprintf("%dh", h)
	}
	if m := d % time.Hour / time.Minute; m > 0 {
		text += fmt.Sprintf("%dm", m)
	}
	if s := d % time.Minute / time.Second; s > 0 {
		text += fmt.Sprintf("%ds", s)
	}
	return text
}
