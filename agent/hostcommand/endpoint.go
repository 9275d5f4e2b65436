package hostcommand

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
)

// stack is one of the two services that hand host commands out. Each knows its own requests only, and answers the
// other's with UnknownOperationException.
type stack struct {
	name   string // of the endpoint, of the signature, and of the IAM actions
	target string // what X-Amz-Target begins with
}

// The stacks, as AWS's agent calls them with and without its enable_auth_policy.
var (
	open   = stack{"codedeploy-commands", "CodeDeployCommandService_v20141006."}
	secure = stack{"codedeploy-commands-secure", "CodeDeployCommandService."}
)

func stackOf(isSecure bool) stack {
	if isSecure {
		return secure
	}
	return open
}

// Place says where host commands are asked for.
type Place struct {
	Region    string // "eu-west-1"
	FIPS      bool   // the endpoint with validated cryptography: codedeploy-commands-fips
	DualStack bool   // the endpoint with IPv6, under the partition's other domain: api.aws
	Secure    bool   // codedeploy-commands-secure: the one with a VPC endpoint, authorized by IAM
}

// Endpoint is the URL of host commands in a place.
//
// The SDK knows no such service, but CodeDeploy itself: its endpoint's name and domain are what the SDK's rules for
// CodeDeploy say, for every partition, and of the same form as AWS's agent makes them for FIPS. That there is a
// dual-stack endpoint of host commands is said nowhere; where it does not answer, AWS_ENDPOINT_URL_CODEDEPLOY_COMMANDS
// names another. The error is that the partition has no such endpoints.
func Endpoint(ctx context.Context, p Place) (string, error) {
	if p.Region == "" {
		return "", errors.New("cannot tell where CodeDeploy's host commands are: no Region is given")
	}
	host, err := codeDeploy(ctx, p)
	if err != nil {
		return "", fmt.Errorf("cannot tell where CodeDeploy's host commands are in %s: %w", p.Region, err)
	}
	return "https://" + stackOf(p.Secure).name + strings.TrimPrefix(host, "codedeploy"), nil
}

// codeDeploy is the host name of CodeDeploy itself in a place: codedeploy.REGION.DOMAIN, or codedeploy-fips.
func codeDeploy(ctx context.Context, p Place) (string, error) {
	e, err := codedeploy.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, codedeploy.EndpointParameters{
		Region: aws.String(p.Region), UseFIPS: aws.Bool(p.FIPS), UseDualStack: aws.Bool(p.DualStack)})
	if err != nil {
		return "", err
	}
	return e.URI.Host, nil
}

// domainOf is AWS's domain in a Region's partition, "amazonaws.com" where the Region is none.
func domainOf(region string) string {
	host, err := codeDeploy(context.Background(), Place{Region: region})
	if domain, ok := strings.CutPrefix(host, "codedeploy."+region+"."); err == nil && ok {
		return domain
	}
	return "amazonaws.com"
}
