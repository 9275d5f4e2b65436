package acceptance

import (
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
)

// A mistake in /etc/default/usher cannot be mended by starting again: exit code 2, which RestartPreventExitStatus= of
// the unit names, and one line that names the variable.
func TestBadEnvironment(t *testing.T) {
	for _, c := range []struct {
		variable, value, says string
	}{
		{"AWS_ENDPOINT_URL", "codedeploy.example.com", "AWS_ENDPOINT_URL"},
		{"AWS_ENDPOINT_URL_S3", "http://[::1", "AWS_ENDPOINT_URL_S3"},
		{"AWS_ENDPOINT_URL_CODEDEPLOY", "ftp://example.com", "AWS_ENDPOINT_URL_CODEDEPLOY"},
		{"AWS_EC2_METADATA_SERVICE_ENDPOINT", "169.254.169.254", "AWS_EC2_METADATA_SERVICE_ENDPOINT"},
		{"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv5", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"},
		{"AWS_EC2_METADATA_DISABLED", "true", "AWS_EC2_METADATA_DISABLED"},
		{"AWS_CA_BUNDLE", "/nonexistent/roots.pem", "AWS_CA_BUNDLE"},
		{"AWS_CA_BUNDLE", "/dev/null", "AWS_CA_BUNDLE"},
		{"HTTPS_PROXY", "http://deployer:hunter2@proxy:port", "HTTPS_PROXY"},
		{"https_proxy", "gopher://proxy:3128", "https_proxy"},
		{"HTTP_PROXY", "http://", "HTTP_PROXY"},
		{"AWS_REGION", "Ireland", "AWS_REGION"},
		{"AWS_USE_FIPS_ENDPOINT", "yes", "AWS_USE_FIPS_ENDPOINT"},
		{"AWS_RETRY_MODE", "often", "AWS_RETRY_MODE"},
		{"AWS_MAX_ATTEMPTS", "many", "AWS_MAX_ATTEMPTS"},
	} {
		t.Run(c.variable, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1"))
			server := s.cloud.Launch("web", standin.LaunchOptions{})
			s.env = []string{c.variable + "=" + c.value}
			r := s.start(server, "-once")
			select {
			case <-r.done:
			case <-time.After(time.Minute):
				t.Fatalf("it did not end; it said:\n%s", r.text())
			}
			s.expect("exit code", itoa(r.wait()), "2")
			s.said(r, "cannot use the configuration", c.says)
			if hidden := "hunter2"; strings.Contains(r.text(), hidden) {
				t.Errorf("the password of the proxy is in the journal: %s", r.text())
			}
		})
	}
}

// What works elsewhere works here: a proxy without a scheme, a variable that is empty.
func TestGoodEnvironment(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	s.env = []string{"HTTPS_PROXY=127.0.0.1:9", "HTTP_PROXY=", "AWS_CA_BUNDLE=", "AWS_REGION=eu-west-1", "AWS_DEFAULT_REGION=us-iso-east-1", "NO_PROXY=*"}
	server, _, code := s.launch()
	s.expect("exit code", itoa(code), "0")
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
}
