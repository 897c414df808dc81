package line_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
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
	"activationd/control/line"
	"activationd/internal/fault"
)

// TestUnixPeer checks that a peer is who the kernel says he is.
func TestUnixPeer(t *testing.T) {
	me := os.Getuid()
	name := "#" + strconv.Itoa(me)
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	ln := unixListener(t)
	callers := make(chan control.Caller, 1)
	authenticate := line.UnixPeers(func(uid uint32) control.Role {
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
	want := control.Caller{Role: control.Viewer, Name: name, UID: me, GID: os.Getgid(), PID: os.Getpid(), Conn: 1, Via: fmt.Sprintf("unix pid %d", os.Getpid())}
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

// TestOtherUnixPeer checks it for a process of another user, which it starts.
func TestOtherUnixPeer(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start a process of another user")
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip("there is no user nobody")
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	dir, err := os.MkdirTemp("", "line") // t.TempDir is closed to others
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
	serve(t, &line.Server{}, ln, line.UnixPeers(func(uid uint32) control.Role {
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

// addressed is a connection that says it comes from elsewhere.
type addressed struct {
	net.Conn
	from string
}

func (a addressed) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a.from))
}

func TestTCPPeers(t *testing.T) {
	peers := line.TCPPeers{Role: control.Operator, UID: -1, GID: -1}
	mapped := line.TCPPeers{Role: control.Submitter, User: "lab", UID: 1000, GID: 100}
	tests := []struct {
		from  string
		peers line.TCPPeers
		want  control.Caller
		err   string
	}{
		{"127.0.0.1:4711", peers, control.Caller{Role: control.Operator, Name: "loopback", UID: -1, GID: -1, Via: "tcp 127.0.0.1:4711", Anonymous: true}, ""},
		{"[::1]:1", peers, control.Caller{Role: control.Operator, Name: "loopback", UID: -1, GID: -1, Via: "tcp [::1]:1", Anonymous: true}, ""},
		{"[::ffff:127.8.8.8]:1", peers, control.Caller{Role: control.Operator, Name: "loopback", UID: -1, GID: -1, Via: "tcp 127.8.8.8:1", Anonymous: true}, ""},
		{"127.0.0.1:1", mapped, control.Caller{Role: control.Submitter, Name: "lab", UID: 1000, GID: 100, Via: "tcp 127.0.0.1:1", Anonymous: true}, ""},
		{"192.0.2.1:1", peers, control.Caller{}, "from 192.0.2.1 only TLS is accepted, with a certificate or a token: denied"},
		{"[2001:db8::1]:1", mapped, control.Caller{}, "from 2001:db8::1 only TLS is accepted, with a certificate or a token: denied"},
	}
	for _, tt := range tests {
		got, err := tt.peers.Authenticate(addressed{from: tt.from})
		if text := errText(err); got != tt.want || text != tt.err {
			t.Errorf("%s: %+v, %q, want %+v, %q", tt.from, got, text, tt.want, tt.err)
		}
	}
}

// TestRefused checks that a peer who may not come reads why.
func TestRefused(t *testing.T) {
	ln := tcpListener(t)
	serve(t, &line.Server{}, ln, func(c net.Conn) (control.Caller, error) {
		return line.TCPPeers{Role: control.Admin}.Authenticate(addressed{c, "192.0.2.1:1"})
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
	peers := line.TCPPeers{Role: control.Operator, UID: -1, GID: -1,
		Certs: map[string]control.Role{"rez": control.Viewer, "tyrant": control.Admin}}
	// Loopback means nothing here: the peers come from elsewhere.
	serve(t, &line.Server{Token: secretIs("open sesame", control.Admin)}, secure, func(c net.Conn) (control.Caller, error) {
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
	ask(c, "ping\ntoken:open sesame\n\n", "200 OK name=sesame\n") // who may not yet has time for a token
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
		line.TCPPeers{Role: control.Viewer}.Authenticate)
	c := tls.Client(dial(t, ln), &tls.Config{RootCAs: ca.pool, ServerName: "127.0.0.1"})
	send(t, c, "events\n\n")
	wait(t, r.started, "the stream")
	r.events <- 1
	if a, b := replyStart(t, c), replyStart(t, c); a+b != "200 OK\n{\"n\":1}\n" {
		t.Errorf("got %q", a+b)
	}
	r.events <- 0
	if got := replyStart(t, c); got != ".\n" { // the watcher was interrupted in its read; TLS still works
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

func TestTokens(t *testing.T) {
	sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("hidden-secret-of-ops")))
	hexSecret := strings.Repeat("0123456789abcdef", 4) // openssl rand -hex 32 makes such; it is no sum
	file := writeTokens(t, "# comment\n\nrez operator 0123456789abcdef\r\nops admin "+sum+" root\n  lab viewer "+hexSecret+"\n", 0o600)
	var tokens line.Tokens
	if _, ok := tokens.Caller("0123456789abcdef"); ok {
		t.Error("tokens without a file know somebody")
	}
	if err := tokens.Load(file); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		secret string
		want   control.Caller
	}{
		{"0123456789abcdef", control.Caller{Role: control.Operator, Name: "rez", UID: -1, GID: -1, Via: "token rez"}},
		{"hidden-secret-of-ops", control.Caller{Role: control.Admin, Name: "root", Via: "token ops"}},
		{hexSecret, control.Caller{Role: control.Viewer, Name: "lab", UID: -1, GID: -1, Via: "token lab"}},
		{"0123456789abcdeF", control.Caller{}}, {"", control.Caller{}}, {sum, control.Caller{}}, {sum[7:], control.Caller{}},
	} {
		if got, ok := tokens.Caller(tt.secret); got != tt.want || ok != (tt.want.Role != control.NoRole) {
			t.Errorf("Caller(%q) = %+v, %v, want %+v", tt.secret, got, ok, tt.want)
		}
	}

	bad := "one\nrez king 0123456789abcdef\nshort viewer secret\nhash viewer sha256:12\nwho viewer 0123456789abcdef no-such-user\n" +
		"a viewer aaaaaaaaaaaaaaaa\na viewer bbbbbbbbbbbbbbbb\nc viewer aaaaaaaaaaaaaaaa\n"
	badFile := writeTokens(t, bad, 0o600)
	err := tokens.Load(badFile)
	want := strings.ReplaceAll(`F:1: has 1 words; a token is NAME ROLE SECRET [USER]
F:2: token rez: role "king" is none of viewer, submitter, operator, admin
F:3: token short: the secret has 6 characters, and needs 16; openssl rand -hex 16 makes one
F:4: token hash: after sha256: 64 hexadecimal digits are wanted
F:5: token who: user no-such-user is not known on this machine
F:7: name a: is that of line 6, too
F:8: token c: has the secret of line 6`, "F:", badFile+":")
	if !errors.Is(err, fault.Invalid) || errText(err) != want {
		t.Errorf("Load = %v\nwant %s", err, want)
	}
	if _, ok := tokens.Caller("0123456789abcdef"); !ok {
		t.Error("a bad file made the tokens before it be forgotten")
	}

	open := writeTokens(t, "rez operator 0123456789abcdef\n", 0o644)
	if err := tokens.Load(open); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("Load of a file that others can read = %v", err)
	}
	if err := tokens.Load(file + ".not"); !errors.Is(err, fault.Invalid) {
		t.Errorf("Load of no file = %v", err)
	}
	if err := tokens.Load(""); err != nil {
		t.Errorf("Load without a name = %v", err)
	}
	if _, ok := tokens.Caller("0123456789abcdef"); ok {
		t.Error("tokens that were taken away know somebody")
	}
}

func writeTokens(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokens")
	if err := errors.Join(os.WriteFile(file, []byte(text), mode), os.Chmod(file, mode)); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestRolesAreTakenAway checks that who may no longer do something may not go on with it
// on a connection that he has.
func TestRolesAreTakenAway(t *testing.T) {
	var roles atomic.Uint64
	var role, tokens atomic.Int64
	role.Store(int64(control.Admin))
	tokens.Store(int64(control.Admin))
	ln := unixListener(t)
	r := serve(t, &line.Server{
		Roles: &roles,
		Token: func(string) (control.Caller, bool) {
			return control.Caller{Role: control.Role(tokens.Load()), Name: "adm", UID: -1}, tokens.Load() >= 0
		},
	}, ln, func(net.Conn) (control.Caller, error) {
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
	ask(own, "reload\nforce:yes\n\n", "200") // as long as nobody says that it has changed
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
