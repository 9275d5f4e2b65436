package clients

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"usher/agent/config"
	"usher/agent/instance"
)

// The environment of the service is configuration too: /etc/default/usher. What is wrong with it is found before
// anything is asked of anybody, because it stays wrong however often the agent is started.

// defaultsFile is where an operator sets the service's environment.
const defaultsFile = "/etc/default/usher"

// proxies are the variables that net/http takes a proxy from.
var proxies = []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"}

// CheckEnvironment finds the first variable of the agent's environment that cannot be used; the error is config.ErrInvalid.
func CheckEnvironment() error {
	if instance.SwitchedOff() {
		return fmt.Errorf("%w: %w", config.ErrInvalid, instance.ErrSwitchedOff)
	}
	variables := os.Environ()
	slices.Sort(variables)
	for _, variable := range variables {
		name, value, _ := strings.Cut(variable, "=")
		if value == "" {
			continue
		}
		wrong := ""
		switch {
		case strings.HasPrefix(name, "AWS_ENDPOINT_URL"), name == "AWS_EC2_METADATA_SERVICE_ENDPOINT":
			wrong = wrongEndpoint(value)
		case slices.Contains(proxies, name):
			wrong = wrongProxy(value)
		case name == "AWS_CA_BUNDLE":
			wrong = wrongBundle(value)
		case name == "AWS_REGION", name == "AWS_DEFAULT_REGION":
			wrong = wrongRegion(value)
		}
		if wrong != "" {
			return fmt.Errorf("%w: %s in the agent's environment (%s) %s", config.ErrInvalid, name, defaultsFile, wrong)
		}
	}
	if _, err := awsconfig.NewEnvConfig(); err != nil { // the switches, numbers and modes of the SDK; the error names the variable
		return fmt.Errorf("%w: the agent's environment (%s): %v", config.ErrInvalid, defaultsFile, err)
	}
	return nil
}

func wrongEndpoint(value string) string {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Sprintf("is %q: it must be a URL such as https://host.example", value)
	}
	return ""
}

// wrongProxy takes what net/http takes: a URL, or a host with its port. The value may hold a password, and is not said.
func wrongProxy(value string) string {
	const want = "cannot be used: it must be a URL such as http://proxy.example:3128 (its value is not shown: it may hold a password)"
	u, err := url.Parse(value)
	if !strings.Contains(value, "://") {
		u, err = url.Parse("http://" + value)
	}
	if err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
		return want
	}
	return ""
}

func wrongBundle(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Sprintf("names a file that cannot be read: %v", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return fmt.Sprintf("names %s, which holds no certificate in PEM", file)
	}
	return ""
}

// regionForm is how every Region is written: eu-west-1, us-gov-east-1, us-isob-east-1, eusc-de-east-1.
var regionForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-\d+$`) })

// wrongRegion: the Region is metadata's, whatever the variable says; but a value that is none was meant to say something.
func wrongRegion(value string) string {
	if !regionForm().MatchString(value) {
		return fmt.Sprintf("is %q, which is no Region: remove it, the Region is what instance metadata says", value)
	}
	return ""
}
