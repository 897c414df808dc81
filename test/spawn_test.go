package test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/test/harness"
)

// A spawner is activationd-spawn for the daemon of a test.
type spawner struct {
	d      *daemon
	socket string
	cmd    *exec.Cmd
	gone   chan error
}

// daemonOf is the user of daemons that are not root's.
const daemonOf = 64_127

// newSpawner makes a daemon an ordinary user's, and starts a spawner for it, which runs scripts as some users.
func newSpawner(d *daemon, users string) *spawner {
	d.t.Helper()
	for _, dir := range []string{d.state, d.runtime} {
		if err := errors.Join(os.Mkdir(dir, 0o711), os.Chown(dir, daemonOf, daemonOf)); err != nil {
			d.t.Fatal(err)
		}
	}
	d.write("spawn.yaml", fmt.Sprintf("daemon: %d\nusers: [%s]\nruns:\n- %s/runs\n- %s/queues/runs\nconfig: %s/spawn/config\nkept: [%s/spawn/kept]\n",
		daemonOf, users, d.state, d.runtime, d.dir, d.dir), 0o644)
	d.Prefix = []string{"setpriv", fmt.Sprintf("--reuid=%d", daemonOf), fmt.Sprintf("--regid=%d", daemonOf), "--clear-groups"}
	s := &spawner{d: d, socket: d.dir + "/spawn.sock"}
	d.Args = append(d.Args, "--spawn", s.socket)
	s.start()
	d.t.Cleanup(s.kill)
	return s
}

func (s *spawner) start() {
	s.d.t.Helper()
	s.cmd = exec.Command(s.d.Bin+"/activationd-spawn", "--rules", s.d.dir+"/spawn.yaml", "--socket", s.socket)
	s.cmd.Stderr = s.d.Log
	s.gone = make(chan error, 1)
	if err := s.cmd.Start(); err != nil {
		s.d.t.Fatal(err)
	}
	cmd, gone := s.cmd, s.gone
	go func() { gone <- cmd.Wait() }()
}

func (s *spawner) kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.gone
	s.gone <- nil
}

// lives fails the test if the spawner has ended.
func (s *spawner) lives() {
	s.d.t.Helper()
	select {
	case err := <-s.gone:
		s.d.t.Fatalf("the spawner has ended: %v", err)
	default:
	}
}

// fifo makes a pipe into which jobs of every user can write.
func (d *daemon) fifo(name string) (path string, lines *bufio.Reader) {
	d.t.Helper()
	path = d.shared(name)
	if err := errors.Join(syscall.Mkfifo(path, 0o666), os.Chmod(path, 0o666)); err != nil {
		d.t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = f.Close() })
	return path, bufio.NewReader(f)
}

// line reads a line that a job has written.
func (d *daemon) line(lines *bufio.Reader) string {
	d.t.Helper()
	text, err := lines.ReadString('\n')
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.TrimSuffix(text, "\n")
}

