package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/control"
)

// A daemon is the activationd of a laboratory, with the scripts that come with it.
type daemon struct {
	*lab
	control.Client // of its socket, for the test itself
	cmd            *exec.Cmd
	gone           chan struct{} // closed when the process of cmd has ended
	notify         *net.UnixConn // what it tells systemd
	log            *os.File
	resvs          []*resv
}

// A resv is a reservation as the file has it.
type resv struct {
	id         string
	start, end time.Time
	topology   string // YAML in one line
	settings   string // more of it: "retries: 0, grace: 1s"
}

// far is a time that no test sees.
func far(plus time.Duration) time.Time {
	return time.Now().Add(24*time.Hour + plus).Truncate(time.Second)
}

// newDaemon writes a configuration, in which more are settings of all
// reservations, and an inventory, and starts the daemon.
func (l *lab) newDaemon(inventory string, more ...string) *daemon {
	l.t.Helper()
	d := &daemon{lab: l}
	d.Address = l.dir + "/run/control.sock"
	l.write("inventory.yaml", inventory)
	l.write("reservations.yaml", "reservations: []\n")
	l.write("activationd.yaml", fmt.Sprintf(`
sources: [{files: %[1]s/reservations.yaml}]
lab: {inventory: %[1]s/inventory.yaml}
reservations:
  activate: [%[2]s/activate]
  deactivate: [%[2]s/deactivate]
  timeout: 10m
  backoff: {first: 100ms, max: 500ms}
  environment: {PATH: '%[3]s:/usr/sbin:/usr/bin:/sbin:/bin'}
  %[4]s
`, l.dir, scripts, bin, strings.Join(more, "\n  ")))
	var err error
	if d.log, err = os.OpenFile(l.dir+"/daemon.log", os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600); err != nil {
		l.t.Fatal(err)
	}
	if d.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: l.dir + "/notify", Net: "unixgram"}); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(d.cleanUp)
	d.start()
	return d
}

// start starts the daemon, and returns when it is ready.
func (d *daemon) start() {
	d.t.Helper()
	_ = d.Close() // an earlier daemon's connections
	buf := make([]byte, 4096)
	for err := d.notify.SetReadDeadline(time.Now().Add(time.Millisecond)); err == nil; { // and what it has said
		_, err = d.notify.Read(buf)
	}
	cmd := exec.Command("nsenter", "--net=/run/netns/"+d.name+"-mgmt", "--", bin+"/activationd",
		"--config", d.dir+"/activationd.yaml", "--state-dir", d.dir+"/state", "--runtime-dir", d.dir+"/run")
	cmd.Stderr = d.log
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+d.dir+"/notify")
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	gone := make(chan struct{})
	d.cmd, d.gone = cmd, gone
	go func() {
		_ = cmd.Wait() // how it ended is seen in its log
		close(gone)
		_, _ = d.notify.WriteTo([]byte("GONE=1"), d.notify.LocalAddr())
	}()
	if err := d.notify.SetReadDeadline(time.Now().Add(patience)); err != nil {
		d.t.Fatal(err)
	}
	for {
		n, err := d.notify.Read(buf)
		if err != nil {
			d.t.Fatalf("the daemon does not become ready: %v", err)
		}
		select {
		case <-gone:
			d.t.Fatal("the daemon ended before it was ready")
		default:
		}
		if bytes.Contains(buf[:n], []byte("READY=1")) {
			return
		}
	}
}

// kill kills the daemon with SIGKILL, and starts another.
func (d *daemon) kill() {
	d.t.Helper()
	_ = d.cmd.Process.Kill()
	<-d.gone
	d.start()
}

