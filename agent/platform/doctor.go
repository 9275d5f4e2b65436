package platform

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"time"

	"usher/agent/cli"
	"usher/agent/developer"
	"usher/agent/doctor"
	"usher/agent/format"
)

// doctorTime bounds all of it: what does not answer is a finding.
const doctorTime = 2 * time.Minute

// DoctorCommand is `usher doctor`. server looks at the server it is given on; it is nil where there is none.
func DoctorCommand(server func(ctx context.Context, r *doctor.Report, config string)) cli.Command {
	var file, hook string
	var asJSON bool
	env, about, more := "ENV", "what is wrong with an environment of usher.yml before a launch finds out", ""
	if server != nil {
		env, about = "[ENV]", "what is wrong with this server, or with an environment, before a launch finds out"
		more = "On a server: with it, its permissions, its group and its launch hook. With ENV: with an environment of usher.yml, from a workstation.\n"
	}
	c := cli.Command{Name: "doctor", Args: []string{env}, Group: cli.Platform, About: about,
		More: more + "A line for each thing that was looked at: ok, warning or problem, and what to do. Nothing is changed.\n" +
			"exit codes: 0 no problem, 1 problems, 2 usage",
		Flags: func(f *flag.FlagSet) {
			if server != nil {
				cli.ConfigFlag(f, &file)
			}
			f.BoolVar(&asJSON, "json", false, "print a JSON object")
			f.StringVar(&hook, "hook", "", "with ENV: `NAME` of the launch hook that the agents complete (lifecycle_hook of their configuration)")
		},
		Complete: developer.CompleteEnvironment}
	c.Run = func(ctx context.Context, in cli.Call) int {
		ctx, cancel := context.WithTimeout(ctx, doctorTime)
		defer cancel()
		var r doctor.Report
		if env := in.Arg(0); env != "" {
			watch := new(doctor.Watch)
			d := &developer.Session{Name: "doctor", Observe: watch.Observe}
			if err := d.Begin(ctx, env, io.Discard, in.Stderr); err != nil {
				return d.End(ctx, err)
			}
			diagnoseEnvironment(ctx, d, &r, hook)
			watch.Assumptions(&r)
			watch.Places(&r)
		} else {
			server(ctx, &r, file)
		}
		problems, warnings := r.Count(doctor.Problem), r.Count(doctor.Warning)
		if asJSON {
			out := json.NewEncoder(in.Stdout)
			out.SetIndent("", "  ")
			out.SetEscapeHTML(false)
			if err := out.Encode(DoctorReport{problems, warnings, r}); err != nil {
				return in.Fail(cli.ExitFailed, err)
			}
		} else {
			r.Print(in.Stdout)
			fmt.Fprintf(in.Stdout, "%s, %s\n", format.Plural(problems, "problem"), format.Plural(warnings, "warning"))
		}
		if problems > 0 {
			return cli.ExitFailed
		}
		return cli.ExitDone
	}
	return c
}

// DoctorReport is what `usher doctor --json` prints: one object.
type DoctorReport struct {
	Problems int           `json:"problems"`
	Warnings int           `json:"warnings"`
	Findings doctor.Report `json:"findings"` // in the order in which they were looked for
}
