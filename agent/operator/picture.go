package operator

import (
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"usher/agent/format"
	"usher/agent/lifecycle"
)

// plotStyle is what the picture looks like: for a light page, and for a viewer that likes it dark. Classes and
// plain colours only, which every viewer knows; the picture brings its own background, because a page that shows it
// as an image may not tell it its own.
const plotStyle = `
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; font-size: 12px; fill: #1f2328 }
.paper { fill: #ffffff }
.title { font-size: 16px; font-weight: 600 }
.small { font-size: 11px; fill: #59636e }
.part { fill: #59636e }
.bad { font-size: 11px; fill: #c4212d }
.good { font-size: 11px; fill: #1a7f37 }
.small, .bad, .good { stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round; paint-order: stroke }
.grid { stroke: #e1e5ea; stroke-width: 1 }
.line { stroke: #8b949e; stroke-width: 1; stroke-dasharray: 3 3 }
.outside { fill: #b6bfc9 }
.usher { fill: #2f74d0 }
.script { fill: #2b9348 }
.whole { fill: #c3d9f5 }
.failed { fill: #d1242f }
.cutoff { fill: #d98a00 }
.underway { fill: #d98a00 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.paper { fill: #0d1117 }
.small, .part { fill: #9198a1 }
.bad { fill: #ff7b72 }
.good { fill: #3fb950 }
.small, .bad, .good { stroke: #0d1117 }
.grid { stroke: #262c36 }
.line { stroke: #6e7681 }
.outside { fill: #57606a }
.usher { fill: #4493f8 }
.script { fill: #3fb950 }
.whole { fill: #1f3a5f }
.failed { fill: #f85149 }
.cutoff, .underway { fill: #d29922 }
}
`

// picture is an SVG being drawn.
type picture struct {
	strings.Builder
}

// svg is the timeline as a picture: a row for each span, its name on the left, its bar where it was on the axis,
// and how long it took behind the bar. So nothing can stand on top of anything else, however many there are.
func (t timeline) svg() string {
	label := 0.0
	for _, s := range t.spans {
		label = max(label, textWidth(s.label(), textSize)+s.indent())
	}
	label = min(label, labelMost)
	left := math.Ceil(plotMargin + label + labelGap)
	on := scale{began: t.began, all: max(t.ended.Sub(t.began), 10*time.Microsecond), left: left, width: plotWidth - plotMargin - behindBar - left}

	marks, lines := t.marks(on)
	head := 70 + 15*float64(lines)
	top := head + 20 // of the first row
	bottom := top + rowHeight*float64(len(t.spans))
	height := bottom + 60

	var p picture
	fmt.Fprintf(&p, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %s" width="%d" height="%s" role="img">`+"\n",
		plotWidth, number(height), plotWidth, number(height))
	fmt.Fprintf(&p, "<title>%s</title>\n<style>%s</style>\n", escape(t.title()), plotStyle)
	fmt.Fprintf(&p, `<rect class="paper" width="%d" height="%s"/>`+"\n", plotWidth, number(height))
	p.text(plotMargin, 30, "title", "start", shorten(t.title(), titleSize, plotWidth-2*plotMargin))
	p.text(plotMargin, 50, "small", "start", shorten(t.subtitle(), smallSize, plotWidth-2*plotMargin))

	for at, step := time.Duration(0), on.tick(); at <= on.all; at += step {
		p.vertical("grid", on.x(t.began.Add(at)), head+6, bottom+6)
	}
	for _, m := range marks {
		p.vertical("line", m.x, m.y+3, bottom+6)
	}
	for at, step := time.Duration(0), on.tick(); at <= on.all; at += step { // text is drawn over lines
		p.text(on.x(t.began.Add(at)), head, "small", "middle", tickLabel(at))
		p.text(on.x(t.began.Add(at)), bottom+20, "small", "middle", tickLabel(at))
	}
	for _, m := range marks {
		p.text(m.textX, m.y, m.class, "start", m.text)
	}
	for i, s := range t.spans {
		whole := !s.inside && i+1 < len(t.spans) && t.spans[i+1].inside
		p.row(s, on, top+rowHeight*float64(i), label, whole)
	}
	p.legend(bottom + 45)
	p.WriteString("</svg>\n")
	return p.String()
}

// subtitle is whose deployment it is, and when it began.
func (t timeline) subtitle() string {
	return format.JoinNonEmpty("  ·  ", t.deployment.Release, t.owner.Instance, t.owner.Image, "0 is "+t.began.UTC().Format("2006-01-02 15:04:05.000")+" UTC")
}

