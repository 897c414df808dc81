// Package test tries the whole program: the real daemon, the real wrapper and
// the real atctl, with real processes, real signals, real file systems and real
// databases of processes in /proc. Package by package tests are beside the
// packages; here is what only the three together can get wrong.
package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/control"
	"activationd/test/harness"
)

var (
	raceDaemon = flag.Bool("race-daemon", false, "build the daemon with the race detector")
	kills      = flag.Int("kills", 0, "how often TestTorture kills the daemon; 0: the default")
)

// patience is how long anything that is waited for may take before the test gives up.
const patience = harness.Patience

func TestMain(m *testing.M) {
	flag.Parse()
	harness.Main(m, 6, *raceDaemon)
}

// needRoot skips a test that only root can do.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it becomes other users, or mounts")
	}
}

// needProgram skips a test that needs a program which is not installed.
func needProgram(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
}

// A daemon is activationd in a place of its own, with what scripts, users and tests
// need there.
type daemon struct {
	*harness.Daemon
	t       *testing.T
	dir     string // of everything; readable by all users
	state   string
	runtime string
	socket  string
}

// newDaemon makes the place. In config, DIR stands for it.
func newDaemon(t *testing.T, config string) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "atd-") // not t.TempDir: a socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Chmod(dir, 0o755),
		os.Mkdir(dir+"/shared", 0o777),
		os.Chmod(dir+"/shared", 0o777),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	d := &daemon{Daemon: harness.NewDaemon(t, dir, harness.Bin), t: t, dir: dir, state: dir + "/state", runtime: dir + "/run"}
	d.socket = d.Address
	t.Cleanup(d.cleanUp)
	d.configure(config)
	return d
}

// configure writes the configuration.
func (d *daemon) configure(config string) {
	d.t.Helper()
	d.write("config.yaml", strings.ReplaceAll(config, "DIR", d.dir), 0o644)
}

// write writes a file of the place, as editors do: a new one renamed over the old.
func (d *daemon) write(name, text string, mode os.FileMode) string {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := writeFile(path, text, mode); err != nil {
		d.t.Fatal(err)
	}
	return path
}

func writeFile(path, text string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// The new file begins with a dot, which a directory of reservations skips.
	part := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".part")
	if err := writeAlone(part, []byte(text), mode); err != nil {
		return err
	}
	if err := os.Chmod(part, mode); err != nil {
		return err
	}
	return os.Rename(part, path)
}

// writeAlone writes a file while nobody else here forks: a child that has not come
// to its own program yet has the file open for writing, too, and until then it
// cannot be executed (ETXTBSY).
func writeAlone(path string, data []byte, mode os.FileMode) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, data, mode)
}

// script writes an executable script and returns its path.
func (d *daemon) script(name, text string) string {
	d.t.Helper()
	return d.write(name, "#!/bin/sh\n"+text, 0o755)
}

// shared is the path of a file that scripts of every user may write.
func (d *daemon) shared(name string) string { return d.dir + "/shared/" + name }

// read returns a file's content; none if it is not there.
func (d *daemon) read(path string) string {
	d.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.t.Fatal(err)
	}
	return string(data)
}

// refuses starts the daemon and checks that it ends by itself, with a status and a
// message.
func (d *daemon) refuses(status int, words ...string) string {
	d.t.Helper()
	p := d.Launch()
	d.AwaitGone(p)
	text := d.read(d.dir + "/daemon.log")
	if got := p.Cmd.ProcessState.ExitCode(); got != status {
		d.t.Fatalf("the daemon ended with status %d, want %d; it said:\n%s", got, status, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			d.t.Errorf("the daemon said\n%swant in it: %s", text, w)
		}
	}
	return text
}

// signal sends a signal to the daemon.
func (d *daemon) signal(s syscall.Signal) {
	d.t.Helper()
	if err := d.Newest().Cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

// stop ends the daemon as systemd does.
func (d *daemon) stop() {
	d.t.Helper()
	d.signal(syscall.SIGTERM)
	d.AwaitGone(d.Newest())
	if code := d.Newest().Cmd.ProcessState.ExitCode(); code != 0 {
		d.t.Fatalf("the daemon was asked to stop and ended with status %d: %v", code, d.Newest().Err)
	}
}

// tcp returns the address of the daemon's first TCP listener, which is in its log.
func (d *daemon) tcp() string {
	d.t.Helper()
	text := d.read(d.dir + "/daemon.log")
	const word = "address=127.0.0.1:"
	i := strings.LastIndex(text, word)
	if i < 0 {
		d.t.Fatal("the daemon listens on no TCP port")
	}
	return "127.0.0.1:" + strings.Fields(text[i+len(word):])[0]
}

// cleanUp ends everything that the daemon has started and removes the place. A
// test that is to find nothing left checks that before.
func (d *daemon) cleanUp() {
	d.End()
	for range 50 { // more may be started while these are killed
		pids := append(d.wrappers(), d.marked()...)
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(time.Millisecond) // no event reports the end of processes that are not our children
	}
	d.removeCgroup()
	if err := os.RemoveAll(d.dir); err != nil {
		d.t.Error(err)
	}
}

// An output is the result of a command.
type output struct {
	out, err string
	status   int
}

// run runs a command to its end.
func (d *daemon) run(stdin string, argv ...string) output {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, err bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &err
	cmd.Dir, cmd.WaitDelay = d.dir, patience
	cmd.Env = append(os.Environ(), "ACTIVATIOND_SOCKET="+d.socket)
	fail := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](fail); fail != nil && !ok || ctx.Err() != nil {
		d.t.Fatalf("%v: %v; %v\n%s%s", argv, fail, ctx.Err(), out.String(), err.String())
	}
	return output{out.String(), err.String(), cmd.ProcessState.ExitCode()}
}

