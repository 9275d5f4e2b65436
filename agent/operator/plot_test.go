package operator

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"usher/agent/record"
)

var update = flag.Bool("update", false, "write the pictures in testdata anew")

// plots are launches worth a picture.
func plots() map[string]*told {
	many := newTold().up("")
	for _, event := range []string{"BeforeInstall", "AfterInstall"} {
		var names []string
		for n := range 100 {
			names = append(names, fmt.Sprintf("scripts/%s/%03d.sh", strings.ToLower(event), n))
		}
		many.step(event, 5200*time.Millisecond, scripts(50*time.Millisecond, names...)...)
	}
	names := scripts(time.Second, `scripts/<b>&"'.sh`, strings.Repeat("a-very-long-name/", 9)+"end.sh", "скрипт/开始.sh", "bell\a\xff.sh")
	tiny := newTold()
	tiny.id = "<script>alert(1)</script>&"
	long := newTold().up("").step("DownloadBundle", 20*time.Minute).step("AfterInstall", 100*time.Minute, scripts(time.Hour, "scripts/import.sh")...)
	return map[string]*told{
		"good": newTold().good(), "failed": failed(), "rebooted": rebooted(), "many": many.verdict(record.Succeeded, "CONTINUE", 0),
		"long":  long.verdict(record.Succeeded, "CONTINUE", 0),
		"short": tiny.line(0, record.Entry{What: record.Begun}).step("Flip", 200*time.Microsecond).line(800*time.Microsecond, record.Entry{What: record.Succeeded}),
		"names": newTold().up("").step("AfterInstall", 4*time.Second, names...).verdict(record.Succeeded, "CONTINUE", 0),
		"empty": newTold().line(0, record.Entry{What: record.Begun}).line(0, record.Entry{What: record.Succeeded}),
		"begun": newTold().line(0, record.Entry{What: record.Begun}),
	}
}

// The pictures that are kept: a change of one is to be looked at, and then written with -update.
func TestPlotIsAsItWas(t *testing.T) {
	for _, name := range []string{"good", "failed", "rebooted"} {
		path := filepath.Join("testdata", "plot-"+name+".svg")
		got := plots()[name].timeline(t).svg()
		if *update {
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil || string(want) != got {
			t.Errorf("%s is another picture than %s (%v): look at it, then go test ./agent/operator -run TestPlotIsAsItWas -update", name, path, err)
		}
	}
}

// Whatever the launch, its picture is whole: well-formed XML, nothing outside, no text on other text or on a bar.
func TestPlot(t *testing.T) {
	for name, r := range plots() {
		line := r.timeline(t)
		for _, t2 := range []timeline{line, line.withoutBoot()} {
			text := t2.svg()
			boxes, width, height := boxesOf(t, text)
			for i, a := range boxes {
				if a.left < 0 || a.top < 0 || a.right > width || a.bottom > height {
					t.Errorf("%s: %q is outside of the picture: %+v", name, a.text, a)
				}
				for _, b := range boxes[:i] {
					if (a.text != "" || b.text != "") && a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom {
						t.Errorf("%s: %q stands on %q", name, a.text, b.text)
					}
				}
			}
			if rows := strings.Count(text, ` rx="1.5"><title>`); rows != len(t2.spans) {
				t.Errorf("%s: %d rows for %d spans", name, rows, len(t2.spans))
			}
		}
	}
}

// drawn is where something is drawn; text is "" for a bar.
type drawn struct {
	text                     string
	left, top, right, bottom float64
}

// boxesOf reads a picture as a viewer does, as far as its texts and bars go.
func boxesOf(t *testing.T, picture string) (boxes []drawn, width, height float64) {
	t.Helper()
	sizes := map[string]float64{"": textSize, "part": textSize, "title": titleSize, "small": smallSize, "bad": smallSize, "good": smallSize}
	var text *drawn
	var anchor, class string
	depth := 0 // inside of a title, which is not drawn
	for in := xml.NewDecoder(strings.NewReader(picture)); ; {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			return boxes, width, height
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, picture)
		}
		switch e := token.(type) {
		case xml.StartElement:
			at := map[string]string{}
			for _, a := range e.Attr {
				at[a.Name.Local] = a.Value
			}
			value := func(name string) float64 { f, _ := strconv.ParseFloat(at[name], 64); return f }
			x, y := value("x"), value("y")
			switch e.Name.Local {
			case "svg":
				width, height = value("width"), value("height")
			case "title":
				depth++
			case "rect":
				if at["class"] != "paper" {
					boxes = append(boxes, drawn{left: x, top: y, right: x + value("width"), bottom: y + value("height")})
				}
			case "text":
				text, anchor, class = &drawn{left: x, bottom: y}, at["text-anchor"], at["class"]
			}
		case xml.CharData:
			if text != nil && depth == 0 {
				text.text += string(e)
			}
		case xml.EndElement:
			switch e.Name.Local {
			case "title":
				depth--
			case "text":
				size, known := sizes[class]
				if !known {
					t.Fatalf("how large is text of class %q?", class)
				}
				wide := textWidth(text.text, size)
				if anchor == "middle" {
					text.left -= wide / 2
				}
				text.right, text.top, text.bottom = text.left+wide, text.bottom-0.8*size, text.bottom+0.2*size
				boxes, text = append(boxes, *text), nil
			}
		}
	}
}

// Ticks are at times a person can count in, and far enough apart to be read.
func TestTicks(t *testing.T) {
	for all, want := range map[time.Duration]string{
		time.Millisecond: "200µs", 45 * time.Millisecond: "10ms", 3 * time.Second: "500ms", 34 * time.Second: "5s", 90 * time.Second: "20s",
		2 * time.Hour: "20m", 49 * time.Hour: "6h", 90 * 24 * time.Hour: "336h",
	} {
		on := scale{all: all, width: 600}
		if got := tickLabel(on.tick()); got != want {
			t.Errorf("%s: a tick every %s, want %s", all, got, want)
		}
	}
	if got := tickLabel(80*time.Minute+30*time.Second) + tickLabel(0) + tickLabel(1500*time.Millisecond); got != "1h20m30s01.5s" {
		t.Error(got)
	}
}
