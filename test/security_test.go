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
)

// gamesGroup is the group of games, whom nothing here runs as.
const gamesGroup = 60

// as runs atctl as another user, with these groups.
func (d *daemon) atctlAs(uid, gid int, args ...string) output {
	d.t.Helper()
	return d.run("", append([]string{"setpriv", fmt.Sprintf("--reuid=%d", uid), fmt.Sprintf("--regid=%d", gid), "--clear-groups", d.Bin + "/atctl"}, args...)...)
}

// addAs adds a job as another user, and returns its id.
func (d *daemon) addAs(uid, gid int, args ...string) string {
	d.t.Helper()
	o := d.atctlAs(uid, gid, append([]string{"add", "--dir", "/"}, args...)...)
	if o.status != 0 {
		d.t.Fatalf("atctl add %q as %d: %+v", args, uid, o)
	}
	return strings.TrimSpace(o.out)
}

// A job that reports everything that it inherited.
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

// TestJobInheritsNothing starts the daemon where a job could inherit much from it, and
// checks what a job of another user has.
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
	d.Prefix = []string{"bash", env} // not by itself: another test's fork may have it open for writing
	// A key in the session keyring that the daemon inherits. Keyrings are a
	// thread's, and this one ends with the test.
	runtime.LockOSThread()
	if _, err := unix.KeyctlJoinSessionKeyring("activationd-test"); err != nil {
		t.Logf("no keyrings here, so none can leak: %v", err)
	} else if _, err := unix.AddKey("user", "activationd-test-key", []byte("hush"), unix.KEY_SPEC_SESSION_KEYRING); err != nil {
		t.Fatal(err)
	}
	d.Start()

	o := d.run(tellsAll, "prlimit", "--nofile=100:200", "--core=0:0", "setpriv", fmt.Sprintf("--reuid=%d", games), fmt.Sprintf("--regid=%d", gamesGroup),
		"--clear-groups", d.Bin+"/atctl", "add", "--dir", "/", "--env", "MINE=x")
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

// TestReducedDaemon runs jobs of a daemon with few capabilities, as in a hardened unit,
// and of a daemon of another user with some capabilities.
func TestReducedDaemon(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv")
	few := newDaemon(t, "")
	few.Prefix = []string{"setpriv", "--bounding-set=-all,+chown,+dac_override,+kill,+setuid,+setgid,+sys_chroot"}
	few.Start()
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
	some.Prefix = []string{"setpriv", fmt.Sprintf("--reuid=%d", nobody), fmt.Sprintf("--regid=%d", nobody), "--clear-groups",
		"--inh-caps=+net_admin", "--ambient-caps=+net_admin"}
	some.Start()
	shows := []string{"sh", "-c", "grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status | tr -d '\n\t'"}
	id = some.addAs(nobody, nobody, append([]string{"--"}, shows...)...)
	some.ended(id, "succeeded", 0)
	const none = "0000000000000000"
	if got, want := some.must("log", id), "CapInh:"+none+"CapPrm:"+none+"CapEff:"+none+"CapAmb:"+none; got != want {
		t.Errorf("a job of a daemon that has a capability says %q, want %q", got, want)
	}
	some.nothingLeft()
}

// TestUserOfThen changes users between the submission of a job and its start: their
// groups, their number, their existence. The daemon sees files of the test as
// /etc/passwd and /etc/group.
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
	d.Prefix = []string{"unshare", "-m", "sh", "-ec", `mount --make-rprivate /; mount --bind "$0/passwd" /etc/passwd; mount --bind "$0/group" /etc/group; exec "$@"`, d.dir}
	d.Start()
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
	refused(before, "as a member of group 20002, and has left it")

	users("dave:x:20001:20001::/:/bin/sh\n", "dave:x:20001:\n") // the number is given to somebody else
	refused(late, "and belongs to dave now")
	if o := d.atctlAs(carol, carol, "log", plain); o.status != 5 {
		t.Errorf("carol's log, read by who has her number: %+v", o)
	}
	users("20001:x:20009:20009::/:/bin/sh\n", "") // it is a name now
	refused(later, "no longer exists")
	if o := d.atctlAs(carol, carol, "add", "--", "true"); o.status != 5 || !strings.Contains(o.err, "there is no user 20001") {
		t.Errorf("atctl add as a user who is gone: %+v", o)
	}
	d.nothingLeft()
}

