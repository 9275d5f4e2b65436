package box

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Addresses in a box's network. The last three are of a block reserved for documentation (TEST-NET-2).
const (
	MetadataIP = "169.254.169.254" // of the metadata service, as on EC2
	ServiceIP  = "198.51.100.1"    // where the test's other services listen
	OwnIP      = "198.51.100.2"    // the box's own
)

// Hardware addresses of the two ends.
const (
	boxMAC  = "02:00:00:00:00:02"
	testMAC = "02:00:00:00:00:01"
)

// wires join the box's side to the test's side. The box's routes all end at the test, which does not forward. Both
// know the other's hardware address: after an outage nobody waits for the next try to find it out.
var wires = struct{ box, test string }{
	box: `link set lo up
addr add ` + OwnIP + `/24 dev ens5
link set ens5 up
route add ` + MetadataIP + `/32 dev ens5 scope link src ` + OwnIP + `
route add default via ` + ServiceIP + `
neigh add ` + MetadataIP + ` lladdr ` + testMAC + ` dev ens5
neigh add ` + ServiceIP + ` lladdr ` + testMAC + ` dev ens5
`,
	test: `link set lo up
link set box0 up
` + withMetadata + withServices + `neigh add ` + OwnIP + ` lladdr ` + boxMAC + ` dev box0
`,
}

// An outage takes the test's addresses away and not the link: a card that lost its carrier is another failure,
// which a box would notice. Without any address the kernel forgets the way to the box.
const (
	withMetadata    = "addr replace " + MetadataIP + "/32 dev box0\n" + toBox
	withServices    = "addr replace " + ServiceIP + "/32 dev box0\n" + toBox
	toBox           = "route replace " + OwnIP + "/32 dev box0\n"
	withoutMetadata = "addr flush dev box0 to " + MetadataIP + "/32\n"
	withoutServices = "addr flush dev box0 to " + ServiceIP + "/32\n"
)

// network is the two network namespaces of a box and the services that listen in them.
type network struct {
	box, test *thread

	mu       sync.Mutex
	services map[io.Closer]bool // listeners, servers, connections; nil once closed
	serving  sync.WaitGroup
}

func newNetwork() (*network, error) {
	n := &network{services: map[io.Closer]bool{}}
	var err error
	if n.box, err = newThread(unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	if n.test, err = newThread(unix.CLONE_NEWNET); err != nil {
		n.box.end()
		return nil, err
	}
	err = errors.Join(
		ip(n.box, "link add ens5 address "+boxMAC+" type veth peer name box0 address "+testMAC+" netns "+n.test.proc("ns/net")),
		ip(n.test, wires.test),
		ip(n.box, wires.box),
	)
	if err != nil {
		n.close()
		return nil, fmt.Errorf("cannot wire the box's network: %w", err)
	}
	return n, nil
}

// ip runs commands of ip(8), a line each, in the thread's network namespace.
func ip(in *thread, commands string) error {
	return in.do(func() error {
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(commands)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("ip: %w: %s", err, bytes.TrimSpace(out))
		}
		return nil
	})
}

// listen makes a listener on the test's side. During an outage, too, when the address is not there.
func (n *network) listen(addr string) (l net.Listener, err error) {
	free := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var refused error
		err := c.Control(func(fd uintptr) {
			refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
		})
		return errors.Join(err, refused)
	}}
	err = n.test.do(func() error {
		l, err = free.Listen(context.Background(), "tcp4", addr)
		return err
	})
	return l, err
}

// own runs what a service does, and has the service closed with the network.
func (n *network) own(service io.Closer, serve func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.services == nil {
		_ = service.Close()
		return
	}
	n.services[service] = true
	n.serving.Go(func() {
		serve()
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.services, service)
	})
}

func (n *network) serve(addr string, h http.Handler) error {
	l, err := n.listen(addr)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: h}
	n.own(s, func() { _ = s.Serve(l) }) // ends with ErrServerClosed
	return nil
}

func (n *network) forward(addr, to string) error {
	l, err := n.listen(addr)
	if err != nil {
		return err
	}
	n.own(l, func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return // closed
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.(*net.TCPConn).SetLinger(0) // a reset: nobody is there
				in.Close()
				continue
			}
			n.own(in, func() { carry(in, out) })
			n.own(out, func() { carry(out, in) })
		}
	})
	return nil
}

// carry copies from one connection to the other until either ends, and ends both halves as they were.
func carry(from, to net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		from.Close()
		to.Close()
		return
	}
	_ = to.(*net.TCPConn).CloseWrite()
}

// close ends the services and both namespaces.
func (n *network) close() {
	n.mu.Lock()
	for s := range n.services {
		_ = s.Close()
	}
	n.services = nil
	n.mu.Unlock()
	n.serving.Wait()
	n.box.end()
	n.test.end()
}
