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
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"activationd/control"
)

var (
	raceDaemon = flag.Bool("race-daemon", false, "build the daemon with the race detector")
	kills      = flag.Int("kills", 0, "how often TestTorture kills the daemon; 0: the default")
	seedFlag   = flag.Uint64("seed", 0, "begin the random tests with this number; 0: another one each time")
)

// patience is how long anything that is waited for may take before the test
// gives up. It ends what hangs and is no measure of speed: the machine may be a slow
// one.
const patience = 10 * time.Minute

// bin is the directory with the programs, made by TestMain.
var bin string

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func testMain(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "activationd-bin-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { // other users run atctl
		return 0, err
	}
	bin = dir
	if err := build(dir, ""); err != nil {
		return 0, err
	}
	// Most of what is here waits for processes, and does not compute.
	if f := flag.Lookup("test.parallel"); f.Value.String() == fmt.Sprint(runtime.GOMAXPROCS(0)) {
		if err := f.Value.Set("6"); err != nil {
			return 0, err
		}
	}
	return m.Run(), nil
}

// build puts the programs into dir. Version, unless empty, is what they
// call themselves.
func build(dir, version string) error {
	args := []string{"build", "-o", dir + "/"}
	if version != "" {
		args = append(args, "-ldflags", "-X main.buildVersion="+version)
	}
	for _, p := range []struct {
		name string
		race bool
	}{{"activationd", *raceDaemon}, {"atctl", false}, {"atctl-lab", false}, {"atwrap", false}} {
		one, env := args, append(os.Environ(), "CGO_ENABLED=0")
		if p.race {
			one, env = slices.Concat(args, []string{"-race"}), os.Environ()
		}
		cmd := exec.Command("go", append(one, "activationd/cmd/"+p.name)...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", p.name, err, out)
		}
	}
	return nil
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

// A daemon is a place of its own, with a configuration, in which activationd is
// started and killed.
type daemon struct {
	t       *testing.T
	dir     string // of everything; readable by all users
	state   string
	runtime string
	socket  string
	bin     string      // where the programs are
	args    []string    // more flags
	prefix  []string    // a command that the daemon's own is given to, such as setpriv
	notify  *notifySock // what it tells systemd
	logFile *os.File

	control.Client // of the socket

	mu   sync.Mutex
	proc *process // the newest
}

// A process is one start of the daemon.
type process struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has exited
	err  error         // then
}

func (p *process) exited() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// newDaemon makes the place. In config, DIR stands for it.
func newDaemon(t *testing.T, config string) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "atd-") // not t.TempDir: a socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, dir: dir, state: dir + "/state", runtime: dir + "/run", socket: dir + "/run/control.sock", bin: bin}
	d.Address = d.socket
	t.Cleanup(d.cleanUp)
	for _, err := range []error{
		os.Chmod(dir, 0o755),
		os.Mkdir(dir+"/shared", 0o777),
		os.Chmod(dir+"/shared", 0o777),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	d.configure(config)
	if d.logFile, err = os.OpenFile(dir+"/daemon.log", os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600); err != nil {
		t.Fatal(err)
	}
	d.notify = newNotifySock(t, dir+"/notify")
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

// launch starts the daemon and does not wait for it to be ready.
func (d *daemon) launch() *process {
	d.t.Helper()
	p, err := d.tryLaunch()
	if err != nil {
		d.t.Fatal(err)
	}
	return p
}

func (d *daemon) tryLaunch() (*process, error) {
	args := append(append(append([]string{}, d.prefix...), d.bin+"/activationd", "--config", d.dir+"/config.yaml",
		"--state-dir", d.state, "--runtime-dir", d.runtime), d.args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stderr = d.dir, d.logFile
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+d.notify.path, "GORACE=halt_on_error=1")
	d.notify.drain()
	_ = d.Close() // what is kept of an earlier daemon's connections is of no use
	p := &process{cmd: cmd, gone: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.gone)
	}()
	d.mu.Lock()
	d.proc = p
	d.mu.Unlock()
	return p, nil
}

// start starts the daemon and waits until it is ready.
func (d *daemon) start() *process {
	d.t.Helper()
	p := d.launch()
	if err := d.ready(p); err != nil {
		d.t.Fatal(err)
	}
	return p
}

// ready waits until a daemon says that it is.
func (d *daemon) ready(p *process) error {
	hang := time.NewTimer(patience)
	defer hang.Stop()
	for {
		select {
		case s := <-d.notify.states:
			if strings.Contains(s, "READY=1") {
				return nil
			}
		case <-p.gone:
			return fmt.Errorf("the daemon ended before it was ready: %v", p.err)
		case <-hang.C:
			return errors.New("the daemon does not become ready")
		}
	}
}

// refuses starts the daemon and wants it to end by itself with a status and a
// sentence.
func (d *daemon) refuses(status int, words ...string) string {
	d.t.Helper()
	p := d.launch()
	d.gone(p)
	text := d.read(d.dir + "/daemon.log")
	if got := p.cmd.ProcessState.ExitCode(); got != status {
		d.t.Fatalf("the daemon ended with status %d, want %d; it said:\n%s", got, status, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			d.t.Errorf("the daemon said\n%swant in it: %s", text, w)
		}
	}
	return text
}

// gone waits for the end of a start of the daemon.
func (d *daemon) gone(p *process) {
	d.t.Helper()
	select {
	case <-p.gone:
	case <-time.After(patience):
		d.t.Fatalf("the daemon (pid %d) does not end", p.cmd.Process.Pid)
	}
}

