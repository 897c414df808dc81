package test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/control"
)

// secret is in texts that only the owner of a job and operators may see.
const secret = "xyzzy"

// TestOthersJobs requests everything as every kind of user, and looks for texts that
// the user must not see.
func TestOthersJobs(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv")
	d := newDaemon(t, "listen: [{address: '127.0.0.1:0'}]\naccess: {operators: [mail], viewers: [games], admins: [bin]}\n"+
		"sources: [{files: DIR/reservations.yaml}]\n")
	d.write("reservations.yaml", `reservations:
- {id: 1@x, owner: group7, start: 2030-01-01T10:00:00Z, end: 2030-01-01T12:00:00Z, devices: [sw9], activate: [/`+secret+`/up], deactivate: [/`+secret+`/down],
   topology: {name: `+secret+`, topology: {nodes: {r1: {}}}}}
`, 0o644)
	d.Start()
	d.must("reload")
	owner := func(args ...string) string { return d.addAs(nobody, nobody, args...) }
	jobs := []string{
		owner("--label", secret, "--tag", secret, "--env", "A="+secret, "--hold", "--lock", "sw1", "--", "echo", secret),
		owner("--label", secret, "--", "sh", "-c", "echo "+secret+"; exit 3"),
		owner("--label", secret, "--", "/"+secret),
	}
	d.ended(jobs[1], "failed", 3)
	d.ended(jobs[2], "failed", 127)
	if o := d.atctlAs(nobody, nobody, "cancel", "--reason", secret, jobs[0]); o.status != 0 {
		t.Fatalf("%+v", o)
	}
	const mail, bin = 8, 2
	for _, tt := range []struct {
		name     string
		uid      int
		gid      int
		connect  bool
		jobs     bool
		reserved bool
	}{
		{"the owner", nobody, nobody, false, true, false},
		{"another submitter", 1, 1, false, false, false},
		{"a viewer", games, gamesGroup, false, false, false},
		{"an operator", mail, mail, false, true, true},
		{"an admin", bin, bin, false, true, true},
		{"somebody on the loopback", 1, 1, true, false, true},
	} {
		ask := func(args ...string) output {
			if tt.connect {
				args = append([]string{"--connect", d.tcp()}, args...)
			}
			return d.atctlAs(tt.uid, tt.gid, args...)
		}
		for _, id := range append(jobs, "1@x") {
			sees := tt.jobs
			if id == "1@x" {
				sees = tt.reserved
			}
			shown := ""
			for _, args := range [][]string{{"show", id}, {"show", "--json", id}, {"why", id}, {"why", "--json", id}, {"list", "--all", "--json"}, {"list", "--all"}} {
				o := ask(args...)
				if o.status != 0 || !strings.Contains(o.out, id) {
					t.Errorf("%s: atctl %q: %+v", tt.name, args, o)
				}
				if args[0] != "list" { // that has everything
					shown += o.out
				} else if !tt.jobs && strings.Contains(o.out, secret) {
					t.Errorf("%s: atctl %q tells\n%s", tt.name, args, o.out)
				}
			}
			if strings.Contains(shown, secret) != sees {
				t.Errorf("%s sees of %s\n%s", tt.name, id, shown)
			}
			v := parse[control.Detail](t, ask("show", "--json", id).out)
			if v.ID != id || v.State == "" || v.Owner == "" || v.Hidden == sees || v.RunDirectory != "" && !sees {
				t.Errorf("%s sees of %s %+v", tt.name, id, v)
			}
		}
		for _, args := range [][]string{{"--json", "list", "--all", "--label", secret}, {"--json", "list", "--all", "--tag", secret}} {
			if o := ask(args...); (o.out != "") != tt.jobs {
				t.Errorf("%s: atctl %q: %+v", tt.name, args, o)
			}
		}
		if o := ask("log", jobs[1]); (o.status == 0) != tt.jobs || strings.Contains(o.out+o.err, secret) != tt.jobs {
			t.Errorf("%s: the log: %+v", tt.name, o)
		}
		if o := ask("log", "-f", jobs[1]); (o.status == 0) != tt.jobs {
			t.Errorf("%s: the log, followed: %+v", tt.name, o)
		}
		if o := ask("wait", "--json", jobs[1]); o.status != 3 || strings.Contains(o.out, secret) != tt.jobs {
			t.Errorf("%s: wait: %+v", tt.name, o)
		}
	}
	for uid, told := range map[int]bool{nobody: true, mail: true, 1: false, games: false} {
		if text := d.eventsUntil(uid, jobs[0], "finished"); strings.Contains(text, secret) != told {
			t.Errorf("user %d sees\n%s", uid, text)
		}
	}
	// A client over the loopback is not known: it may neither add jobs nor change any.
	for _, args := range [][]string{{"add", "--", "true"}, {"cancel", jobs[1]}, {"retry", jobs[1]}} {
		if o := d.atctl(append([]string{"--connect", d.tcp()}, args...)...); o.status != 5 {
			t.Errorf("atctl --connect %q: %+v, want status 5", args, o)
		}
	}
	if o := d.atctl("--connect", d.tcp(), "hold", "1@x"); o.status != 0 {
		t.Errorf("the reservation, held over TCP: %+v", o)
	}
	// An operator may do much with root's job, but not say what root runs.
	roots := d.add("--hold", "--", "true")
	for _, args := range [][]string{{"--", "id"}, {"--env", "LD_PRELOAD=/tmp/x"}, {"--dir", "/tmp"}} {
		if o := d.atctlAs(mail, mail, append([]string{"edit", roots}, args...)...); o.status != 5 {
			t.Errorf("atctl edit %q of root's job by an operator: %+v, want status 5", args, o)
		}
	}
	if o := d.atctlAs(mail, mail, "edit", roots, "--priority", "3"); o.status != 0 {
		t.Errorf("atctl edit --priority of root's job by an operator: %+v", o)
	}
	d.nothingLeft()
}

