package ops

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// copyTo returns what copies f by a request into got.
func copyTo(t *testing.T, in control.LogIn, f *os.File, got *strings.Builder, binary *bool) *logCopy {
	t.Helper()
	w, err := readLogWish(in)
	if err != nil {
		t.Fatal(err)
	}
	log := &activation.Log{Attempt: activation.Attempt{Phase: activation.Activate, N: 1}}
	o := newLogCopy(&w, "7", log, func(out control.LogOut) error {
		if out.Base64 != "" {
			*binary = true
			b, err := base64.StdEncoding.DecodeString(out.Base64)
			if err != nil {
				t.Fatal(err)
			}
			got.Write(b)
		}
		got.WriteString(out.Text)
		return nil
	})
	out, err := supervisor.OpenOutput(func(name string) (*os.File, error) {
		if name != wrapper.LogFile {
			return nil, os.ErrNotExist
		}
		return os.Open(f.Name())
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	if err := o.begin(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	o.file = out
	return o
}

func logFile(t *testing.T, text string) *os.File {
	t.Helper()
	f, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestCopyLog checks that a log arrives byte for byte, as text where it is text, however it
// grows.
func TestCopyLog(t *testing.T) {
	for _, text := range []string{"", "hello\n", "žluťoučký kůň ☃ 𝄞\n", "a\xffb", "\xe2\x98", "a\n" + strings.Repeat("☃", logPiece)} {
		for _, step := range []int{1, 2, 3 * len(text)} {
			if step < 3 && len(text) > 100 {
				continue
			}
			f := logFile(t, "")
			var got strings.Builder
			binary := false
			o := copyTo(t, control.LogIn{}, f, &got, &binary)
			for rest := text; ; {
				if err := o.copy(t.Context(), rest == ""); err != nil {
					t.Fatal(err)
				}
				if rest == "" {
					break
				}
				n := min(step, len(rest))
				if _, err := f.WriteString(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if got.String() != text {
				t.Errorf("of %.20q, written in steps of %d, %.20q arrives", text, step, got.String())
			}
			if valid := strings.ToValidUTF8(text, "") == text; valid && binary {
				t.Errorf("of %.20q, written in steps of %d, text arrives as base64", text, step)
			}
		}
	}
}

// TestSelectLines checks which lines of a log are sent.
func TestSelectLines(t *testing.T) {
	long := strings.Repeat("x", 3*logPiece)
	huge := strings.Repeat("y", logLine+10)
	for _, tt := range []struct {
		name, lines, grep, log, want string
	}{
		{"the last one", "1", "", "a\nb\nc\n", "c\n"},
		{"the last two, without an end", "2", "", "a\nb\nc", "b\nc"},
		{"more than there are", "9", "", "a\nb\n", "a\nb\n"},
		{"none", "0", "", "a\nb\n", ""},
		{"of nothing", "5", "", "", ""},
		{"empty ones", "2", "", "a\n\n\n", "\n\n"},
		{"long ones", "2", "", "a\n" + long + "\n" + long + "\n", long + "\n" + long + "\n"},
		{"that match", "", "b+", "abba\nc\r\nbob", "abba\nbob"},
		{"that end with it", "", "b$", "ab\r\nba\nb", "ab\r\nb"},
		{"that match, the last one", "1", "b", "b1\nb2\nc\n", "b2\n"},
		{"that match, more than there are", "5", "b", "b1\nb2\nc\n", "b1\nb2\n"},
		{"that match, none of them", "0", "b", "b1\n", ""},
		{"that match, long ones", "", "needle", "a\n" + long + "needle\nb\n", long + "needle\n"},
		{"longer than can be compared", "", "y", "a\n" + huge + "\nb\n", huge + "\n"},
		{"that are not text", "", "b", "\xffb\nc\n", "\xffb\n"},
	} {
		var got strings.Builder
		o := copyTo(t, control.LogIn{Lines: tt.lines, Grep: tt.grep}, logFile(t, tt.log), &got, new(bool))
		if err := o.copy(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if got.String() != tt.want {
			t.Errorf("lines %s: of %.20q, %.20q is sent (%d bytes), want %.20q (%d bytes)",
				tt.name, tt.log, got.String(), got.Len(), tt.want, len(tt.want))
		}
	}
}

// TestGrepWaitsForLines checks that a followed line is compared when it is complete.
func TestGrepWaitsForLines(t *testing.T) {
	f := logFile(t, "one erro")
	var got strings.Builder
	o := copyTo(t, control.LogIn{Grep: "error$"}, f, &got, new(bool))
	for _, more := range []string{"", "r\ntwo", " error", ""} {
		if _, err := f.WriteString(more); err != nil {
			t.Fatal(err)
		}
		if err := o.copy(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	if want := "one error\n"; got.String() != want {
		t.Errorf("while it grows, %q is sent, want %q", got.String(), want)
	}
	if err := o.copy(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if want := "one error\ntwo error"; got.String() != want {
		t.Errorf("in all, %q is sent, want %q", got.String(), want)
	}
}

// A countingReader counts the bytes that are read.
type countingReader struct {
	io.ReaderAt
	n int
}

func (r *countingReader) ReadAt(p []byte, at int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, at)
	r.n += n
	return n, err
}

// TestLastLinesReadsTheEnd checks that the last lines of a large log are found without
// reading the rest of it.
func TestLastLinesReadsTheEnd(t *testing.T) {
	const size = 100 << 20
	f := logFile(t, "")
	if err := f.Truncate(size); err != nil { // a hole
		t.Fatal(err)
	}
	end := "\n"
	for i := range 20 {
		end += fmt.Sprintf("line %d\n", i)
	}
	if _, err := f.WriteAt([]byte(end), size); err != nil {
		t.Fatal(err)
	}
	r := &countingReader{ReaderAt: f}
	at, err := lastLines(r, size+int64(len(end)), 20)
	if err != nil || at != size+1 || r.n > 2*logPiece {
		t.Errorf("the last 20 lines begin at %d, %v, and %d bytes were read; want %d, and at most %d", at, err, r.n, size+1, 2*logPiece)
	}
	if _, err := lastLines(r, size+1000, 20); !errors.Is(err, io.EOF) {
		t.Errorf("of a log that is shorter than its size: %v, want %v", err, io.EOF)
	}
}

// TestLogRequests checks what is refused.
func TestLogRequests(t *testing.T) {
	for _, in := range []control.LogIn{
		{Phase: "both"}, {Attempt: "last"}, {Attempt: "-1"}, {Lines: "few"}, {Lines: "-1"}, {Grep: "("}, {Grep: "(a{500}b{500}){2}"},
		{Next: "7"}, {Next: "activate.x.0"}, {Next: "activate.1.-5"}, {Next: "..0"},
		{Exit: "1"}, {Exit: "last"}, {Exit: "-1", Attempt: "2"}, {Exit: "-1", Follow: true},
	} {
		if _, err := readLogWish(in); !errors.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v, want it to be invalid", in, err)
		}
	}
	for _, in := range []control.LogIn{{Attempt: "0"}, {Attempt: "all", Lines: "0"}, {Grep: "(?i)error|fail"}, {Next: "deactivate.3.1024"}, {Exit: "-2", Phase: "serve"}} {
		if _, err := readLogWish(in); err != nil {
			t.Errorf("%+v: %v", in, err)
		}
	}
}

// TestFollowARotatedLog checks that the kernel wakes a follower over each rotation, and that
// all lines arrive once and in order.
func TestFollowARotatedLog(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	const keep = 1000
	spec := wrapper.Spec{Argv: []string{"true"}, LogRotate: 1, LogKeep: keep}
	if err := os.WriteFile(path(wrapper.SpecFile), spec.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(path(wrapper.LogFile))
	if err != nil {
		t.Fatal(err)
	}
	w, err := readLogWish(control.LogIn{})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	o := newLogCopy(&w, "7", &activation.Log{}, func(out control.LogOut) error {
		got.WriteString(out.Text)
		return nil
	})
	if o.file, err = supervisor.OpenOutput(func(name string) (*os.File, error) { return os.Open(path(name)) }); err != nil {
		t.Fatal(err)
	}
	defer o.close()
	changed, err := newWatch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	followed := make(chan error, 1)
	go func() {
		for {
			missing, err := o.look(changed)
			if err == nil {
				err = o.copy(t.Context(), false)
			}
			if err != nil || strings.HasSuffix(got.String(), "end\n") {
				followed <- err
				return
			}
			var look <-chan time.Time
			if missing {
				look = time.After(firstLook)
			}
			select {
			case <-changed.changed:
			case <-look:
			case <-t.Context().Done():
				return
			}
		}
	}()
	want := ""
	write := func(text string) {
		want += text
		if _, err := log.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 100 {
		write(fmt.Sprintf("%d\n%d\n", n, n))
		next, err := os.Create(path("log.new"))
		if err == nil {
			for i := n; err == nil && i > 0; i-- {
				err = os.Rename(path(wrapper.LogPart(i)), path(wrapper.LogPart(i+1)))
			}
		}
		if err == nil {
			err = os.Rename(path(wrapper.LogFile), path(wrapper.LogPart(1)))
		}
		if err == nil {
			err = os.Rename(path("log.new"), path(wrapper.LogFile))
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = log.Close()
		log = next
	}
	write("end\n")
	if err := <-followed; err != nil || got.String() != want {
		t.Errorf("%.300q arrives, %v, want %.300q", got.String(), err, want)
	}
	_ = log.Close()
}
