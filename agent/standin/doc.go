// Package standin is AWS on loopback: Auto Scaling, CodeDeploy and its host commands, instance metadata,
// S3 and enough of STS to say who one is and to assume a role, for usher's tests and its demo. It stands in for the servers,
// never for a client: the real agent, the SDK and an AWS CLI talk to it over sockets with nothing but
// AWS's own endpoint variables, and it knows no path, header or call that AWS does not have.
//
//	cloud, err := standin.Start(standin.Options{})
//	defer cloud.Close()
//	cloud.CreateGroup(standin.Group{Name: "web", Tags: map[string]string{"usher:application": "shop"}})
//	cloud.PutHook("web", standin.Hook{Name: "deploy", HeartbeatTimeout: 10 * time.Second})
//	etag, version, err := cloud.Upload(cloud.Bucket, "shop/1.tgz", bundle)
//	cloud.PublishRevision("shop", "production", standin.S3Revision(cloud.Bucket, "shop/1.tgz", "tgz", version, etag))
//	server := cloud.Launch("web", standin.LaunchOptions{})
//	agent := exec.Command("usher", "run")
//	agent.Env = append(agent.Env, cloud.Environ(server)...)
//	err = server.WaitFor(ctx, standin.InService)
//
// and then a deployment to the servers there are, which the agents on them carry out:
//
//	cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}})
//	id, err := cloud.Deploy("shop", "production", revision)
//	status, err := cloud.WaitForDeployment(ctx, id)
//
// # What is enforced
//
// The lifecycle of an instance: a launch waits in Pending:Wait until every autoscaling:EC2_INSTANCE_LAUNCHING hook of
// its group is answered; one ABANDON, or one timeout whose default is ABANDON, terminates the instance
// and launches a replacement; an answer that is late, second, or for a hook that is not waiting gets "No
// active Lifecycle Action found". Heartbeats restart an action's timer and never its global timeout. Warm
// pools, terminations, standby, attached instances and root-volume replacements go through the states the
// service documents. Every request of the control plane is signed (SigV4, recomputed), Describe calls
// page, and Options.Rate and CodeDeployRate make a fleet share request budgets as an account does. The log (Cloud.Calls)
// lists what was asked, by whom and with what result; Cloud.Fail and Instance.FailMetadata break any call
// on purpose.
//
// A deployment goes to the instances of its group that are in service when it begins: one host command
// for each lifecycle event on each instance, the next only when the one before has succeeded. OneAtATime,
// HalfAtATime and AllAtOnce keep their minimum of healthy hosts: instances under way and failed ones
// count as unhealthy, and when nothing more may begin, the deployment fails with HEALTH_CONSTRAINTS and
// skips the rest. An event that is not asked for or not completed in time fails; an instance that is
// terminated is not waited for, and counts neither way. A group has one deployment at a time, launches by
// CodeDeploy's own integration (DeploymentGroup.Managed) aside. Its target revision moves only when a
// deployment succeeds. A failure or a stop is followed by a rollback when that was asked for, if ever a
// deployment succeeded. A command is handed out until it is acknowledged, and its first result stays.
// Specifications come signed, in envelopes as the service builds them (Cloud.SignerCA is their root,
// Cloud.FaultEnvelopes spoils them), and Cloud.SendCommand sends what no deployment would.
//
// # Where the truth is from
//
// What only we say is not known: the stand-in was written by who wrote the client. Its answers are held against AWS's own
// models in every test of it and of the agent (package awsmodel), and every constraint of Auto Scaling's parameters is
// violated once (strict_test.go). The service's documented examples and recordings of it are replayed to usher itself, without
// a stand-in, and the stand-in takes each documented request (TestReplay of the agent). For the rest:
//
//	field                                        the truth is from
//	structure, types, enumerations, limits,      botocore's models (Debian's python3-botocore) and the types of the
//	times and error codes of an operation        AWS SDK for Go, which is newer
//	LifecycleTransition, DefaultResult,          "Valid values" in the documentation text of both
//	LifecycleActionResult, LifecycleState
//	HTTP status of an operation's own errors     botocore's models; Throttling: botocore's list of what to retry
//	HTTP status of common errors                 the API references' Common Errors; AccessDeniedException of a JSON
//	                                             service: 400 in a log of AWS's agent (its issue 69)
//	members of GetDeploymentGroup                recordings of the real service by an inventory tool
//	members of GetDeployment                     no source: which are there when they are not set
//	wording of Auto Scaling's constraints        errors that users report ("1 validation error detected: ...")
//	wording of other errors                      user reports for "No active Lifecycle Action found" and a group or an
//	                                             application that is not found; no source for the rest
//	a deleted hook, standby, detaching,          the operations' documentation in the SDK
//	forced deletion, retained instances
//	metadata while Retained, and where it ends   no source
//	InService after ReplaceRootVolume            no source: who moves it on, and when
//	pace and preferences of an instance refresh  no source: one instance at a time here
//	host commands: members, limits, errors       the model in AWS's agent (aws/aws-codedeploy-agent, 1.x); botocore has none
//	specification: members                       the source of AWS's agents 1.x and 2.x; no AllPossibleLifecycleEvents,
//	                                             because those fail every Install that has it; no ETag unless registered
//	commandPosition                              a log of AWS's agent (its issue 135): ApplicationStop 1, DownloadBundle 2;
//	                                             no source for a group with a load balancer
//	a second result of a command, a command      no source
//	handed out until it is acknowledged
//	UpdateDeploymentAgent                        the source of AWS's agent 2.x; when the service sends it: no source
//	how far descriptions are behind              no source: Options.Eventual is as much as a test asks for
//
// # Caveats
//
// CodeDeploy takes nothing but the three configurations that every account has: no custom ones, alarms,
// tag filters, blue/green or on-premises instances. That a revision's object exists is not looked at
// until an agent fetches it. Only what the engine itself deployed counts for updateOutdatedInstancesOnly.
// There is no follow-on deployment for an instance that launched while one was under way: the agent must
// see to that. When CodeDeploy gives up on an event, the words of its diagnostics are the service's where
// they are known.
//
// Hooks put by the Go API may have timeouts below the service's 30 seconds, so that a test need not wait
// for them; PutLifecycleHook on the wire may not. A deployment group's timeouts can be as short. Times
// are real. Instances are only a state and a metadata service: no machine runs, and the metadata service
// keeps answering after the instance is Terminated, which a real one cannot. There is no IAM policy: a
// known key may do anything, and Cloud.Fail with AccessDenied is how to take a permission away. Wording
// of errors follows what the services are known to answer; clients should look at codes.
//
// S3 is not ours: it is versitygw, of which a process may run only one, and which makes a directory of
// its own the working directory of the process until the last Cloud is closed, and a removed one after
// that: make paths absolute before the first Start. All Clouds of a process share it, each behind its own
// front (log, faults) and with its own buckets. A bucket name belongs to the Cloud that made it, as it
// belongs to one account in AWS: use Cloud.Bucket, which is different for each Cloud.
//
// Calls that are a mistake of the test itself (an unknown group, a bad transition) panic, as
// net/http/httptest does: they are never an answer of AWS.
package standin
