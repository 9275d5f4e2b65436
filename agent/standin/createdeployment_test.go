package standin_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"usher/agent/standin"
)

// fleet is a Cloud with instances in service, their deployment group "shop/production", and a user's client.
func fleet(t *testing.T, instances int, g standin.DeploymentGroup) (*standin.Cloud, *codedeploy.Client) {
	t.Helper()
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web"})
	for range instances {
		cloud.Launch("web", standin.LaunchOptions{})
	}
	g.Application, g.Name, g.AutoScalingGroups = "shop", "production", []string{"web"}
	cloud.PutDeploymentGroup(g)
	return cloud, codedeploy.NewFromConfig(asUser(cloud))
}

// bundle is a revision in S3.
func bundle(key string) *types.RevisionLocation {
	return &types.RevisionLocation{RevisionType: types.RevisionLocationTypeS3, S3Location: &types.S3Location{
		Bucket: aws.String("revisions"), Key: &key, BundleType: types.BundleTypeTarGZip, ETag: aws.String(`"e"`), Version: aws.String("v")}}
}

func TestADeploymentByTheSDK(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cloud, api := fleet(t, 3, standin.DeploymentGroup{AutoRollback: true, LoadBalancer: true})
	old := cloud.PublishRevision("shop", "production", standin.S3Revision("revisions", "1", "tgz", "v", `"e"`))
	servers := cloud.Instances()
	standin.Obey(t, cloud, servers[0], nil)
	var once sync.Once // what fails is the release, not the server
	standin.Obey(t, cloud, servers[1], func(event string) (o standin.Outcome) {
		o = standin.Succeeds
		if event == "AfterInstall" {
			once.Do(func() { o = standin.Fails })
		}
		return o
	})
	standin.Obey(t, cloud, servers[2], nil)

	app, group := aws.String("shop"), aws.String("production")
	for range 2 { // registering is idempotent
		if _, err := api.RegisterApplicationRevision(ctx, &codedeploy.RegisterApplicationRevisionInput{ApplicationName: app, Revision: bundle("2"), Description: aws.String("two")}); err != nil {
			t.Fatal(err)
		}
	}
	made, err := api.CreateDeployment(ctx, &codedeploy.CreateDeploymentInput{ApplicationName: app, DeploymentGroupName: group, Revision: bundle("2"),
		Description: aws.String("release 2"), FileExistsBehavior: types.FileExistsBehaviorOverwrite})
	if err != nil {
		t.Fatal(err)
	}
	id := *made.DeploymentId
	if status, err := cloud.WaitForDeployment(ctx, id); err != nil || status != "Failed" {
		t.Fatalf("%s, %v", status, err)
	}
	info := describeDeployment(t, api, id)
	back := info.RollbackInfo
	if info.Status != types.DeploymentStatusFailed || info.ErrorInformation.Code != types.ErrorCodeHealthConstraints || *info.Description != "release 2" ||
		info.Creator != types.DeploymentCreatorUser || info.FileExistsBehavior != types.FileExistsBehaviorOverwrite || *info.DeploymentConfigName != "CodeDeployDefault.OneAtATime" ||
		*info.DeploymentOverview != (types.DeploymentOverview{Succeeded: 1, Failed: 1, Skipped: 1}) || *info.Revision.S3Location.Key != "2" || *info.PreviousRevision.S3Location.Key != "1" ||
		info.StartTime == nil || info.CompleteTime == nil || !info.AutoRollbackConfiguration.Enabled || back == nil || info.DeploymentStyle.DeploymentOption != types.DeploymentOptionWithTrafficControl {
		t.Errorf("the deployment is %+v", info)
	}
	list, err := api.ListDeploymentTargets(ctx, &codedeploy.ListDeploymentTargetsInput{DeploymentId: &id})
	if err != nil || !slices.Equal(list.TargetIds, []string{servers[0].ID, servers[1].ID, servers[2].ID}) {
		t.Fatalf("targets %+v, %v", list, err)
	}
	failed, err := api.ListDeploymentTargets(ctx, &codedeploy.ListDeploymentTargetsInput{DeploymentId: &id, TargetFilters: map[string][]string{"TargetStatus": {"Failed"}}})
	if err != nil || !slices.Equal(failed.TargetIds, []string{servers[1].ID}) {
		t.Errorf("failed targets %+v, %v", failed, err)
	}
	targets, err := api.BatchGetDeploymentTargets(ctx, &codedeploy.BatchGetDeploymentTargetsInput{DeploymentId: &id, TargetIds: list.TargetIds})
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range []string{
		"Succeeded: SSSSSSSSSSSSS", "Failed: SSSSSSSF-----", "Skipped: -------------",
	} {
		got := targets.DeploymentTargets[n].InstanceTarget
		line := string(got.Status) + ": "
		for _, e := range got.LifecycleEvents {
			line += map[types.LifecycleEventStatus]string{"Succeeded": "S", "Failed": "F", "Skipped": "-"}[e.Status]
			if ran := e.Status != "Skipped"; ran != (e.StartTime != nil && e.EndTime != nil && e.Diagnostics != nil) {
				t.Errorf("%s of %s is %s: %+v", *e.LifecycleEventName, *got.TargetId, e.Status, e)
			}
		}
		if line != want || *got.TargetId != servers[n].ID || *got.DeploymentId != id || !strings.HasSuffix(*got.TargetArn, ":instance/"+servers[n].ID) {
			t.Errorf("target %d\n got %s\nwant %s", n, line, want)
		}
	}
	diag := targets.DeploymentTargets[1].InstanceTarget.LifecycleEvents[7].Diagnostics
	if diag.ErrorCode != types.LifecycleErrorCodeScriptFailed || *diag.ScriptName != "scripts/AfterInstall" || *diag.LogTail != "line one\nline two\n" {
		t.Errorf("diagnostics %+v", diag)
	}

	if _, err := cloud.WaitForDeployment(ctx, *back.RollbackDeploymentId); err != nil {
		t.Fatal(err)
	}
	two, err := api.BatchGetDeployments(ctx, &codedeploy.BatchGetDeploymentsInput{DeploymentIds: []string{*back.RollbackDeploymentId, "d-000000000", id}})
	if err != nil || len(two.DeploymentsInfo) != 2 {
		t.Fatalf("%+v, %v", two, err)
	}
	if got := two.DeploymentsInfo[0]; got.Creator != types.DeploymentCreatorCodeDeployRollback || *got.RollbackInfo.RollbackTriggeringDeploymentId != id || *got.Revision.S3Location.Key != "1" {
		t.Errorf("the rollback is %+v", got)
	}
	all, err := api.ListDeployments(ctx, &codedeploy.ListDeploymentsInput{ApplicationName: app, DeploymentGroupName: group})
	if err != nil || !slices.Equal(all.Deployments, []string{*back.RollbackDeploymentId, id, old}) {
		t.Errorf("deployments %+v, %v", all, err)
	}
	later, err := api.ListDeployments(ctx, &codedeploy.ListDeploymentsInput{CreateTimeRange: &types.TimeRange{End: aws.Time(info.CreateTime.Add(-1e9))}})
	if err != nil || len(later.Deployments) != 0 {
		t.Errorf("deployments before %+v, %v", later, err)
	}
	known, err := api.ListApplicationRevisions(ctx, &codedeploy.ListApplicationRevisionsInput{ApplicationName: app, S3Bucket: aws.String("revisions"),
		SortBy: types.ApplicationRevisionSortByRegisterTime, SortOrder: types.SortOrderDescending, Deployed: types.ListStateFilterActionInclude})
	if err != nil || len(known.Revisions) != 2 || *known.Revisions[0].S3Location.Key != "2" {
		t.Errorf("revisions %+v, %v", known, err)
	}
	one, err := api.GetApplicationRevision(ctx, &codedeploy.GetApplicationRevisionInput{ApplicationName: app, Revision: bundle("2")})
	if err != nil || *one.RevisionInfo.Description != "two" || one.RevisionInfo.FirstUsedTime == nil {
		t.Errorf("revision %+v, %v", one, err)
	}
	seen, err := api.GetDeploymentGroup(ctx, &codedeploy.GetDeploymentGroupInput{ApplicationName: app, DeploymentGroupName: group})
	if err != nil {
		t.Fatal(err)
	}
	if g := seen.DeploymentGroupInfo; *g.AutoScalingGroups[0].Name != "web" || g.AutoScalingGroups[0].Hook != nil || !g.AutoRollbackConfiguration.Enabled ||
		*g.LastSuccessfulDeployment.DeploymentId != *back.RollbackDeploymentId || *g.TargetRevision.S3Location.Key != "1" {
		t.Errorf("the group is %+v", g)
	}
	config, err := api.GetDeploymentConfig(ctx, &codedeploy.GetDeploymentConfigInput{DeploymentConfigName: aws.String("CodeDeployDefault.HalfAtATime")})
	if err != nil || config.DeploymentConfigInfo.MinimumHealthyHosts.Value != 50 {
		t.Errorf("%+v, %v", config, err)
	}
}

