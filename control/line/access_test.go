package line_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"activationd/control"
	"activationd/control/access"
	"activationd/control/line"
	"activationd/internal/fault"
)

// TestUnixPeer checks that a peer is the user that the kernel reports.
func TestUnixPeer(t *testing.T) {
	me := os.Getuid()
	name := "#" + strconv.Itoa(me)
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	ln := unixListener(t)
	callers := make(chan control.Caller, 1)
	authenticate := access.UnixPeers(func(uid uint32, _ []uint32) control.Role {
		if int(uid) == me {
			return control.Viewer
		}
		return control.NoRole
	})
	serve(t, &line.Server{}, ln, func(c net.Conn) (control.Caller, error) {
		caller, err := authenticate(c)
		callers <- caller
		return caller, err
	})
	if got, want := talk(t, ln, "ping\n"), "200 OK name="+name+"\n.\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	want := control.Caller{Kind: control.ByUID, Role: control.Viewer, Name: name, UID: me, GID: os.Getgid(), PID: os.Getpid(), Conn: 1, Via: fmt.Sprintf("unix pid %d", os.Getpid())}
	if got := <-callers; got != want {
		t.Errorf("the caller is %+v, want %+v", got, want)
	}
	got := talk(t, ln, "reload\n")
	if want := fmt.Sprintf("403 reload needs the role operator, and %s (%s) is viewer\n.\n", name, want.Via); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	pipe, _ := net.Pipe()
	if _, err := authenticate(pipe); fault.Of(err) != fault.Denied {
		t.Errorf("no Unix connection: %v", err)
	}
}

// TestOtherUnixPeer checks the same for a process of another user, which it starts.
func TestOtherUnixPeer(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start a process of another user")
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip("there is no user nobody")
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	dir, err := os.MkdirTemp("", "line") // other users cannot open t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	sock := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "test") // this test, as a client: see TestMain
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(sock, 0o666), copyFile(exe, "/proc/self/exe")); err != nil {
		t.Fatal(err)
	}
	serve(t, &line.Server{}, ln, access.UnixPeers(func(uid uint32, _ []uint32) control.Role {
		if uid == 0 {
			return control.Admin
		}
		return control.Viewer
	}))
	cmd := exec.Command(exe)
	cmd.Dir = "/"
	cmd.Env = []string{"LINE_TEST_SOCKET=" + sock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"200 OK name=nobody\n", "403 stop needs the role admin, and nobody (unix pid "} {
		if !strings.Contains(string(out), want) {
			t.Errorf("got %s, want %s", out, want)
		}
	}
}

// TestMain makes the program a client instead of a test when
// TestOtherUnixPeer has started it.
func TestMain(m *testing.M) {
	sock := os.Getenv("LINE_TEST_SOCKET")
	if sock == "" {
		m.Run() // and exits with its status
		return
	}
	c, err := net.Dial("unix", sock)
	if err == nil {
		_, err = io.WriteString(c, "ping\nstop\nquit\n")
	}
	if err == nil {
		_, err = io.Copy(os.Stdout, c)
	}
	if err != nil {
		panic(err)
	}
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// An addressed connection pretends to come from another address.
type addressed struct {
	net.Conn
	from string
}

func (a addressed) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a.from))
}

// TestRefused checks that a peer who is refused can read why.
func TestRefused(t *testing.T) {
	ln := tcpListener(t)
	serve(t, &line.Server{}, ln, func(c net.Conn) (control.Caller, error) {
		return access.TCPPeers{Role: control.Admin}.Authenticate(addressed{c, "192.0.2.1:1"})
	})
	if got, want := talk(t, ln, "ping\n"), "403 from 192.0.2.1 only TLS is accepted, with a certificate or a token\n.\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// An authority signs certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, pool: x509.NewCertPool()}
	pair := a.sign("authority", true)
	a.cert, a.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) sign(name string, ca bool) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: ca, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// TestTLS speaks TLS with real certificates.
