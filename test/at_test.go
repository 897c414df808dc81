package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"activationd/control"
)

// atNames are the names under which atctl behaves as at does.
var atNames = []string{"at", "atq", "atrm", "batch"}

// installAt installs atctl under the names of at, and returns their directory.
func (d *daemon) installAt() string {
	d.t.Helper()
	dir := d.dir + "/bin"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		d.t.Fatal(err)
	}
	for _, name := range atNames {
		if err := os.Symlink(d.Bin+"/atctl", filepath.Join(dir, name)); err != nil {
			d.t.Fatal(err)
		}
	}
	return dir
}

// recordMail makes a sendmail that keeps each mail and reports it.
func (d *daemon) recordMail(b *beacon) string {
	d.t.Helper()
	return d.script("sendmail", `f=$(mktemp `+d.dir+`/shared/mail.XXXXXX)
{ printf '%s\n' "$*"; id -u; cat; } >"$f"
chmod 644 "$f"
echo "mail $f" >`+b.path+"\n")
}

var jobLine = regexp.MustCompile(`job (\d+) at `)

// at submits a job as root, and returns its number.
func (d *daemon) at(dir, script string, args ...string) string {
	d.t.Helper()
	o := d.run(script, append([]string{dir + "/at"}, args...)...)
	m := jobLine.FindStringSubmatch(o.err)
	if o.status != 0 || o.out != "" || m == nil {
		d.t.Fatalf("at %q: %+v", args, o)
	}
	return m[1]
}

// atCommands are compared with the real at: their output, standard error and exit
// status. The numbers of jobs are compared, too, so a command that fails only after at
// has taken a number comes last.
const atCommands = `
at -V 2>&1 | head -c 14; echo
at -q c noon tomorrow
TZ=Europe/Prague at noon utc tomorrow
at -v -m 10:00 2030-01-02
at -M -t 203001021504 <no-newline
at -t 203001021504.00 -q Z <empty
at -f script -q b 10am Jul 31 2031
at 4pm Jul 31 2031 -f script
at -u daemon noon 31.07.2031
at -bf script 2>/dev/null || at -mf script noon 01/02/2032
atq | sort -n
atq -q c
atq 2 1 77 | sort -n
atq 2 x
at -l x 2
atq -q Z -o '%Y-%m-%dT%H:%M:%S%z %j'
for c in a b c d e f g h i j k l m n o p q r s t u v w x y z A B C D E F G H I J K L M N O P Q R S T U V W X Y Z % +; do atq -q Z -o "%$c"; for f in - _ 0 ^ '#' 9 -9 _9 09 '^#' '#-_09' 23 E O _9E; do atq -q Z -o "%$f$c"; done; done
atq -q Z -o '%-d.%-m. %H:%M|%5-d|%-'
at -l 2
at -l -q a | sort -n
at -c 1
at -c 3 | tail -n 3
at -c 4 | tail -n 3
at -c 1 99 2 | tail -n 4
at -c 99
at -c
at -c foo 2>/dev/null
at -c 1 -m
at -r 1
at -d 2 99 3
atrm 4 foo
atrm 99
atrm
atq 4 | wc -l
atrm 0000004
atq | wc -l
at -t 201001021504
at
at -t 203001021504 noon
at -t 2026
at 10:00 2020-01-01
at -z
at -q
at -q 1 noon
at -q aa noon
at -h
at -l -m
atq -v
atq -q 1
atrm -q a 7
batch 5
POSIXLY_CORRECT=1 at noon -m >/dev/null 2>&1
at -f nonexistent noon tomorrow
at -f /tmp noon tomorrow
(mkdir gone && cd gone && rmdir ../gone && at noon tomorrow)
at -u nosuchuser noon tomorrow
at -u "" noon tomorrow
`

