package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const triangle = `name: triangle
topology:
  nodes:
    r1: {kind: linux}
    r2: {kind: linux}
  links:
    - endpoints: ["r1:eth1", "r2:eth1"]
`

// TestEnvironment checks that a script's environment has everything that is promised to
// scripts, and nothing of the daemon's own.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, `
sources: [{files: DIR/res.yaml}]
reservations: {activate: [DIR/activate], deactivate: [DIR/activate], timeout: 1h, environment: {SITE: ostrava}}
jobs: {environment: {SITE: jobs}}
`)
	b := d.beacon()
	d.script("activate", `env | sort >`+d.dir+`/shared/env.$ACTIVATION_PHASE
cp "$ACTIVATION_TOPOLOGY" `+d.dir+`/shared/topology.$ACTIVATION_PHASE
ls -ld "$ACTIVATION_CONFIG_DIR" >`+d.dir+`/shared/ls.$ACTIVATION_PHASE
ls -la "$ACTIVATION_CONFIG_DIR" >>`+d.dir+`/shared/ls.$ACTIVATION_PHASE
echo generated >"$ACTIVATION_CONFIG_DIR/sw1.cfg"
echo $ACTIVATION_PHASE >`+b.path+"\n")
	d.write("two.clab.yml", triangle, 0o644)
	d.Start()
	now := time.Now().Truncate(time.Millisecond)
	end := now.Add(time.Hour)
	d.announce(resv{id: "1042@ostrava", start: now, end: end, more: "  owner: group7\n  topology: two.clab.yml\n  env: {LEVEL: \"3\"}\n"})
	if got := b.next(); got != "activate" {
		t.Fatal(got)
	}
	d.InState("1042@ostrava", "active")
	d.must("cancel", "1042@ostrava")
	b.next()
	a := d.ended("1042@ostrava", "cancelled", 125)
	if !slices.Equal(a.Devices, []string{"r1", "r2"}) {
		t.Errorf("devices %v, want the topology's nodes", a.Devices)
	}
	for i, phase := range []string{"activate", "deactivate"} {
		env := variables(t, d.read(d.shared("env."+phase)))
		want := map[string]string{
			"ACTIVATION_ID": "1042@ostrava", "ACTIVATION_PHASE": phase, "ACTIVATION_ATTEMPT": "1", "ACTIVATION_OWNER": "group7",
			"ACTIVATION_START": now.Format(time.RFC3339Nano), "ACTIVATION_END": end.Format(time.RFC3339Nano),
			"ACTIVATION_DEVICES": "r1 r2", "ACTIVATIOND_SOCKET": d.socket, "SITE": "ostrava", "LEVEL": "3",
		}
		for name, value := range want {
			if name == "ACTIVATION_START" || name == "ACTIVATION_END" { // the zone may be written otherwise
				got, err := time.Parse(time.RFC3339Nano, env[name])
				if wanted, _ := time.Parse(time.RFC3339Nano, value); err != nil || !got.Equal(wanted) {
					t.Errorf("%s: %s=%q, want %s; %v", phase, name, env[name], value, err)
				}
			} else if env[name] != value {
				t.Errorf("%s: %s=%q, want %q", phase, name, env[name], value)
			}
		}
		dir := env["ACTIVATION_CONFIG_DIR"]
		wrapperPID := ""
		if _, err := fmt.Sscanf(strings.TrimPrefix(dir, d.runtime+"/config/"), "%s", &wrapperPID); err != nil || strings.Trim(wrapperPID, "0123456789") != "" {
			t.Errorf("%s: ACTIVATION_CONFIG_DIR=%q, want a directory named by a process id", phase, dir)
		}
		if ls := d.read(d.shared("ls." + phase)); !strings.HasPrefix(ls, "drwx------") {
			t.Errorf("%s: the configuration directory is\n%s\nwant mode 0700", phase, ls)
		}
		if env["ACTIVATION_TOPOLOGY"] == "" || d.read(d.shared("topology."+phase)) != triangle {
			t.Errorf("%s: ACTIVATION_TOPOLOGY=%q was a file with %q", phase, env["ACTIVATION_TOPOLOGY"], d.read(d.shared("topology."+phase)))
		}
		if env["ACTIVATION_FENCE"] == "" || env["ACTIVATION_RUN"] == "" || env["PATH"] == "" || env["HOME"] == "" {
			t.Errorf("%s: no fence, mark, path or home: %v", phase, env)
		}
		deadline, err := time.Parse(time.RFC3339Nano, env["ACTIVATION_DEADLINE"])
		if started := a.Attempts[i].Started; err != nil || deadline.Before(started) || deadline.After(started.Add(2*time.Hour)) {
			t.Errorf("%s: ACTIVATION_DEADLINE=%q, want the timeout's end after %v; %v", phase, env["ACTIVATION_DEADLINE"], started, err)
		}
		for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "GOMAXPROCS", "GORACE"} {
			if v, ok := env[name]; ok {
				t.Errorf("%s: %s=%q is the daemon's own affair", phase, name, v)
			}
		}
		kept := fmt.Sprintf("%s/runs/1042@ostrava.%s.1/config/sw1.cfg", d.state, phase)
		if d.read(kept) != "generated\n" {
			t.Errorf("%s: what the script generated is not kept as evidence in %s", phase, kept)
		}
	}
	d.nothingLeft()

	id := d.add("--env", "COLOUR=red", "--dir", d.dir, "--", "sh", "-c", "env; pwd; umask")
	d.ended(id, "succeeded", 0)
	log := d.must("log", id)
	env := variables(t, log)
	if env["COLOUR"] != "red" || env["SITE"] != "jobs" || env["ACTIVATION_ID"] != id || env["ACTIVATION_END"] != "" || !strings.Contains(log, "\n"+d.dir+"\n") {
		t.Errorf("a job's environment and place:\n%s", log)
	}
	if strings.Count(log, "ACTIVATION_CONFIG_DIR=") != 1 {
		t.Errorf("a variable is there twice:\n%s", log)
	}
}

// variables reads the output of env, and checks that no name is there twice.
func variables(t *testing.T, text string) map[string]string {
	t.Helper()
	env := make(map[string]string)
	for l := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSuffix(l, "\n"), "=")
		if !ok {
			continue
		}
		if old, twice := env[name]; twice {
			t.Errorf("%s is there twice: %q and %q", name, old, value)
		}
		env[name] = value
	}
	return env
}

// TestNoVariableTwice reads a script's environment as the kernel has it: shells
// hide a variable that is there twice.
func TestNoVariableTwice(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, `
sources: [{files: DIR/res.yaml}]
reservations: {activate: [sh, -c, 'tr "\0" "\n" </proc/self/environ >DIR/shared/env'], deactivate: ['true']}
`)
	d.write("two.clab.yml", triangle, 0o644)
	d.Start()
	d.announce(resv{id: "1@x", start: time.Now(), end: time.Now().Add(time.Hour), more: "  topology: two.clab.yml\n"})
	d.InState("1@x", "active")
	env := variables(t, d.read(d.shared("env")))
	if env["ACTIVATION_TOPOLOGY"] == "" {
		t.Error("there is no ACTIVATION_TOPOLOGY")
	}
}

// TestScriptUsesTheSocket has scripts send requests to the daemon that runs them.
func TestScriptUsesTheSocket(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	d.Start()
	id := d.add("--label", "asker", "--", "sh", "-c", `
