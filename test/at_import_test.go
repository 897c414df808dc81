package test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/control"
)

// inSpool runs a shell script with Debian's at, in a mount namespace where atd's spool
// is a directory of the test and /run is empty, so that the machine's own spool is not
// touched.
func (d *daemon) inSpool(script string) output {
	d.t.Helper()
	return d.run("", "unshare", "-m", "sh", "-c", `mount --bind "$0"/spool /var/spool/cron/atjobs && mount -t tmpfs none /run &&
mount --bind /dev/null /etc/at.deny && cd / || exit 99
`+script, d.dir)
}

// makeSpool makes an empty spool, as Debian's package does.
func (d *daemon) makeSpool() string {
	d.t.Helper()
	needRoot(d.t)
	needProgram(d.t, "/usr/bin/at", "/usr/sbin/atd", "unshare", "setpriv")
	spool := d.dir + "/spool"
	o := d.run("", "sh", "-c", `mkdir "$0" && echo 00000 >"$0/.SEQ" && chown daemon:daemon "$0" "$0/.SEQ" && chmod 1770 "$0" && chmod 600 "$0/.SEQ"`, spool)
	if o.status != 0 {
		d.t.Fatalf("%+v", o)
	}
	return spool
}

// TestImportAt fills a spool with the real at and imports it, while the import and the
// daemon are killed repeatedly. Afterwards each job is there once, with everything that
// at knew of it.
func TestImportAt(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "at: {sendmail: DIR/sendmail, deny: /dev/null, load: 1000}\n")
	spool := d.makeSpool()
	bin, b := d.installAt(), d.beacon()
	d.recordMail(b)
	d.Start()
	const due = 40
	o := d.inSpool(fmt.Sprintf(`
export TZ=UTC PATH=/usr/bin:/bin
echo true | at noon 2031-08-06
for i in $(seq %d); do echo "echo ran $i >%s" | at now; done
echo 'echo later' | at -q c -m noon 2031-07-31
echo 'echo batch' | at -q Z -M noon 2031-08-01
mkdir -m 777 /run/here; cd /run/here; umask 027
printf 'id -un; umask; printf "%%s" "$ODD"' | ODD='a
b"' setpriv --reuid=games --regid=games --clear-groups at noon 2031-08-02
cd /; umask 022
echo true | at noon 2031-08-03; echo true | at noon 2031-08-04; echo true | at noon 2031-08-05
`, due, b.path))
	if o.status != 0 || strings.Count(o.err, "job ") != due+7 {
		t.Fatalf("at: %+v", o)
	}
	before := d.inSpool("TZ=UTC atq").out
	// Files that must not be imported: not complete, started by atd, owned by nobody, too large, not a job.
	files := strings.Fields(d.run("", "sh", "-c", `cd "$0"; ls a*`, spool).out)
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(a[1:6], b[1:6]) })
	odd := append(slices.Clone(files[len(files)-3:]), files[0])
	for i, change := range []string{`chmod a-x "$1"`, `ln "$1" "=${1#a}" && rm "$1"`, `sed -i 's/uid=0/uid=4/' "$1" && chmod 700 "$1"`,
		`head -c 4000000 /dev/zero | tr '\0' '#' >>"$1"`} {
		if o := d.run("", "sh", "-c", `cd "$0" && `+change, spool, odd[i]); o.status != 0 {
			t.Fatalf("%+v", o)
		}
	}
	d.write("spool/README", "no job\n", 0o700)

	for range 25 {
		ctl := exec.Command(d.Bin+"/atctl", "--socket", d.socket, "import-at", "--spool", spool)
		if err := ctl.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(12_000)) * time.Microsecond) // somewhere in its work
		if rand.IntN(3) == 0 {
			d.Kill()
			d.Start()
		}
		_ = ctl.Process.Kill()
		_ = ctl.Wait() // killed, most often
	}
	o = d.atctl("import-at", "--spool", spool)
	if o.status != 4 || strings.Count(o.err, "not imported") != 4 {
		t.Errorf("import-at: %+v, want four files that are not imported, and status 4", o)
	}
	left, err := readNames(spool)
	if err != nil || len(left) != 6 { // .SEQ and README, too
		t.Errorf("left in the spool: %q, %v", left, err)
	}
	again := d.atctl("import-at", "--spool", spool)
	if again.out != "" || again.status != 4 {
		t.Errorf("import-at again: %+v", again)
	}

	ran := map[string]bool{}
	for range due {
		line := b.next()
		if ran[line] || !strings.HasPrefix(line, "ran ") {
			t.Fatalf("%q, twice or at all", line)
		}
		ran[line] = true
	}
	for _, a := range parseAll[control.Activation](t, d.must("list", "--json")) {
		if a.State != "scheduled" {
			d.wait(a.ID)
		}
	}
	b.quiet()
	id := regexp.MustCompile(`(?m)^\d+\t`)
	atq := func(text string) []string {
		lines := slices.DeleteFunc(strings.Split(id.ReplaceAllString(text, ""), "\n"), func(l string) bool {
			return !strings.Contains(l, "2031") || strings.Contains(l, "Aug  3") || strings.Contains(l, "Aug  4") || strings.Contains(l, "Aug  5") || strings.Contains(l, "Aug  6")
		})
		slices.Sort(lines)
		return lines
	}
	after := d.run("", "env", "TZ=UTC", bin+"/atq").out
	if want, got := atq(before), atq(after); len(got) != 3 || !slices.Equal(got, want) {
		t.Errorf("atq says\n%q, want what at's own did:\n%q", got, want)
	}
	d.checkImported(after, bin, b)
}