// row draws a span; y is the row's upper edge.
func (p *picture) row(s span, on scale, y, label float64, whole bool) {
	base := y + rowHeight/2 + 4
	class := ""
	if s.inside {
		class = "part"
	}
	p.named(plotMargin+s.indent(), base, class, s.label(), label-s.indent())
	bar := string(s.kind)
	switch {
	case whole: // its parts show what was how
		bar = "whole"
	case s.state != "":
		bar = strings.ReplaceAll(s.state, " ", "")
	}
	x, height := on.x(s.began), float64(barHeight)
	width := max(on.x(s.ended)-x, leastBar)
	if s.inside {
		height -= 4
	}
	fmt.Fprintf(p, `<rect class="%s" x="%s" y="%s" width="%s" height="%s" rx="1.5"><title>%s</title></rect>`+"\n",
		bar, number(x), number(y+(rowHeight-height)/2), number(width), number(height), escape(format.JoinNonEmpty(" ", s.label(), s.took().String(), Marked(s.state))))
	class = "small"
	if s.state != "" {
		class = "bad"
	}
	p.text(x+width+5, base, class, "start", format.JoinNonEmpty(" ", format.Duration(s.took()), s.state))
}

// label is the name of a row.
func (s span) label() string {
	switch {
	case s.inside:
		return s.part
	case s.part != "":
		return s.step + ": " + s.part
	}
	return s.step
}

func (s span) indent() float64 {
	if s.inside {
		return 14
	}
	return 0
}

// mark is a moment in the picture.
type mark struct {
	x, y, textX float64
	text, class string
}

// marks places the names of the moments above the axis, on as many lines as keep them apart.
func (t timeline) marks(on scale) (marks []mark, lines int) {
	var ends []float64 // of what stands on each line
	for _, m := range t.moments {
		text := m.name
		if m.at.After(t.began) {
			text += " " + format.Duration(m.at.Sub(t.began))
		}
		wide := textWidth(text, smallSize)
		x := on.x(m.at)
		from := min(max(x-wide/2, plotMargin), plotWidth-plotMargin-wide)
		line := 0
		for line < len(ends) && ends[line] > from {
			line++
		}
		if line == len(ends) {
			ends = append(ends, 0)
		}
		ends[line] = from + wide + 8
		class := "small"
		switch m.name {
		case string(lifecycle.Abandon):
			class = "bad"
		case string(lifecycle.Continue):
			class = "good"
		}
		marks = append(marks, mark{x: x, y: float64(line), textX: from, text: text, class: class})
	}
	for i := range marks { // the first line is nearest to the axis
		marks[i].y = 52 + 15*(float64(len(ends))-marks[i].y)
	}
	return marks, len(ends)
}

// legend says what the colours mean.
func (p *picture) legend(y float64) {
	x := float64(plotMargin)
	for _, l := range []struct{ class, text string }{
		{"usher", "usher"}, {"script", "scripts"}, {"outside", "EC2, Auto Scaling, CodeDeploy"}, {"failed", "failed"}, {"cutoff", "cut off, under way"},
	} {
		fmt.Fprintf(p, `<rect class="%s" x="%s" y="%s" width="10" height="10" rx="1.5"/>`+"\n", l.class, number(x), number(y-9))
		p.text(x+15, y, "small", "start", l.text)
		x += 15 + textWidth(l.text, smallSize) + 18
	}
}

// named is text that is shortened to a width; the whole of it comes when it is pointed at.
func (p *picture) named(x, y float64, class, text string, most float64) {
	short := shorten(text, textSize, most)
	if short == text {
		p.text(x, y, class, "start", text)
		return
	}
	fmt.Fprintf(p, `<text class="%s" x="%s" y="%s">%s<title>%s</title></text>`+"\n", class, number(x), number(y), escape(short), escape(text))
}

func (p *picture) text(x, y float64, class, anchor, text string) {
	fmt.Fprintf(p, `<text class="%s" x="%s" y="%s" text-anchor="%s">%s</text>`+"\n", class, number(x), number(y), anchor, escape(text))
}

func (p *picture) vertical(class string, x, from, to float64) {
	fmt.Fprintf(p, `<line class="%s" x1="%[2]s" x2="%[2]s" y1="%[3]s" y2="%[4]s"/>`+"\n", class, number(x), number(from), number(to))
}

// textWidth is about how wide a text is, in the widest of the fonts that it may be shown in. Only a viewer
// knows exactly.
func textWidth(text string, size float64) float64 {
	em := 0.0
	for _, r := range text {
		switch {
		case r >= utf8.RuneSelf:
			em += 1.1
		case strings.ContainsRune("iljtfrI.,:;|!'()[] /", r):
			em += 0.42
		case strings.ContainsRune("mwMW@%", r):
			em += 1
		case r >= 'A' && r <= 'Z':
			em += 0.75
		default:
			em += 0.65
		}
	}
	return em * size
}

// shorten cuts the middle out of a text that is too wide: of a path, the end says most.
func shorten(text string, size, most float64) string {
	if textWidth(text, size) <= most {
		return text
	}
	runes := []rune(text)
	for n := len(runes) - 1; n > 0; n-- {
		short := string(runes[:n/3]) + "…" + string(runes[len(runes)-(n-n/3):])
		if textWidth(short, size) <= most {
			return short
		}
	}
	return "…"
}

// number is a coordinate to a tenth of a pixel.
func number(x float64) string {
	return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64)
}

// escape makes text of scripts' names and errors harmless in XML.
func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a builder takes everything
	return b.String()
}
