package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"usher/agent/developer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(commands().WithCompletion(developer.EnvironmentNames).Run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