// checkImported checks the imported jobs and runs those that are due later.
func (d *daemon) checkImported(atq, bin string, b *beacon) {
	d.t.Helper()
	for _, tt := range []struct{ when, user, body string }{
		{"Jul 31", "root", "later\n"},
		{"Aug  2", "games", "Execution directory inaccessible\n"}, // it was in a tmpfs
	} {
		for l := range strings.Lines(atq) {
			if !strings.Contains(l, tt.when) {
				continue
			}
			id, _, _ := strings.Cut(l, "\t")
			if text := d.run("", bin+"/at", "-c", id).out; !strings.HasPrefix(text, "#!/bin/sh\n# atrun uid=") {
				d.t.Errorf("at -c %s: %q", id, text)
			}
			d.must("run", id)
			text := d.read(strings.TrimPrefix(b.next(), "mail "))
			head := fmt.Sprintf("-i %s\n", tt.user)
			if !strings.HasPrefix(text, head) || !strings.HasSuffix(text, fmt.Sprintf("\nTo: %s\n\n%s", tt.user, tt.body)) && !strings.Contains(text, tt.body) {
				d.t.Errorf("the mail of the job of %s is %q, want it to %s with %q", tt.when, text, tt.user, tt.body)
			}
		}
	}
}

// TestImportAtTwice imports the same spool twice at once. Each job is there once, and
// neither import complains about the jobs that the other has taken.
func TestImportAtTwice(t *testing.T) {
	t.Parallel()
	needRoot(t)
	d := newDaemon(t, "at: {sendmail: DIR/none}\n")
	d.Start()
	const jobs = 200
	for i := range jobs {
		d.write(fmt.Sprintf("spool/a%05x02000000", i+1), "#!/bin/sh\n# atrun uid=0 gid=0\n# mail root 0\ntrue\n", 0o700)
	}
	o := d.run("", "sh", "-c", `"$0" import-at --spool spool & "$0" import-at --spool spool && wait $!`, d.Bin+"/atctl")
	if o.status != 0 || o.err != "" {
		t.Errorf("import-at: status %d: %s", o.status, o.err)
	}
	if left, err := readNames(d.dir + "/spool"); err != nil || len(left) > 0 {
		t.Errorf("left in the spool: %q, %v", left, err)
	}
	if o := d.atctl("list", "--json"); strings.Count(o.out, "\n") != jobs {
		t.Errorf("%d jobs, want %d: %s", strings.Count(o.out, "\n"), jobs, o.err)
	}
	d.write("spool/A0000bFFFFFFFF", "#!/bin/sh\n# atrun uid=0 gid=0\n# mail root 0\ntrue\n", 0o700)
	if o := d.atctl("import-at", "--spool", "spool"); o.status != 4 || !strings.Contains(o.err, "too far away") {
		t.Errorf("a job that is due in 10136: %+v, want that it is not imported, and status 4", o)
	}
}

// TestImportAtBesideAtd checks that the import refuses to run while atd uses the spool,
// and that atd refuses to start during an import.
func TestImportAtBesideAtd(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "at: {deny: /dev/null}\n")
	d.makeSpool()
	d.Start()
	o := d.inSpool(`
mkdir /run/spool && mount --bind /run/spool /var/spool/cron/atspool
chown daemon:daemon /run/spool; chmod 1770 /run/spool
atd -f & atd=$!
until [ -s /run/atd.pid ]; do kill -0 $atd || exit 98; done
echo true | at noon 2031-07-31 2>/dev/null
` + d.Bin + `/atctl import-at; echo "status $?"
kill $atd; wait $atd
` + d.Bin + `/atctl import-at; echo "status $?"
ls /run/atd.pid 2>&1
`)
	if o.status == 98 {
		t.Skip("atd does not run here")
	}
	if !strings.HasPrefix(o.out, "status 4\njob 1 is job 1\nstatus 0\n") || !strings.Contains(o.err, "atd is running") || !strings.Contains(o.out, "No such file") {
		t.Errorf("%+v", o)
	}
	if _, err := os.Stat(d.dir + "/spool"); err != nil {
		t.Error(err)
	}
}
