package test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"activationd/control"
)

// games is the uid of a user whom nothing here runs as, in a group of his own.
const games, gamesGroup = 5, 60

// as runs atctl as another user, with these groups.
func (d *daemon) as(uid, gid int, args ...string) output {
	d.t.Helper()
	return d.run("", append([]string{"setpriv", fmt.Sprintf("--reuid=%d", uid), fmt.Sprintf("--regid=%d", gid), "--clear-groups", d.bin + "/atctl"}, args...)...)
}

// addAs adds a job as another user, and returns its id.
func (d *daemon) addAs(uid, gid int, args ...string) string {
	d.t.Helper()
	o := d.as(uid, gid, append([]string{"add", "--dir", "/"}, args...)...)
	if o.status != 0 {
		d.t.Fatalf("atctl add %q as %d: %+v", args, uid, o)
	}
	return strings.TrimSpace(o.out)
}

// A job that tells all that it was given.
const tellsAll = `for what in Uid Gid Groups CapInh CapPrm CapEff CapAmb NoNewPrivs SigIgn SigBlk; do
	sed -n "s/^$what:[ \t]*//p" /proc/self/status | tr '\t' ' ' | sed "s/^/$what=/; s/ *$//"
done
echo Umask=$(umask)
echo OOM=$(cat /proc/self/oom_score_adj)
echo Terminal=$(cut -d' ' -f7 /proc/self/stat)
echo Files=$(ls /proc/self/fd | tr '\n' ' ') # one is that of ls
echo Nofile=$(ulimit -Hn) Core=$(ulimit -Hc)
grep -c activationd-test /proc/keys | sed 's/^/Keys=/'
env
`

