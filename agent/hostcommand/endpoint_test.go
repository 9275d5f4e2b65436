package hostcommand

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
)

// The first seven are what the tests of AWS's own agent expect of it (2.x, endpoint.rs); the domains of the others are
// those of the SDK's partitions.
func TestEndpoint(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		place Place
		want  string // "": there is none
	}{
		{Place{Region: "us-east-1"}, "https://codedeploy-commands.us-east-1.amazonaws.com"},
		{Place{Region: "us-west-2", FIPS: true}, "https://codedeploy-commands-fips.us-west-2.amazonaws.com"},
		{Place{Region: "us-east-1", Secure: true}, "https://codedeploy-commands-secure.us-east-1.amazonaws.com"},
		{Place{Region: "us-west-2", Secure: true}, "https://codedeploy-commands-secure.us-west-2.amazonaws.com"},
		{Place{Region: "us-east-1", FIPS: true, Secure: true}, "https://codedeploy-commands-secure-fips.us-east-1.amazonaws.com"},
		{Place{Region: "cn-north-1"}, "https://codedeploy-commands.cn-north-1.amazonaws.com.cn"},
		{Place{Region: "us-gov-west-1", FIPS: true}, "https://codedeploy-commands-fips.us-gov-west-1.amazonaws.com"},
		{Place{Region: "us-iso-east-1"}, "https://codedeploy-commands.us-iso-east-1.c2s.ic.gov"},
		{Place{Region: "us-isob-east-1"}, "https://codedeploy-commands.us-isob-east-1.sc2s.sgov.gov"},
		{Place{Region: "eu-isoe-west-1"}, "https://codedeploy-commands.eu-isoe-west-1.cloud.adc-e.uk"},
		{Place{Region: "us-isof-south-1"}, "https://codedeploy-commands.us-isof-south-1.csp.hci.ic.gov"},
		{Place{Region: "eusc-de-east-1"}, "https://codedeploy-commands.eusc-de-east-1.amazonaws.eu"},
		{Place{Region: "eu-west-1", DualStack: true}, "https://codedeploy-commands.eu-west-1.api.aws"},
		{Place{Region: "us-east-1", DualStack: true, FIPS: true, Secure: true}, "https://codedeploy-commands-secure-fips.us-east-1.api.aws"},
		{Place{Region: "cn-north-1", DualStack: true}, "https://codedeploy-commands.cn-north-1.api.amazonwebservices.com.cn"},
		{Place{Region: ""}, ""},
	} {
		got, err := Endpoint(t.Context(), c.place)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%+v: %s, %v; want %s", c.place, got, err, c.want)
		}
	}
	// The same by botocore's list of partitions, which nobody here wrote.
	text, err := os.ReadFile("/usr/lib/python3/dist-packages/botocore/data/partitions.json")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("botocore is not installed")
	}
	var known struct {
		Partitions []struct {
			Outputs struct {
				DNSSuffix          string `json:"dnsSuffix"`
				DualStackDNSSuffix string `json:"dualStackDnsSuffix"`
				SupportsDualStack  bool   `json:"supportsDualStack"`
			}
			Regions map[string]any
		}
	}
	if err := json.Unmarshal(text, &known); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, p := range known.Partitions {
		for region := range p.Regions {
			if strings.HasSuffix(region, "-global") {
				continue
			}
			compared++
			if got, _ := Endpoint(t.Context(), Place{Region: region}); got != "https://codedeploy-commands."+region+"."+p.Outputs.DNSSuffix {
				t.Errorf("%s: %s", region, got)
			}
			if got, _ := Endpoint(t.Context(), Place{Region: region, DualStack: true}); p.Outputs.SupportsDualStack && got != "https://codedeploy-commands."+region+"."+p.Outputs.DualStackDNSSuffix {
				t.Errorf("dual-stack %s: %s", region, got)
			}
		}
	}
	if compared < 30 {
		t.Errorf("only %d Regions were compared", compared)
	}
}

// A request to the service with IAM has its own name in the signature, and its own target.
func TestSecure(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		secure       bool
		name, target string
	}{
		{false, "codedeploy-commands", "CodeDeployCommandService_v20141006.PollHostCommand"},
		{true, "codedeploy-commands-secure", "CodeDeployCommandService.PollHostCommand"},
	} {
		client := New(Options{Region: "eu-west-1", Secure: c.secure, Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "")})
		req, err := client.request(t.Context(), "PollHostCommand", []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if got := req.URL.String(); got != "https://"+c.name+".eu-west-1.amazonaws.com/" {
			t.Error(got)
		}
		if got := req.Header.Get("Authorization"); !strings.Contains(got, "/eu-west-1/"+c.name+"/aws4_request") {
			t.Error(got)
		}
		if got := req.Header.Get("X-Amz-Target"); got != c.target {
			t.Error(got)
		}
	}
}

// The authorities of AWS_CA_BUNDLE are for host commands too; without any, the system's are.
func TestRootCAs(t *testing.T) {
	t.Parallel()
	pool := x509.NewCertPool()
	for _, roots := range []*x509.CertPool{nil, pool} {
		if got := New(Options{Region: "eu-west-1", RootCAs: roots}).http.Transport.(*http.Transport).TLSClientConfig.RootCAs; got != roots {
			t.Errorf("%p, want %p", got, roots)
		}
	}
}