// TestDaemonWithoutRoot runs jobs of other users by a daemon that is an ordinary user.
func TestDaemonWithoutRoot(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv")
	d := newDaemon(t, "")
	s := newSpawner(d, "games, "+strconv.Itoa(daemonOf))
	d.Start()
	if uid := statusOf(t, d.Newest().Cmd.Process.Pid, "Uid:"); uid != strconv.Itoa(daemonOf) {
		t.Fatalf("the daemon's user is %s", uid)
	}
	path, lines := d.fifo("pids")

	id := d.addAs(games, gamesGroup, "--", "sh", "-c", `id -u; setsid sleep 600 & echo $! >"`+path+`"; echo said; exit 3`)
	left := d.line(lines)
	if status := d.atctlAs(games, gamesGroup, "wait", id).status; status != 3 {
		t.Errorf("wait: status %d, want 3", status)
	}
	if o := d.atctlAs(games, gamesGroup, "log", id); o.out != strconv.Itoa(games)+"\nsaid\n" {
		t.Errorf("the log: %+v", o)
	}
	if _, err := os.Stat("/proc/" + left); err == nil {
		t.Errorf("process %s is left", left)
	}

	id = d.addAs(games, gamesGroup, "--", "sh", "-c", `echo $$ >"`+path+`"; exec sleep 600`)
	pid := d.line(lines)
	if uid := statusOf(t, atoi(t, pid), "Uid:"); uid != strconv.Itoa(games) {
		t.Errorf("the job's user is %s", uid)
	}
	d.must("cancel", id)
	d.InState(id, "finished")
	if _, err := os.Stat("/proc/" + pid); err == nil {
		t.Error("the job was cancelled, and runs")
	}

	// Users whom the rules do not name.
	for _, uid := range []int{0, nobody} {
		id := d.addAs(uid, uid, "--", "true")
		a := d.InState(id, "finished")
		if last := a.Attempts[len(a.Attempts)-1]; a.Outcome != "failed" || !strings.Contains(last.Text+a.Reason, "rules do not let scripts run as") {
			t.Errorf("a job of user %d: %+v", uid, a)
		}
	}
	s.lives()

	// A run outlives both.
	gate := d.shared("pids.go")
	if err := errors.Join(syscall.Mkfifo(gate, 0o666), os.Chmod(gate, 0o666)); err != nil {
		t.Fatal(err)
	}
	id = d.addAs(games, gamesGroup, "--", "sh", "-c", `echo $$ >"`+path+`"; read x <"`+path+`.go"; exit 7`)
	d.line(lines)
	s.kill()
	d.Kill()
	s.start()
	d.Start()
	if err := os.WriteFile(gate, []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.ended(id, "failed", 7)
}

// TestSpawnerIsKilled kills the spawner, the daemon and both again and again, while jobs of another user start, run and
// end. Each job runs once and ends once, whatever is killed meanwhile, and nothing is left of it.
func TestSpawnerIsKilled(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv")
	const jobs = 4
	rounds := harness.Size(15, 300)
	random := harness.Random(t)
	d := newDaemon(t, "jobs: {retries: 5, backoff: 10ms}\n")
	s := newSpawner(d, "games")
	d.Start()
	ran := d.write("shared/ran", "", 0o666)
	if err := os.Chmod(ran, 0o666); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for range rounds {
		for range jobs {
			pause := time.Duration(random.IntN(150)) * time.Millisecond
			ids = append(ids, d.addAs(games, gamesGroup, "--", "sh", "-c",
				fmt.Sprintf("echo $ACTIVATION_ID >>%s; setsid sleep 600 & sleep %.3f", ran, pause.Seconds())))
		}
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond) // it chooses what the kill hits
		victims := random.IntN(3)
		if victims != 1 {
			s.kill()
		}
		if victims != 0 {
			d.Kill()
		}
		if victims != 1 {
			s.start()
		}
		if victims != 0 {
			d.Start()
		}
	}
	began := map[string]int{}
	for _, id := range ids {
		a := d.InState(id, "finished")
		exited := 0
		for _, at := range a.Attempts {
			if at.Reason == "exited" {
				exited++
			}
		}
		if a.Outcome != "succeeded" || exited != 1 {
			t.Errorf("job %s: %s (%s), %+v", id, a.Outcome, a.Reason, a.Attempts)
		}
	}
	for line := range strings.Lines(d.read(ran)) {
		began[strings.TrimSpace(line)]++
	}
	if left := d.marked(); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	for _, id := range ids {
		if began[id] != 1 {
			t.Errorf("job %s ran %d times: %+v", id, began[id], d.show(id).Attempts)
		}
	}
	ids = append(ids, d.addAs(games, gamesGroup, "--", "true")) // its end is the last
	d.InState(ids[len(ids)-1], "finished")
	ends := map[string]int{}
	for _, ev := range d.events(0, len(ids), "activation.*.finished") {
		ends[ev.ID]++
	}
	for _, id := range ids {
		if ends[id] != 1 {
			t.Errorf("the end of job %s is recorded %d times", id, ends[id])
		}
	}
	s.lives()
}

func atoi(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// statusOf returns the first value of a line of a process's status.
func statusOf(t *testing.T, pid int, key string) string {
	t.Helper()
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "\n"+key)
	return strings.Fields(rest)[0]
}
