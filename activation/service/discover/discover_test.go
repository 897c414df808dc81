package discover

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/activation/service"
)

// A place is a directory with projects, in which a test looks for files.
type place struct {
	t       *testing.T
	dir     string
	entries []Entry
	last    Result
}

func newPlace(t *testing.T) *place {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &place{t: t, dir: dir, entries: []Entry{{Pattern: dir + "/*/*/.env", User: "worker", UID: os.Getuid()}}}
}

// path returns where a service's file is.
func (p *place) path(name string) string { return filepath.Join(p.dir, name, ".env") }

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) write(name, text string) {
	p.t.Helper()
	p.must(os.MkdirAll(filepath.Join(p.dir, name), 0o755))
	p.must(os.WriteFile(p.path(name), []byte(text), 0o644))
}

// scan scans as if time had passed since the last change.
func (p *place) scan(passed time.Duration) string {
	p.t.Helper()
	p.last = Scan(p.entries, time.Now().Add(passed), p.last)
	return p.show(p.last)
}

// show has a line for each service, and one for each rejected file.
func (p *place) show(r Result) string {
	var lines []string
	for _, f := range r.Found {
		line := fmt.Sprintf("%s x%d %s", f.Shown, f.Instances, strings.Join(f.Command, " "))
		for _, name := range slices.Sorted(maps.Keys(f.FileEnv)) {
			line += fmt.Sprintf(" %s=%s", name, f.FileEnv[name])
		}
		lines = append(lines, line)
	}
	for _, f := range r.Rejected {
		line := f.Err.Error()
		if f.Kept {
			line += " (kept)"
		}
		lines = append(lines, line)
	}
	return strings.ReplaceAll(strings.Join(lines, "\n"), p.dir, "")
}

func (p *place) want(passed time.Duration, want string) {
	p.t.Helper()
	if got := p.scan(passed); got != want {
		p.t.Fatalf("the scan has\n%s\nwant\n%s", got, want)
	}
}

const long = time.Minute

func TestFiles(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"all keys", "DAEMON=true\nCOMMAND=\"php artisan queue:work --queue='mail'\"\nINSTANCES=2\nAPP_KEY='a b'\nPORT=80\n", "shop/web x2 /bin/sh -c php artisan queue:work --queue='mail' APP_KEY=a b PORT=80"},
		{"one instance", "COMMAND=run\nDAEMON=true", "shop/web x1 /bin/sh -c run"},
		{"no daemon", "COMMAND=run\nINSTANCES=many\n", ""},
		{"a daemon that is off", "DAEMON=false\n", ""},
		{"empty", "", ""},
		{"another word", "COMMAND=run\nDAEMON=yes\n", `/shop/web/.env:2: DAEMON: want true or false, have "yes"`},
		{"no command", "DAEMON=true\n", `/shop/web/.env:1: COMMAND is missing: want a command for /bin/sh, such as COMMAND="bin/worker --queue mail"`},
		{"no number", "DAEMON=true\nCOMMAND=run\nINSTANCES=two\n", `/shop/web/.env:3: INSTANCES: want a number, have "two"`},
		{"too many", "DAEMON=true\nCOMMAND=run\nINSTANCES=0\n", `/shop/web/.env:3: shop/web.instances: must be from 1 to 1000, is 0`},
		{"unknown template", "DAEMON=true\nCOMMAND='run {{port}}'\n", `/shop/web/.env:2: shop/web.command: {{port}} is unknown here; there are {{instance}}, {{service}} and, in PROJECT/SERVICE, {{project}}`},
		{"not to be parsed", "DAEMON=true\nA-B=1\n", `/shop/web/.env:2: "A-B" is not a name: it may have letters (A-Z, a-z), digits, _ and dots, and begins with a letter or _`},
		{"not to be parsed, of somebody else", "A-B=1\n", ""},
		{"too large", "DAEMON=true\n" + strings.Repeat("#", 64<<10), `/shop/web/.env:0: the file has more than 65536 bytes`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			p.write("shop/web", tt.text)
			p.want(long, tt.want)
		})
	}
}

func TestDeclaration(t *testing.T) {
	p := newPlace(t)
	p.write("shop/web", "\nDAEMON=true\nCOMMAND=run\nPRICE=$5\n")
	p.scan(long)
	f := p.last.Found[0]
	if f.Name != "shop_web" || f.Dir != p.dir+"/shop/web" || f.EnvFile != p.path("shop/web") || f.Positions[""].File != f.EnvFile || f.User != nil || f.UID != os.Getuid() {
		t.Errorf("%+v, %+v", f, f.Declaration)
	}
	if f.Positions[""].Line != 2 || f.Positions["command"].Line != 3 {
		t.Errorf("places: %v", f.Positions)
	}
	if len(f.Warnings) != 1 || !strings.HasPrefix(f.Warnings[0], p.path("shop/web")+":4: docker compose") {
		t.Errorf("warnings: %v", f.Warnings)
	}
}