// atctl runs atctl, which may fail.
func (d *daemon) atctl(args ...string) output {
	d.t.Helper()
	return d.run("", append([]string{d.Bin + "/atctl"}, args...)...)
}

// must runs atctl, which must not fail, and returns its output without the last
// line's end.
func (d *daemon) must(args ...string) string {
	d.t.Helper()
	o := d.atctl(args...)
	if o.status != 0 {
		d.t.Fatalf("atctl %q: status %d\n%s%s", args, o.status, o.out, o.err)
	}
	return strings.TrimSuffix(o.out, "\n")
}

// add adds a job and returns its id.
func (d *daemon) add(args ...string) string {
	d.t.Helper()
	id := d.must(append([]string{"add"}, args...)...)
	if id == "" || strings.ContainsAny(id, " \n") {
		d.t.Fatalf("atctl add %q printed %q, want an id alone", args, id)
	}
	return id
}

// parse reads one JSON object.
func parse[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return v
}

// show returns the output of atctl show --json.
func (d *daemon) show(id string) control.Detail {
	d.t.Helper()
	return parse[control.Detail](d.t, d.must("show", "--json", id))
}

// status returns the output of atctl status --json.
func (d *daemon) status() control.StatusOut {
	d.t.Helper()
	return parse[control.StatusOut](d.t, d.must("status", "--json"))
}

// wait waits for an activation's end, and returns the exit status of atctl wait and the
// activation's details.
func (d *daemon) wait(id string) (int, control.Detail) {
	d.t.Helper()
	status := d.atctl("wait", id).status
	return status, d.show(id)
}

// ended waits for an activation's end and checks its outcome and the exit status of
// atctl wait.
func (d *daemon) ended(id, outcome string, status int) control.Detail {
	d.t.Helper()
	got, a := d.wait(id)
	if a.Outcome != outcome || got != status {
		d.t.Fatalf("%s ended as %q, and atctl wait with %d (%s); want %q, %d\nattempts: %+v", id, a.Outcome, got, a.Reason, outcome, status, a.Attempts)
	}
	return a
}

// A beacon is a FIFO through which scripts report to the test, in lines.
type beacon struct {
	t     *testing.T
	path  string
	lines chan string
}

// beacon makes one.
func (d *daemon) beacon() *beacon {
	d.t.Helper()
	path := fmt.Sprintf("%s/beacon-%d", d.dir+"/shared", time.Now().UnixNano())
	if err := syscall.Mkfifo(path, 0o666); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		d.t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0) // open for writing, too: it never ends
	if err != nil {
		d.t.Fatal(err)
	}
	b := &beacon{d.t, path, make(chan string, 10_000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf, rest := make([]byte, 64<<10), ""
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			rest += string(buf[:n])
			for {
				line, after, ok := strings.Cut(rest, "\n")
				if !ok {
					break
				}
				b.lines <- line
				rest = after
			}
		}
	}()
	d.t.Cleanup(func() { _ = f.Close(); <-done })
	return b
}

// next returns the next line that a script wrote.
func (b *beacon) next() string {
	b.t.Helper()
	select {
	case l := <-b.lines:
		return l
	case <-time.After(patience):
		b.t.Fatal("no script tells anything")
		return ""
	}
}

// quiet checks that there is no line.
func (b *beacon) quiet() {
	b.t.Helper()
	select {
	case l := <-b.lines:
		b.t.Errorf("a script told %q, want nothing", l)
	default:
	}
}

// ask sends raw bytes to an address and returns all that comes back until the
// peer closes, or patience ends.
func ask(t *testing.T, network, address, text string) string {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	switch c := conn.(type) {
	case *net.TCPConn:
		_ = c.CloseWrite()
	case *net.UnixConn:
		_ = c.CloseWrite()
	}
	data, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%q: %v after %q", text, err, data)
	}
	return string(data)
}