PATH=`+d.Bin+`:$PATH
atctl show --json "$ACTIVATION_ID" || exit 1
child=$(atctl add --label child -- sh -c 'exit 4') || exit 1
atctl wait "$child"; [ $? = 4 ] || exit 2
atctl cancel "$(atctl add --in 1h -- true)" >/dev/null || exit 3
echo "$child"`)
	d.ended(id, "succeeded", 0)
	lines := strings.Split(d.must("log", id), "\n")
	if !strings.Contains(lines[0], `"state":"activating"`) {
		t.Errorf("the script saw itself as %s, want activating", lines[0])
	}
	if a := d.show(lines[len(lines)-1]); a.Label != "child" || a.Outcome != "failed" {
		t.Errorf("its child is %+v", a)
	}
}

// TestLinkconf attaches topologies before and after the announcement, removes one, and
// checks ACTIVATION_TOPOLOGY.
func TestLinkconf(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, `
sources: [{files: DIR/res.yaml}]
listen: ['127.0.0.1:0']
reservations: {activate: [DIR/activate], deactivate: ['true']}
`)
	b := d.beacon()
	d.script("activate", `cat "$ACTIVATION_TOPOLOGY" >`+d.dir+`/shared/topology.$ACTIVATION_ID
echo "$ACTIVATION_ID $ACTIVATION_DEVICES" >`+b.path+"\n")
	d.write("res.yaml", yaml(), 0o644)
	d.Start()
	json := `{"topology":{"nodes":{"r8":{"kind":"linux"},"r9":{"kind":"linux"}}}}`
	say := func(text, want string) {
		t.Helper()
		if got := ask(t, "tcp", d.tcp(), text); !strings.HasPrefix(got, want) {
			t.Errorf("%q is answered with %q, want %s", text, got, want)
		}
	}
	say("LINKCONF\r\nresid:1@x\r\ntopology:"+json+"\r\n\r\n", "200 ") // before it is announced
	later := time.Now().Add(time.Hour)
	end := later.Add(time.Hour)
	d.write("topologies/named.clab.yml", triangle, 0o644)
	if err := writeFile(d.state+"/topologies/named.clab.yml", triangle, 0o600); err != nil {
		t.Fatal(err)
	}
	d.announce(resv{id: "1@x", start: later, end: end}, resv{id: "2@x", start: later, end: end}, resv{id: "3@x", start: later, end: end, devices: "r3"})
	if a := d.show("1@x"); !slices.Equal(a.Devices, []string{"r8", "r9"}) {
		t.Errorf("devices %v, want those of the topology that was attached before", a.Devices)
	}
	say("linkconf\ntopology:named.clab.yml\nresid:2@x\n\n", "200 ") // after it
	say("linkconf\ntopology:"+json+"\nresid:3@x\n\n", "200 ")
	say("dellinkconf\ndelresid:3@x\n\n", "200 ")
	say("dellinkconf\ndelresid:3@x\n\n", "404 ")
	say("linkconf\ntopology:../../../etc/passwd\nresid:2@x\n\n", "400 ")
	say("linkconf\ntopology:absent.clab.yml\nresid:2@x\n\n", "404 ")
	say("linkconf\ntopology:{\"topology\":\nresid:2@x\n\n", "400 ")
	d.Kill()
	d.Start()
	for _, tt := range []struct{ id, devices, topology string }{
		{"1@x", "r8 r9", json}, {"2@x", "r1 r2", triangle}, {"3@x", "r3", ""},
	} {
		d.must("run", tt.id)
		if got, want := b.next(), tt.id+" "+tt.devices; got != want {
			t.Errorf("the script told %q, want %q", got, want)
		}
		d.InState(tt.id, "active")
		if got := d.read(d.shared("topology." + tt.id)); got != tt.topology {
			t.Errorf("%s: its topology was %q, want %q", tt.id, got, tt.topology)
		}
	}
	say("linkconf\ntopology:"+json+"\nresid:1@x\n\n", "409 ") // it is fixed now
	d.must("cancel", "1@x", "2@x", "3@x")
	for _, id := range []string{"1@x", "2@x", "3@x"} {
		d.ended(id, "cancelled", 125)
	}
	d.nothingLeft()
}

// nobody is the uid of a user who has nothing to do with root.
const nobody = 65534

// TestOtherUsers submits jobs as a user other than root: the jobs run as that user, who
// can do nothing with the jobs of others.
func TestOtherUsers(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv")
	d := newDaemon(t, "")
	d.Start()
	as := func(args ...string) output {
		return d.run("", append([]string{"setpriv", fmt.Sprintf("--reuid=%d", nobody), fmt.Sprintf("--regid=%d", nobody), "--clear-groups", d.Bin + "/atctl"}, args...)...)
	}
	o := as("add", "--", "sh", "-c", "id -u; id -g; id -G; echo $USER; touch "+d.shared("mine")+"; cat "+d.state+"/state.db || echo no; kill -0 "+fmt.Sprint(d.Newest().Cmd.Process.Pid)+" || echo no; ls $ACTIVATION_CONFIG_DIR/.. || echo no; echo x >$ACTIVATION_CONFIG_DIR/f && cat $ACTIVATION_CONFIG_DIR/f")
	if o.status != 0 {
		t.Fatalf("atctl add as nobody: %+v", o)
	}
	id := strings.TrimSpace(o.out)
	a := d.ended(id, "succeeded", 0)
	if a.Owner != "nobody" {
		t.Errorf("its owner is %q, want nobody", a.Owner)
	}
	o = as("log", id)
	var plain []string
	for l := range strings.Lines(o.out) {
		if l != "\n" && !strings.Contains(l, ":") { // what programs say of their failures
			plain = append(plain, strings.TrimSpace(l))
		}
	}
	if want := []string{"65534", "65534", "65534", "nobody", "no", "no", "no", "x"}; !slices.Equal(plain, want) {
		t.Errorf("the job said %q, want %q", o.out, want)
	}
	if info, err := os.Stat(d.shared("mine")); err != nil {
		t.Error(err)
	} else if uid := ownerOf(info); uid != nobody {
		t.Errorf("its file belongs to %d", uid)
	}

	roots := d.add("--in", "1h", "--", "true")
	ran := d.add("--", "echo", "secret")
	d.ended(ran, "succeeded", 0)
	mine := strings.TrimSpace(as("add", "--in", "1h", "--", "true").out)
	for _, args := range [][]string{{"cancel", roots}, {"hold", roots}, {"run", roots}, {"retry", ran}, {"forgive", roots}, {"log", ran},
		{"reload"}, {"stop"}, {"stop", "--drain"}, {"backup", "-"}, {"linkconf", "1@x", "{}"}} {
		if o := as(args...); o.status != 5 {
			t.Errorf("atctl %v as nobody: %+v, want status 5", args, o)
		}
	}
	if a := d.show(roots); a.State != "scheduled" {
		t.Errorf("root's job is %s (%s), want scheduled", a.State, a.Reason)
	}
	for _, args := range [][]string{{"hold", mine}, {"release", mine}, {"cancel", mine}, {"list"}, {"show", roots}, {"status"}} {
		if o := as(args...); o.status != 0 {
			t.Errorf("atctl %v as nobody: %+v, want status 0", args, o)
		}
	}
	d.nothingLeft()
}

// TestAsOrdinaryUser runs the daemon itself as a user other than root.
func TestAsOrdinaryUser(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	if os.Getuid() == 0 {
		needProgram(t, "setpriv")
		if err := os.Chown(d.dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		d.Prefix = []string{"setpriv", fmt.Sprintf("--reuid=%d", nobody), fmt.Sprintf("--regid=%d", nobody), "--clear-groups"}
	}
	b := d.beacon()
	script, gate := d.gate(b)
	d.Start()
	s := d.status()
	t.Logf("as %s, contained by %s (%s)", s.User, s.Guard, s.GuardWhy)
	id := d.add("--", script, "job")
	b.next()
	d.Kill()
	d.Start()
	d.open(gate, "on")
	d.ended(id, "failed", 5)
	id = d.add("--timeout", "500ms", "--grace", "100ms", "--", "sh", "-c", "trap '' TERM; setsid sleep 300 & while :; do sleep 1; done")
	d.ended(id, "timed_out", 124)
	id = d.add("--", "id", "-u")
	d.ended(id, "succeeded", 0)
	if got := d.must("log", id); os.Getuid() == 0 && got != fmt.Sprint(nobody) {
		t.Errorf("the job ran as %s, want %d", got, nobody)
	}
	if os.Getuid() == 0 { // somebody else
		if o := d.run("", "setpriv", "--reuid=5", "--regid=60", "--clear-groups", d.Bin+"/atctl", "add", "--", "true"); o.status != 5 {
			t.Errorf("another user's add: %+v, want status 5", o)
		}
	}
	d.nothingLeft()
}