// kill kills the daemon with SIGKILL and waits until it is gone.
func (d *daemon) kill() {
	d.t.Helper()
	d.mu.Lock()
	p := d.proc
	d.mu.Unlock()
	_ = p.cmd.Process.Kill() // it may have ended
	d.gone(p)
}

// signal sends a signal to the daemon.
func (d *daemon) signal(s syscall.Signal) {
	d.t.Helper()
	if err := d.proc.cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

// stop has the daemon stop, as systemd would.
func (d *daemon) stop() {
	d.t.Helper()
	d.signal(syscall.SIGTERM)
	d.gone(d.proc)
	if code := d.proc.cmd.ProcessState.ExitCode(); code != 0 {
		d.t.Fatalf("the daemon was asked to stop and ended with status %d: %v", code, d.proc.err)
	}
}

// tcp is the address of the daemon's first TCP listener, as its log tells it.
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
// test that is to find nothing left asks before.
func (d *daemon) cleanUp() {
	d.mu.Lock()
	p := d.proc
	d.mu.Unlock()
	if p != nil {
		_ = p.cmd.Process.Kill()
		<-p.gone
	}
	if d.t.Failed() {
		d.t.Logf("the daemon's log ends with:\n%s", tail(d.read(d.dir+"/daemon.log"), 60))
	}
	if text := d.read(d.dir + "/daemon.log"); strings.Contains(text, "DATA RACE") || strings.Contains(text, "panic:") || strings.Contains(text, "goroutine 1 [") {
		d.t.Errorf("the daemon broke:\n%s", tail(text, 100))
	}
	for range 50 { // what they start while they are being killed
		pids := append(d.wrappers(), d.marked()...)
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(time.Millisecond) // nothing tells of the end of somebody else's children
	}
	d.removeCgroup()
	if d.logFile != nil {
		_ = d.logFile.Close()
	}
	_ = d.Close()
	if err := os.RemoveAll(d.dir); err != nil {
		d.t.Error(err)
	}
}

func tail(text string, lines int) string {
	all := strings.SplitAfter(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "")
}

// A notifySock is the other end of sd_notify(3).
type notifySock struct {
	path   string
	states chan string
}

func newNotifySock(t *testing.T, path string) *notifySock {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	n := &notifySock{path: path, states: make(chan string, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			k, _, err := conn.ReadFromUnix(buf)
			if err != nil {
				return
			}
			select {
			case n.states <- string(buf[:k]):
			default: // nobody has looked for long
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return n
}

// drain forgets what an earlier start said.
func (n *notifySock) drain() {
	for {
		select {
		case <-n.states:
		default:
			return
		}
	}
}

// An output is what became of a command.
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
	return d.run("", append([]string{d.bin + "/atctl"}, args...)...)
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

// show is what atctl show --json says.
func (d *daemon) show(id string) control.Detail {
	d.t.Helper()
	return parse[control.Detail](d.t, d.must("show", "--json", id))
}

// status is what atctl status --json says.
func (d *daemon) status() control.StatusOut {
	d.t.Helper()
	return parse[control.StatusOut](d.t, d.must("status", "--json"))
}

// wait waits for an activation's end, and returns how atctl wait exits and what
// is known then.
func (d *daemon) wait(id string) (int, control.Detail) {
	d.t.Helper()
	status := d.atctl("wait", id).status
	return status, d.show(id)
}

// ended waits for an activation's end and wants an outcome and a wait's status.
func (d *daemon) ended(id, outcome string, status int) control.Detail {
	d.t.Helper()
	got, a := d.wait(id)
	if a.Outcome != outcome || got != status {
		d.t.Fatalf("%s ended as %q, and atctl wait with %d (%s); want %q, %d\nattempts: %+v", id, a.Outcome, got, a.Reason, outcome, status, a.Attempts)
	}
	return a
}

// allEvents asks for all happenings that are kept, and then for what comes.
const allEvents = 1

// until follows an activation's events until what show says of it is as wanted.
// It outlives restarts of the daemon.
func (d *daemon) until(id, what string, ok func(control.Detail) bool) control.Detail {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	found := errors.New("found")
	var last control.Detail
	look := func(e control.Event) error {
		if e.ID != id {
			return nil
		}
		_, lines, err := control.Call[control.Detail](ctx, &d.Client, "show", control.IDIn{ID: id})
		if err != nil {
			return err
		}
		if last = lines[0]; ok(last) {
			return found
		}
		return nil
	}
	err := look(control.Event{ID: id})
	if _, isReply := errors.AsType[*control.ReplyError](err); err == nil || isReply { // a reservation may not be known yet
		err = control.Stream(ctx, &d.Client, "events", control.EventsIn{Since: allEvents}, look)
	}
	if !errors.Is(err, found) {
		d.t.Fatalf("waiting for %s to be %s: %v; it is %s %s (%s)\n%+v", id, what, err, last.State, last.Outcome, last.Reason, last.Attempts)
	}
	return last
}

// inState waits until an activation is in a state.
func (d *daemon) inState(id, state string) control.Detail {
	d.t.Helper()
	return d.until(id, state, func(a control.Detail) bool { return a.State == state })
}

// A beacon is how scripts tell the test something: a FIFO that they write lines to.
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

// next returns the next line that a script told.
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

// quiet wants that no line is there.
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