// TestAtIsAt runs the same commands with Debian's at and with atctl.
func TestAtIsAt(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "/usr/bin/at", "unshare")
	d := newDaemon(t, "at: {sendmail: DIR/none}\n")
	bin := d.installAt()
	d.Start()
	work := d.dir + "/work"
	for name, text := range map[string]string{"script": "echo from a file\n", "no-newline": "echo cut", "empty": "", "in": "echo hi\n"} {
		d.write("work/"+name, text, 0o644)
	}
	var all strings.Builder
	fmt.Fprintf(&all, "cd %s; unset OLDPWD; umask 027\n", work)
	for c := range strings.Lines(strings.TrimSpace(atCommands)) {
		c = strings.TrimSpace(c)
		fmt.Fprintf(&all, "echo '--- %s'\n{ %s; } <in >out 2>err; echo \"status $?\"; echo [out]; cat out; echo [err]; cat err\n",
			strings.ReplaceAll(c, "'", `"`), c)
	}
	script := d.write("commands", all.String(), 0o644)
	env := []string{"env", "-i", "TZ=Europe/Prague", "LANG=C.UTF-8", "HOME=/root", "ACTIVATIOND_SOCKET=" + d.socket,
		"ODD=a b\"$`\\'\n%;\ttab", "x.y=not a name", "TERM=xterm", "DISPLAY=:0"}
	// What at needs is there twice: the machine's own spool does not see it.
	theirs := d.run("", slices.Concat(env, []string{"PATH=/usr/bin:/bin", "unshare", "-m", "sh", "-c", `
mount -t tmpfs -o mode=1770,uid=daemon,gid=daemon none /var/spool/cron/atjobs &&
mount -t tmpfs none /run && echo $$ >/run/atd.pid && trap '' HUP &&
cd /var/spool/cron/atjobs && echo 00000 >.SEQ && chown daemon:daemon .SEQ && chmod 600 .SEQ &&
. "$0"`, script})...)
	ours := d.run("", slices.Concat(env, []string{"PATH=" + bin + ":/usr/bin:/bin", "sh", "-c", ". \"$0\"", script})...)
	if theirs.err+ours.err != "" {
		t.Fatalf("at: %s; ours: %s", theirs.err, ours.err)
	}
	want, got := atTranscript(theirs.out), atTranscript(ours.out)
	if len(want) != len(got) || len(want) != 1+strings.Count(strings.TrimSpace(atCommands), "\n") {
		t.Fatalf("%d and %d commands have run", len(want), len(got))
	}
	for i := range want {
		if want[i] != got[i] {
			t.Errorf("at:\n%s\nours:\n%s", want[i], got[i])
		}
	}
}

// atTranscript splits the output of all commands into a text for each.
func atTranscript(text string) []string {
	text = strings.ReplaceAll(text, "PATH=/usr/bin:/bin;", "PATH=...;")
	text = regexp.MustCompile(`PATH=\S*/bin:/usr/bin:/bin;`).ReplaceAllString(text, "PATH=...;")
	return strings.Split(text, "\n--- ")
}

// TestAtJob checks that a job runs as its submitter, with the submitter's environment,
// directory and umask, and with the niceness of its queue.
func TestAtJob(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "at: {sendmail: DIR/none, deny: /dev/null}\nruns: {nice: 3}\n")
	bin, b := d.installAt(), d.beacon()
	d.Start()
	dir := d.dir + "/a dir 'with\" $odd\nname"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	value := "one\ntwo '\"`$(exit 9) \\ é \t*"
	o := d.run("", "env", "-i", "ACTIVATIOND_SOCKET="+d.socket, "VALUE="+value, "SHELL=/bin/other", "T=prefix of TERM", "TERM=xterm", "TZ=Asia/Tokyo",
		"ACTIVATION_ID=another", "ACTIVATION_RUN=another", "PATH=/usr/bin:/bin:/odd", "sh", "-c",
		`cd "$1" && umask 026 && echo 'env -0 >'`+d.shared("env")+`'; pwd >'`+d.shared("pwd")+`'; { umask; nice; id -u; id -g; id -G; } >'`+d.shared("facts")+`'; echo done >'`+b.path+` | `+bin+`/at -q e now`,
		"sh", dir)
	if o.status != 0 {
		t.Fatalf("at: %+v", o)
	}
	id := jobLine.FindStringSubmatch(o.err)[1]
	if got := b.next(); got != "done" {
		t.Fatal(got)
	}
	d.ended(id, "succeeded", 0)
	env := map[string]string{}
	for kv := range strings.SplitSeq(strings.TrimSuffix(d.read(d.shared("env")), "\x00"), "\x00") {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	for k, v := range map[string]string{"VALUE": value, "SHELL": "/bin/other", "T": "prefix of TERM", "TERM": "", "TZ": "Asia/Tokyo",
		"PATH": "/usr/bin:/bin:/odd", "ACTIVATION_ID": id, "LANG": ""} {
		if env[k] != v {
			t.Errorf("%s=%q, want %q", k, env[k], v)
		}
	}
	if !strings.HasPrefix(env["ACTIVATION_RUN"], id+".activate.1-") {
		t.Errorf("ACTIVATION_RUN=%q is not the run's own", env["ACTIVATION_RUN"])
	}
	if got := d.read(d.shared("pwd")); got != dir+"\n" {
		t.Errorf("it ran in %q, want %q", got, dir)
	}
	own := d.run("", "nice").out
	n, _ := strconv.Atoi(strings.TrimSpace(own))
	nice := min(19, n+3+8) // the daemon's, runs.nice, queue e
	want := fmt.Sprintf("0026\n%d\n%d\n%d\n", nice, os.Getuid(), os.Getgid())
	if got := d.read(d.shared("facts")); !strings.HasPrefix(got, want) {
		t.Errorf("umask, niceness, user and group are\n%s, want\n%s", got, want)
	}
}

