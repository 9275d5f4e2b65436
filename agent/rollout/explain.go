package rollout

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/smithy-go"

	"usher/agent/retry"
)

// Explain is an error of a call to AWS made for a developer, as a sentence that begins with what could not
// be done and ends with what to do about it. It wraps the call's error.
func Explain(what string, env Environment, err error) error {
	if err == nil {
		return nil
	}
	var told interface { // of the credentials: package clients knows where they come from
		error
		SaysWhatToDo()
	}
	if errors.As(err, &told) {
		return fmt.Errorf("cannot %s: %w", what, told)
	}
	if advice := advice(env, err); advice != "" {
		return fmt.Errorf("cannot %s: %s: %w", what, advice, err)
	}
	return fmt.Errorf("cannot %s: %w", what, err)
}

// advice is what a developer can do about an error, "" when there is nothing to say.
func advice(env Environment, err error) string {
	var service smithy.APIError
	if !errors.As(err, &service) {
		if retry.Transient(err) {
			return "AWS cannot be reached in " + env.Region + ": check the network, and region in usher.yml"
		}
		return ""
	}
	switch service.ErrorCode() {
	case "AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "Forbidden":
		return "your AWS identity is not authorized: allow " + permission(err) + " in its policy"
	case "ExpiredTokenException", "ExpiredToken", "TokenRefreshRequired":
		return "your AWS credentials have expired: run " + signIn(env)
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId":
		return "AWS does not know these credentials: run " + signIn(env) + ", or check AWS_ACCESS_KEY_ID"
	case "InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "RequestExpired":
		return "AWS does not accept the signature: check the secret key and this machine's clock"
	case "ApplicationDoesNotExistException":
		return fmt.Sprintf("there is no application %s in this account and %s: correct application, region or profile in usher.yml, or create it: aws deploy create-application --application-name %s",
			env.Application, env.Region, env.Application)
	case "DeploymentGroupDoesNotExistException":
		return fmt.Sprintf("application %s has no deployment group %s: correct deployment_group in usher.yml; `aws deploy list-deployment-groups --application-name %s` lists those there are",
			env.Application, env.DeploymentGroup, env.Application)
	case "DeploymentConfigDoesNotExistException":
		return "there is no such deployment configuration in this account and " + env.Region + ": `aws deploy list-deployment-configs` lists those there are"
	case "DeploymentDoesNotExistException":
		return "there is no such deployment in this account and " + env.Region + ": `usher deploy list " + cmp.Or(env.Name, "ENV") + "` lists those there are"
	}
	return ""
}

// signIn is the command that renews the environment's credentials.
func signIn(env Environment) string {
	if env.Profile == "" {
		return "`aws sso login` or `aws configure`"
	}
	return "`aws sso login --profile " + env.Profile + "`"
}

// permission is the IAM action of the call that failed.
func permission(err error) string {
	var call *smithy.OperationError
	if !errors.As(err, &call) {
		return "the call"
	}
	return strings.ToLower(strings.ReplaceAll(call.Service(), " ", "")) + ":" + call.Operation() // "Auto Scaling"
}