// TestOthersInputs checks who sees the scripts, inputs and variables of whom, and that
// nobody sees the value of a variable whose name looks like a secret's.
func TestOthersInputs(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv")
	const mail, bin, hush = 8, 2, "hush"
	d := newDaemon(t, "listen: [{address: '127.0.0.1:0'}]\naccess: {operators: [mail], viewers: [games], admins: [bin]}\n"+
		"at: {allow: DIR/none, deny: DIR/at.deny}\nsources: [{files: DIR/reservations.yaml}]\nreservations: {activate: ['true'], deactivate: ['true']}\n")
	d.write("at.deny", "", 0o644)
	d.write("reservations.yaml", "reservations:\n- {id: 1@x, start: 2099-01-01T10:00:00Z, end: 2099-01-01T12:00:00Z, devices: [r1], env: {A: "+
		secret+", TOKEN: "+hush+"}}\n", 0o644)
	at := d.installAt() + "/at"
	d.Start()
	d.must("reload")
	script := "#!/bin/sh\n# shown\n: " + secret + "\n"
	owner := func(stdin string, argv ...string) string {
		t.Helper()
		argv = append([]string{"env", "-i", "PATH=/usr/bin:/bin", "ACTIVATIOND_SOCKET=" + d.socket, "A=" + secret,
			"setpriv", fmt.Sprintf("--reuid=%d", nobody), fmt.Sprintf("--regid=%d", nobody), "--clear-groups"}, argv...)
		o := d.run(stdin, argv...)
		if o.status != 0 {
			t.Fatalf("%q: %+v", argv, o)
		}
		return strings.TrimSpace(o.out + o.err)
	}
	env := []string{"--dir", "/", "--env", "A=" + secret, "--env", "MY_TOKEN=" + hush}
	jobs := []string{
		owner(script, slices.Concat([]string{d.Bin + "/atctl", "add", "--hold"}, env)...),
		owner(secret, slices.Concat([]string{d.Bin + "/atctl", "add", "--hold", "--stdin", "-"}, env, []string{"--", "cat"})...),
	}
	m := jobLine.FindStringSubmatch(owner(": "+secret, at, "-q", "a", "now + 1 hour"))
	if m == nil {
		t.Fatal("at does not say which job it has added")
	}
	jobs = append(jobs, m[1])
	owner(script, slices.Concat([]string{d.Bin + "/atctl", "every", "add", "tick", "--every", "1h"}, env)...)
	for _, tt := range []struct {
		name           string
		uid            int
		connect        bool
		jobs, reserved bool // it sees the inputs of
	}{
		{"the owner", nobody, false, true, false},
		{"another submitter", 1, false, false, false},
		{"a viewer", games, false, false, false},
		{"an operator", mail, false, false, false},
		{"an admin", bin, false, true, true},
		{"root", 0, false, true, true},
		{"somebody on the loopback", 1, true, false, false},
	} {
		ask := func(args ...string) output {
			if tt.connect {
				args = append([]string{"--connect", d.tcp()}, args...)
			}
			return d.atctlAs(tt.uid, tt.uid, args...)
		}
		check := func(sees bool, args ...string) {
			t.Helper()
			o := ask(args...)
			if strings.Contains(o.out+o.err, secret) != sees || strings.Contains(o.out+o.err, hush) {
				t.Errorf("%s, who may see inputs: %v: atctl %q: %+v", tt.name, sees, args, o)
			}
		}
		for _, id := range jobs[:2] {
			check(tt.jobs, "show", id)
			check(tt.jobs, "show", "--json", id)
			check(tt.jobs, "show", "--input", id)
		}
		check(tt.jobs, "show", jobs[2])
		check(tt.jobs, "show", "--script", jobs[0])
		check(tt.jobs, "show", "--script", jobs[2])
		check(tt.jobs, "every", "show", "tick")
		check(tt.jobs, "every", "show", "--json", "tick")
		check(tt.jobs, "every", "show", "--script", "tick")
		check(tt.reserved, "show", "1@x")
		check(tt.reserved, "show", "--json", "1@x")
		if o := ask("show", "--script", jobs[0]); (o.status == 0) != tt.jobs || tt.jobs && o.out != script || !tt.jobs && o.status != 5 {
			t.Errorf("%s: the script: %+v", tt.name, o)
		}
		if tt.connect {
			continue
		}
		o := d.run("", "setpriv", fmt.Sprintf("--reuid=%d", tt.uid), fmt.Sprintf("--regid=%d", tt.uid), "--clear-groups", at, "-c", jobs[2])
		if (o.status == 0) != tt.jobs || strings.Contains(o.out+o.err, secret) != tt.jobs {
			t.Errorf("%s: at -c: %+v", tt.name, o)
		}
	}
	for _, id := range jobs {
		d.must("cancel", id)
	}
	d.nothingLeft()
}

