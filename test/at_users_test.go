package test

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"testing"
)

// as runs a command as another user, whose only group is the user's own.
func (d *daemon) as(uid int, stdin string, argv ...string) output {
	d.t.Helper()
	needProgram(d.t, "setpriv")
	id := fmt.Sprint(uid)
	return d.run(stdin, slices.Concat([]string{"setpriv", "--reuid=" + id, "--regid=" + id, "--clear-groups"}, argv)...)
}

// Two users that every Debian has.
const (
	games = 5
	mail  = 8
)

// TestAtUsers checks that at.allow and at.deny are obeyed, and that users see and
// change their own jobs only; root sees and changes all.
func TestAtUsers(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for name, uid := range map[string]string{"games": "5", "mail": "8"} {
		if u, err := user.Lookup(name); err != nil || u.Uid != uid {
			t.Skipf("needs the user %s with Debian's number", name)
		}
	}
	d := newDaemon(t, "at: {allow: DIR/at.allow, deny: DIR/at.deny, sendmail: DIR/sendmail}\n")
	bin, b := d.installAt(), d.beacon()
	d.recordMail(b)
	d.Start()
	at := []string{bin + "/at", "noon", "tomorrow"}
	allowed := func(uid int) bool {
		t.Helper()
		o := d.as(uid, "true", at...)
		if o.status != 0 && (o.status != 1 || o.out != "" || o.err != "You do not have permission to use at.\n") {
			t.Errorf("at as %d: %+v", uid, o)
		}
		for _, name := range []string{"atq", "atrm 1"} {
			o2 := d.as(uid, "", strings.Fields(bin+"/"+name)...)
			if denied := strings.HasPrefix(o2.err, "You do not have permission to use "+strings.Fields(name)[0]); denied == (o.status == 0) {
				t.Errorf("%s as %d: %+v", name, uid, o2)
			}
		}
		return o.status == 0
	}
	for _, tt := range []struct {
		allow, deny     string // "-": there is no such file
		forGames, forAt bool
	}{
		{"-", "-", false, false},
		{"-", "", true, true},
		{"-", "games\nnobody\n", false, true},
		{"-", "gamester\n games\n", true, true},
		{"games\n", "games\n", true, false},
		{"", "", false, false},
		{"-", "games\r\n mail\n", true, true}, // other names
		{"mail\ngames", "-", true, true},      // the last line is not complete
	} {
		for name, text := range map[string]string{"at.allow": tt.allow, "at.deny": tt.deny} {
			if err := os.RemoveAll(d.dir + "/" + name); err != nil {
				t.Fatal(err)
			}
			if text != "-" {
				d.write(name, text, 0o600)
			}
		}
		if g, m := allowed(games), allowed(mail); g != tt.forGames || m != tt.forAt {
			t.Errorf("allow %q, deny %q: games %v, mail %v, want %v, %v", tt.allow, tt.deny, g, m, tt.forGames, tt.forAt)
		}
		if o := d.run("true", at...); o.status != 0 {
			t.Errorf("allow %q, deny %q: root: %+v", tt.allow, tt.deny, o)
		}
	}
	d.run("", "sh", "-c", bin+"/atrm $("+bin+"/atq | cut -f1)")

	// Each user has jobs.
	run := "id -un; id -G; pwd; echo told >" + b.path + "\n"
	hers := d.as(games, run, bin+"/at", "noon", "tomorrow")
	id := jobLine.FindStringSubmatch(hers.err)[1]
	roots := d.at(bin, "true", "noon", "tomorrow")
	for _, tt := range []struct {
		uid              int
		args             string
		status           int
		out, errContains string
	}{
		{mail, "atq", 0, "", ""},
		{games, "atq", 0, "games\n", ""},
		{0, "atq", 0, "root\n", ""},
		{mail, "atrm " + id, 1, "", id + ": Not owner\n"},
		{mail, "at -c " + id, 1, "", id + ": Not owner\n"},
		{games, "atrm " + roots, 1, "", roots + ": Not owner\n"},
		{games, "at -c " + id, 0, "# atrun uid=5 gid=60\n# mail games 0\n", ""},
		{0, "at -c " + id, 0, "# atrun uid=5 gid=60\n# mail games 0\n", ""},
	} {
		f := strings.Fields(tt.args)
		f[0] = bin + "/" + f[0]
		o := d.as(tt.uid, "", f...)
		if tt.uid == 0 {
			o = d.run("", f...)
		}
		if o.status != tt.status || !strings.Contains(o.out, tt.out) || tt.out == "" && o.out != "" || o.err != tt.errContains {
			t.Errorf("%s as %d: %+v, want status %d, %q, %q", tt.args, tt.uid, o, tt.status, tt.out, tt.errContains)
		}
	}
	d.must("run", id)
	lines := []string{b.next(), b.next()}
	slices.Sort(lines)
	if lines[1] != "told" || !strings.HasPrefix(lines[0], "mail ") {
		t.Fatalf("told %q, want a job and a mail", lines)
	}
	want := fmt.Sprintf("-i games\n5\nSubject: Output from your job %8s\nTo: games\n\ngames\n60\n%s\n", id, d.dir)
	if got := d.read(strings.TrimPrefix(lines[0], "mail ")); got != want {
		t.Errorf("the mail is %q, want %q", got, want)
	}
}

// TestAtOfOnesOwn runs a daemon of a user other than root. The owner may use it
// whatever at.deny says, which Debian lets only root and daemon read. Other users see
// why they may not.
func TestAtOfOnesOwn(t *testing.T) {
	t.Parallel()
	needRoot(t)
	d := newDaemon(t, "at: {allow: DIR/none, deny: DIR/at.deny, sendmail: DIR/none}\naccess: {others: submitter}\n")
	d.write("at.deny", "nobody\n", 0o600)
	bin := d.installAt()
	if err := os.Chown(d.dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	d.Prefix = []string{"setpriv", fmt.Sprintf("--reuid=%d", nobody), fmt.Sprintf("--regid=%d", nobody), "--clear-groups"}
	d.Start()
	id := jobLine.FindStringSubmatch(d.as(nobody, "true", bin+"/at", "noon", "tomorrow").err)
	if id == nil {
		t.Fatal("the daemon's own user may not use at")
	}
	for _, args := range []string{"atq", "at -c " + id[1], "atrm " + id[1]} {
		f := strings.Fields(args)
		if o := d.as(nobody, "", append([]string{bin + "/" + f[0]}, f[1:]...)...); o.status != 0 {
			t.Errorf("%s: %+v", args, o)
		}
	}
	for _, path := range []string{d.runtime, d.socket} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if o := d.as(mail, "", bin+"/atq"); o.status != 1 || !strings.Contains(o.err, "at.deny: permission denied") || strings.Contains(o.err, "fault") {
		t.Errorf("somebody else: %+v", o)
	}
}
