package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"time"

	"usher/agent/doctor"
)

const doctorAbout = "usher doctor [-json]: on a server: what is wrong with it, its permissions, its group and its launch hook.\n" +
	"usher doctor [-json] [-hook NAME] ENV: the same of an environment of usher.yml, from a workstation.\n" +
	"A line for each thing that was looked at: ok, warning or problem, and what to do. Nothing is changed.\n" +
	"exit codes: 0 no problem, 1 problems, 2 usage"

// doctorTime bounds all of it: what does not answer is a finding.
const doctorTime = 2 * time.Minute

// runDoctor is `usher doctor`.
func runDoctor(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	file := configFlag(flags)
	asJSON := flags.Bool("json", false, "print it as a JSON object")
	hook := flags.String("hook", "", "with ENV: `NAME` of the launch hook that the agents complete (lifecycle_hook of their configuration)")
	if code, ok := parseArguments(flags, args, []string{"[ENV]"}, doctorAbout, stdout, stderr); !ok {
		return code
	}
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	var r doctor.Report
	if env := flags.Arg(0); env != "" {
		d := &developer{name: "doctor", watched: new(doctor.Watch)}
		if err := d.begin(ctx, env, io.Discard, stderr); err != nil {
			return d.end(ctx, err)
		}
		d.doctor(ctx, &r, *hook)
		d.watched.Assumptions(&r)
		d.watched.Places(&r)
	} else {
		examine(ctx, &r, *file)
	}
	problems, warnings := r.Count(doctor.Problem), r.Count(doctor.Warning)
	if *asJSON {
		out := json.NewEncoder(stdout)
		out.SetIndent("", "  ")
		out.SetEscapeHTML(false)
		if err := out.Encode(doctorReport{problems, warnings, r}); err != nil {
			fmt.Fprintln(stderr, "usher doctor:", err)
			return exitFailed
		}
	} else {
		r.Print(stdout)
		fmt.Fprintf(stdout, "%s, %s\n", count(problems, "problem"), count(warnings, "warning"))
	}
	if problems > 0 {
		return exitFailed
	}
	return exitDone
}

// doctorReport is what `usher doctor -json` prints: one object.
type doctorReport struct {
	Problems int           `json:"problems"`
	Warnings int           `json:"warnings"`
	Findings doctor.Report `json:"findings"` // in the order in which they were looked for
}
