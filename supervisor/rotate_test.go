package supervisor_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// rotating is a specification whose log is rotated.
func rotating(script string, size int64, keep int) wrapper.Spec {
	spec := shell(script)
	spec.LogRotate, spec.LogKeep = size, keep
	return spec
}

// openLog opens the log of the run.
func (b *bench) openLog() *supervisor.Output {
	b.t.Helper()
	o, err := supervisor.OpenOutput(func(name string) (*os.File, error) { return b.Open(key, name) })
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(o.Close)
	return o
}

// whole returns the log of the run as readers get it.
func (b *bench) whole() string {
	b.t.Helper()
	o := b.openLog()
	data, err := io.ReadAll(io.NewSectionReader(o, 0, o.Size()))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

// logs returns the names of the files of the log.
func (b *bench) logs() string {
	b.t.Helper()
	names, err := filepath.Glob(filepath.Join(b.RunDir(key), "log*"))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	return strings.Join(names, " ")
}

// seq returns the output of seq(1).
func seq(from, to int) string {
	var s strings.Builder
	for n := from; n <= to; n++ {
		fmt.Fprintln(&s, n)
	}
	return s.String()
}

// TestLogIsRotated checks the files of a rotated log: their number, their sizes, that each
// ends where a line does, and that they are read as one, the oldest first.
func TestLogIsRotated(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 250)
	for _, tt := range []struct {
		name, script string
		size         int64
		keep         int
		files, want  string
		most         int  // bytes of a file
		cut          bool // a line is longer than a file may be
	}{
		{"nothing to rotate", "seq 1 5", 1000, 3, "log", seq(1, 5), 1000, false},
		{"one rotation", "seq 1 9", 17, 3, "log log.1", seq(1, 9), 17, false},
		{"old files are removed", "seq 10 99", 30, 2, "log log.1 log.2", seq(70, 99), 30, false},
		{"no old files", "seq 10 99", 30, 0, "log", seq(90, 99), 30, false},
		{"a long line", "echo a; echo " + long + "; echo b", 200, 5, "log log.1 log.2", "a\n" + long + "\nb\n", 251, false},
		{"a line that is too long", "echo a; echo " + long + "; echo b", 100, 5, "log log.1 log.2", "a\n" + long + "\nb\n", 200, true},
		{"a line in pieces", "printf abc; sleep 0.1; printf def; sleep 0.1; echo; seq 1 5", 5, 20, "log log.1 log.2 log.3", "abcdef\n" + seq(1, 5), 7, false},
		{"many lines", "seq 1 200000", 128 << 10, 20, "log log.1 log.2 log.3 log.4 log.5 log.6 log.7 log.8 log.9", seq(1, 200_000), 128<<10 + len("200000"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "")
			r := b.run(rotating(tt.script, tt.size, tt.keep))
			if r.Reason != wrapper.Exited || r.Exit != 0 || r.Text != "" {
				t.Errorf("result = %+v, want exited with 0", r)
			}
			if got := b.whole(); got != tt.want {
				t.Errorf("the log is %.300q, want %.300q", got, tt.want)
			}
			if b.logs() != tt.files {
				t.Errorf("its files are %s, want %s", b.logs(), tt.files)
			}
			for name := range strings.FieldsSeq(b.logs()) {
				text := b.file(name)
				if len(text) > tt.most {
					t.Errorf("%s has %d bytes, want at most %d", name, len(text), tt.most)
				}
				if !tt.cut && !strings.HasSuffix(text, "\n") {
					t.Errorf("%s ends within a line: %q", name, text)
				}
			}
			b.nothingLeft()
		})
	}
}

var lossLine = regexp.MustCompile(`\[activationd: (\d+) bytes of output are missing here: ([^]]*)\]\n`)

// losses returns how many bytes are lost by the log's own account, for which reasons, and
// what is left of the log without that account.
func losses(t testing.TB, log string) (lost int, why, rest string) {
	t.Helper()
	for _, m := range lossLine.FindAllStringSubmatch(log, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		lost, why = lost+n, why+m[2]
	}
	return lost, why, lossLine.ReplaceAllString(log, "")
}

