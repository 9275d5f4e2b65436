package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// style is for a light page, and for a viewer that likes it dark: plain colours and classes, which every viewer
// knows. The picture brings its own background, because a page that shows it may not tell it its own.
const style = `
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; font-size: 12px; fill: #1f2328 }
.paper { fill: #ffffff }
.band { fill: #f6f8fa }
.title { font-size: 16px; font-weight: 600 }
.head { font-weight: 600 }
.small { font-size: 11px; fill: #59636e }
.grid { stroke: #e1e5ea; stroke-width: 1 }
.even { stroke: #59636e; stroke-width: 1.5 }
.spread { stroke: #2f74d0; stroke-width: 2; stroke-opacity: 0.45 }
.main { fill: #2f74d0 }
.slower { fill: #d98a00 }
.other { fill: none; stroke: #59636e; stroke-width: 1.5 }
.goal { fill: none; stroke: #2b9348; stroke-width: 2 }
.missed { fill: none; stroke: #d1242f; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.paper { fill: #0d1117 }
.band { fill: #151b23 }
.small { fill: #9198a1 }
.grid { stroke: #262c36 }
.even { stroke: #9198a1 }
.spread { stroke: #4493f8 }
.main { fill: #4493f8 }
.slower { fill: #d29922 }
.other { stroke: #9198a1 }
.goal { stroke: #3fb950 }
.missed { stroke: #f85149 }
}
`

// The picture's measures, in pixels.
const (
	wide      = 960.0
	margin    = 20.0
	axisLeft  = 270.0
	axisRight = 640.0
	figures   = 664.0 // where the times stand
	noteLeft  = 500.0 // where a note begins, and how much of it there is room for
	rowHigh   = 22.0
	headHigh  = 32.0

	noteLetters = 72
)

// ticks of the axis, which is logarithmic: half as long is as far to the left as twice as long to the right.
var ticks = []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100}

// axis is what of it the report needs.
type axis struct{ from, to float64 }

func (a axis) x(v float64) float64 {
	at := (math.Log(v) - math.Log(a.from)) / (math.Log(a.to) - math.Log(a.from))
	return axisLeft + (axisRight-axisLeft)*min(max(at, 0), 1)
}

// axis reaches from the smallest ratio to the largest, to the next tick, and always has 1.
func (r *report) axis() axis {
	least, most := 0.5, 2.0
	for _, w := range r.Rows {
		for _, e := range w.Entries {
			if e.Ratio != nil {
				least, most = min(least, e.Ratio.Median), max(most, e.Ratio.Median)
			}
		}
	}
	a := axis{ticks[0], ticks[len(ticks)-1]}
	for _, t := range ticks {
		if t <= least {
			a.from = t
		}
	}
	for i := len(ticks) - 1; ticks[i] >= most; i-- {
		a.to = ticks[i]
	}
	return a
}

// A picture is an SVG being drawn.
type picture struct{ strings.Builder }

// svg is the report as a picture: a line for each row, with a dot where usher's time lies compared with the others';
// below, what usher takes by itself.
func (r *report) svg() string {
	var compared, alone []row
	for _, w := range r.Rows {
		if w.rival() != nil {
			compared = append(compared, w)
		} else {
			alone = append(alone, w)
		}
	}
	var body picture
	y := 84.0
	if len(compared) > 0 {
		y = body.comparisons(compared, r.axis(), y)
	}
	if len(alone) > 0 {
		y = body.alone(alone, y+8)
	}
	high := y + margin

	var p picture
	fmt.Fprintf(&p, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]s %[2]s" width="%[1]s" height="%[2]s" role="img">`+"\n", number(wide), number(high))
	fmt.Fprintf(&p, "<title>usher against what a user would have instead</title>\n<style>%s</style>\n", style)
	fmt.Fprintf(&p, `<rect class="paper" width="%s" height="%s"/>`+"\n", number(wide), number(high))
	p.text(margin, 30, "title", "start", "usher against what a user would have instead")
	p.text(margin, 50, "small", "start", fmt.Sprintf("%s, Linux %s, %s; AWS on loopback; %s", r.Machine.hardware(), r.Machine.Kernel, r.Machine.Disk, r.Made))
	p.WriteString(body.String())
	p.WriteString("</svg>\n")
	return p.String()
}

// comparisons draws the rows that have a ratio, from y down, and returns where they end.
func (p *picture) comparisons(rows []row, on axis, y float64) float64 {
	p.legend(y - 14)
	top := y + 14
	bottom := top
	for i, w := range rows {
		if i == 0 || family(w) != family(rows[i-1]) {
			bottom += headHigh
		}
		bottom += rowHigh
	}
	var lines picture // over the bands, below the dots
	for _, t := range ticks {
		if t < on.from || t > on.to {
			continue
		}
		class, name := "grid", strconv.FormatFloat(t, 'f', -1, 64)
		if t == 1 {
			class = "even"
		}
		for _, at := range []float64{top + 10, bottom + 18} {
			lines.text(on.x(t), at, "small", "middle", name)
		}
		lines.line(class, on.x(t), top+16, on.x(t), bottom+4)
	}

	var dots picture
	y = top
	for i, w := range rows {
		if i == 0 || family(w) != family(rows[i-1]) {
			y += headHigh
			dots.text(margin, y-6, "head", "start", headings[family(w)])
		}
		if i%2 == 0 {
			fmt.Fprintf(p, `<rect class="band" x="%s" y="%s" width="%s" height="%s"/>`+"\n", number(margin-6), number(y), number(wide-2*margin+12), number(rowHigh))
		}
		dots.row(w, on, y)
		y += rowHigh
	}
	p.WriteString(lines.String() + dots.String())
	p.text(axisLeft, bottom+34, "small", "start", "← usher takes less")
	p.text(axisRight, bottom+34, "small", "end", "more →")
	return bottom + 44
}

