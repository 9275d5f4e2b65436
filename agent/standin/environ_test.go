package standin_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"

	"usher/agent/standin"
)

// The variables of Environ are all a program on the instance needs: the SDK's defaults do the rest.
func TestEnvironIsEnoughForTheSDK(t *testing.T) {
	ctx := testContext(t)
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web"})
	if _, _, err := cloud.Upload(cloud.Bucket, "a/b.tgz", []byte("bundle")); err != nil {
		t.Fatal(err)
	}
	server := cloud.Launch("web", standin.LaunchOptions{})
	for _, v := range cloud.Environ(server) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithEC2IMDSRegion(), config.WithEC2IMDSClientEnableState(imds.ClientEnabled))
	if err != nil {
		t.Fatal(err)
	}
	out, err := autoscaling.NewFromConfig(cfg).DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{server.ID}})
	if err != nil || len(out.AutoScalingInstances) != 1 || aws.ToString(out.AutoScalingInstances[0].LifecycleState) != "InService" {
		t.Errorf("%+v, %v", out, err)
	}
	store := storeOf(cloud, cfg)
	if got, err := fetch(ctx, store, cloud.Bucket, "a/b.tgz", ""); err != nil || string(got) != "bundle" {
		t.Errorf("%q, %v", got, err)
	}
}
