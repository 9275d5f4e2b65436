//go:build linux && !developer

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"usher/agent/cli"
	"usher/agent/config"
	"usher/agent/control"
	"usher/agent/deployment"
	"usher/agent/format"
	"usher/agent/operator"
	"usher/agent/release"
	"usher/agent/retry"
	"usher/hooks"
	"usher/systemd"
)

// Rollbacks that an operator asks for on the server.

// rollbackHere is `usher rollback` of the server, nil where this is none.
func rollbackHere(args []string) *cli.Command {
	if !onServer(args) {
		return nil
	}
	c := operator.RollBackServerCommand()
	return &c
}

// onServer tells whether an agent has worked on this machine, or an agent's configuration is named. A record that
// one may not look at is one.
func onServer(args []string) bool {
	if slices.ContainsFunc(args, func(arg string) bool { return configForm().MatchString(arg) }) {
		return true
	}
	cfg, err := config.Load(config.DefaultFile)
	if err != nil {
		cfg = config.Default()
	}
	_, err = os.Stat(filepath.Join(cfg.StateDir, "record.jsonl"))
	return err == nil || errors.Is(err, fs.ErrPermission)
}

// configForm is the flag that only servers have.
var configForm = cli.LazyRegexp(`^--?config(=|$)`)

// rollBackTo deploys a release that is on disk, with all the steps of a deployment. What goes on is also
// written to w.
func (a *agent) rollBackTo(ctx context.Context, what control.Request, w request) control.Response {
	to, refused := a.choose(what.Release, what.Force)
	if refused.Error != "" {
		return refused
	}
	log := a.log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewTee(core, systemd.NewConsole(w, zapcore.InfoLevel))
	}))
	log.Info(fmt.Sprintf("an operator rolls this server back to release %s (%s), as it was left here: nothing is downloaded", to.ID, to.Revision))
	err := a.deployRelease(ctx, to, log)
	switch {
	case retry.Stopped(ctx, err):
		return control.Declined(cli.ExitFailed, "the agent was stopped in the middle of it. When it is started again: usher status")
	case err != nil:
		return control.Declined(cli.ExitFailed, "%s", format.FirstLine(err))
	}
	return control.Response{Text: "release " + to.ID + " is live, as it was left"}
}

// choose is the release that a rollback is to: the named one, by a beginning of its name that no other has,
// or the newest good one of another revision than the live one. One that is not good is refused, unless that is meant.
func (a *agent) choose(name string, force bool) (release.Release, control.Response) {
	all, err := a.deploy.Layout.All()
	if err != nil {
		return release.Release{}, control.Declined(cli.ExitFailed, "%v", err)
	}
	_, live, err := a.deploy.Layout.Live()
	if err != nil {
		return release.Release{}, control.Declined(cli.ExitFailed, "%v", err)
	}
	slices.SortFunc(all, func(x, y release.Release) int { return y.Time.Compare(x.Time) })
	now, _ := a.deploy.Layout.Load(live)
	sameCode := func(r release.Release) bool {
		return deployment.SameRevision(r.ID, live) || r.Revision == now.Revision || r.ETag != "" && r.ETag == now.ETag
	}
	var named []release.Release
	for _, r := range all {
		switch {
		case name == "" && r.Status == release.Good && !sameCode(r):
			return r, control.Response{}
		case name == r.ID:
			named = []release.Release{r}
		case name != "" && strings.HasPrefix(r.ID, name) && (len(named) == 0 || named[0].ID != name):
			named = append(named, r)
		}
	}
	here := releaseList(all, live)
	switch {
	case name == "":
		return release.Release{}, control.Declined(cli.ExitNothing, "there is no good release of another revision on this server to go back to%s", here)
	case len(named) > 1:
		return release.Release{}, control.Declined(cli.ExitUsage, "%q is the beginning of %s%s", name, format.Plural(len(named), "release"), here)
	case len(named) == 0:
		return release.Release{}, control.Declined(cli.ExitUsage, "there is no release %q on this server%s%s", name, meant(name, all), here)
	}
	r := named[0]
	switch {
	case r.ID == live && r.Status == release.Good:
		return r, control.Declined(cli.ExitNothing, "release %s is live already", r.ID)
	case r.Status != release.Good && !force:
		return r, control.Declined(cli.ExitUsage, "release %s is not good: %s. To deploy it all the same: usher rollback --force %[1]s", r.ID, whyNotGood(r.Status))
	}
	return r, control.Response{}
}

func whyNotGood(status string) string {
	switch status {
	case release.Bad:
		return "its deployment failed"
	case release.InUse:
		return "its deployment was not finished"
	}
	return "it was never deployed here"
}

// meant asks whether a release that is here was meant.
func meant(name string, all []release.Release) string {
	var ids []string
	for _, r := range all {
		ids = append(ids, r.ID)
	}
	if near := hooks.Closest(name, ids); near != "" {
		return ": did you mean " + near + "?"
	}
	return ""
}

// releaseList is the releases on disk, a line each.
func releaseList(all []release.Release, live string) string {
	if len(all) == 0 {
		return ": there are no releases at all"
	}
	var b strings.Builder
	b.WriteString("; the releases here are")
	for _, r := range all {
		status := r.Status
		if r.ID == live {
			status += ", live"
		}
		fmt.Fprintf(&b, "\n  %s  %s since %s", r.ID, status, format.Local(r.Time))
	}
	return b.String()
}