// headings of the families of parts.
var headings = map[string]string{
	"launch":   "Launch, to the verdict",
	"unpack":   "Unpack, and sync",
	"download": "Download from S3",
	"flip":     "Flip",
	"redeploy": "Redeploy",
	"idle":     "In service",
	"scale":    "Many launches at once",
}

// family is what a part's name begins with.
func family(w row) string {
	name, _, _ := strings.Cut(w.Part, "-")
	return name
}

// row draws one comparison; y is its upper edge.
func (p *picture) row(w row, on axis, y float64) {
	middle := y + rowHigh/2
	main := w.rival()
	p.text(margin, middle+4, "", "start", w.Name)
	for _, e := range w.Entries[1:] {
		if e.Ratio != nil && e.Who != main.Who {
			p.dot("other", on.x(e.Ratio.Median), middle, 3, e)
		}
	}
	p.line("spread", on.x(main.Ratio.Min), middle, on.x(main.Ratio.Max), middle)
	class := "main"
	if main.Ratio.Median > 1 {
		class = "slower"
	}
	p.dot(class, on.x(main.Ratio.Median), middle, 5, *main)
	if atMost, outcome := w.against(main.Who); outcome != "" {
		class := "goal"
		if outcome == missed {
			class = "missed"
		}
		p.line(class, on.x(atMost), y+3, on.x(atMost), y+rowHigh-3)
	}
	p.text(figures, middle+4, "head", "start", proportion(main.Ratio.Median))
	p.text(figures+46, middle+4, "small", "start", fmt.Sprintf("%s against %s: %s", figure(w.Entries[0].Median, w.Unit), figure(main.Median, w.Unit), main.Who))
}

// alone draws the rows that are usher's only.
func (p *picture) alone(rows []row, y float64) float64 {
	for i, w := range rows {
		if i == 0 || family(w) != family(rows[i-1]) {
			y += headHigh
			p.text(margin, y-6, "head", "start", headings[family(w)])
		}
		if i%2 == 0 {
			fmt.Fprintf(p, `<rect class="band" x="%s" y="%s" width="%s" height="%s"/>`+"\n", number(margin-6), number(y), number(wide-2*margin+12), number(rowHigh))
		}
		p.text(margin, y+rowHigh/2+4, "", "start", w.Name)
		text := figure(w.Entries[0].Median, w.Unit)
		if atMost, outcome := w.against(""); outcome != "" {
			text += fmt.Sprintf(" (at most %s: %s)", figure(atMost, w.Unit), outcome)
		}
		p.text(axisLeft, y+rowHigh/2+4, "", "start", text)
		p.text(noteLeft, y+rowHigh/2+4, "small", "start", shorten(w.Note, noteLetters))
		y += rowHigh
	}
	return y
}

// legend says what the signs mean.
func (p *picture) legend(y float64) {
	at := margin
	next := func(sign func(x float64), text string) {
		sign(at + 6)
		p.text(at+18, y, "small", "start", text)
		at += 18 + 6.2*float64(len(text)) + 14
	}
	next(func(x float64) { p.dot("main", x, y-4, 5, entry{}) }, "usher's time over the other's, median of the rounds")
	next(func(x float64) { p.line("spread", x-6, y-4, x+6, y-4) }, "all rounds")
	next(func(x float64) { p.dot("other", x, y-4, 3, entry{}) }, "over another tool's")
	next(func(x float64) { p.line("goal", x, y-12, x, y+3) }, "goal")
	next(func(x float64) { p.line("missed", x, y-12, x, y+3) }, "goal missed")
	next(func(x float64) { p.dot("slower", x, y-4, 5, entry{}) }, "slower")
}

func (p *picture) dot(class string, x, y, radius float64, e entry) {
	title := ""
	if e.Ratio != nil {
		title = fmt.Sprintf("<title>%s of %s</title>", proportion(e.Ratio.Median), escape(e.Who))
	}
	fmt.Fprintf(p, `<circle class="%s" cx="%s" cy="%s" r="%s">%s</circle>`+"\n", class, number(x), number(y), number(radius), title)
}

func (p *picture) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(p, `<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`+"\n", class, number(x1), number(y1), number(x2), number(y2))
}

func (p *picture) text(x, y float64, class, anchor, text string) {
	fmt.Fprintf(p, `<text class="%s" x="%s" y="%s" text-anchor="%s">%s</text>`+"\n", class, number(x), number(y), anchor, escape(text))
}

// shorten cuts a text at a space, to about so many letters.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return text[:max(strings.LastIndexByte(text[:most], ' '), 1)] + " …"
}

// number is a coordinate to a tenth of a pixel.
func number(x float64) string { return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64) }

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a builder takes everything
	return b.String()
}