// TestKept checks that a mistake in a file changes nothing, and that its correction does.
func TestKept(t *testing.T) {
	p := newPlace(t)
	p.write("shop/web", "DAEMON=true\nCOMMAND=one\n")
	p.write("shop/api", "DAEMON=true\nCOMMAND=api\n")
	p.want(long, "shop/api x1 /bin/sh -c api\nshop/web x1 /bin/sh -c one")
	p.write("shop/web", "DAEMON=true\nCOMMAND='two\n")
	p.want(long, "shop/api x1 /bin/sh -c api\nshop/web x1 /bin/sh -c one\n/shop/web/.env:2: the quote ' is not closed (kept)")
	p.write("shop/web", "DAEMON=maybe\nCOMMAND=two\n")
	p.want(long, "shop/api x1 /bin/sh -c api\nshop/web x1 /bin/sh -c one\n"+`/shop/web/.env:1: DAEMON: want true or false, have "maybe" (kept)`)
	p.write("shop/web", "oops")
	p.want(long, "shop/api x1 /bin/sh -c api\nshop/web x1 /bin/sh -c one\n"+`/shop/web/.env:1: "oops" is not of the form NAME=VALUE (kept)`)
	p.write("shop/web", "DAEMON=true\nCOMMAND=two\n")
	p.want(long, "shop/api x1 /bin/sh -c api\nshop/web x1 /bin/sh -c two")
	p.write("shop/web", "COMMAND=two\n")
	p.want(long, "shop/api x1 /bin/sh -c api")
}

// TestChanging checks that a file that has just been changed is not read yet.
// TestRulesOfKept checks that what an entry says of its services holds at once, also for a
// file that is just being changed, or has a mistake.
func TestRulesOfKept(t *testing.T) {
	p := newPlace(t)
	rules := func(grace time.Duration) {
		p.entries[0].Declare = func(name string) (*service.Declaration, error) {
			d := service.New(name)
			d.Grace = grace
			return d, nil
		}
	}
	p.write("shop/web", "DAEMON=true\nCOMMAND=run\nA=1\n")
	for i, passed := range []time.Duration{long, 0, long} {
		rules(time.Duration(i) * time.Second)
		p.scan(passed)
		if d := p.last.Found[0]; d.Grace != time.Duration(i)*time.Second || d.FileEnv["A"] != "1" {
			t.Errorf("scan %d: the grace is %v, the file's variable %q", i, d.Grace, d.FileEnv["A"])
		}
		p.write("shop/web", "DAEMON=true\nCOMMAND='run\n")
	}
	if len(p.last.Rejected) != 1 || p.last.Rejected[0].Changing {
		t.Errorf("rejected are %+v, want the mistake", p.last.Rejected)
	}
}

// TestUnchanged checks that a file is read only when it has changed, but that the way to it
// is checked now and then.
func TestUnchanged(t *testing.T) {
	p := newPlace(t)
	p.write("shop/web", "DAEMON=true\nCOMMAND=one\n")
	p.write("shop/db", "DAEMON=true\nCOMMAND=one\n")
	p.want(long, "shop/db x1 /bin/sh -c one\nshop/web x1 /bin/sh -c one")
	for _, c := range p.last.read { // a scan that reads the file sees nothing of it
		c.vars[1].Value = "two"
	}
	p.write("shop/web", "DAEMON=true\nCOMMAND=one\nA=\n")
	p.must(os.Chmod(p.dir+"/shop", 0o777))
	both, refused := "shop/db x1 /bin/sh -c two\nshop/web x1 /bin/sh -c two\n", "/shop can be changed by everybody: chmod o-w /shop (kept)"
	p.want(long+recheck/2, both+refused)
	p.want(long+recheck, both+refused+"\n"+refused)
}