func TestTLS(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	ln := tcpListener(t)
	secure := tls.NewListener(ln, &tls.Config{
		Certificates: []tls.Certificate{ca.sign("server", false)},
		ClientCAs:    ca.pool, ClientAuth: tls.VerifyClientCertIfGiven,
	})
	peers := access.TCPPeers{Role: control.Operator, UID: -1, GID: -1,
		Certs: map[string]control.Role{"rez": control.Viewer, "tyrant": control.Admin}}
	// Loopback has no meaning here: the peers pretend to come from elsewhere.
	serve(t, &line.Server{Gate: &access.Gate{Token: secretIs("open sesame", control.Admin)}}, secure, func(c net.Conn) (control.Caller, error) {
		caller, err := peers.Authenticate(c)
		if err == nil && caller.Name == "loopback" {
			caller.Role, caller.Name = control.NoRole, "nobody"
		}
		return caller, err
	})
	connect := func(certs ...tls.Certificate) *tls.Conn {
		t.Helper()
		c := tls.Client(dial(t, ln), &tls.Config{RootCAs: ca.pool, ServerName: "127.0.0.1", Certificates: certs})
		t.Cleanup(func() { c.Close() })
		return c
	}
	ask := func(c net.Conn, text, want string) {
		t.Helper()
		send(t, c, text)
		if got := replyStart(t, c); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		for replyStart(t, c) != ".\n" {
		}
	}

	c := connect(ca.sign("rez", false))
	ask(c, "ping\n", "200 OK name=rez\n")
	ask(c, "reload\n", "403 reload needs the role operator, and rez (tls 127.0.0.1:") // and after a pause
	ask(c, "ping\n", "200 OK name=rez\n")
	ask(connect(ca.sign("tyrant", false)), "stop\n", "200 OK\n")
	ask(connect(ca.sign("stranger", false)), "ping\n", "403 ping needs the role viewer, and stranger (tls 127.0.0.1:")

	c = connect()
	ask(c, "ping\n", "403 ping needs the role viewer, and nobody (tls 127.0.0.1:")
	ask(c, "ping\ntoken:open sesame\n\n", "200 OK name=sesame\n") // a peer without a role gets time to send a token
	ask(c, `stop token:"open sesame"`+"\n", "200 OK\n")
	ask(c, "ping\n\n", "403 ")
	ask(c, "token\ntoken:open sesame\n\n", "200 OK name=sesame role=admin\n")
	ask(c, "ping\n", "200 OK name=sesame\n")
	ask(c, "stop\n", "200 OK\n")
	ask(c, "stop token:wrong\n", "401 ")

	c = connect(other.sign("rez", false))
	_, werr := io.WriteString(c, "ping\n")
	if _, err := io.ReadAll(c); err == nil && werr == nil {
		t.Error("a certificate of another authority was accepted")
	}

	if got, want := talk(t, ln, "ping with no TLS\n"), "400 this port speaks TLS; use a client that does, as atctl --tls or openssl s_client\n.\n"; got != want {
		t.Errorf("without TLS: %q, want %q", got, want)
	}
}

// TestTLSStream checks that a stream over TLS ends with its client.
func TestTLSStream(t *testing.T) {
	ca := newAuthority(t)
	ln := tcpListener(t)
	r := serve(t, &line.Server{}, tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{ca.sign("server", false)}}),
		access.TCPPeers{Role: control.Viewer}.Authenticate)
	c := tls.Client(dial(t, ln), &tls.Config{RootCAs: ca.pool, ServerName: "127.0.0.1"})
	send(t, c, "events\n\n")
	wait(t, r.started, "the stream")
	r.events <- 1
	if a, b := replyStart(t, c), replyStart(t, c); a+b != "200 OK\n{\"n\":1}\n" {
		t.Errorf("got %q", a+b)
	}
	r.events <- 0
	if got := replyStart(t, c); got != ".\n" { // the watcher's read was interrupted; TLS still works
		t.Errorf("end: %q", got)
	}
	send(t, c, "ping\n")
	if got := reply(t, c); !strings.HasPrefix(got, "200 OK") {
		t.Errorf("ping: %q", got)
	}
	send(t, c, "events\n\n")
	wait(t, r.started, "the stream")
	c.Close()
	wait(t, r.ended, "the stream's end")
}

func secretIs(secret string, role control.Role) func(string) (control.Caller, bool) {
	return func(s string) (control.Caller, bool) {
		return control.Caller{Role: role, Name: "sesame", UID: -1, GID: -1}, s == secret
	}
}

// TestRemovedRoles checks that a caller who has lost a role cannot use it any more on a
// connection that was open before.
func TestRemovedRoles(t *testing.T) {
	var roles atomic.Uint64
	var role, tokens atomic.Int64
	role.Store(int64(control.Admin))
	tokens.Store(int64(control.Admin))
	ln := unixListener(t)
	r := serve(t, &line.Server{Gate: &access.Gate{
		Roles: &roles,
		Token: func(string) (control.Caller, bool) {
			return control.Caller{Role: control.Role(tokens.Load()), Name: "adm", UID: -1}, tokens.Load() >= 0
		},
	}}, ln, func(net.Conn) (control.Caller, error) {
		return control.Caller{Role: control.Role(role.Load()), UID: 7}, nil
	})
	ask := func(c net.Conn, text, want string) {
		t.Helper()
		send(t, c, text)
		if got := reply(t, c); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	own, token := dial(t, ln), dial(t, ln)
	ask(own, "reload\nforce:yes\n\n", "200")
	ask(token, "token\ntoken:secret\n\n", "200 OK name=adm role=admin")
	ask(token, "reload\nforce:yes\n\n", "200")

	follower := dial(t, ln)
	send(t, follower, "token\ntoken:secret\n\nevents\n\n")
	reply(t, follower)
	<-r.started
	r.events <- 1
	if got := replyStart(t, follower); !strings.HasPrefix(got, "200") {
		t.Errorf("events: %q", got)
	}
	replyStart(t, follower)

	role.Store(int64(control.Viewer))
	tokens.Store(int64(control.Viewer))
	ask(own, "reload\nforce:yes\n\n", "200") // until the change is counted
	roles.Add(1)
	ask(own, "reload\nforce:yes\n\n", "403")
	ask(own, "ping\n", "200")
	ask(token, "reload\nforce:yes\n\n", "403")
	r.events <- 2
	replyStart(t, follower)

	tokens.Store(-1)
	ask(token, "reload\nforce:yes\n\n", "401")
	r.events <- 3
	if got := replyStart(t, follower); !strings.Contains(got, "this token is not known") {
		t.Errorf("the events go on: %q", got)
	}
	if err := wait(t, r.ended, "the stream's end"); !errors.Is(err, fault.Denied) {
		t.Errorf("the stream ends with %v", err)
	}
}