func describeDeployment(t *testing.T, api *codedeploy.Client, id string) *types.DeploymentInfo {
	t.Helper()
	out, err := api.GetDeployment(testContext(t), &codedeploy.GetDeploymentInput{DeploymentId: &id})
	if err != nil {
		t.Fatal(err)
	}
	return out.DeploymentInfo
}

func TestAStopByTheSDK(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cloud, api := fleet(t, 1, standin.DeploymentGroup{})
	id, err := cloud.Deploy("shop", "production", standin.GitHubRevision("owner/shop", "abc"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := api.StopDeployment(ctx, &codedeploy.StopDeploymentInput{DeploymentId: &id})
	if err != nil || out.Status != types.StopStatusSucceeded {
		t.Errorf("%+v, %v", out, err)
	}
	if got := describeDeployment(t, api, id); got.Status != types.DeploymentStatusStopped || got.ErrorInformation.Code != types.ErrorCodeManualStop || got.RollbackInfo != nil {
		t.Errorf("it is %+v", got)
	}
	if got := cloud.HostCommands(); len(got) != 1 || got[0].Status != "Failed" || got[0].Polled != 0 {
		t.Errorf("commands %+v", got)
	}
	if _, err := api.StopDeployment(ctx, &codedeploy.StopDeploymentInput{DeploymentId: &id}); code(err) != "DeploymentAlreadyCompletedException" {
		t.Errorf("stopped again: %v", err)
	}
}

func TestRefusalsAreCodeDeploysOwn(t *testing.T) {
	t.Parallel()
	cloud, api := fleet(t, 1, standin.DeploymentGroup{})
	cloud.CreateGroup(standin.Group{Name: "idle"})
	cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "idle", AutoScalingGroups: []string{"idle"}})
	busy, err := cloud.Deploy("shop", "production", standin.GitHubRevision("owner/shop", "abc"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Deploy("shop", "production", standin.GitHubRevision("owner/shop", "def")); err == nil ||
		err.Error() != "DeploymentLimitExceededException: The Deployment Group 'production' already has an active Deployment '"+busy+"'" {
		t.Errorf("a second deployment: %v", err)
	}
	create := func(change func(*codedeploy.CreateDeploymentInput)) func(context.Context) error {
		return func(ctx context.Context) error {
			in := &codedeploy.CreateDeploymentInput{ApplicationName: aws.String("shop"), DeploymentGroupName: aws.String("idle"), Revision: bundle("1")}
			change(in)
			_, err := api.CreateDeployment(ctx, in)
			return err
		}
	}
	long := strings.Repeat("x", 101)
	for _, c := range []struct {
		name string
		call func(context.Context) error
		code string
	}{
		{"no group", create(func(in *codedeploy.CreateDeploymentInput) { in.DeploymentGroupName = nil }), "DeploymentGroupNameRequiredException"},
		{"another group", create(func(in *codedeploy.CreateDeploymentInput) { in.DeploymentGroupName = aws.String("x") }), "DeploymentGroupDoesNotExistException"},
		{"another application", create(func(in *codedeploy.CreateDeploymentInput) { in.ApplicationName = aws.String("x") }), "ApplicationDoesNotExistException"},
		{"no revision", create(func(in *codedeploy.CreateDeploymentInput) { in.Revision = nil }), "RevisionRequiredException"},
		{"a bundle of no type", create(func(in *codedeploy.CreateDeploymentInput) { in.Revision.S3Location.BundleType = "" }), "InvalidRevisionException"},
		{"a bundle without key", create(func(in *codedeploy.CreateDeploymentInput) { in.Revision.S3Location.Key = nil }), "InvalidRevisionException"},
		{"a revision of another platform", create(func(in *codedeploy.CreateDeploymentInput) { in.Revision.RevisionType = "AppSpecContent" }), "InvalidRevisionException"},
		{"another configuration", create(func(in *codedeploy.CreateDeploymentInput) { in.DeploymentConfigName = aws.String("x") }), "DeploymentConfigDoesNotExistException"},
		{"a long description", create(func(in *codedeploy.CreateDeploymentInput) { in.Description = &long }), "DescriptionTooLongException"},
		{"files that exist", create(func(in *codedeploy.CreateDeploymentInput) { in.FileExistsBehavior = "KEEP" }), "InvalidFileExistsBehaviorException"},
		{"a rollback after nothing", create(func(in *codedeploy.CreateDeploymentInput) {
			in.AutoRollbackConfiguration = &types.AutoRollbackConfiguration{Enabled: true}
		}), "InvalidAutoRollbackConfigException"},
		{"a group that is busy", create(func(in *codedeploy.CreateDeploymentInput) { in.DeploymentGroupName = aws.String("production") }), "DeploymentLimitExceededException"},
		{"a target that is not there", func(ctx context.Context) error {
			_, err := api.GetDeploymentTarget(ctx, &codedeploy.GetDeploymentTargetInput{DeploymentId: &busy, TargetId: aws.String("i-0")})
			return err
		}, "DeploymentTargetDoesNotExistException"},
		{"no target", func(ctx context.Context) error {
			_, err := api.BatchGetDeploymentTargets(ctx, &codedeploy.BatchGetDeploymentTargetsInput{DeploymentId: &busy, TargetIds: []string{""}})
			return err
		}, "DeploymentTargetIdRequiredException"},
		{"too many deployments", func(ctx context.Context) error {
			_, err := api.BatchGetDeployments(ctx, &codedeploy.BatchGetDeploymentsInput{DeploymentIds: slices.Repeat([]string{busy}, 26)})
			return err
		}, "BatchLimitExceededException"},
		{"an id that is none", func(ctx context.Context) error {
			_, err := api.StopDeployment(ctx, &codedeploy.StopDeploymentInput{DeploymentId: aws.String("17")})
			return err
		}, "InvalidDeploymentIdException"},
		{"an unknown filter", func(ctx context.Context) error {
			_, err := api.ListDeploymentTargets(ctx, &codedeploy.ListDeploymentTargetsInput{DeploymentId: &busy, TargetFilters: map[string][]string{"Colour": {"blue"}}})
			return err
		}, "InvalidTargetFilterNameException"},
		{"a status that is none", func(ctx context.Context) error {
			_, err := api.ListDeployments(ctx, &codedeploy.ListDeploymentsInput{IncludeOnlyStatuses: []types.DeploymentStatus{"Done"}})
			return err
		}, "InvalidDeploymentStatusException"},
		{"an application without its group", func(ctx context.Context) error {
			_, err := api.ListDeployments(ctx, &codedeploy.ListDeploymentsInput{ApplicationName: aws.String("shop")})
			return err
		}, "DeploymentGroupNameRequiredException"},
		{"a revision nobody registered", func(ctx context.Context) error {
			_, err := api.GetApplicationRevision(ctx, &codedeploy.GetApplicationRevisionInput{ApplicationName: aws.String("shop"), Revision: bundle("9")})
			return err
		}, "RevisionDoesNotExistException"},
		{"an empty group", func(ctx context.Context) error {
			out, err := api.CreateDeployment(ctx, &codedeploy.CreateDeploymentInput{ApplicationName: aws.String("shop"), DeploymentGroupName: aws.String("idle"), Revision: bundle("1")})
			if err != nil {
				return err
			}
			if got := describeDeployment(t, api, *out.DeploymentId); got.Status != types.DeploymentStatusFailed || got.ErrorInformation.Code != types.ErrorCodeNoInstances {
				t.Errorf("it is %+v", got)
			}
			return nil
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.call(testContext(t)); code(err) != c.code {
				t.Errorf("got %v\nwant %s", err, c.code)
			}
		})
	}
}

func TestWhoOneIs(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web", Role: "web-server"})
	server := cloud.Launch("web", standin.LaunchOptions{})
	cfg, _ := onInstance(t, cloud, server)
	for want, as := range map[string]aws.Config{
		"arn:aws:iam::123456789012:user/operator":                        asUser(cloud),
		"arn:aws:sts::123456789012:assumed-role/web-server/" + server.ID: cfg,
	} {
		out, err := sts.NewFromConfig(as).GetCallerIdentity(ctx, nil)
		if err != nil || *out.Arn != want || *out.Account != standin.Account || out.UserId == nil {
			t.Errorf("%+v, %v; want %s", out, err, want)
		}
	}
	stranger := asUser(cloud)
	stranger.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIASTRANGER", SecretAccessKey: "x"}, nil
	})
	if _, err := sts.NewFromConfig(stranger).GetCallerIdentity(ctx, nil); code(err) != "InvalidClientTokenId" {
		t.Errorf("a stranger: %v", err)
	}
	// A role that the user assumes; with an MFA code, where the role asks for one.
	cloud.PutRole(standin.Role{Name: "deploy"})
	cloud.PutRole(standin.Role{Name: "careful", MFA: "123456"})
	user := sts.NewFromConfig(asUser(cloud))
	for _, c := range []struct{ role, serial, code, want string }{
		{role: "deploy"},
		{role: "nobody", want: "is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::123456789012:role/nobody"},
		{role: "careful", want: "is not authorized to perform: sts:AssumeRole"},
		{role: "careful", serial: standin.MFADevice, code: "123456"},
		{role: "careful", serial: standin.MFADevice, code: "654321", want: "MultiFactorAuthentication failed with invalid MFA one time pass code"},
		{role: "careful", serial: standin.MFADevice + "x", code: "123456", want: "unable to validate MFA code"},
		{role: "careful", serial: standin.MFADevice, want: "must provide both MFA serial number and one time pass code"},
	} {
		in := &sts.AssumeRoleInput{RoleArn: aws.String(standin.RoleARN(c.role)), RoleSessionName: aws.String("ann")}
		if c.serial != "" {
			in.SerialNumber = &c.serial
		}
		if c.code != "" {
			in.TokenCode = &c.code
		}
		out, err := user.AssumeRole(ctx, in)
		if c.want != "" {
			if code(err) != "AccessDenied" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		as := asUser(cloud)
		as.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken}, nil
		})
		if who, err := sts.NewFromConfig(as).GetCallerIdentity(ctx, nil); err != nil || *who.Arn != "arn:aws:sts::123456789012:assumed-role/"+c.role+"/ann" {
			t.Errorf("as %s: %v, %v", c.role, who, err)
		}
	}
	// A job, with nothing but its token.
	cloud.PutRole(standin.Role{Name: "job", Token: "a.b.c"})
	nobody := asUser(cloud)
	nobody.Credentials = aws.AnonymousCredentials{}
	for token, want := range map[string]string{"a.b.c": "", "x.y.z": "AccessDenied", "x": "InvalidIdentityToken"} {
		out, err := sts.NewFromConfig(nobody).AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: aws.String(standin.RoleARN("job")), RoleSessionName: aws.String("run"), WebIdentityToken: &token})
		if code(err) != want || err == nil && *out.AssumedRoleUser.Arn != "arn:aws:sts::123456789012:assumed-role/job/run" {
			t.Errorf("token %s: %v, %v", token, out, err)
		}
	}
	if _, err := sts.NewFromConfig(nobody).GetCallerIdentity(ctx, nil); code(err) != "MissingAuthenticationToken" {
		t.Errorf("nobody: %v", err)
	}
	if got := cloud.CallsOf("GetCallerIdentity"); len(got) != 6 || got[0].Service != "sts" {
		t.Errorf("calls %+v", got)
	}
}

