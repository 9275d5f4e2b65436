package systemd

// The MESSAGE_ID of everything an operator may wait for, count or alert on:
//
//	journalctl MESSAGE_ID=…
//
// An ID is never changed or used again, whatever becomes of the message's text. Each comment says when
// the message is logged and what the operator should do.
const (
	// MessageStarted: the agent runs and knows its instance; fields INSTANCE_ID and REGION. Nothing to
	// do.
	MessageStarted = "b5898bb60caf45729837e52ff51e25d8"

	// MessageMetadataWaiting: the instance metadata service does not answer yet. Seconds of this at
	// boot are normal. If it stays, look at the launch template's metadata options
	// (HttpEndpoint=enabled) and at the instance's network.
	MessageMetadataWaiting = "fa02cdecc42c4f67862cc38e07a1e8f7"

	// MessageLaunchFound: the instance's launch lifecycle action was found; fields AUTO_SCALING_GROUP
	// and LIFECYCLE_HOOK. Nothing to do.
	MessageLaunchFound = "03770199c786483cba7cd5d4ec27c62c"

	// MessageNoLaunch: no launch lifecycle action waits for this instance: it is in no group, its
	// group has no launch hook, or it is in service already. Nothing to do unless a hook was expected:
	// then check that it existed before this instance was launched.
	MessageNoLaunch = "4d053c8a4b104b678047fb10cd664589"

	// MessageHookMissing: Auto Scaling holds this instance in a wait state, and none of the group's hooks
	// is a launch hook that usher completes; the message lists those it has. Unless somebody else completes
	// the wait, it ends in that hook's timeout. Add a hook (usher attach), or correct lifecycle_hook.
	MessageHookMissing = "439a0b0969a84cd2915e190aa9684cd9"

	// MessageHookLenient: the default result of the launch hook is CONTINUE: an instance that is not heard of enters
	// service as it is. Set it to ABANDON (usher attach).
	MessageHookLenient = "ec4e61fdb2684d218f6a6697be6c8663"

	// MessageCompleteDenied: the role of the instance may not complete its lifecycle action. usher tries again, and ends
	// its heartbeats after some minutes. Allow autoscaling:CompleteLifecycleAction on the group.
	MessageCompleteDenied = "b7666b70c1824dc69a30baebefcc92ed"

	// MessageClockWrong: this server's clock is minutes or more off AWS's, as the answers of metadata and Auto Scaling are
	// dated. Enable chrony in the image.
	MessageClockWrong = "c07db839db564179bf93967daa29986c"

	// MessageWaitConfirmed: Auto Scaling has put the instance into its wait state, or throttles the question and
	// the instance's tag and target state say as much; from here on heartbeats keep it there. Nothing to do.
	MessageWaitConfirmed = "9c46b144461845b3b16409ff06a04297"

	// MessageDeploymentStarted: a deployment begins; fields DEPLOYMENT_ID and REVISION. Nothing to do.
	MessageDeploymentStarted = "207ed6fae5704d36ada8ab2496e21885"

	// MessageStepFinished: one lifecycle event of a deployment finished; fields LIFECYCLE_EVENT and
	// DURATION_USEC. Nothing to do.
	MessageStepFinished = "a6f9c806901d41bf82ffdb466eeb5c9e"

	// MessageStepFailed: one lifecycle event of a deployment failed; fields LIFECYCLE_EVENT and ERROR,
	// and HOOK_SCRIPT when a script is the cause. Read the message and the script's output above it,
	// fix the revision, deploy again.
	MessageStepFailed = "986a67028cf84bfa85553e8b0695a408"

	// MessageScriptOutput: a hook script wrote this line; fields HOOK_SCRIPT and LIFECYCLE_EVENT.
	// Nothing to do.
	MessageScriptOutput = "5d336bb6e3e1446f82bd174975491211"

	// MessageScriptWarning: a hook script runs, but not as its author may think: errexit is not in
	// effect, or is silently switched off. Correct the script at the file and line of the message.
	MessageScriptWarning = "56d58ed79d1842719350e4daf68a67aa"

	// MessageScriptLeftovers: a hook script ended and left processes running. If they are the
	// application, let its service manager start it; if not, end them in the script.
	MessageScriptLeftovers = "36388bb313bc4163bd6c98ecd953b378"

	// MessageFlipped: the application's link points to another release; fields RELEASE and
	// PREVIOUS_RELEASE. Nothing to do.
	MessageFlipped = "0bc98b58b07544ac9e5aa6cb769760f1"

	// MessageRolledBack: a deployment failed after the link had changed, and the link points to the
	// previous release again; field RELEASE. Look at the failure before it. The failed release was
	// kept for diagnosis.
	MessageRolledBack = "7b3a49fdf9424375add2c29e86a696e6"

	// MessageDeploymentSucceeded: a deployment ended well; fields DEPLOYMENT_ID and RELEASE. Nothing to
	// do.
	MessageDeploymentSucceeded = "64696bf5d2db4ef18a911102a5442be2"

	// MessageDeploymentFailed: a deployment ended badly; fields DEPLOYMENT_ID and ERROR. At launch the
	// instance is abandoned and replaced. Find the failed step before it (StepFailed). Deploy a
	// revision that works: every new instance fails with this one.
	MessageDeploymentFailed = "d7988d2e68394f82977511e23ccd33f8"

	// MessageCompleted: usher completed the launch lifecycle action; field LIFECYCLE_RESULT is
	// CONTINUE or ABANDON. After ABANDON, see DeploymentFailed.
	MessageCompleted = "5431bd19eb384dd892f8d9f03c6af366"

	// MessageCompleteFailed: the lifecycle action could not be completed; the message says why. The hook's
	// default result decides when its timeout is up. Look at the permission and the hook that the
	// message names.
	MessageCompleteFailed = "528adec4cf79715fd4e5e6d64a924071"

	// MessageAlreadyDecided: the lifecycle action was over before usher completed it: completed by
	// somebody else, or timed out. If it timed out, raise the hook's heartbeat or global timeout, or
	// make the deployment faster.
	MessageAlreadyDecided = "2c74570ae67b4039b309cff294af9bde"

	// MessageHeartbeatFailed: a heartbeat for the lifecycle action could not be recorded; usher tries
	// again. If it repeats, check that the instance's role allows
	// autoscaling:RecordLifecycleActionHeartbeat on its group.
	MessageHeartbeatFailed = "664b876592a8448fa0c4aea30db18427"

	// MessageRetrying: a call to AWS failed for a reason that may pass (its rate, an outage, a
	// permission that is new, credentials not ready), and usher tries again. The message says which. If a
	// fleet sees throttling often, find what else calls that API in this account and Region.
	MessageRetrying = "d599a52f177a482ab5b02285be54ce56"

	// MessageHeld: an operator holds this instance: its failed launch is kept for debugging and not
	// completed. Release it when done; until then heartbeats are sent, at most to the hook's global
	// timeout.
	MessageHeld = "8d94c59c14d64f61b809b61611fec17e"

	// MessageResumed: usher was restarted during a deployment and goes on with it; field
	// LIFECYCLE_EVENT is where. Nothing to do. If nobody restarted it, look for a crash before it.
	MessageResumed = "88a4a9bc1d8c4fc980f6abb8ed4d138e"

	// MessageRecordForeign: the record on this disk belongs to another instance, usually the one an
	// image was made from; usher starts a new one. Nothing to do. To keep images clean, remove
	// /var/lib/usher before making one.
	MessageRecordForeign = "2ab5b137f93444bfabaffeccf998c440"

	// MessageNoRevision: the deployment group has no successful deployment yet, so there is nothing to
	// deploy; what the image carries stays live. Nothing to do for a new group; otherwise deploy a
	// revision to it.
	MessageNoRevision = "d231e858d9574e53b913405a9851c9dc"

	// MessagePruneFailed: an old release could not be removed. The deployment is not affected. Remove
	// it by hand if the disk gets full; the message names it and the cause.
	MessagePruneFailed = "78fce8b6d992487bb323a1945a5f74a4"

	// MessageTerminating: the instance is being terminated; usher starts no deployment any more.
	// Nothing to do.
	MessageTerminating = "fa0ff768f7374170ab078d8dbc6e05e4"

	// MessageRevisionChecked: usher compared the live release with the deployment group's revision, as
	// when an instance leaves a warm pool. Nothing to do.
	MessageRevisionChecked = "5182e63ed9cd4a78a69394373adc7bf8"

	// MessageStopping: usher was asked to stop. What was interrupted is taken up again at the next
	// start. Nothing to do.
	MessageStopping = "e8f4e4af531e4199b72070ce824f1241"

	// MessageCommandRefused: a host command of CodeDeploy's was not carried out, or its result could not be
	// delivered; the message says why. Nothing was changed on this server. If it is for another
	// deployment group, take the instance out of that one.
	MessageCommandRefused = "53dde339b8ca4f769d30eaae1af9b483"

	// MessageCommandAnswered: a host command of CodeDeploy's was answered without running anything: its
	// release is live and good here already. Nothing to do.
	MessageCommandAnswered = "91f40f1e7ec4412880ad478436d20b27"

	// MessageCommandPickedUp: a host command of CodeDeploy's came while the server was launching, and was acknowledged, so
	// that CodeDeploy does not give it up. It is carried out after the launch. Nothing to do.
	MessageCommandPickedUp = "b330a8e6ae994f70b47407ce9468c10e"

	// MessageUpdateDeclined: CodeDeploy asked its agent to update itself. usher is updated by its package; nothing
	// was done, and CodeDeploy was told so.
	MessageUpdateDeclined = "4a4808e795614ae9a90548419524db2c"

	// MessageSignerUnchecked: the deployment specifications come from a signer that usher cannot check,
	// because signer_ca_file is not set. They came over TLS from CodeDeploy. Nothing to do unless
	// your rules ask for it: then set signer_ca_file.
	MessageSignerUnchecked = "b3835410b6b84b3fbcb5d7467c6bd933"

	// MessageDrift: the deployment group has moved on and this server was not part of that deployment,
	// usually because it was launching meanwhile; usher deploys the group's revision now. Nothing to do.
	// If it repeats on one server, see why CodeDeploy does not reach it.
	MessageDrift = "94b382063e3a4963aaeb63ab35997b2e"

	// MessageConfigurationInvalid: usher cannot run as this server is set up: agent.yml, the service's environment, or who owns
	// the folders it needs; the message says which. Nothing was done. Correct it and `systemctl restart usher`;
	// on new servers, in the image.
	MessageConfigurationInvalid = "ace7e8d3662045a4a730122e717f75e1"

	// MessageFailed: something outside of a deployment's steps failed: metadata, a call to AWS, the record. The message says
	// which. At a launch nothing was deployed, and the instance is abandoned. Look at what the message names.
	MessageFailed = "a9253a5bae5140a9b4bf2a57e04ddb94"

	// MessageCleanupFailed: a deployment ended, and something that it left behind could not be removed or marked. What is
	// live is not affected, and usher tries again. If it repeats, look at what the message names.
	MessageCleanupFailed = "a8ca68e3cece475bb3a553ba5247ad91"

	// MessageDiskFull: there was no room for a release, and usher removed old ones; the message names them. Make the disk
	// larger, or set keep_releases lower.
	MessageDiskFull = "272cc5c390514e519c983959194c305d"
)
