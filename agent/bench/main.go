// Command bench measures usher against what a user would have instead, in one run on one machine:
//
//	go run ./agent/bench                           all of it, a quarter of an hour; the table goes to standard output
//	go run ./agent/bench -quick                    fewer rounds, less of everything, three minutes
//	go run ./agent/bench -only launch,unpack-big   some of it
//	go run ./agent/bench -only before -before OLD  two builds of usher: what a change costs
//	go run ./agent/bench -out DIR                  also report.txt, report.json and report.svg there
//	go run ./agent/bench -beside report.json       with the ratios of an earlier report beside this one's
//
// Everything runs on loopback against the same Auto Scaling, CodeDeploy, metadata and S3 (package standin), with
// the usher that ships, built here. The subjects take turns (A B A B ...) after a round that is not counted, and
// a ratio is the median of the ratios of the rounds, so that a machine whose speed drifts does not decide. Archives
// are made here and always the same. No figure is ever a reason to fail: a goal is reached or missed, and the
// report says which. A program that is not installed is named as missing.
//
// # Caveats
//
// Loopback has no latency and no bandwidth, so a ratio is of what the machine itself does: on a network both sides
// wait for the same bytes. AWS on loopback runs in the bench's own process and takes its share of the processors, from
// both sides alike. The AWS CLI on the PATH is taken as it is: one that is started through a version manager's
// wrapper costs the wrapper's time too, and the report says so.
//
// The disk is the file system of TMPDIR, and needs about 12 GB and two million inodes there, and memory 3 GB beside. Whoever unpacks is asked for a directory that
// survives a power cut: usher syncs as it does in a deployment, the others are followed by `sync -f`. What was
// unpacked on the disk is removed only at the end, because ext4 passes over inodes that were freed in the last five
// minutes, one by one: files made right after an `rm -rf` take ten times as long. For the same reason leave six
// minutes between two runs.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A part is a comparison that can be asked for by name.
type part struct {
	name string
	run  func(*bench, context.Context) error
}

// parts in the order of the report. What an idle agent takes is measured last, when the disk has come to rest.
var parts = []part{
	{"launch", (*bench).launches},
	{"distance", (*bench).distances},
	{"unpack-small", (*bench).unpackSmall},
	{"unpack-big", (*bench).unpackBig},
	{"unpack-huge", (*bench).unpackHuge},
	{"download", (*bench).downloads},
	{"flip", (*bench).flips},
	{"redeploy", (*bench).redeploys},
	{"confined", (*bench).confined},
	{"scale", (*bench).scale},
	{"before", (*bench).befores},
	{"idle", (*bench).idle},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the bench: 0 when everything was measured, whatever came of it, 1 when not, 2 for wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", "", "measure some `PARTS` only, separated by commas: "+strings.Join(partNames(), ", ")+"; unpack is all three")
	quick := flags.Bool("quick", false, "fewer rounds, and without what takes longest")
	out := flags.String("out", "", "write report.txt, report.json and report.svg to `DIR`")
	beside := flags.String("beside", "", "show the ratios of an earlier report.json, `FILE`, beside this one's")
	earlier := flags.String("before", "", "compare with an earlier build of usher, `BINARY` (part before)")
	binary := flags.String("usher", "", "measure this usher `BINARY` instead of building one")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "bench: takes no arguments, got %q\n", flags.Args())
		return 2
	}
	chosen, err := choose(*only)
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 2
	}
	b := &bench{stderr: stderr, quick: *quick, usher: *binary, before: *earlier, began: time.Now()}
	b.report.Command = strings.Join(append([]string{"go run ./agent/bench"}, told(flags)...), " ")
	if err := b.measure(ctx, chosen, stdout, *out, *beside); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

// told are the flags that decide what is measured, as they are typed.
func told(flags *flag.FlagSet) (typed []string) {
	flags.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "quick":
			typed = append(typed, "-quick")
		case "only":
			typed = append(typed, "-only "+f.Value.String())
		}
	})
	return typed
}

func partNames() (names []string) {
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// choose are the parts that -only names, "unpack" for all whose name begins so; all of them for "".
func choose(only string) ([]part, error) {
	if only == "" {
		return parts, nil
	}
	asked := strings.Split(only, ",")
	var chosen []part
	for _, p := range parts {
		family, _, _ := strings.Cut(p.name, "-")
		if slices.Contains(asked, p.name) || slices.Contains(asked, family) {
			chosen = append(chosen, p)
		}
	}
	for _, name := range asked {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name || strings.HasPrefix(p.name, name+"-") }) {
			return nil, fmt.Errorf("there is no part %q: -only takes %s, or unpack for three of them", name, strings.Join(partNames(), ", "))
		}
	}
	return chosen, nil
}

// measure measures the parts and writes the report.
func (b *bench) measure(ctx context.Context, chosen []part, stdout io.Writer, out, beside string) (err error) {
	// The S3 server moves the process into a directory of its own.
	for _, path := range []*string{&out, &beside, &b.usher, &b.before} {
		if *path != "" {
			if *path, err = filepath.Abs(*path); err != nil {
				return fmt.Errorf("cannot find %s: %w", *path, err)
			}
		}
	}
	var earlier report
	if beside != "" {
		if earlier, err = readReport(beside); err != nil {
			return err
		}
	}
	if out != "" {
		if err := os.MkdirAll(out, 0o755); err != nil {
			return fmt.Errorf("cannot make the directory for the report: %w", err)
		}
	}
	defer func() { err = errors.Join(err, b.tidy()) }()
	if err := b.setUp(ctx); err != nil {
		return err
	}
	for _, p := range chosen {
		b.part = p.name
		if err := p.run(b, ctx); err != nil {
			return fmt.Errorf("cannot measure %s: %w", p.name, err)
		}
	}
	b.report.Took = time.Since(b.began).Round(time.Second).String()
	b.report.beside(earlier)
	text := b.report.text()
	if _, err := io.WriteString(stdout, text); err != nil || out == "" {
		return err
	}
	encoded, err := json.MarshalIndent(b.report, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	for name, content := range map[string]string{"report.txt": text, "report.json": string(encoded) + "\n", "report.svg": b.report.svg()} {
		if err := os.WriteFile(filepath.Join(out, name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("cannot write the report: %w", err)
		}
	}
	return nil
}

func readReport(file string) (r report, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return r, fmt.Errorf("cannot read the earlier report: %w", err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("cannot read the earlier report %s: %w", file, err)
	}
	return r, nil
}
