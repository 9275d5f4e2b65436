package acceptance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"usher/agent/doctor"
	"usher/agent/standin"
)

// Accounts whose way to AWS is not the plain one: an inspecting company's authority, a proxy, a VPC endpoint, metadata
// over IPv6. Each launches, and answers a deployment of CodeDeploy's.

// front passes requests on to a URL, as the requests they were: their Host is signed.
func front(to string) *httputil.ReverseProxy {
	target, err := url.Parse(to)
	if err != nil {
		panic(err)
	}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}}
}

// launchesAndDeploys launches a server, and deploys to it by host commands.
func (s *stage) launchesAndDeploys() *standin.Instance {
	s.Helper()
	server, _ := s.serving()
	_, status := s.deploy(s.revision("shop-2", s.app("2")))
	s.expect("the deployment", status, "Succeeded")
	s.expect("live", s.live(), "2")
	return server
}

// inspected is a TLS endpoint before another, of an authority that is in a file and nowhere else.
func (s *stage) inspected(to, authorities string) string {
	s.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.must(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "inspection"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	s.must(err)
	file, err := os.OpenFile(authorities, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	s.must(err)
	s.must(pem.Encode(file, &pem.Block{Type: "CERTIFICATE", Bytes: der}))
	s.must(file.Close())
	server := httptest.NewUnstartedServer(front(to))
	server.Config.ErrorLog = nil
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	s.Cleanup(server.Close)
	return server.URL
}

func TestAuthoritiesOfACompany(t *testing.T) {
	s := newStage(t)
	s.env = []string{"AWS_ENDPOINT_URL=" + s.inspected(s.cloud.Endpoint, s.path("roots.pem")),
		"AWS_ENDPOINT_URL_S3=" + s.inspected(s.cloud.S3Endpoint, s.path("roots.pem")), "AWS_CA_BUNDLE=" + s.path("roots.pem")}
	s.launchesAndDeploys()
}

// The service of the VPC endpoint answers its own requests alone.
func TestTheSecureEndpoint(t *testing.T) {
	s := newStage(t)
	var mu sync.Mutex
	var seen []string
	to := front(s.cloud.Endpoint)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		scope := strings.Split(r.Header.Get("Authorization"), "/")
		call := r.Header.Get("X-Amz-Target") + " as " + scope[min(3, len(scope)-1)]
		if !slices.Contains(seen, call) {
			seen = append(seen, call)
		}
		if !strings.HasPrefix(r.Header.Get("X-Amz-Target"), "CodeDeployCommandService.") {
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type":"UnknownOperationException"}`)
			return
		}
		mu.Unlock()
		defer mu.Lock()
		to.ServeHTTP(w, r)
	}))
	t.Cleanup(endpoint.Close)
	s.env = []string{"AWS_ENDPOINT_URL_CODEDEPLOY_COMMANDS=" + endpoint.URL}
	s.config["enable_auth_policy"] = "true"
	server := s.launchesAndDeploys()
	mu.Lock()
	got := strings.Join(seen, "\n")
	mu.Unlock()
	for _, op := range []string{"PollHostCommand", "GetDeploymentSpecification", "PutHostCommandAcknowledgement", "PutHostCommandComplete"} {
		if want := "CodeDeployCommandService." + op + " as codedeploy-commands-secure"; !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	// With the key left out, doctor says what it takes.
	delete(s.config, "enable_auth_policy")
	s.doctor(server, s.env...).finds(doctor.Problem, "set enable_auth_policy: true in agent.yml, if that is the VPC endpoint codedeploy-commands-secure")
	s.config["enable_auth_policy"] = "true"
	s.cloud.Fail("PollHostCommand", -1, standin.Fault{Code: "AccessDeniedException", Message: "no"})
	s.doctor(server, s.env...).finds(doctor.Problem, "allow codedeploy-commands-secure:PollHostCommand and the other actions of `usher iam-policy -enable-auth-policy` in the policy of the instance's role")
}

// proxied is an HTTP proxy that knows names nobody else does; it says what went through it.
func (s *stage) proxied(names map[string]string) (proxy string, passed func() []string) {
	var mu sync.Mutex
	var all []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		all = append(all, r.URL.Host+" "+r.Header.Get("X-Amz-Target"))
		mu.Unlock()
		to, known := names[r.URL.Host]
		if !known {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		front(to).ServeHTTP(w, r)
	}))
	s.Cleanup(server.Close)
	return server.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// Everything but metadata goes through the proxy; what NO_PROXY names does not.