// A pacer is a script that prints numbers on request, and says when it has.
type pacer struct {
	*bench
	dir  string
	fifo *os.File
	next int
}

func newPacer(b *bench, size int64, keep int) *pacer {
	b.t.Helper()
	p := &pacer{bench: b, dir: b.t.TempDir(), next: 1}
	if err := syscall.Mkfifo(filepath.Join(p.dir, "fifo"), 0o600); err != nil {
		b.t.Fatal(err)
	}
	var err error
	if p.fifo, err = os.OpenFile(filepath.Join(p.dir, "fifo"), os.O_RDWR, 0); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = p.fifo.Close() })
	spec := rotating(`while read a b; do seq $a $b; touch $b; test $b != $a || exit 0; done <fifo`, size, keep)
	spec.Dir = p.dir
	b.start(spec)
	return p
}

// print has the script print up to a number, and waits until it has: it is not blocked.
func (p *pacer) print(to int) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.fifo, p.next, to); err != nil {
		p.t.Fatal(err)
	}
	p.next = to + 1
	p.await("the script", func() bool {
		_, err := os.Stat(filepath.Join(p.dir, strconv.Itoa(to)))
		return err == nil
	})
}

// end has the script print one more number and end.
func (p *pacer) end() (wrapper.Result, string) {
	p.t.Helper()
	p.print(p.next)
	r := p.exit()
	p.nothingLeft()
	return r, seq(1, p.next-1)
}

// check checks that the log accounts for all of the output, and has the last line.
func (p *pacer) check(all, reason string) {
	p.t.Helper()
	log := p.whole()
	lost, why, rest := losses(p.t, log)
	if lost == 0 || !strings.Contains(why, reason) {
		p.t.Errorf("%d bytes are lost because of %q, want some because of %q", lost, why, reason)
	}
	// A line end comes before each text on what is lost, unless a line has just ended.
	if n := len(rest) + lost; n < len(all) || n > len(all)+strings.Count(log, "[activationd") {
		p.t.Errorf("%d bytes are kept and %d lost, which is not the %d that there were", len(rest), lost, len(all))
	}
	if last := strconv.Itoa(p.next-1) + "\n"; !strings.HasSuffix(log, "\n"+last) {
		p.t.Errorf("the log ends with %q, want %q", log[max(0, len(log)-100):], last)
	}
}

const plenty = 100_000 // numbers, whose text is much more than a pipe holds

// TestLogIsRemoved removes a log: the next output makes a new one, which says what is gone.
func TestLogIsRemoved(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	p := newPacer(b, 1<<20, 3)
	p.print(1000)
	p.awaitLog("\n1000\n")
	if err := os.Remove(filepath.Join(b.RunDir(key), wrapper.LogFile)); err != nil {
		t.Fatal(err)
	}
	r, all := p.end()
	if p.check(all, "the log was removed"); !strings.Contains(r.Text, "the log was removed") || b.logs() != "log" {
		t.Errorf("result = %+v, files %s; want a word on the lost output, and one file", r, b.logs())
	}
}

// TestLogIsTruncated truncates a log in place, as logrotate does with copytruncate, while
// somebody follows it: the reader misses what was truncated, and goes on.
func TestLogIsTruncated(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		left int64 // of the file
		read bool  // all of it was read before
	}{{"nothing is left", 0, true}, {"a line is left", 2, true}, {"nothing was read", 0, false}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "")
			p := newPacer(b, 1<<20, 3)
			p.print(1000)
			p.awaitLog("\n1000\n")
			o := b.openLog()
			before := seq(1, 1000)
			at := int64(0)
			if tt.read {
				at = int64(len(before))
			}
			place := o.Place(at)
			if err := os.Truncate(filepath.Join(b.RunDir(key), wrapper.LogFile), tt.left); err != nil {
				t.Fatal(err)
			}
			p.print(2000)
			p.awaitLog("\n2000\n")
			if _, err := o.Look(at); err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(io.NewSectionReader(o, at, 1<<40))
			_, _, rest := losses(t, string(data))
			if want := seq(1001, 2000); err != nil || rest != want {
				t.Errorf("a reader of the log goes on with %d bytes %.200q, %v, want %d", len(data), data, err, len(want))
			}
			again := b.openLog() // another connection
			data, err = io.ReadAll(io.NewSectionReader(again, again.Find(place), 1<<40))
			if _, _, rest = losses(t, string(data)); err != nil || !strings.HasSuffix(rest, seq(1001, 2000)) || tt.read && rest != seq(1001, 2000) {
				t.Errorf("a reader that comes again gets %d bytes %.200q, %v", len(data), data, err)
			}
			r, all := p.end()
			if tt.left > 0 {
				all = all[tt.left:]
				before = before[tt.left:]
			}
			if lost, why, _ := losses(t, b.whole()); lost != len(before) || why != "the log was truncated" || !strings.Contains(r.Text, "truncated") {
				t.Errorf("%d of %d bytes are lost because of %q, result %+v; want %d", lost, len(all), why, r, len(before))
			}
		})
	}
}

