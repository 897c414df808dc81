package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/config"
	"activationd/internal/fault"
)

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ctl")
	l, err := listenUnix(t.Context(), path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeSocket|0o640 {
		t.Errorf("mode %v, %v, want 0640", info.Mode(), err)
	}
	if _, err := listenUnix(t.Context(), path, 0o640); !errors.Is(err, fault.Conflict) {
		t.Errorf("with a daemon there: %v, want a conflict", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the other daemon's socket is gone: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end, the socket is still there (%v)", err)
	}

	if err := os.Symlink("/nowhere", path); err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(t.Context(), path, 0o640); !errors.Is(err, fault.Conflict) {
		t.Errorf("with a link there: %v, want a conflict", err)
	}
	long := filepath.Join(t.TempDir(), strings.Repeat("x", maxSocketPath))
	if _, err := listenUnix(t.Context(), long, 0o640); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "socket.path") {
		t.Errorf("with a long path: %v, want what to do", err)
	}
}

// handed makes sockets as systemd hands them over.
func handed(t *testing.T, network, address, name string) (*os.File, string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	source, ok := l.(interface{ File() (*os.File, error) })
	if !ok {
		t.Fatalf("%T has no file", l)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	f, err := source.File()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0) // to give it its name
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), name), l.Addr().String()
}

func TestInheritedSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ctl")
	unixFile, _ := handed(t, "unix", path, "activationd.socket")
	byAddress, address := handed(t, "tcp", "127.0.0.1:0", "activationd.socket")
	byName, _ := handed(t, "tcp", "127.0.0.1:0", "lab")
	other, _ := handed(t, "tcp", "127.0.0.1:0", "other")
	c := &config.Config{
		Socket: config.Socket{Path: filepath.Join(t.TempDir(), "not-made")},
		Tokens: "tokens",
		Listen: []config.Listen{{Address: config.FromSystemd + "lab", User: "lab"}, {Address: address, Role: "viewer"}, {Address: "127.0.0.1:0", Role: "none"}},
	}
	open, err := openListeners(t.Context(), c, []*os.File{unixFile, byAddress, byName, other}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer closeListeners(open)
	want := []struct {
		unix       bool
		role, user string
	}{{true, "", ""}, {false, "viewer", ""}, {false, "operator", "lab"}, {false, "operator", ""}, {false, "none", ""}}
	if len(open) != len(want) {
		t.Fatalf("%d listeners, want %d", len(open), len(want))
	}
	for i, w := range want {
		if l := open[i]; l.Unix != w.unix || l.Listen.Role != w.role || l.Listen.User != w.user {
			t.Errorf("listener %d is %+v, want %+v", i, l, w)
		}
		conn, err := net.Dial(open[i].Addr().Network(), open[i].Addr().String())
		if err != nil {
			t.Errorf("listener %d: %v", i, err)
			continue
		}
		_ = conn.Close()
	}
	if _, err := os.Lstat(c.Socket.Path); err == nil {
		t.Error("a second Unix socket was made")
	}
	closeListeners(open)
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("systemd's own socket is gone: %v", err)
	}
}

func TestInheritedSocketsRefused(t *testing.T) {
	everybody, _ := handed(t, "tcp4", "0.0.0.0:0", "wide")
	listening, address := handed(t, "tcp", "127.0.0.1:0", "narrow")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = write.Close() }()
	for _, tt := range []struct {
		name, want string
		config     config.Config
		files      []*os.File
	}{
		{"reachable without TLS", "socket wide from systemd: 0.0.0.0:", config.Config{}, []*os.File{everybody, listening}},
		{"no socket", "from systemd (want ListenStream=)", config.Config{}, []*os.File{read}},
		{"none of that name", "FileDescriptorName=lab", config.Config{Listen: []config.Listen{{Address: "systemd:lab"}}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.Socket.Path = filepath.Join(t.TempDir(), "ctl")
			open, err := openListeners(t.Context(), &tt.config, tt.files, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, fault.Invalid) {
				t.Errorf("openListeners = %v, want %q", err, tt.want)
			}
			if open != nil {
				t.Errorf("%d listeners are left open", len(open))
			}
			if _, err := os.Lstat(tt.config.Socket.Path); err == nil {
				t.Error("the control socket is left there")
			}
		})
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		_ = conn.Close()
		t.Error("a socket that was handed over with a bad one is left open")
	}
}

