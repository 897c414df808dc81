package spawn

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor"
)

// TestFault sends errors as answers have them.
func TestFault(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err   error
		text  string
		errno syscall.Errno
		kind  fault.Kind
	}{
		{fault.Denied, "denied", 0, fault.Denied},
		{&os.PathError{Op: "open", Path: "x", Err: unix.ENOENT}, "open x: no such file or directory", unix.ENOENT, ""},
		{errors.Join(fault.Invalid, unix.EIO), "invalid\ninput/output error", unix.EIO, fault.Invalid},
		{errors.New(strings.Repeat("x", 5000)), strings.Repeat("x", 4096), 0, ""},
	} {
		w := writer{}
		w.fault(tt.err)
		r := reader{b: w.b}
		err := r.fault()
		var got *remoteFault
		if !errors.As(err, &got) || got.text != tt.text || got.errno != tt.errno || got.kind != tt.kind || r.end() != nil {
			t.Errorf("%v has become %+v, %v", tt.err, err, r.end())
		}
	}
	w := writer{}
	w.fault(nil)
	if r := (reader{b: w.b}); r.fault() != nil || r.end() != nil {
		t.Error("no error has become one")
	}
}

// FuzzFrames has a server answer arguments that anybody may have sent, and reads what it answers.
func FuzzFrames(f *testing.F) {
	const runs = "/nonexistent/runs"
	for m := range closePlace + 2 {
		w := request(m, runs)
		f.Add(byte(m), w.b[2:], byte(0))
		w.str("a.activate.1")
		f.Add(byte(m), w.b[2:], byte(1))
		w.int(1)
		w.ints([]int{1, 2})
		f.Add(byte(m), w.b[2:], byte(0))
	}
	f.Add(byte(hello), []byte{0xfe, 0x7f}, byte(0)) // a list of 8191
	f.Add(byte(clearLeftovers), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, byte(0))
	f.Fuzz(func(t *testing.T, m byte, args []byte, fds byte) {
		if len(args) > maxMessage-2 {
			return
		}
		readAll(t, args)
		if slices.Contains([]method{command, missing, contain, makeWorkdir, listen, killCgroup, closePlace}, method(m)) {
			return // what they do by chance would not be in the directory of runs, which there is not
		}
		direct, err := supervisor.NewDirect(supervisor.Config{RunsDir: runs, ConfigRoot: "/nonexistent/config"})
		must(t, err)
		defer direct.Close()
		s := &Server{rules: &Rules{Config: "/nonexistent/config", Runs: []string{runs}}, log: slog.New(slog.DiscardHandler), daemon: identity{uid: daemonUID},
			boot: "boot", places: map[string]*place{runs: {runs: runs, stem: "-1-2-", direct: direct}}, children: map[int]*child{}}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		defer closeAll(pair[:])
		c := call{s: s, method: method(m), args: reader{b: args}, reply: pair[0]}
		for range fds % 4 {
			null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
			must(t, err)
			c.fds = append(c.fds, null)
		}
		defer func() { closeAll(append(c.fds, c.out...)) }()
		err = c.answer()
		w := writer{}
		w.fault(err)
		if len(w.b)+len(c.value.b) > maxMessage {
			t.Errorf("method %d answers with %d bytes", m, len(w.b)+len(c.value.b))
		}
		if len(c.out) > 0 {
			t.Errorf("method %d gives away %d descriptors", m, len(c.out))
		}
		if r := (reader{b: w.b}); (r.fault() == nil) != (err == nil) || r.end() != nil {
			t.Errorf("method %d: %v cannot be sent", m, err)
		}
	})
}

// readAll reads a message as everything that there is, and looks whether it becomes larger.
func readAll(t *testing.T, data []byte) {
	t.Helper()
	for name, read := range map[string]func(r *reader) int{
		"text":     func(r *reader) int { return len(r.str()) },
		"list":     func(r *reader) int { return len(strings.Join(r.strs(), "")) },
		"numbers":  func(r *reader) int { return len(r.ints()) },
		"command":  func(r *reader) int { c := readCommand(r); return len(c.Name+c.Path+c.Dir+c.Home) + len(c.Groups) },
		"a number": func(r *reader) int { r.small(); return 0 },
		"an error": func(r *reader) int {
			err := r.fault()
			if err == nil || errors.Is(err, errGarbled) {
				return 0
			}
			return len(err.Error())
		},
	} {
		r := reader{b: data}
		if n := read(&r); n > len(data)+maxList {
			t.Errorf("%s: %d bytes have become %d", name, len(data), n)
		}
		if r.err != nil && (!errors.Is(r.err, fault.Invalid) || len(r.b) > 0) {
			t.Errorf("%s: %v, and %d bytes are left", name, r.err, len(r.b))
		}
	}
}