// TestLogIsRotatedByAge: the first output after a file's age begins the next file, whatever
// its size, and a wrapper with nothing to write rotates nothing.
func TestLogIsRotatedByAge(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	spec := rotating(`echo 1; cat "$GATE"; printf '2\n3'; cat "$GATE"; printf '4\n5\n'; cat "$GATE"`, 1<<20, 9)
	spec.Env = append(spec.Env, "GATE="+gate)
	spec.LogAge = 100 * time.Millisecond
	b.start(spec)
	for _, text := range []string{"1\n", "2\n3", "5\n"} {
		b.awaitLog(text)
		time.Sleep(spec.LogAge) // the age is what this is about
		if err := os.WriteFile(gate, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	b.exit()
	for name, want := range map[string]string{"log.2": "1\n", "log.1": "2\n34\n", "log": "5\n"} {
		if got := b.file(name); got != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
	if b.logs() != "log log.1 log.2" {
		t.Errorf("the files of the log are %s", b.logs())
	}
	b.nothingLeft()
}

// TestLogOnAFullDisk fills the disk while a service writes. When there is room again, its
// log says how much is missing.
func TestLogOnAFullDisk(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	small(t, b.config.RunsDir, "size=512k")
	b.reopen()
	ballast := filepath.Join(b.config.RunsDir, ".ballast")
	if err := os.WriteFile(ballast, make([]byte, 256<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPacer(b, 50_000, 100)
	p.print(plenty)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	r, all := p.end()
	if p.check(all, "no space left"); !strings.Contains(r.Text, "no space left") {
		t.Errorf("result = %+v, want a word on the lost output", r)
	}
}

// TestLogInAnUnwritableDirectory takes away the right to make and rename files.
func TestLogInAnUnwritableDirectory(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	p := newPacer(b, 10_000, 100)
	p.print(3000)
	p.awaitLog("\n3000\n")
	dir, err := os.Open(b.RunDir(key))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	const immutable = 0x10 // FS_IMMUTABLE_FL
	set := func(flags int) error {
		return unix.IoctlSetPointerInt(int(dir.Fd()), unix.FS_IOC_SETFLAGS, flags)
	}
	flags, err := unix.IoctlGetInt(int(dir.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		err = set(flags | immutable)
	}
	unwritable := err == nil
	if unwritable {
		defer func() { _ = set(flags) }()
		p.print(plenty)
		if err := set(flags); err != nil {
			t.Fatal(err)
		}
	}
	r, all := p.end()
	if !unwritable {
		t.Skip("needs a file system with immutable directories, and root:", err)
	}
	if p.check(all, "operation not permitted"); r.Reason != wrapper.Exited {
		t.Errorf("result = %+v, want exited", r)
	}
}

// TestLogOfAGigabyte writes a gigabyte at once.
func TestLogOfAGigabyte(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	const size, keep = 1 << 20, 3
	r := b.run(rotating(`yes "$(printf %099d 7)" | head -c 1000000000; seq 1 3`, size, keep))
	if r.Reason != wrapper.Exited || r.Exit != 0 || r.Text != "" {
		t.Errorf("result = %+v, want exited with 0", r)
	}
	log := b.whole()
	if len(log) > (keep+1)*size || len(log) < keep*size-100*keep {
		t.Errorf("the log has %d bytes, want about %d", len(log), keep*size)
	}
	line := strings.Repeat("0", 98) + "7\n"
	if rest := strings.ReplaceAll(log, line, ""); rest != seq(1, 3) {
		t.Errorf("besides whole lines the log has %.200q, want %q", rest, seq(1, 3))
	}
	b.nothingLeft()
}

// TestKilledWhileRotating kills wrappers with their logs being rotated all the time: what
// is left is read as one log, without a hole.
func TestKilledWhileRotating(t *testing.T) {
	t.Parallel()
	for n := range 4 {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "")
			b.start(rotating("seq 1000 999999999", 200, 40))
			b.await("the first rotations", func() bool {
				_, err := os.Stat(filepath.Join(b.RunDir(key), wrapper.LogPart(20+n)))
				return err == nil
			})
			b.killWrapper()
			if r := b.exit(); r.Reason != wrapper.Lost || strings.Contains(r.Text, "log not completed") {
				t.Errorf("result = %+v, want lost, and the log as it is", r)
			}
			log := b.whole()
			first, err := strconv.Atoi(log[:max(0, strings.IndexByte(log, '\n'))])
			if err != nil {
				t.Fatalf("files %s: the log begins with %.100q", b.logs(), log)
			}
			log = log[:strings.LastIndexByte(log, '\n')+1] // the last line may have been cut by the kill
			count := strings.Count(log, "\n")
			if log != seq(first, first+count-1) || count < 20*40 {
				t.Errorf("files %s: the log with %d lines has a hole", b.logs(), count)
			}
			b.nothingLeft()
		})
	}
}

// TestFollowOverRotations reads a log while it is rotated: every line arrives, once and in
// order, and a reader that comes again finds its place.
func TestFollowOverRotations(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	p := newPacer(b, 300, 1000)
	b.wrapperPID()
	o := b.openLog()
	var got strings.Builder
	var at int64
	look := func() {
		if _, err := o.Look(at); err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(io.NewSectionReader(o, at, 1<<40))
		if err != nil {
			t.Fatal(err)
		}
		at += int64(len(data))
		got.Write(data)
	}
	for to := 100; to <= 3000; to += 100 {
		p.print(to)
		look()
		if to%1000 == 0 { // another connection goes on
			place := o.Place(at)
			o = b.openLog()
			at = o.Find(place)
		}
	}
	_, all := p.end()
	if look(); got.String() != all {
		t.Errorf("%d bytes arrive, want %d: %.200q", got.Len(), len(all), got.String())
	}
}

// TestFollowerIsTooSlow: a reader whose place was rotated away sees how much it missed.
func TestFollowerIsTooSlow(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	p := newPacer(b, 50, 2)
	p.print(9)
	p.awaitLog("\n9\n")
	slow := b.openLog()
	again := slow.Place(6) // three lines are read
	p.print(1000)
	_, all := p.end()
	if _, err := slow.Look(6); err != nil {
		t.Fatal(err)
	}
	kept := b.whole()
	gone := len(all) - len(kept)
	note := func(n int) string {
		return fmt.Sprintf("[activationd: %d bytes of output are missing here: they were rotated away]\n", n)
	}
	first := len(seq(1, 9)) // the file that the slow reader has open ends somewhere after that
	data, err := io.ReadAll(io.NewSectionReader(slow, 0, 1<<40))
	text := string(data)
	if err != nil || !strings.HasPrefix(text, seq(1, 9)) || !strings.HasSuffix(text, kept) {
		t.Fatalf("the slow reader gets %q, %v", text, err)
	}
	had := strings.Index(text, "[activationd")
	if had < first || text[had:] != note(gone-had)+kept {
		t.Errorf("the slow reader gets %q, want a note on %d bytes", text, gone-had)
	}
	o := b.openLog()
	at := o.Find(again)
	data, err = io.ReadAll(io.NewSectionReader(o, at, 1<<40))
	if want := note(gone-6) + kept; err != nil || string(data) != want {
		t.Errorf("a reader that comes again gets %q, %v, want %q", data, err, want)
	}
}