func TestProxies(t *testing.T) {
	s := newStage(t)
	const s3 = "192.0.2.1" // an address for documentation: with a name, the bucket would be part of it
	proxy, passed := s.proxied(map[string]string{"aws.test": s.cloud.Endpoint, s3: s.cloud.S3Endpoint})
	s.env = []string{"AWS_ENDPOINT_URL=http://aws.test", "AWS_ENDPOINT_URL_S3=http://" + s3, "HTTP_PROXY=" + proxy}
	server := s.launchesAndDeploys()
	all := strings.Join(passed(), "\n")
	for _, want := range []string{s3 + " ", "aws.test CodeDeploy_20141006.GetDeploymentGroup", "CodeDeployCommandService_v20141006.PutHostCommandComplete"} {
		if !strings.Contains(all, want) {
			t.Errorf("%s did not go through the proxy", want)
		}
	}
	metadata, err := url.Parse(server.MetadataEndpoint)
	s.must(err)
	if strings.Contains(all, metadata.Host) {
		t.Error("metadata went through the proxy")
	}
	d := s.doctor(server, s.env...)
	d.finds(doctor.OK, "endpoint: auto scaling: http://aws.test through the proxy "+proxy)
	d.finds(doctor.OK, "endpoint: host commands: http://aws.test through the proxy "+proxy)
	d.finds(doctor.OK, "endpoint: metadata: "+server.MetadataEndpoint+" directly")
	d.finds(doctor.OK, "endpoint: s3: http://"+s3+" through the proxy "+proxy)
	before := len(passed())
	d = s.doctor(server, append(s.env, "NO_PROXY=aws.test")...)
	d.finds(doctor.Problem, "endpoint: host commands: http://aws.test directly: no answer: ")
	d.finds(doctor.Problem, "endpoint: auto scaling: http://aws.test directly: no answer: ")
	d.finds(doctor.Warning, "identity: STS cannot be reached to ask who this is: ")
	if got := passed()[before:]; len(got) > 0 {
		t.Errorf("through the proxy in spite of NO_PROXY: %q", got)
	}
}

// What usher takes for granted of AWS's answers is said where an account's are others: the same calls, their answers
// changed on the way.
func TestDoctorSaysWhatDoesNotHold(t *testing.T) {
	s := newStage(t, standin.Options{LongPoll: 50 * time.Millisecond})
	s.cloud.PutDeploymentGroup(production())
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	for _, c := range []struct{ from, to, want string }{
		{"autoscaling:EC2_INSTANCE_LAUNCHING", "ec2:EC2_INSTANCE_LAUNCHING", "a hook's transition is autoscaling:EC2_INSTANCE_LAUNCHING or _TERMINATING does not hold: usher-launch has ec2:EC2_INSTANCE_LAUNCHING"},
		{"<LifecycleState>Pending:Wait<", "<LifecycleState>Polishing<", "an instance's lifecycle state is one that is documented does not hold: Polishing"},
		{`"alarmConfiguration"`, `"alarms"`, "a deployment group has its alarmConfiguration, also without alarms does not hold: it is not"},
		{`"bundleType":"zip"`, `"bundleType":"rar"`, "the target revision is an object in S3 or a commit on GitHub, and says which does not hold: S3 rar"},
	} {
		changed := false
		to := front(s.cloud.Endpoint)
		to.ModifyResponse = func(r *http.Response) error {
			text, err := io.ReadAll(r.Body)
			now := strings.ReplaceAll(string(text), c.from, c.to)
			changed = changed || now != string(text)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(now)), int64(len(now))
			r.Header.Set("Content-Length", itoa(len(now)))
			r.Header.Del("X-Amz-Crc32")
			return err
		}
		endpoint := httptest.NewServer(to)
		d := s.doctor(server, "AWS_ENDPOINT_URL="+endpoint.URL)
		endpoint.Close()
		if !changed {
			t.Errorf("no answer has %s", c.from)
		}
		d.finds(doctor.Warning, "assumption: "+c.want)
		d.finds(doctor.Warning, `usher may misunderstand this account: report this line (systemd/README.md, "The first day in a real account")`)
	}
	d := s.doctor(server)
	for _, want := range []string{
		"the identity document names the instance, its account and its Region: " + server.ID + ", 123456789012, eu-west-1",
		"autoscaling/target-lifecycle-state has one of the values that are documented: InService",
		"the target revision is an object in S3 or a commit on GitHub, and says which: S3 zip, with ",
		"an object's ETag is 32 hexadecimal digits in quotes, with its parts after it when it was uploaded in parts: ",
	} {
		d.finds(doctor.OK, "assumption: "+want)
	}
	// A command that waits is looked at, and stays.
	s.cloud.SendCommand(server, standin.Sent{Event: "DownloadBundle", Application: "shop", Group: "production", Revision: s.revision("shop-2", s.app("2"))})
	s.doctor(server).finds(doctor.OK, "assumption: a deployment's specification can be verified: d-")
	if sent := s.cloud.HostCommands(); sent[len(sent)-1].Status != "Pending" {
		t.Errorf("the command is %s", sent[len(sent)-1].Status)
	}
	s.cloud.FaultEnvelopes(standin.EnvelopeFault{Kind: standin.ContentAltered})
	s.doctor(server).finds(doctor.Warning, "assumption: a deployment's specification can be verified does not hold: cannot accept the specification")
}

// An instance whose metadata is on IPv6.
func TestMetadataOverIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	s := newStage(t)
	s.cloud.PutDeploymentGroup(fleetGroup())
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", strings.TrimPrefix(server.MetadataEndpoint, "http://"))
			if err != nil {
				in.Close()
				continue
			}
			go func() { _, _ = io.Copy(out, in); out.Close() }()
			go func() { _, _ = io.Copy(in, out); in.Close() }()
		}
	}()
	s.env = []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=http://" + l.Addr().String()}
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "0")
	s.expect("live", s.live(), "1")
}
