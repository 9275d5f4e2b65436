package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"

	"usher/agent/instance"
	"usher/agent/lifecycle"
	"usher/agent/retry"
	"usher/agent/revision"
	"usher/agent/standin"
)

// prepare makes the launch of one server: who it is, and its credentials, are had already.
func (s burst) prepare(ctx context.Context, cloud *standin.Cloud, server *standin.Instance) (launch func() error, err error) {
	metadata := instance.NewMetadata(func(o *imds.Options) { o.Endpoint = server.MetadataEndpoint })
	me, err := metadata.Discover(ctx, func(error, time.Duration) {})
	if err != nil {
		return nil, err
	}
	credentials := aws.NewCredentialsCache(ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = metadata.Client() }))
	if _, err := credentials.Retrieve(ctx); err != nil {
		return nil, fmt.Errorf("cannot get the credentials of a server: %w", err)
	}
	client := awshttp.NewBuildableClient()
	scaling := autoscaling.New(autoscaling.Options{Region: me.Region, BaseEndpoint: &cloud.Endpoint, Credentials: credentials, HTTPClient: client, Retryer: retry.WithoutThrottleRetries()})
	deploy := codedeploy.New(codedeploy.Options{Region: me.Region, BaseEndpoint: &cloud.Endpoint, Credentials: credentials, HTTPClient: client, Retryer: retry.WithoutThrottleRetries()})
	return func() error { return s.launch(ctx, scaling, deploy, metadata, me) }, nil
}

// patience is retry_timeout, as it is unless somebody sets it.
const patience = 10 * time.Minute

// launch is what the agent does of a launch, but for the deployment.
func (s burst) launch(ctx context.Context, scaling lifecycle.API, deploy revision.API, metadata lifecycle.TargetState, me instance.Identity) error {
	var limiter retry.Limiter
	latest := func(ctx context.Context) error {
		return limiter.DoAfter(ctx, retry.CodeDeployDelay, func() error { _, err := revision.Latest(ctx, deploy, "shop", "production"); return err })
	}
	ahead := make(chan error, 1)
	go func() { ahead <- latest(ctx) }() // beside: source.Finder.Ahead
	launch, err := lifecycle.Find(ctx, scaling, metadata, me, lifecycle.Options{Transition: lifecycle.Launching, Began: me.PendingTime, NewIn: me.AutoScalingGroup, Limiter: &limiter})
	if err != nil {
		return err
	}
	work := launch.Start(ctx)
	defer launch.Stop()
	asked := false
	err = retry.Policy{Backoff: retry.Backoff{Min: time.Second, Max: 20 * time.Second, Jitter: 0.3}, Timeout: patience, Limiter: &limiter}.Do(work, func() error {
		if !asked {
			asked = true
			return <-ahead
		}
		return latest(work)
	})
	if err == nil {
		err = wait(work, s.work)
	}
	outcome, failure := launch.Complete(ctx, lifecycle.VerdictOf(err))
	if failure == nil && outcome != lifecycle.Completed {
		failure = fmt.Errorf("the verdict was %s", outcome)
	}
	return errors.Join(err, failure)
}