// cleanUp ends the daemon; what it has started is in a namespace that the keeper
// empties.
func (d *daemon) cleanUp() {
	if d.cmd != nil {
		_ = d.cmd.Process.Kill()
		<-d.gone
	}
	text, err := os.ReadFile(d.dir + "/daemon.log")
	if err != nil {
		d.t.Error(err)
	}
	if d.t.Failed() {
		lines := strings.SplitAfter(string(text), "\n")
		d.t.Logf("the daemon's log ends with:\n%s", strings.Join(lines[max(0, len(lines)-40):], ""))
		for _, r := range d.resvs {
			d.t.Logf("the log of %s:\n%s", r.id, d.logs(r.id))
		}
	}
	if bytes.Contains(text, []byte("panic:")) {
		d.t.Errorf("the daemon broke:\n%s", text)
	}
	_, _ = d.log.Close(), d.notify.Close()
	_ = d.Close()
}

// logs is what the newest attempts of an activation have said.
func (d *daemon) logs(id string) string {
	var all strings.Builder
	names, _ := filepath.Glob(d.dir + "/state/runs/" + id + ".*activate.*")
	slices.SortFunc(names, func(a, b string) int { // by age
		x, errX := os.Stat(a)
		y, errY := os.Stat(b)
		if errX != nil || errY != nil {
			return 0
		}
		return x.ModTime().Compare(y.ModTime())
	})
	for _, name := range names[max(0, len(names)-4):] {
		text, _ := os.ReadFile(name + "/log")
		fmt.Fprintf(&all, "%s:\n%s", filepath.Base(name), text[max(0, len(text)-4000):])
	}
	return all.String()
}

// atctl runs atctl, which must not fail.
func (d *daemon) atctl(args ...string) string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + d.name + "-mgmt", "--", bin + "/atctl", "--socket", d.Address}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		said := ""
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			said = string(e.Stderr)
		}
		d.t.Fatalf("atctl %q: %v\n%s%s", args, err, out, said)
	}
	return string(out)
}

// list parses lines of JSON.
func list[T any](t *testing.T, text string) (all []T) {
	t.Helper()
	for line := range strings.Lines(text) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		all = append(all, v)
	}
	return all
}

// book adds a reservation that begins and ends when the test says so.
func (d *daemon) book(id, topology, settings string) *resv {
	r := &resv{id: id, start: far(0), end: far(time.Hour), topology: topology, settings: settings}
	d.resvs = append(d.resvs, r)
	return r
}

// announce writes the reservations that are booked, and has them loaded.
func (d *daemon) announce() {
	d.t.Helper()
	var s strings.Builder
	s.WriteString("reservations:\n")
	for _, r := range d.resvs {
		fmt.Fprintf(&s, "- {id: %q, owner: group1, start: %q, end: %q, topology: %s", r.id, r.start.Format(time.RFC3339), r.end.Format(time.RFC3339), r.topology)
		if r.settings != "" {
			s.WriteString(", " + r.settings)
		}
		s.WriteString("}\n")
	}
	d.write("reservations.yaml", s.String())
	d.atctl("reload", "--force")
}

// change moves the slots: some end now, and some begin.
func (d *daemon) change(ends, begins []*resv) {
	d.t.Helper()
	for _, r := range begins {
		r.start = time.Now().Truncate(time.Second)
	}
	for _, r := range ends {
		r.end = time.Now().Truncate(time.Second).Add(time.Second)
	}
	d.announce()
}

func (d *daemon) show(id string) control.Detail {
	d.t.Helper()
	return list[control.Detail](d.t, d.atctl("--json", "show", id))[0]
}

// inState waits until an activation is in one of some states. It outlives the
// daemon's restarts.
func (d *daemon) inState(id string, states ...string) control.Detail {
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
		if last = lines[0]; slices.Contains(states, last.State) {
			return found
		}
		return nil
	}
	err := look(control.Event{ID: id})
	if err == nil {
		err = control.Stream(ctx, &d.Client, "events", control.EventsIn{Since: 1}, look)
	}
	if !errors.Is(err, found) {
		d.t.Fatalf("waiting for %s to be %q: %v; it is %s %s (%s)\n%+v", id, states, err, last.State, last.Outcome, last.Reason, last.Attempts)
	}
	return last
}
