package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"activationd/test/harness"
)

func TestMain(m *testing.M) {
	testscript.Main(withPrograms{m}, map[string]func(){
		"atctl": main, "at": main, "atq": main, "atrm": main, "batch": main, "fakedaemon": fakeDaemon,
	})
}

// personalities are the names under which atctl is called.
var personalities = []string{"atctl", "at", "atq", "atrm", "batch"}

// Directories of programs: atctl under all of its names, and what it starts. They are built without
// the race detector, with which each start would take several times as long. The test's own program
// is atctl, too, and has the race detector if the test has.
var plain, others string

// withPrograms runs the tests after it has built the programs.
type withPrograms struct{ m *testing.M }

func (p withPrograms) Run() int {
	dir, err := os.MkdirTemp("", "atctl")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	plain, others = filepath.Join(dir, "plain"), filepath.Join(dir, "others")
	for to, names := range map[string][]string{plain: {"../atctl"}, others: {"../atctl-tls", "../atctl-top"}} {
		if out, err := exec.Command("go", append([]string{"build", "-o", to + "/"}, names...)...).CombinedOutput(); err != nil {
			panic(string(out))
		}
	}
	for _, name := range personalities[1:] {
		if err := os.Symlink(personalities[0], filepath.Join(plain, name)); err != nil {
			panic(err)
		}
	}
	return p.m.Run()
}

// concurrent are the scripts in which atctl has goroutines that share something.
var concurrent = []string{"at", "connect", "every", "linkconf", "log", "queues", "reload", "tty", "verbs", "vlan"}

// TestScript runs testdata/script/*.txtar: atctl with a daemon that always gives the same
// answers. In most scripts it is a program without the race detector.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("ACTIVATIOND_SOCKET", e.WorkDir+"/ctl")
			e.Setenv("TZ", "Europe/Prague")
			e.Setenv("GORACE", "atexit_sleep_ms=0") // each atctl would wait for a second
			path := []string{others, e.Getenv("PATH")}
			if name := strings.TrimPrefix(filepath.Base(e.WorkDir), "script-"); !slices.Contains(concurrent, name) && !harness.All() {
				path = append([]string{plain}, path...)
			}
			e.Setenv("PATH", strings.Join(path, string(os.PathListSeparator)))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await":  await,
			"status": exitStatus,
			"setenv": setFromFile,
			"same":   same,
		},
	})
}

// await FILE [LINES] waits until FILE exists and has as many lines. If FILE is a socket, it
// waits until a process listens, which is later than the file's creation.
func await(ts *testscript.TestScript, _ bool, args []string) {
	want := 0
	if len(args) == 2 {
		var err error
		want, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	for range 120_000 { // ten minutes, in case it hangs
		info, err := os.Stat(ts.MkAbs(args[0]))
		if err == nil && info.Mode()&os.ModeSocket != 0 {
			var c net.Conn
			if c, err = net.Dial("unix", ts.MkAbs(args[0])); err == nil {
				_ = c.Close() // nothing was written
			}
		}
		if err == nil && (want == 0 || info.Mode().IsRegular() && strings.Count(ts.ReadFile(args[0]), "\n") >= want) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	ts.Fatalf("%s did not appear", args[0])
}

// status N CMD ARG... runs CMD, which must exit with status N.
func exitStatus(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if ee, ok := errors.AsType[*exec.ExitError](ts.Exec(args[1], args[2:]...)); ok {
		got = ee.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// setenv NAME FILE sets NAME to the content of FILE.
func setFromFile(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// same FILE WANT compares two files, ignoring the widths of their columns. Where WANT has
// (...), FILE has the distance of a time from now.
func same(ts *testscript.TestScript, _ bool, args []string) {
	got, want := ts.ReadFile(args[0]), ts.ReadFile(args[1])
	got = regexp.MustCompile(`\((in \w+|\w+ ago)\)`).ReplaceAllString(got, "(...)")
	blanks := regexp.MustCompile(`   *`)
	got, want = blanks.ReplaceAllString(got, "  "), blanks.ReplaceAllString(want, "  ")
	if got != want {
		ts.Fatalf("%s is\n%swant\n%s", args[0], got, want)
	}
}

// tlsListener wraps ln in TLS with a new authority, which it writes to prefix.ca. Clients
// need a certificate of that authority; one is in prefix.crt and .key.
func tlsListener(ln net.Listener, prefix string) (net.Listener, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	err = errors.Join(os.WriteFile(prefix+".ca", certPEM, 0o600), os.WriteFile(prefix+".crt", certPEM, 0o600),
		os.WriteFile(prefix+".key", keyPEM, 0o600))
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return tls.NewListener(ln, &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS12,
	}), nil
}
