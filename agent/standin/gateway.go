package standin

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"

	"usher/agent/safepath"
)

// gatewayStart bounds how long the gateway may take to listen; it takes a few milliseconds, more on a busy machine.
const gatewayStart = 30 * time.Second

// gatewayPoll is how often the start looks whether the gateway listens: it says so in no other way.
const gatewayPoll = 2 * time.Millisecond

// gatewayLimit is how many connections and requests the gateway serves at once: more than all tests of a process open.
const gatewayLimit = 4096

// idleConnections are kept for the next request, for as many ranges as agents fetch at once in a busy test.
const idleConnections = 64

// gateway is the process's one S3 server. It listens on a Unix socket; the Clouds' fronts have the ports.
type gateway struct {
	dir       string
	transport *http.Transport
	stop      context.CancelFunc
	ended     chan error // RunVersityGW's result
	beside    meta.MetadataStorer

	members int // Clouds; guarded by running.mu

	mu     sync.Mutex
	owners map[string]*Cloud // by bucket
}

// running is the gateway of the process while any Cloud needs it.
var running struct {
	mu      sync.Mutex
	gateway *gateway
}

// joinGateway starts the gateway, or shares the one that runs.
func joinGateway(silent bool) (*gateway, error) {
	running.mu.Lock()
	defer running.mu.Unlock()
	if running.gateway == nil {
		g, err := startGateway(silent)
		if err != nil {
			return nil, fmt.Errorf("cannot start the S3 gateway: %w", err)
		}
		running.gateway = g
	}
	running.gateway.members++
	return running.gateway, nil
}

// leave gives a Cloud's buckets up; the last to leave stops the gateway and removes its files.
func (g *gateway) leave(c *Cloud) {
	g.mu.Lock()
	for bucket, owner := range g.owners {
		if owner == c {
			delete(g.owners, bucket)
			for _, part := range []string{"data", "versions", "meta"} {
				_ = safepath.RemoveAll(filepath.Join(g.dir, part, bucket)) // at the latest gone with g.dir
			}
		}
	}
	g.mu.Unlock()

	running.mu.Lock()
	defer running.mu.Unlock()
	g.members--
	if g.members > 0 {
		return
	}
	running.gateway = nil
	g.close()
}

func (g *gateway) close() {
	g.stop()
	g.transport.CloseIdleConnections()
	<-g.ended
	_ = safepath.RemoveAll(g.dir)
}

func startGateway(silent bool) (*gateway, error) {
	dir, err := os.MkdirTemp("", "standin-s3-")
	if err != nil {
		return nil, err
	}
	g := &gateway{dir: dir, ended: make(chan error, 1), owners: map[string]*Cloud{}}
	socket := filepath.Join(dir, "socket")
	g.transport = &http.Transport{
		DisableCompression:  true, // the client's Accept-Encoding is signed
		MaxIdleConnsPerHost: idleConnections,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}
	backend, err := g.backend(silent)
	if err != nil {
		_ = safepath.RemoveAll(dir)
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.stop = cancel
	go func() {
		g.ended <- embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
			RootUserAccess: "standin-root", RootUserSecret: randomHex(40), // never used to sign
			Region: region, Ports: []string{socket}, IAMService: gatewayKeys{auth.NewIAMServiceSingle(auth.Account{})},
			MaxConnections: gatewayLimit, MaxRequests: gatewayLimit,
			AdminMaxConnections: gatewayLimit, AdminMaxRequests: gatewayLimit,
			MultipartMaxParts: 10000, // S3's own limit
			Quiet:             true, KeepAlive: true, DisableACLs: true,
		})
	}()
	if err := g.listening(socket); err != nil {
		g.stop()
		_ = safepath.RemoveAll(dir)
		return nil, err
	}
	return g, nil
}

// backend keeps objects as files, and what S3 knows about them in files beside: not every file system
// of a build machine has extended attributes.
func (g *gateway) backend(silent bool) (*posix.Posix, error) {
	paths := map[string]string{}
	for _, part := range []string{"data", "versions", "meta"} {
		paths[part] = filepath.Join(g.dir, part)
		if err := os.Mkdir(paths[part], 0o700); err != nil {
			return nil, err
		}
	}
	beside, err := meta.NewSideCar(paths["meta"])
	if err != nil {
		return nil, err
	}
	g.beside = beside
	if silent {
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		defer null.Close()
		defer func(stdout *os.File) { os.Stdout = stdout }(os.Stdout)
		os.Stdout = null
	}
	return posix.New(paths["data"], beside, posix.PosixOpts{VersioningDir: paths["versions"]})
}

// listening returns when the gateway accepts connections.
func (g *gateway) listening(socket string) error {
	deadline := time.NewTimer(gatewayStart)
	defer deadline.Stop()
	look := time.NewTicker(gatewayPoll)
	defer look.Stop()
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-look.C:
		case err := <-g.ended:
			return errors.Join(errors.New("it ended at once"), err)
		case <-deadline.C:
			return fmt.Errorf("it does not listen after %s: %w", gatewayStart, err)
		}
	}
}

// deleted lets an object be made anew with If-None-Match, as S3 does for one that was deleted: the gateway keeps its ETag,
// and takes it for a sign that the object is there.
func (g *gateway) deleted(bucket, key string) error {
	err := g.beside.DeleteAttribute(bucket, key, "etag")
	if errors.Is(err, meta.ErrNoSuchKey) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (g *gateway) owner(bucket string) *Cloud {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.owners[bucket]
}

func (g *gateway) own(bucket string, c *Cloud) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.owners[bucket] = c
}

// gatewayKeys lets the gateway check signatures made with the credentials of any Cloud.
type gatewayKeys struct{ auth.IAMService }

var _ auth.SigningKeyProvider = gatewayKeys{}

// DeriveSigningKey returns what SigV4 makes of a credential's secret. The gateway takes session
// tokens only from a provider of keys, and role credentials have one.
func (gatewayKeys) DeriveSigningKey(access, token, date, region, service string) ([]byte, auth.Account, error) {
	cred, ok := keys.lookup(access)
	if !ok {
		return nil, auth.Account{}, auth.ErrNoSuchUser
	}
	if token != cred.token {
		return nil, auth.Account{}, auth.ErrInvalidSessionToken
	}
	key := []byte("AWS4" + cred.secret)
	for _, part := range []string{date, region, service, "aws4_request"} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return key, auth.Account{Access: cred.key, Role: auth.RoleAdmin, IsSession: cred.token != "", SessionToken: cred.token}, nil
}