// TestPlacesAreEnteredAsTheUser has jobs whose directory, command and input root may
// use and their user may not.
func TestPlacesAreEnteredAsTheUser(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv")
	d := newDaemon(t, "")
	d.Start()
	d.script("closed/tool", "echo ran\n")
	if err := os.Chmod(d.dir+"/closed", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		why  string
	}{
		{[]string{"--dir", d.dir + "/closed", "--", "true"}, "its user may not enter the working directory " + d.dir + "/closed"},
		{[]string{"--dir", "/", "--", d.dir + "/closed/tool"}, "its user may not enter the directory of " + d.dir + "/closed/tool"},
		{[]string{"--dir", "/", "--env", "PATH=" + d.dir + "/closed", "--", "tool"}, "there is no command tool in PATH, which is " + d.dir + "/closed"},
	} {
		o := d.atctlAs(games, gamesGroup, append([]string{"add"}, tt.args...)...)
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

// TestSetUID has jobs run set-uid files of another user: they gain the same privileges
// as in the user's own shell, or none with no_new_privileges.
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
		program, script := d.dir+"/id", d.script("script", "id -u\n")
		if o := d.run("", "cp", id, program); o.status != 0 {
			t.Fatalf("cp: %+v", o)
		}
		for _, file := range []string{program, script} {
			if err := os.Chmod(file, 0o755|os.ModeSetuid|os.ModeSetgid); err != nil {
				t.Fatal(err)
			}
		}
		d.Start()
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

// TestNoWayOutOfASandbox submits jobs, in every possible way, from a process that can
// gain no privileges, as in a sandbox: these jobs cannot gain any either, nor can older
// jobs that the process edits.
func TestNoWayOutOfASandbox(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv", "prlimit")
	d := newDaemon(t, "at: {allow: DIR/at.allow, deny: DIR/at.deny}\n")
	bin := d.installAt()
	d.write("at.deny", "", 0o644)
	d.Start()
	sandboxed := func(stdin string, argv ...string) output {
		t.Helper()
		o := d.run(stdin, slices.Concat([]string{"prlimit", "--core=0:0", "setpriv", fmt.Sprintf("--reuid=%d", games), fmt.Sprintf("--regid=%d", gamesGroup),
			"--clear-groups", "--no-new-privs"}, argv)...)
		if o.status != 0 {
			t.Fatalf("%q: %+v", argv, o)
		}
		return o
	}
	const says = "grep NoNewPrivs /proc/self/status; ulimit -Hc; : >/dev/stderr" // which the user can open
	shows := func(id, what string) {
		t.Helper()
		d.ended(id, "succeeded", 0)
		if got := d.must("log", id); got != "NoNewPrivs:\t1\n0" {
			t.Errorf("%s says %q, want no new privileges and no core", what, got)
		}
	}
	added := sandboxed("", d.Bin+"/atctl", "add", "--dir", "/", "--", "sh", "-c", says)
	shows(strings.TrimSpace(added.out), "a job")
	before := d.addAs(games, gamesGroup, "--hold", "--", "true")
	sandboxed("", d.Bin+"/atctl", "edit", before, "--", "sh", "-c", says)
	d.must("release", before)
	shows(before, "a job that was changed")
	at := sandboxed(says, "sh", "-c", "cd / && exec "+bin+"/at -M now")
	m := jobLine.FindStringSubmatch(at.err)
	if m == nil {
		t.Fatalf("at: %+v", at)
	}
	shows(m[1], "a job of at's")
	sandboxed("", d.Bin+"/atctl", "every", "add", "sandboxed", "--every", "1h", "--dir", "/", "--", "sh", "-c", says)
	shows(d.must("every", "run", "sandboxed"), "a recurrence")
}