// What the wire can make as well as the Go API: a group with CodeDeploy's integration.
func TestADeploymentGroupByTheSDK(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web"})
	api := codedeploy.NewFromConfig(asUser(cloud))
	if _, err := api.CreateApplication(ctx, &codedeploy.CreateApplicationInput{ApplicationName: aws.String("shop")}); err != nil {
		t.Fatal(err)
	}
	create := func(asg, config string) error {
		_, err := api.CreateDeploymentGroup(ctx, &codedeploy.CreateDeploymentGroupInput{ApplicationName: aws.String("shop"), DeploymentGroupName: aws.String("production"),
			ServiceRoleArn: aws.String("arn:aws:iam::123456789012:role/codedeploy"), AutoScalingGroups: []string{asg}, DeploymentConfigName: aws.String(config),
			AutoRollbackConfiguration: &types.AutoRollbackConfiguration{Enabled: true, Events: []types.AutoRollbackEvent{types.AutoRollbackEventDeploymentFailure}}})
		return err
	}
	if err := create("wbe", "CodeDeployDefault.AllAtOnce"); code(err) != "InvalidAutoScalingGroupException" {
		t.Errorf("a group that is not there: %v", err)
	}
	if err := create("web", "AllAtOnce"); code(err) != "DeploymentConfigDoesNotExistException" {
		t.Errorf("a configuration that is not there: %v", err)
	}
	if err := create("web", "CodeDeployDefault.AllAtOnce"); err != nil {
		t.Fatal(err)
	}
	cloud.PublishRevision("shop", "production", standin.GitHubRevision("owner/shop", "abc"))
	server := cloud.Launch("web", standin.LaunchOptions{})
	standin.Obey(t, cloud, server, nil)
	if err := server.WaitFor(ctx, standin.InService); err != nil {
		t.Fatal(err)
	}
	out, err := api.GetDeploymentGroup(ctx, &codedeploy.GetDeploymentGroupInput{ApplicationName: aws.String("shop"), DeploymentGroupName: aws.String("production")})
	if err != nil {
		t.Fatal(err)
	}
	if g := out.DeploymentGroupInfo; g.AutoScalingGroups[0].Hook == nil || *g.AutoScalingGroups[0].Hook != server.Answers()[0].Hook || *g.DeploymentConfigName != "CodeDeployDefault.AllAtOnce" {
		t.Errorf("the group is %+v", g)
	}
}