// TestJobInheritsNothing starts the daemon where a job would inherit much from
// it, and looks at what a job of another user has.
func TestJobInheritsNothing(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv", "bash")
	d := newDaemon(t, "")
	env := d.write("daemon", `#!/bin/bash
exec 7</etc/shadow 8>>"$0.leak" # descriptors that stay open
echo -500 >/proc/self/oom_score_adj || echo 100 >/proc/self/oom_score_adj
for s in {1..64}; do trap '' $s; done 2>/dev/null
export PASSWORD_OF_A_DATABASE=hush CREDENTIALS_DIRECTORY=/hush LD_LIBRARY_PATH=/hush LISTEN_PID=1 LISTEN_FDS=1
umask 0
exec setpriv --inh-caps=+net_admin,+chown --ambient-caps=+net_admin "$@"
`, 0o700)
	d.prefix = []string{env}
	// A key in the session keyring that the daemon inherits. Keyrings are a
	// thread's, and this one ends with the test.
	runtime.LockOSThread()
	if _, err := unix.KeyctlJoinSessionKeyring("activationd-test"); err != nil {
		t.Logf("no keyrings here, so none can leak: %v", err)
	} else if _, err := unix.AddKey("user", "activationd-test-key", []byte("hush"), unix.KEY_SPEC_SESSION_KEYRING); err != nil {
		t.Fatal(err)
	}
	d.start()

	o := d.run(tellsAll, "prlimit", "--nofile=100:200", "--core=0:0", "setpriv", fmt.Sprintf("--reuid=%d", games), fmt.Sprintf("--regid=%d", gamesGroup),
		"--clear-groups", d.bin+"/atctl", "add", "--dir", "/", "--env", "MINE=x")
	if o.status != 0 {
		t.Fatalf("atctl add: %+v", o)
	}
	id := strings.TrimSpace(o.out)
	d.ended(id, "succeeded", 0)
	log := d.must("log", id)
	got := map[string]string{}
	for l := range strings.Lines(log) {
		name, value, _ := strings.Cut(strings.TrimSuffix(l, "\n"), "=")
		got[name] = value
	}
	const none = "0000000000000000"
	for name, want := range map[string]string{
		"Uid": "5 5 5 5", "Gid": "60 60 60 60", "Groups": "60",
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapAmb": none, "NoNewPrivs": "0",
		"SigIgn": none, "SigBlk": none, "Umask": "0022", "Terminal": "0", "Files": "0 1 2 3", "Nofile": "200 Core=0", "Keys": "0",
		"USER": "games", "LOGNAME": "games", "HOME": "/usr/games", "MINE": "x",
	} {
		if got[name] != want {
			t.Errorf("a job has %s=%s, want %s", name, got[name], want)
		}
	}
	if score := got["OOM"]; score != "0" && score != "100" { // 100: this machine spares nobody
		t.Errorf("a job's oom_score_adj is %s", score)
	}
	names := slices.Sorted(maps.Keys(got))
	given := regexp.MustCompile(`^(Uid|Gid|Groups|Cap\w+|NoNewPrivs|Sig\w+|Umask|OOM|Terminal|Files|Nofile|Keys` +
		`|ACTIVATION\w*|PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_ALL|TZ|MINE|PWD|OLDPWD|SHLVL|_)$`) // the last four are the shell's
	for _, name := range names {
		if !given.MatchString(name) {
			t.Errorf("a job has %s=%s, which nobody gave it", name, got[name])
		}
	}
	if strings.Contains(log, "hush") {
		t.Error("something of the daemon's has come to a job")
	}

	// Nobody but root reads what it leaves on the disk, and where it ran.
	for _, dir := range []string{d.state + "/runs", d.state + "/state.db"} {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 || ownerOf(info) != 0 {
			t.Errorf("%s is of user %d with mode %v", dir, ownerOf(info), info.Mode())
		}
	}
	err := filepath.Walk(d.state+"/runs", func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	d.nothingLeft()
}

// TestReducedDaemon runs jobs of a daemon that has few capabilities, as a
// hardened unit has, and of one without root that has some.
func TestReducedDaemon(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv")
	few := newDaemon(t, "")
	few.prefix = []string{"setpriv", "--bounding-set=-all,+chown,+dac_override,+kill,+setuid,+setgid,+sys_chroot"}
	few.start()
	id := few.addAs(games, gamesGroup, "--", "sh", "-c", "id -u; id -G; grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status | tr -d '0\n\t'; grep CapBnd /proc/self/status")
	few.ended(id, "succeeded", 0)
	if got, want := few.must("log", id), "5\n60\nCapInh:CapPrm:CapEff:CapAmb:CapBnd:\t00000000000400e3"; got != want {
		t.Errorf("a job of a daemon with few capabilities says %q, want %q", got, want)
	}
	few.nothingLeft()

	some := newDaemon(t, "")
	if err := os.Chown(some.dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	some.prefix = []string{"setpriv", fmt.Sprintf("--reuid=%d", nobody), fmt.Sprintf("--regid=%d", nobody), "--clear-groups",
		"--inh-caps=+net_admin", "--ambient-caps=+net_admin"}
	some.start()
	shows := []string{"sh", "-c", "grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status | tr -d '\n\t'"}
	id = some.addAs(nobody, nobody, append([]string{"--"}, shows...)...)
	some.ended(id, "succeeded", 0)
	const none = "0000000000000000"
	if got, want := some.must("log", id), "CapInh:"+none+"CapPrm:"+none+"CapEff:"+none+"CapAmb:"+none; got != want {
		t.Errorf("a job of a daemon that has a capability says %q, want %q", got, want)
	}
	some.nothingLeft()
}

// TestUserOfThen has users change between the submission of a job and its start:
// other groups, another's number, gone. The daemon sees files of its own in place
// of /etc/passwd and /etc/group.
func TestUserOfThen(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv", "unshare", "mount")
	const carol, lab, other = 20001, 20002, 20003
	d := newDaemon(t, "")
	files := map[string]string{}
	for _, name := range []string{"passwd", "group"} {
		text, err := os.ReadFile("/etc/" + name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	users := func(passwd, group string) { // in place: the mounts are of the files that are there
		for name, more := range map[string]string{"passwd": passwd, "group": group} {
			if err := os.WriteFile(d.dir+"/"+name, []byte(files[name]+more), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	const carolIs = "carol:x:20001:20001::/home/carol:/bin/sh\n"
	users(carolIs, "carol:x:20001:\nlab:x:20002:carol\nother:x:20003:\n")
	d.prefix = []string{"unshare", "-m", "sh", "-ec", `mount --make-rprivate /; mount --bind "$0/passwd" /etc/passwd; mount --bind "$0/group" /etc/group; exec "$@"`, d.dir}
	d.start()
	say := []string{"--hold", "--", "sh", "-c", "echo uid=$(id -u) gid=$(id -g) groups=$(id -G) home=$HOME"}
	plain := d.addAs(carol, carol, say...)
	asLab := d.addAs(carol, lab, say...)
	lent := d.addAs(carol, 0, say...) // as a set-gid program would
	before := d.addAs(carol, lab, say...)
	late := d.addAs(carol, carol, say...)
	later := d.addAs(carol, carol, say...)

	ran := func(id, want string) {
		t.Helper()
		d.must("release", id)
		d.ended(id, "succeeded", 0)
		if got := d.must("log", id); got != want {
			t.Errorf("%s ran as %q, want %q", id, got, want)
		}
	}
	refused := func(id, why string) {
		t.Helper()
		d.must("release", id)
		if a := d.ended(id, "failed", 126); len(a.Attempts) != 1 || a.Attempts[0].PID != 0 || !strings.Contains(a.Attempts[0].Reason, why) {
			t.Errorf("%s: %+v, want no process, because: %s", id, a.Attempts, why)
		}
	}
	ran(asLab, "uid=20001 gid=20002 groups=20002 20001 home=/home/carol")
	ran(lent, "uid=20001 gid=20001 groups=20001 20002 home=/home/carol")

	users(strings.ReplaceAll(carolIs, "/home/carol", "/home/new"), "carol:x:20001:\nlab:x:20002:\nother:x:20003:carol\n")
	ran(plain, "uid=20001 gid=20001 groups=20001 20003 home=/home/new")
	refused(before, "as a member of group 20002, and is none any more")

	users("dave:x:20001:20001::/:/bin/sh\n", "dave:x:20001:\n") // the number is given to somebody else
	refused(late, "was carol when this was asked for, and is dave now")
	if o := d.as(carol, carol, "log", plain); o.status != 5 {
		t.Errorf("carol's log, read by who has her number: %+v", o)
	}
	users("20001:x:20009:20009::/:/bin/sh\n", "") // it is a name now
	refused(later, "is no more")
	if o := d.as(carol, carol, "add", "--", "true"); o.status != 5 || !strings.Contains(o.err, "there is no user 20001") {
		t.Errorf("atctl add as a user who is gone: %+v", o)
	}
	d.nothingLeft()
}

// TestPlacesAreEnteredAsTheUser has jobs with a directory, a command and an input
// that root may use and their users may not.
func TestPlacesAreEnteredAsTheUser(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv")
	d := newDaemon(t, "")
	d.start()
	d.script("closed/tool", "echo ran\n")
	if err := os.Chmod(d.dir+"/closed", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		why  string
	}{
		{[]string{"--dir", d.dir + "/closed", "--", "true"}, "working directory: permission denied"},
		{[]string{"--dir", "/", "--", d.dir + "/closed/tool"}, "tool: permission denied"},
		{[]string{"--dir", "/", "--env", "PATH=" + d.dir + "/closed", "--", "tool"}, "tool: permission denied"},
	} {
		o := d.as(games, gamesGroup, append([]string{"add"}, tt.args...)...)
		if o.status != 0 {
			t.Fatalf("atctl add %q: %+v", tt.args, o)
		}
		a := d.ended(strings.TrimSpace(o.out), "failed", 126)
		if !strings.HasSuffix(a.Attempts[0].Reason, tt.why) {
			t.Errorf("%q: %s, want %s", tt.args, a.Attempts[0].Reason, tt.why)
		}
	}
	d.nothingLeft()
}

// TestSetUID has jobs run another's set-uid files: they gain what they would gain
// in the user's own shell, or nothing with no_new_privileges.
func TestSetUID(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv")
	for _, tt := range []struct {
		config, program string
	}{
		{"", "0 60"},
		{"runs: {no_new_privileges: true}\n", "5 60"},
	} {
		d := newDaemon(t, tt.config)
		var fs unix.Statfs_t
		if err := unix.Statfs(d.dir, &fs); err != nil {
			t.Fatal(err)
		}
		if fs.Flags&unix.ST_NOSUID != 0 {
			t.Fatalf("%s is mounted nosuid: set TMPDIR to another place", d.dir)
		}
		id, err := exec.LookPath("id")
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(id)
		if err != nil {
			t.Fatal(err)
		}
		program, script := d.dir+"/id", d.script("script", "id -u\n")
		if err := os.WriteFile(program, text, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{program, script} {
			if err := os.Chmod(file, 0o755|os.ModeSetuid|os.ModeSetgid); err != nil {
				t.Fatal(err)
			}
		}
		d.start()
		for _, job := range []struct {
			argv []string
			want string
		}{
			{[]string{program, "-u"}, strings.Fields(tt.program)[0]},
			{[]string{script}, "5"}, // the kernel's own rule, in any case
		} {
			id := d.addAs(games, gamesGroup, append([]string{"--"}, job.argv...)...)
			d.ended(id, "succeeded", 0)
			if got := d.must("log", id); got != job.want {
				t.Errorf("with %q, %q ran as %q, want %q", tt.config, job.argv, got, job.want)
			}
		}
		d.nothingLeft()
	}
}

// secret is what only the owner of a job, and operators, may get to see.
const secret = "xyzzy"

// TestOthersJobs asks for everything there is, as everybody there is, and looks
// for what is not theirs.
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
	d.start()
	d.must("reload")
	owner := func(args ...string) string { return d.addAs(nobody, nobody, args...) }
	jobs := []string{
		owner("--label", secret, "--tag", secret, "--env", "A="+secret, "--hold", "--lock", "sw1", "--", "echo", secret),
		owner("--label", secret, "--", "sh", "-c", "echo "+secret+"; exit 3"),
		owner("--label", secret, "--", "/"+secret),
	}
	d.ended(jobs[1], "failed", 3)
	d.ended(jobs[2], "failed", 127)
	if o := d.as(nobody, nobody, "cancel", "--reason", secret, jobs[0]); o.status != 0 {
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
			return d.as(tt.uid, tt.gid, args...)
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
				t.Errorf("%s: of %s is told\n%s", tt.name, id, shown)
			}
			v := parse[control.Detail](t, ask("show", "--json", id).out)
			if v.ID != id || v.State == "" || v.Owner == "" || v.Hidden == sees || v.RunDirectory != "" && !sees {
				t.Errorf("%s: of %s is told %+v", tt.name, id, v)
			}
		}
		for _, args := range [][]string{{"list", "--all", "--label", secret}, {"list", "--all", "--tag", secret}} {
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
	// Whoever comes over the loopback is nobody: he has no jobs, and none is his.
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
		if o := d.as(mail, mail, append([]string{"edit", roots}, args...)...); o.status != 5 {
			t.Errorf("atctl edit %q of root's job by an operator: %+v, want status 5", args, o)
		}
	}
	if o := d.as(mail, mail, "edit", roots, "--priority", "3"); o.status != 0 {
		t.Errorf("atctl edit --priority of root's job by an operator: %+v", o)
	}
	d.nothingLeft()
}

// TestNamesLeadNowhere gives everything that takes a name one that would lead to
// another place, as a submitter, as an operator, and as a reservation.
func TestNamesLeadNowhere(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv")
	d := newDaemon(t, "access: {operators: [mail]}\nsources: [{files: DIR/lab}]\ntopology_directory: DIR/topologies\n")
	// A run of a job whose number is given again, as after a backup is restored.
	d.write("state/runs/1.activate.1/log", secret+"\n", 0o600)
	d.write("topologies/good.yml", "topology: {nodes: {r1: {}}}\n", 0o644)
	d.write("outside.yml", "topology: {nodes: {"+secret+": {}}}\n", 0o600)
	d.write("lab/inside.yml", "topology: {nodes: {r1: {}}}\n", 0o644)
	for _, dir := range []string{"topologies", "lab"} {
		if err := os.Symlink(d.dir+"/outside.yml", d.dir+"/"+dir+"/link.yml"); err != nil {
			t.Fatal(err)
		}
	}
	bad := []string{"../x", "..", ".", "/etc/passwd", "a/../../x", "x/y", "%2e%2e%2fx", "x\u0000y", "../../runs/1.activate.1"}
	text := "reservations:\n"
	for _, id := range bad {
		text += fmt.Sprintf("- {id: %q, owner: x, start: 2030-01-01T10:00:00Z, end: 2030-01-01T12:00:00Z, devices: [r1]}\n", id)
		text += fmt.Sprintf("- {id: %q, owner: x, start: 2030-01-01T10:00:00Z, end: 2030-01-01T12:00:00Z, devices: [%q]}\n", "1@x", id)
	}
	for _, topology := range []string{"../outside.yml", "link.yml", d.dir + "/outside.yml"} {
		text += fmt.Sprintf("- {id: %q, owner: x, start: 2030-01-01T10:00:00Z, end: 2030-01-01T12:00:00Z, topology: %q}\n", "2@x", topology)
	}
	d.write("lab/r.yaml", text, 0o644)
	for _, dir := range []string{"state", "state/runs"} { // as the daemon itself makes them
		if err := os.Chmod(d.dir+"/"+dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d.start()
	o := d.atctl("reload")
	if o.status != 2 || strings.Contains(o.out+o.err, secret) {
		t.Errorf("atctl reload: %+v, want rejects", o)
	}
	if got := d.must("list", "--all"); got != "" {
		t.Errorf("these are known now:\n%s", got)
	}

	first := d.addAs(games, gamesGroup, "--", "echo", "mine")
	d.wait(first)
	for _, args := range [][]string{{"log", first}, {"log", "--attempt", "1", first}, {"log", "--phase", "activate", "--attempt", "1", first}} {
		if o := d.as(games, gamesGroup, args...); strings.Contains(o.out, secret) {
			t.Errorf("a new job's log is an old one's: atctl %q: %+v", args, o)
		}
	}
	held := d.add("--hold", "--", "echo", secret)
	ran := d.add("--", "echo", secret)
	d.ended(ran, "succeeded", 0)
	mine := d.addAs(games, gamesGroup, "--", "echo", "mine")
	d.ended(mine, "succeeded", 0)

	before := d.places()
	const mail = 8
	for _, uid := range []int{games, mail} {
		for _, name := range append(bad, "../"+ran+".activate.1", ran+"/..", "+"+ran) {
			for _, args := range [][]string{
				{"show", name}, {"why", name}, {"log", name}, {"wait", name}, {"cancel", name}, {"run", name}, {"edit", name, "--label", "x"},
				{"log", "--phase", name, mine}, {"log", "--phase", "../" + ran + ".activate", mine}, {"log", "--attempt", "-1", mine},
				{"add", "--lock", name, "--", "true"}, {"add", "--tag", name, "--", "true"}, {"add", "--after", name, "--", "true"},
				{"progress", "--id", name, "x"}, {"linkconf", name, "good.yml"}, {"linkconf", "3@x", name}, {"dellinkconf", name},
				{"vlan", "alloc", "--holder", name, "x:y"}, {"vlan", "section", "--name", name, "--", "true"},
			} {
				if strings.Contains(name, "\x00") { // cannot be an argument of a program
					continue
				}
				o := d.as(uid, uid, args...)
				if o.status == 0 || strings.Contains(o.out+o.err, secret) {
					t.Errorf("atctl %q as %d: %+v", args, uid, o)
				}
			}
		}
	}
	for _, topology := range []string{"../outside.yml", "link.yml", d.dir + "/outside.yml", "lab/../../outside.yml"} {
		if o := d.as(mail, mail, "linkconf", "3@x", topology); o.status == 0 || strings.Contains(o.out+o.err, secret) {
			t.Errorf("atctl linkconf 3@x %q: %+v", topology, o)
		}
	}
	if after := d.places(); !slices.Equal(after, before) {
		t.Errorf("the daemon's places have become\n%q, were\n%q", after, before)
	}
	d.must("cancel", held)
	d.nothingLeft()
}

// places lists the files around the daemon, but for those of runs that succeeded.
func (d *daemon) places() (paths []string) {
	d.t.Helper()
	err := filepath.Walk(d.dir, func(path string, info os.FileInfo, err error) error {
		if os.IsNotExist(err) { // a job that has just ended
			return nil
		}
		if info != nil && info.IsDir() && filepath.Dir(path) == d.state+"/runs" {
			return filepath.SkipDir
		}
		paths = append(paths, strings.TrimPrefix(path, d.dir))
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return paths
}
