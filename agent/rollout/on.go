package rollout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// On are the commands of usher.yml for what becomes of a deployment; "" is none. They run on the machine of whoever deploys, as
// the build command does.
type On struct {
	Started   string `yaml:"started"`
	Succeeded string `yaml:"succeeded"`
	Failed    string `yaml:"failed"` // rolled back or not
}

// onLimit is how long a command of `on:` may take: a message is sent in a second, and people wait for the end of it.
const onLimit = time.Minute

// onOutput is how much of what such a command prints is kept, in bytes: its end.
const onOutput = 4 << 10

// RunOn runs a command of `on:` at the top of the repository, with an event as JSON on its standard input. output is the last that
// it printed. What it has started is ended with it when ctx ends, or its time.
func (r *Repository) RunOn(ctx context.Context, command string, e Event) (output string, err error) {
	input, err := json.Marshal(e)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, onLimit, fmt.Errorf("it was ended after %s", onLimit))
	defer cancel()
	var out lastBytes
	cmd := exec.CommandContext(ctx, "sh", "-ec", command)
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.Dir, &out, &out
	cmd.Stdin = bytes.NewReader(append(input, '\n'))
	cmd.WaitDelay = gitGrace
	ownGroup(cmd)
	err = cmd.Run()
	switch {
	case errors.Is(err, exec.ErrWaitDelay): // it ended well, and something that it left in the background has its output open
		err = nil
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		err = errors.New("it was interrupted")
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return string(out), err
}

// lastBytes keeps the end of what is written.
type lastBytes []byte

func (l *lastBytes) Write(p []byte) (int, error) {
	*l = append(*l, p...)
	if extra := len(*l) - onOutput; extra > 0 {
		*l = append((*l)[:0], (*l)[extra:]...)
	}
	return len(p), nil
}