func TestChanging(t *testing.T) {
	p := newPlace(t)
	p.write("shop/web", "DAEMON=true\nCOMMAND=one\n")
	// A program can set the time of the last write, as an archive does when it is unpacked.
	p.must(os.Chtimes(p.path("shop/web"), time.Time{}, time.Now().Add(-time.Hour)))
	info, err := os.Stat(p.path("shop/web"))
	p.must(err)
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("no stat_t")
	}
	changed := time.Unix(st.Ctim.Unix())

	r := Scan(p.entries, changed.Add(settle-1), Result{})
	if len(r.Found) > 0 || len(r.Rejected) != 1 || !r.Rejected[0].Changing || !r.Again.After(changed) {
		t.Errorf("too early: %s, again %v", p.show(r), r.Again)
	}
	r = Scan(p.entries, r.Again, r)
	if p.show(r) != "shop/web x1 /bin/sh -c one" || !r.Again.IsZero() {
		t.Errorf("at its time: %s, again %v", p.show(r), r.Again)
	}
	if r := Scan(p.entries, changed.Add(time.Millisecond), r); p.show(r) != "shop/web x1 /bin/sh -c one\n/shop/web/.env is being changed (kept)" || r.Again.IsZero() {
		t.Errorf("what was found before is lost: %s, again %v", p.show(r), r.Again)
	}
	if r := Scan(p.entries, changed.Add(-time.Hour), Result{}); p.show(r) != "shop/web x1 /bin/sh -c one" {
		t.Errorf("after the clock was set back: %s, again %v", p.show(r), r.Again)
	}
}

// TestGone checks that a file which is replaced by another one is not missed, and that a
// service ends when its file is gone.
func TestGone(t *testing.T) {
	p := newPlace(t)
	p.write("shop/web", "DAEMON=true\nCOMMAND=one\n")
	now := time.Now().Add(long)
	r := Scan(p.entries, now, Result{})
	p.must(os.RemoveAll(p.dir + "/shop"))
	for range 2 { // a second scan meanwhile does not prolong it
		r = Scan(p.entries, now, r)
		if p.show(r) != "shop/web x1 /bin/sh -c one" || !r.Again.Equal(now.Add(settle)) {
			t.Fatalf("just gone: %s, again %v", p.show(r), r.Again)
		}
	}
	back := r
	r = Scan(p.entries, r.Again, r)
	if p.show(r) != "" || !r.Again.IsZero() {
		t.Errorf("gone: %s, again %v", p.show(r), r.Again)
	}
	p.write("shop/web", "DAEMON=true\nCOMMAND=two\n")
	if got := p.show(Scan(p.entries, now, back)); got != "shop/web x1 /bin/sh -c two" {
		t.Errorf("there again: %s", got)
	}
	if r := Scan(nil, now, back); p.show(r) != "" {
		t.Errorf("without the entry: %s", p.show(r))
	}
}

func TestNames(t *testing.T) {
	p := newPlace(t)
	for _, dir := range []string{"shop/web", "example.org/web", "a+b/web", "deep/er/web"} {
		p.write(dir, "DAEMON=true\nCOMMAND=run\n")
	}
	p.entries = append(p.entries, Entry{Pattern: p.dir + "/*/*/*/.env", User: "worker", UID: os.Getuid()})
	p.want(long, "er/web x1 /bin/sh -c run\nexample.org/web x1 /bin/sh -c run\nshop/web x1 /bin/sh -c run\n"+
		`/a+b/web/.env:1: a+b/web: "a+b/web": a name has letters, digits and ._-, begins with a letter or a digit, has a letter in it, no .., and at most one /, as in project/service`)
}

// TestKinds checks that only regular files are opened: a FIFO would block, and a device can
// do something.
func TestKinds(t *testing.T) {
	p := newPlace(t)
	for _, dir := range []string{"a/dir/.env", "a/fifo", "a/null", "a/loop", "a/link", "a/lost"} {
		p.must(os.MkdirAll(filepath.Join(p.dir, dir), 0o755))
	}
	p.must(syscall.Mkfifo(p.path("a/fifo"), 0o644))
	p.must(os.Symlink("/dev/null", p.path("a/null")))
	p.must(os.Symlink(".env", p.path("a/loop")))
	p.must(os.Symlink("nothing", p.path("a/lost")))
	p.must(os.WriteFile(p.dir+"/shared", []byte("DAEMON=true\nCOMMAND=run\n"), 0o644))
	p.must(os.Symlink("../../shared", p.path("a/link")))
	p.want(long, "a/link x1 /bin/sh -c run\n/a/fifo/.env is not a regular file\nopen /a/loop/.env: too many levels of symbolic links\n/a/null/.env is not a regular file")

	p.must(os.MkdirAll(p.dir+"/a/twice", 0o755))
	p.must(os.Symlink("../link/.env", p.path("a/twice")))
	p.must(os.Remove(p.path("a/fifo")))
	p.must(os.Remove(p.path("a/loop")))
	p.must(os.Remove(p.path("a/null")))
	p.want(long, "a/link x1 /bin/sh -c run\n/a/twice/.env is the same file as /a/link/.env, which declares a service: let the pattern match only one of them")
}

