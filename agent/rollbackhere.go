package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"usher/agent/cli"
	"usher/agent/config"
	"usher/agent/operator"
)

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
