package hooks

// DefaultPath is the PATH of every script: the one a root login has on the distributions an AMI is
// made of, because a service's own is shorter.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Environment is what a script is told about the deployment and the instance.
type Environment struct {
	// As CodeDeploy has them. Bundle* are those of the revision: bucket, key, version and ETag of an
	// S3 revision, the commit of a GitHub revision.
	ApplicationName, DeploymentID, DeploymentGroupName, DeploymentGroupID string
	BundleBucket, BundleKey, BundleVersion, BundleETag, BundleCommit      string

	// What usher adds.
	InstanceID, Region, AutoScalingGroupName string
	ReleaseDir, PreviousRelease              string
}

// Environ is the environment of the scripts of event, as KEY=VALUE. A variable without a value is
// left out, not set to nothing.
func (e Environment) Environ(event string) []string {
	var environ []string
	for _, v := range [...][2]string{
		{"PATH", DefaultPath},
		{"LANG", "C.UTF-8"},
		{"LIFECYCLE_EVENT", event},
		{"APPLICATION_NAME", e.ApplicationName},
		{"DEPLOYMENT_ID", e.DeploymentID},
		{"DEPLOYMENT_GROUP_NAME", e.DeploymentGroupName},
		{"DEPLOYMENT_GROUP_ID", e.DeploymentGroupID},
		{"BUNDLE_BUCKET", e.BundleBucket},
		{"BUNDLE_KEY", e.BundleKey},
		{"BUNDLE_VERSION", e.BundleVersion},
		{"BUNDLE_ETAG", e.BundleETag},
		{"BUNDLE_COMMIT", e.BundleCommit},
		{"INSTANCE_ID", e.InstanceID},
		{"AWS_REGION", e.Region},
		{"AUTO_SCALING_GROUP_NAME", e.AutoScalingGroupName},
		{"USHER_RELEASE_DIR", e.ReleaseDir},
		{"USHER_PREVIOUS_RELEASE", e.PreviousRelease},
	} {
		if v[1] != "" {
			environ = append(environ, v[0]+"="+v[1])
		}
	}
	return environ
}

// lookup is the last value of name in environ.
func lookup(environ []string, name string) (string, bool) {
	for i := len(environ) - 1; i >= 0; i-- {
		if kv := environ[i]; len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name {
			return kv[len(name)+1:], true
		}
	}
	return "", false
}