func TestWritable(t *testing.T) {
	p := newPlace(t)
	p.write("shop/web", "DAEMON=true\nCOMMAND=one\n")
	p.want(long, "shop/web x1 /bin/sh -c one")
	p.write("shop/web", "DAEMON=true\nCOMMAND=evil\n")
	p.must(os.Chmod(p.path("shop/web"), 0o666))
	p.want(long, "shop/web x1 /bin/sh -c one\n/shop/web/.env can be changed by everybody: chmod o-w /shop/web/.env (kept)")
	p.must(os.Chmod(p.path("shop/web"), 0o644))
	p.must(os.Chmod(p.dir+"/shop/web", 0o777))
	p.want(long, "shop/web x1 /bin/sh -c one\n/shop/web can be changed by everybody: chmod o-w /shop/web (kept)")
}

// TestOwners checks who runs a service, and that nobody can have a program run as another user.
func TestOwners(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	const ada, bob = 4711, 4712
	p := newPlace(t)
	p.entries[0].UID = 4713
	for _, dir := range []string{"ada/web", "bob/web", "root/web"} {
		p.write(dir, "DAEMON=true\nCOMMAND=run\n")
	}
	for dir, uid := range map[string]int{"ada": ada, "bob": bob} {
		p.must(os.Chown(filepath.Join(p.dir, dir), uid, uid))
		p.must(os.Chown(filepath.Join(p.dir, dir, "web"), uid, uid))
		p.must(os.Chown(p.path(dir+"/web"), uid, uid))
	}
	p.scan(long)
	uids := map[string]int{}
	for _, f := range p.last.Found {
		uids[f.Shown] = f.UID
	}
	if want := map[string]int{"ada/web": ada, "bob/web": bob, "root/web": 4713}; !maps.Equal(uids, want) || len(p.last.Rejected) > 0 {
		t.Errorf("users %v, want %v; %v", uids, want, p.last.Rejected)
	}

	p.last = Result{}
	p.entries[0].User = ""
	p.want(long, "ada/web x1 /bin/sh -c run\nbob/web x1 /bin/sh -c run\n"+
		"/root/web/.env belongs to root: give its entry of discover a user, or the file another owner")
	p.must(os.RemoveAll(p.dir + "/root"))

	// Ada's directory and her link lead to a file of bob's, and to one that only she did not write.
	p.must(os.Symlink("../bob/web", p.dir+"/ada/link"))
	p.must(os.Lchown(p.dir+"/ada/link", ada, ada))
	p.must(os.Mkdir(p.dir+"/ada/hard", 0o755))
	p.must(os.Chown(p.dir+"/ada/hard", ada, ada))
	p.must(os.Link(p.path("bob/web"), p.path("ada/hard")))
	p.last = Result{}
	got := p.scan(long)
	for _, line := range []string{"ada/web x1 /bin/sh -c run", "bob/web x1 /bin/sh -c run"} {
		if !strings.Contains(got, line) {
			t.Errorf("no %q in\n%s", line, got)
		}
	}
	if len(p.last.Found) != 2 || len(p.last.Rejected) != 2 || strings.Count(got, "4711") != 2 {
		t.Errorf("ada's directories can be changed by ada (4711), so two files should be rejected:\n%s", got)
	}

	// A file of root's in a directory of the entry's user: whoever can read it knows its lines.
	const worker = 4713
	q := newPlace(t)
	q.entries[0].UID = worker
	q.must(os.WriteFile(q.dir+"/secret", []byte("DAEMON=true\nCOMMAND=run\nKEY=1\n"), 0o600))
	q.write("shop/web", "DAEMON=true\nCOMMAND=run\n")
	q.must(os.Mkdir(q.dir+"/shop/link", 0o755))
	q.must(os.Symlink(q.dir+"/secret", q.path("shop/link")))
	q.must(os.Mkdir(q.dir+"/shop/hard", 0o755))
	q.must(os.Link(q.dir+"/secret", q.path("shop/hard")))
	for _, name := range []string{"/shop/web", "/shop/link", "/shop/hard", "/shop/link/.env"} {
		q.must(os.Lchown(q.dir+name, worker, worker))
	}
	const refused = " belongs to root, and a link leads to it which root may not have made: write the path without links, or give the file another owner"
	q.want(long, "shop/web x1 /bin/sh -c run\n/shop/hard/.env"+refused+"\n/shop/link/.env"+refused)
}
