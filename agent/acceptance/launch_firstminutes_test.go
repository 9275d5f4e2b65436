package acceptance

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"usher/agent/standin"
)

// The first minutes of an instance in a real account: names that do not resolve yet, a role that is not everywhere
// yet, tags that metadata does not show yet.

// nameServer answers questions for IPv4 addresses with 127.0.0.1, and any question with an error code of DNS while it
// has one: 2 is SERVFAIL, 3 NXDOMAIN.
type nameServer struct{ code, asked atomic.Int32 }

// serve starts it on a loopback address of its own; the address is returned.
func (d *nameServer) serve(s *stage) string {
	s.Helper()
	var conn net.PacketConn
	var address string
	for n := range 50 { // other tests have some
		address = fmt.Sprintf("127.77.%d.%d", time.Now().UnixNano()/1000%250, n+1)
		var err error
		if conn, err = net.ListenPacket("udp", address+":53"); err == nil {
			break
		}
	}
	if conn == nil {
		if os.Getenv("CI") != "" {
			s.Fatal("cannot listen as a name server")
		}
		s.Skip("cannot listen as a name server")
	}
	s.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if n < 17 {
				continue
			}
			end := 12
			for end < n-5 && buf[end] != 0 {
				end += int(buf[end]) + 1
			}
			kind, code := buf[end+2], d.code.Load()
			answer := append([]byte{}, buf[:end+5]...)
			answer[2], answer[3] = 0x81, 0x80|byte(code)
			copy(answer[6:12], make([]byte, 6)) // no answers, and nothing else
			if code == 0 && kind == 1 {
				answer[7] = 1
				answer = append(answer, 0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1)
			}
			_, _ = conn.WriteTo(answer, from)
			d.asked.Add(1)
		}
	}()
	return address
}

// A name server that says that AWS does not exist, or nothing of use, is one that is not ready: the launch waits.
func TestNoNamesInTheFirstSeconds(t *testing.T) {
	for _, c := range []struct {
		name string
		code int32
	}{{"NXDOMAIN", 3}, {"SERVFAIL", 2}} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.config["retry_timeout"] = "2m"
			var names nameServer
			names.code.Store(c.code)
			s.mounting("/etc/resolv.conf", "nameserver "+names.serve(s)+"\noptions timeout:1 attempts:1\n")
			s.publish("shop-1", s.app("1"))
			_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.cloud.Endpoint, "http://"))
			s.env = []string{"AWS_ENDPOINT_URL=http://aws.shop.internal:" + port}
			server := s.cloud.Launch("web", standin.LaunchOptions{})
			r := s.start(server, "-once")
			r.says("trying again in")
			r.says("cannot read deployment group")
			names.code.Store(0)
			s.expect("exit code", itoa(r.wait()), "0")
			s.expect("verdict", answers(server), "usher-launch CONTINUE")
			s.expect("live", s.live(), "1")
		})
	}
}

// A role, its policy and its keys are not known everywhere at once: a refusal in the first minutes of an instance is no
// verdict. The warning says what would be missing.
func TestARoleThatIsNotEverywhereYet(t *testing.T) {
	for _, c := range []struct {
		op, code, says string
	}{
		{"GetDeploymentGroup", "AccessDeniedException", "allow codedeploy:GetDeploymentGroup"},
		{"GetDeploymentGroup", "UnrecognizedClientException", "credentials are not accepted"},
		{"GetDeploymentGroup", "InvalidSignatureException", "signature is not accepted"},
		{"HeadObject", "AccessDenied", "allow s3:GetObject"},
		{"GetObject", "AccessDenied", "allow s3:GetObject"},
		{"GetObject", "InvalidAccessKeyId", "InvalidAccessKeyId"},
		{"GetObject", "SignatureDoesNotMatch", "SignatureDoesNotMatch"},
	} {
		t.Run(c.op+" "+c.code, func(t *testing.T) {
			s := newStage(t)
			s.config["retry_timeout"] = "2m"
			s.publish("shop-1", s.app("1"))
			s.cloud.Fail(c.op, 2, standin.Fault{Code: c.code, Status: 403})
			server, r, code := s.launch()
			s.expect("exit code", itoa(code), "0")
			s.expect("verdict", answers(server), "usher-launch CONTINUE")
			s.expect("live", s.live(), "1")
			s.said(r, "trying again in", c.says)
		})
	}
	t.Run("later it is a verdict", func(t *testing.T) {
		s := newStage(t)
		s.config["retry_timeout"] = "2m"
		s.publish("shop-1", s.app("1"))
		s.cloud.Fail("GetDeploymentGroup", -1, standin.Fault{Code: "AccessDeniedException"})
		server := s.cloud.Launch("web", standin.LaunchOptions{Age: time.Hour})
		r := s.start(server, "-once")
		s.expect("exit code", itoa(r.wait()), "1")
		s.expect("calls", itoa(len(s.cloud.CallsOf("GetDeploymentGroup"))), "1")
		s.expect("verdict", answers(server), "usher-launch ABANDON")
	})
}

// Tags that say whose server this is come to metadata late.
func TestTagsComeLate(t *testing.T) {
	names := map[string]string{"usher:application": "shop", "usher:deployment-group": "production"}
	t.Run("and are waited for", func(t *testing.T) {
		s := newStage(t)
		delete(s.config, "application")
		delete(s.config, "deployment_group")
		s.config["retry_timeout"] = "2m"
		s.publish("shop-1", s.app("1"))
		server := s.cloud.Launch("web", standin.LaunchOptions{MetadataTags: true})
		r := s.start(server, "-once")
		r.says("waiting for the tags of this instance")
		for key, value := range names {
			server.SetTag(key, value)
		}
		s.expect("exit code", itoa(r.wait()), "0")
		s.expect("verdict", answers(server), "usher-launch CONTINUE")
		s.expect("live", s.live(), "1")
	})
	t.Run("but not for ever", func(t *testing.T) {
		s := newStage(t)
		delete(s.config, "deployment_group")
		server := s.cloud.Launch("web", standin.LaunchOptions{})
		r := s.start(server, "-once")
		s.expect("exit code", itoa(r.wait()), "2")
		s.said(r, "it does not say which deployment group is this server's", "InstanceMetadataTags=enabled")
	})
}

// What goes wrong in the same way is said when it begins and then now and then, with a count, and not at every try.
func TestRetriesDoNotFloodTheJournal(t *testing.T) {
	s := newStage(t)
	s.config["retry_timeout"] = "20s"
	s.publish("shop-1", s.app("1"))
	s.cloud.Fail("GetDeploymentGroup", -1, standin.Fault{Code: "AccessDeniedException"})
	s.cloud.Fail("DescribeLifecycleHooks", 5, standin.Fault{Code: "AccessDenied"})
	_, r, _ := s.launch()
	for _, op := range []string{"GetDeploymentGroup", "DescribeLifecycleHooks"} {
		tries := len(s.cloud.CallsOf(op))
		if tries < 5 {
			t.Fatalf("%s was called %d times: nothing was repeated", op, tries)
		}
		lines := regexp.MustCompile(`(?m)^.*trying again.*`+op).FindAllString(r.text(), -1)
		if len(lines) != 1 {
			t.Errorf("%d tries of %s left %d lines:\n%s", tries, op, len(lines), strings.Join(lines, "\n"))
		}
	}
}