// eventsUntil returns the output of atctl events for a user, from the oldest event
// until an activation is in a state.
func (d *daemon) eventsUntil(uid int, id, state string) (text string) {
	d.t.Helper()
	cmd := exec.Command("setpriv", fmt.Sprintf("--reuid=%d", uid), "--regid=1", "--clear-groups", d.Bin+"/atctl", "events", "--json", "--since", "1")
	cmd.Env = append(os.Environ(), "ACTIVATIOND_SOCKET="+d.socket)
	out, err := cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	hang := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer hang.Stop()
	lines := bufio.NewScanner(out)
	found := false
	for !found && lines.Scan() {
		text += lines.Text() + "\n"
		e := parse[control.Event](d.t, lines.Text())
		found = e.ID == id && e.State == state
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if !found {
		d.t.Fatalf("atctl events as %d does not tell that %s is %s:\n%s", uid, id, state, text)
	}
	return text
}

// TestRoleIsTakenAway checks that a user who is no longer an operator loses that role on
// connections that are open, too.
func TestRoleIsTakenAway(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv", "socat")
	d := newDaemon(t, "access: {operators: [games]}\n")
	d.Start()
	open := newTalker(t, "setpriv", fmt.Sprintf("--reuid=%d", games), fmt.Sprintf("--regid=%[1]d", games), "--clear-groups",
		"socat", "-", "UNIX-CONNECT:"+d.socket)
	open.reload("200")
	d.write("config.yaml", "access: {operators: []}\n", 0o644)
	d.must("reload")
	open.reload("403")
}

// A talker is a process that has one connection open, on which it sends what it reads.
type talker struct {
	t     *testing.T
	in    io.WriteCloser
	lines *bufio.Scanner
}

func newTalker(t *testing.T, argv ...string) *talker {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return &talker{t, in, bufio.NewScanner(out)}
}

// reload requests a reload and checks how the reply begins.
func (k *talker) reload(want string) {
	k.t.Helper()
	if _, err := io.WriteString(k.in, "reload\n\n"); err != nil {
		k.t.Fatal(err)
	}
	if !k.lines.Scan() || !strings.HasPrefix(k.lines.Text(), want) {
		k.t.Errorf("reload: %q, want %s", k.lines.Text(), want)
	}
	for k.lines.Text() != "." {
		if !k.lines.Scan() {
			k.t.Fatal("the connection was closed")
		}
	}
}