func TestListenerSpeaksTLS(t *testing.T) {
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	pool := writeCertificate(t, certificate, key)
	c := &config.Config{
		Socket: config.Socket{Path: filepath.Join(dir, "ctl"), Mode: 0o600},
		Listen: []config.Listen{{Address: "127.0.0.1:0", TLS: &config.TLS{Certificate: certificate, Key: key, ClientCA: certificate}}},
	}
	var logged strings.Builder
	open, err := openListeners(t.Context(), c, nil, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer closeListeners(open)
	served := make(chan error, 5)
	go func() {
		for range 5 {
			conn, err := open[1].Accept()
			if err == nil {
				_, err = io.WriteString(conn, "hello")
				_ = conn.Close()
			}
			served <- err
		}
	}()
	read := func(conf *tls.Config) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", open[1].Addr().String())
		if err != nil {
			return "", err
		}
		defer func() { _ = conn.Close() }()
		text, err := io.ReadAll(conn)
		return string(text), err
	}
	if got, err := read(&tls.Config{RootCAs: pool}); err == nil {
		t.Errorf("without a certificate a client reads %q", got)
	}
	if err := awaited(t, "first client", served); err == nil {
		t.Error("a client without a certificate is served")
	}
	own, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}}); err != nil || got != "hello" {
		t.Errorf("with a certificate a client reads %q, %v", got, err)
	}
	if err := awaited(t, "second client", served); err != nil {
		t.Errorf("serving it: %v", err)
	}
	// A renewed certificate needs no restart, and while it is written the old one holds.
	renewed := filepath.Join(dir, "new.pem")
	pool = writeCertificate(t, renewed, key)
	old := own
	if own, err = tls.LoadX509KeyPair(renewed, key); err != nil {
		t.Fatal(err)
	}
	if _, err := read(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}}); err == nil {
		t.Error("a new key without its certificate is served")
	}
	if err := awaited(t, "third client", served); err == nil {
		t.Error("the old certificate is not served with its key")
	}
	if strings.Count(logged.String(), "c.pem") != 1 {
		t.Errorf("the log is to tell it: %q", logged.String())
	}
	if err := os.Rename(renewed, certificate); err != nil {
		t.Fatal(err)
	}
	if got, err := read(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}}); err != nil || got != "hello" {
		t.Errorf("with the renewed certificate a client reads %q, %v", got, err)
	}
	if err := awaited(t, "fourth client", served); err != nil {
		t.Errorf("serving it: %v", err)
	}
	if got, _ := read(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{old}}); got != "" {
		t.Errorf("with the old one a client reads %q", got)
	}
	if err := awaited(t, "fifth client", served); err == nil {
		t.Error("a client with the old certificate is served")
	}
}

func TestTLSConfigSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	writeCertificate(t, certificate, key)
	open := filepath.Join(dir, "open.pem")
	data, err := os.ReadFile(key)
	if err == nil {
		err = os.WriteFile(open, data, 0o600)
	}
	if err == nil {
		err = os.Chmod(open, 0o604)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		conf config.TLS
		want string
	}{
		{config.TLS{Certificate: dir + "/none", Key: key}, "none: no such file"},
		{config.TLS{Certificate: certificate, Key: open}, "open.pem: everybody may open it (mode 0604)"},
		{config.TLS{Certificate: key, Key: key}, "failed to find certificate"},
		{config.TLS{Certificate: certificate, Key: key, ClientCA: dir + "/none"}, "none: no such file"},
		{config.TLS{Certificate: certificate, Key: key, ClientCA: key}, "k.pem: has no certificate in it"},
	} {
		if _, err := tlsConfig(&tt.conf); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.conf, err, tt.want)
		}
	}
}

// writeCertificate writes a certificate for 127.0.0.1, signed by itself.
func writeCertificate(t *testing.T, certificate, key string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, data := range map[string][]byte{
		certificate: public, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(public)
	return pool
}

// TestStaleSocketInAChild checks that a socket is taken over that a child of a killed daemon has
// open for a moment longer, so that one can still connect to it.
func TestStaleSocketInAChild(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	child, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- removeStale(t.Context(), path) }()
	poll := []unix.PollFd{{Fd: int32(child.Fd()), Events: unix.POLLIN}} // somebody has connected
	for n := 0; n == 0 && err == nil; {
		if n, err = unix.Poll(poll, -1); errors.Is(err, unix.EINTR) {
			err = nil
		}
	}
	if err := errors.Join(err, child.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}