// TestAtMail checks that output is mailed as atd does: if there is any, always with -m,
// never with -M, and to another user only with -u.
func TestAtMail(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "at: {sendmail: DIR/sendmail, deny: /dev/null}\n")
	bin, b := d.installAt(), d.beacon()
	d.recordMail(b)
	d.Start()
	me := strings.TrimSpace(d.run("", "id", "-un").out)
	silent := d.at(bin, "true", "now")
	never := d.at(bin, "echo never; head -c 40000000 /dev/zero; echo the end", "-M", "now")
	d.ended(silent, "succeeded", 0)
	d.ended(never, "succeeded", 0)
	if text := d.must("log", never); len(text) > 17<<20 || len(text) < 16<<20 || !strings.HasPrefix(text, "never\n") || !strings.HasSuffix(text, "the end") {
		t.Errorf("of a flood of output %d bytes are kept, want 16 MiB, with both ends", len(text))
	}
	for _, tt := range []struct {
		name, script, to, body string
		args                   []string
		status                 int
	}{
		{"output", "echo out; echo err >&2; exit 3", me, "out\nerr\n", []string{"now"}, 3},
		{"-m", "true", me, "", []string{"-m", "now"}, 0},
		{"-u", "echo x", "daemon", "x\n", []string{"-u", "daemon", "now"}, 0},
		{"bytes", "printf '\\377\\000'", me, "\xff\x00", []string{"now"}, 0},
	} {
		id := d.at(bin, tt.script, tt.args...)
		file := strings.TrimPrefix(b.next(), "mail ")
		want := fmt.Sprintf("-i %s\n%d\nSubject: Output from your job %8s\nTo: %s\n\n%s", tt.to, os.Getuid(), id, tt.to, tt.body)
		if got := d.read(file); got != want {
			t.Errorf("%s: the mail is\n%q, want\n%q", tt.name, got, want)
		}
		if got := d.atctl("wait", id).status; got != tt.status {
			t.Errorf("%s: it ended with %d, want %d", tt.name, got, tt.status)
		}
	}
	b.quiet() // of those before; a mail job would have a smaller number than the last
	if list := d.must("list", "--all"); strings.Count(list, "mail of job") != 4 {
		t.Errorf("there are other mails than four:\n%s", list)
	}
}

// TestAtMailOnce kills the daemon repeatedly while jobs end and send mail: each output
// is mailed once.
func TestAtMailOnce(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "at: {sendmail: DIR/sendmail, deny: /dev/null}\n")
	bin, b := d.installAt(), d.beacon()
	d.recordMail(b)
	d.Start()
	const jobs = 30
	want := map[string]bool{}
	for range jobs {
		want[d.at(bin, "echo mine is $ACTIVATION_ID", "now")] = true
		if len(want)%5 == 0 {
			d.Kill()
			d.Start()
		}
	}
	for i := range jobs {
		text := d.read(strings.TrimPrefix(b.next(), "mail "))
		_, id, _ := strings.Cut(strings.TrimSpace(text), "mine is ")
		if !want[id] {
			t.Fatalf("a mail for the second time, or of nobody:\n%s", text)
		}
		delete(want, id)
		if i%7 == 0 {
			d.Kill()
			d.Start()
		}
	}
	for _, a := range parseAll[control.Activation](t, d.must("list", "--json")) {
		d.wait(a.ID)
	}
	b.quiet()
}

// parseAll reads one JSON object from each line.
func parseAll[T any](t *testing.T, text string) (all []T) {
	t.Helper()
	for l := range strings.Lines(text) {
		all = append(all, parse[T](t, l))
	}
	return all
}

// TestAtRuns checks that a running job is listed as running, and that atrm ends it with
// everything that it started. If a job ends by itself, its background processes live
// on, as with atd.
func TestAtRuns(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "at: {sendmail: DIR/none, deny: /dev/null}\n")
	bin, b := d.installAt(), d.beacon()
	d.Start()
	id := d.at(bin, "sleep 1000 & echo $! $$ >"+b.path+"; wait", "-q", "d", "now")
	var pids []int
	for f := range strings.FieldsSeq(b.next()) {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, n)
	}
	waiting := d.at(bin, "true", "noon", "tomorrow")
	for args, want := range map[string]string{"": "= ", "-q =": "= ", "-q d": "", "-q a": "a ", waiting: "a "} {
		out := d.run("", append([]string{bin + "/atq"}, strings.Fields(args)...)...).out
		if strings.Contains(out, id+"\t") != (args == "" || args == "-q =") || want != "" && !strings.Contains(out, " "+want) {
			t.Errorf("atq %s says %q", args, out)
		}
	}
	o := d.run("", bin+"/atrm", id, waiting)
	if o.status != 0 || o.out != "" || o.err != "Warning: deleting running job\n" {
		t.Errorf("atrm: %+v", o)
	}
	for _, pid := range pids {
		awaitGone(t, pid)
	}
	d.ended(id, "cancelled", 125)
	if out := d.run("", bin+"/atq").out; out != "" {
		t.Errorf("atq says %q, want nothing", out)
	}

	id = d.at(bin, "sleep 1000 & echo $! >"+b.path, "now")
	pid, err := strconv.Atoi(b.next())
	if err != nil {
		t.Fatal(err)
	}
	d.ended(id, "succeeded", 0)
	if !alive(pid) {
		t.Errorf("the process %d that the job left in the background is gone", pid)
	}
	killPID(t, pid)
	awaitGone(t, pid)
}
