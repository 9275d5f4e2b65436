package standin_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"usher/agent/standin"
	"usher/agent/standin/awsmodel"
)

// deadline bounds every test that talks over sockets; none needs more than a second or two.
const deadline = 5 * time.Minute

// TestMain says at the end what the answers of all tests were held against; go test -v shows it.
func TestMain(m *testing.M) {
	code := m.Run()
	fmt.Println("held against AWS's models: " + awsmodel.Counts())
	os.Exit(code)
}

// start makes a Cloud that ends with the test.
func start(t *testing.T, o standin.Options) *standin.Cloud {
	t.Helper()
	c, err := standin.Start(awsmodel.Watch(t, o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// onInstance is the SDK's configuration as it is on the instance: credentials from its metadata.
func onInstance(t *testing.T, c *standin.Cloud, inst *standin.Instance) (aws.Config, *imds.Client) {
	t.Helper()
	meta := imds.New(imds.Options{Endpoint: inst.MetadataEndpoint, EnableFallback: aws.FalseTernary})
	cfg, err := config.LoadDefaultConfig(t.Context(),
		config.WithRegion(c.Region),
		config.WithBaseEndpoint(c.Endpoint),
		config.WithCredentialsProvider(aws.NewCredentialsCache(ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = meta }))),
		config.WithSharedConfigFiles(nil), config.WithSharedCredentialsFiles(nil),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
	)
	if err != nil {
		t.Fatal(err)
	}
	return cfg, meta
}

func TestALaunchByTheSDK(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web", MetadataTags: true, Tags: map[string]string{"usher:application": "shop"}})
	cloud.PutHook("web", standin.Hook{Name: "deploy", HeartbeatTimeout: time.Minute})
	bundle := bytes.Repeat([]byte("bundle "), 1000)
	etag, version, err := cloud.Upload(cloud.Bucket, "shop/1.tgz", bundle)
	if err != nil {
		t.Fatal(err)
	}
	id := cloud.PublishRevision("shop", "production", standin.S3Revision(cloud.Bucket, "shop/1.tgz", "tgz", version, etag))
	server := cloud.Launch("web", standin.LaunchOptions{})
	cfg, meta := onInstance(t, cloud, server)

	doc, err := meta.GetInstanceIdentityDocument(ctx, nil)
	if err != nil || doc.InstanceID != server.ID || doc.Region != "eu-west-1" {
		t.Fatalf("identity document %+v, %v", doc, err)
	}
	if got := item(t, meta, "autoscaling/target-lifecycle-state"); got != "InService" {
		t.Errorf("target-lifecycle-state %q", got)
	}
	if got := item(t, meta, "tags/instance/usher:application"); got != "shop" {
		t.Errorf("tag %q", got)
	}

	asg := autoscaling.NewFromConfig(cfg)
	seen, err := asg.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{server.ID, "i-00000000000000000"}})
	if err != nil || len(seen.AutoScalingInstances) != 1 || *seen.AutoScalingInstances[0].LifecycleState != "Pending:Wait" || *seen.AutoScalingInstances[0].AutoScalingGroupName != "web" {
		t.Fatalf("instances %+v, %v", seen, err)
	}
	hooks, err := asg.DescribeLifecycleHooks(ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: aws.String("web")})
	if err != nil || len(hooks.LifecycleHooks) != 1 || *hooks.LifecycleHooks[0].HeartbeatTimeout != 60 || *hooks.LifecycleHooks[0].GlobalTimeout != 6000 || *hooks.LifecycleHooks[0].DefaultResult != "ABANDON" {
		t.Fatalf("hooks %+v, %v", hooks, err)
	}

	group, err := codedeploy.NewFromConfig(cfg).GetDeploymentGroup(ctx, &codedeploy.GetDeploymentGroupInput{
		ApplicationName: aws.String("shop"), DeploymentGroupName: aws.String("production")})
	if err != nil {
		t.Fatal(err)
	}
	where := group.DeploymentGroupInfo.TargetRevision.S3Location
	if *group.DeploymentGroupInfo.LastSuccessfulDeployment.DeploymentId != id || *where.ETag != etag || *where.Version != version {
		t.Errorf("group %+v", group.DeploymentGroupInfo)
	}

	store := s3.NewFromConfig(cfg, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = aws.String(cloud.S3Endpoint), true })
	object, err := store.GetObject(ctx, &s3.GetObjectInput{Bucket: where.Bucket, Key: where.Key, VersionId: where.Version, IfMatch: where.ETag})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(object.Body)
	if err != nil || !bytes.Equal(got, bundle) {
		t.Errorf("object of %d bytes, %v", len(got), err)
	}

	if _, err := asg.RecordLifecycleActionHeartbeat(ctx, &autoscaling.RecordLifecycleActionHeartbeatInput{
		AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("deploy"), InstanceId: &server.ID}); err != nil {
		t.Error(err)
	}
	complete := &autoscaling.CompleteLifecycleActionInput{AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("deploy"),
		InstanceId: &server.ID, LifecycleActionResult: aws.String("CONTINUE")}
	if _, err := asg.CompleteLifecycleAction(ctx, complete); err != nil {
		t.Error(err)
	}
	if err := server.WaitFor(ctx, standin.InService); err != nil {
		t.Error(err)
	}
	if _, err := asg.CompleteLifecycleAction(ctx, complete); code(err) != "ValidationError" || !strings.Contains(err.Error(), "No active Lifecycle Action found with instance ID "+server.ID) {
		t.Errorf("second completion: %v", err)
	}

	if got, want := server.States(), []standin.State{"Pending", "Pending:Wait", "Pending:Proceed", "InService"}; !slices.Equal(got, want) {
		t.Errorf("states %v, want %v", got, want)
	}
	var ops []string
	for _, call := range cloud.Calls() {
		if call.InstanceID != server.ID {
			t.Errorf("call %+v is not the server's", call)
		}
		ops = append(ops, strings.TrimSuffix(call.Op+" "+call.ErrorCode, " "))
	}
	want := []string{"DescribeAutoScalingInstances", "DescribeLifecycleHooks", "GetDeploymentGroup", "GetObject",
		"RecordLifecycleActionHeartbeat", "CompleteLifecycleAction", "CompleteLifecycleAction ValidationError"}
	if !slices.Equal(ops, want) {
		t.Errorf("calls %q, want %q", ops, want)
	}
}

func item(t *testing.T, meta *imds.Client, path string) string {
	t.Helper()
	out, err := meta.GetMetadata(t.Context(), &imds.GetMetadataInput{Path: path})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer out.Content.Close()
	text, err := io.ReadAll(out.Content)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