func TestADeploymentByTheCLI(t *testing.T) {
	t.Parallel()
	needCLI(t)
	ctx := testContext(t)
	cloud, _ := fleet(t, 1, standin.DeploymentGroup{AutoRollback: true})
	server := cloud.Instances()[0]
	standin.Obey(t, cloud, server, func(event string) standin.Outcome {
		if event == "Install" {
			return standin.Fails
		}
		return standin.Succeeds
	})
	names := []string{"--application-name", "shop", "--deployment-group-name", "production"}
	where := []string{"--s3-location", "bucket=revisions,key=1.tgz,bundleType=tgz"}
	stdout, stderr, err := cli(t, cloud, slices.Concat([]string{"deploy", "create-deployment", "--query", "deploymentId", "--output", "text"}, names, where)...)
	if err != nil {
		t.Fatal(stderr)
	}
	id := strings.TrimSpace(stdout)
	if status, err := cloud.WaitForDeployment(ctx, id); err != nil || status != "Failed" {
		t.Fatalf("%s, %v", status, err)
	}
	for _, c := range []struct {
		args  []string
		query string
		want  string
	}{
		{[]string{"deploy", "get-deployment", "--deployment-id", id},
			"deploymentInfo.[status,creator,errorInformation.code,deploymentOverview.Failed,rollbackInfo.rollbackMessage]",
			`["Failed","user","HEALTH_CONSTRAINTS",1,"The deployment was not rolled back: its deployment group has no last successful deployment."]`},
		{[]string{"deploy", "list-deployment-targets", "--deployment-id", id, "--target-filters", "TargetStatus=Failed"}, "targetIds", `["` + server.ID + `"]`},
		{[]string{"deploy", "batch-get-deployment-targets", "--deployment-id", id, "--target-ids", server.ID},
			"deploymentTargets[].instanceTarget.lifecycleEvents[].[lifecycleEventName,status,diagnostics.errorCode,diagnostics.scriptName]",
			`[["ApplicationStop","Succeeded","Success",""],["DownloadBundle","Succeeded","Success",""],["BeforeInstall","Succeeded","Success",""],` +
				`["Install","Failed","ScriptFailed","scripts/Install"],["AfterInstall","Skipped",null,null],["ApplicationStart","Skipped",null,null],["ValidateService","Skipped",null,null]]`},
		{append([]string{"deploy", "list-deployments"}, names...), "deployments", `["` + id + `"]`},
		{append([]string{"deploy", "list-application-revisions"}, names[:2]...), "revisions[].s3Location.key", `["1.tgz"]`},
		{append(append([]string{"deploy", "get-application-revision"}, names[:2]...), where...), "revisionInfo.deploymentGroups", `["production"]`},
		{[]string{"deploy", "get-deployment-config", "--deployment-config-name", "CodeDeployDefault.OneAtATime"}, "deploymentConfigInfo.minimumHealthyHosts", `{"type":"MOST_CONCURRENCY","value":1}`},
		{[]string{"deploy", "stop-deployment", "--deployment-id", id}, "status", "An error occurred (DeploymentAlreadyCompletedException) when calling the StopDeployment operation"},
		{[]string{"sts", "get-caller-identity"}, "Account", `"123456789012"`},
	} {
		stdout, stderr, _ := cli(t, cloud, append(c.args, "--output", "json", "--query", c.query)...)
		if got := compact(strings.TrimSpace(stdout + stderr)); !strings.HasPrefix(got, c.want) {
			t.Errorf("aws %s\n got %s\nwant %s", strings.Join(c.args[:2], " "), got, c.want)
		}
	}
}
