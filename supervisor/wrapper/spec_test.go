package wrapper

import (
	"cmp"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files of the present formats")

// full is a specification in which nothing is left out.
func full() *Spec {
	return &Spec{
		ID: "1042@ostrava", Phase: "activate", Attempt: 3,
		Argv: []string{"/bin/sh", "-c", "echo \"a\nb\"", ""}, Env: []string{"A=b c", "B=", "C=\xff\u00e9\n"},
		Dir: "/tmp/x y", UID: 1000, GID: 100, Groups: []int{4, 24}, Umask: 0o27, Nice: -5,
		Limits: []Limit{{"nofile", 1024, 4096}, {"core", 0, Unlimited}}, NoNewPrivs: true,
		Timeout: 90 * time.Minute, Grace: 10 * time.Second, LogHead: 1 << 20, LogTail: 2 << 20, KeepLeftovers: true,
		Cgroup: "/sys/fs/cgroup/runs", ConfigRoot: "/run/activationd/config",
		NotBefore: time.Unix(1795257600, 123456789), Boot: "5ed3", Mark: "1042@ostrava.activate.3-X", hasTopology: true,
	}
}

func TestSpecRoundTrip(t *testing.T) {
	for _, want := range []*Spec{full(), {Argv: []string{"true"}, UID: -1, GID: -1}, {Argv: []string{"true"}, TermSignal: 2}} {
		got, err := ParseSpec(string(want.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("ParseSpec(Encode()) = %+v, want %+v", got, want)
		}
	}
}

func TestSpecRefuses(t *testing.T) {
	whole := string(full().Encode())
	const plain = specHead + "\narg \"true\"\n"
	tests := []struct{ name, data, want string }{
		{"nothing", "", "want \"activationd-spec 1\""},
		{"newer", strings.Replace(whole, "spec 1", "spec 2", 1), "spec 2"},
		{"cut", whole[:len(whole)-4], "incomplete"},
		{"cut in a line", whole[:len(whole)/2], "incomplete"},
		{"unknown key", strings.Replace(whole, "umask", "mask", 1), `unknown key "mask"`},
		{"after the end", whole + "uid 0\n", "unknown key"},
		{"bad number", strings.Replace(whole, "attempt 3", "attempt three", 1), "attempt"},
		{"bad string", strings.Replace(whole, `phase "activate"`, `phase activate`, 1), "phase"},
		{"raw string", strings.Replace(whole, `phase "activate"`, "phase `activate`", 1), "phase"},
		{"bad limit", strings.Replace(whole, "nofile 1024", "nofile -1", 1), "limit"},
		{"unknown limit", strings.Replace(whole, "nofile", "files", 1), "files"},
		{"limits crossed", strings.Replace(whole, "1024 4096", "4096 1024", 1), "soft"},
		{"umask", strings.Replace(whole, "umask 23", "umask 9999", 1), "umask"},
		{"zero byte", strings.Replace(whole, "/tmp/x y", `/tmp/\x00`, 1), "zero byte"},
		{"a socket without a name", plain + "listen \"\"\nend\n", "a socket's name"},
		{"a socket with two names", plain + "listen \"a:b\"\nend\n", "a socket's name"},
		{"a socket's name with a line end", plain + "listen \"a\\n\"\nend\n", "a socket's name"},
		{"a watchdog without notify", plain + "watchdog 5\nend\n", "watchdog"},
		{"no command", specHead + "\nend\n", "no command"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ParseSpec(tt.data); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseSpec = %v, want %q", err, tt.want)
			}
		})
	}
}

// A format that was once written is read forever: an old wrapper may run under a new
// daemon, and the reverse. When a form changes, its
// number does, and a golden file is added; none is ever changed.
func TestFormatsAreKept(t *testing.T) {
	result := Result{Reason: TimedOut, Text: "could not be \"killed\": 7\n", PID: 11, WrapperPID: 10, Exit: -1, Signal: 15,
		Started: time.Unix(1795257600, 1), Ended: time.Unix(1795257601, 999999999), Leftovers: 2, Contained: GuardCgroup,
		User: time.Millisecond, System: 2 * time.Second, MaxRSS: 1516}
	hung := result
	hung.Hung = []Hung{{12, 12360 * time.Millisecond}, {4194304, 12370 * time.Millisecond}}
	lock := Lock{PID: 10, Born: 12345 * time.Millisecond}
	started := Started{PID: 11, Born: 12350 * time.Millisecond, At: time.Unix(1795257600, 1), Cgroup: "/sys/fs/cgroup/runs/x"}
	at := time.Unix(1795257600, 1)
	notified := Notified{Ready: at, Reloading: at.Add(1), Stopping: at.Add(2), Status: "5 of \"7\" \u00e9", Extended: at.Add(3),
		Refused: 2, Refusal: "process 7 of user 1000"}
	files := []struct {
		name  string
		data  []byte
		parse func(string) (any, error)
		want  any
	}{
		{"spec.1", full().Encode(), func(s string) (any, error) {
			v, err := ParseSpec(s)
			if err != nil {
				return nil, err
			}
			return *v, nil
		}, *full()},
		{"result.1", result.encode(), func(s string) (any, error) { return ParseResult(s) }, result},
		{"result.2", hung.encode(), func(s string) (any, error) { return ParseResult(s) }, hung},
		{"lock.1", lock.put(newText(lockHead, smallText)), func(s string) (any, error) { return ParseLock(s) }, lock},
		{"notify.1", notified.encode(), func(s string) (any, error) { return ParseNotify(s) }, notified},
		{"started.1", started.put(newText(startedHead, smallText)), func(s string) (any, error) { return ParseStarted(s) }, started},
	}
	for _, f := range files {
		t.Run(f.name, func(t *testing.T) {
			path := filepath.Join("testdata", f.name+".golden")
			if *update {
				if err := os.WriteFile(path, f.data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			old, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.parse(string(old))
			if err != nil || !reflect.DeepEqual(got, f.want) {
				t.Errorf("%s is read as %+v, %v; want %+v", path, got, err, f.want)
			}
			if string(f.data) != string(old) {
				t.Errorf("is written as\n%s, which is not what %s has", f.data, path)
			}
			for n := range len(old) { // no part of a file is taken for a whole one
				if _, err := f.parse(string(old[:n])); err == nil {
					t.Fatalf("the first %d of %d bytes are taken for all", n, len(old))
				}
			}
		})
	}
}

func FuzzSpec(f *testing.F) {
	f.Add(string(full().Encode()))
	f.Add(string((&Spec{Argv: []string{"true"}, UID: -1, GID: -1}).Encode()))
	f.Add(specHead + "\narg \"x\"\nend\n")
	f.Add(specHead + "\narg \"x\"\nstream 1\nend\n")
	f.Add(specHead + "\narg \"\\x00\"\nlimit nofile 1\nend\n")
	f.Add(specHead + "\nuid 9223372036854775808\n\nend\nend\n")
	f.Fuzz(func(t *testing.T, data string) {
		s, err := ParseSpec(data)
		if err != nil {
			return
		}
		again, err := ParseSpec(string(s.Encode()))
		if err != nil {
			t.Fatalf("%q is read as %+v, which cannot be read again: %v", data, s, err)
		}
		if !s.NotBefore.Equal(again.NotBefore) {
			t.Errorf("not before %v, then %v", s.NotBefore, again.NotBefore)
		}
		s.NotBefore, again.NotBefore = time.Time{}, time.Time{}
		if !reflect.DeepEqual(s, again) {
			t.Errorf("%q is read as %+v, then as %+v", data, s, again)
		}
	})
}

func TestDeadline(t *testing.T) {
	at := time.Date(2026, 11, 21, 10, 0, 0, 5, time.FixedZone("", 3600))
	for timeout, want := range map[time.Duration]string{0: "", time.Hour: "2026-11-21T10:00:00.000000005Z"} {
		if got := (&Spec{Timeout: timeout}).deadline(at); got != want {
			t.Errorf("deadline with timeout %v = %q, want %q", timeout, got, want)
		}
	}
	if got := (&Spec{Timeout: math.MaxInt64}).deadline(at); !strings.HasPrefix(got, "2319-") {
		t.Errorf("deadline of the longest timeout = %q", got)
	}
}

func TestStreamExcludes(t *testing.T) {
	s := Spec{Argv: []string{"true"}, UID: -1, GID: -1, Stream: true}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	keeps, reads := s, s
	keeps.KeepLeftovers, reads.Stdin = true, []byte("x")
	if err := reads.Check(); err == nil || !strings.Contains(err.Error(), "no other standard input") {
		t.Errorf("Check = %v", err)
	}
	if err := keeps.Check(); err == nil || !strings.Contains(err.Error(), "cannot leave processes") {
		t.Errorf("Check = %v", err)
	}
}

// What is rarely asked for is only written when it is.
func TestRareKeys(t *testing.T) {
	plain := Spec{Argv: []string{"true"}, UID: -1, GID: -1}
	for _, key := range []string{"no-caps", "oom-reset", "notify", "stream", "listen", "address", "watchdog"} {
		if strings.Contains(string(plain.Encode()), key) {
			t.Errorf("%s is written though nobody asks for it: an older wrapper would refuse it", key)
		}
	}
	rare := plain
	rare.NoCaps, rare.OOMReset, rare.Notify, rare.Stream = true, true, true, true
	rare.Listen, rare.Addresses, rare.Watchdog = []string{"web", "a b"}, []string{"127.0.0.1:80", "/run/a b"}, 90*time.Second
	got, err := ParseSpec(string(rare.Encode()))
	if err != nil || !reflect.DeepEqual(*got, rare) {
		t.Errorf("ParseSpec = %+v, %v", got, err)
	}
}

// A plan says what the specification says, whatever bytes are in its texts.
func TestPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.Custom(func(t *rapid.T) string {
			return strings.ReplaceAll(string(rapid.SliceOfN(rapid.OneOf(rapid.Byte(), rapid.ByteRange(' ', '~')), 1, 40).Draw(t, "bytes"))+rapid.String().Draw(t, "runes"), "\x00", "")
		})
		s := &Spec{
			ID: text.Draw(t, "id"), Phase: "activate", Attempt: rapid.IntRange(1, 1<<40).Draw(t, "attempt"), Mark: text.Draw(t, "mark"),
			Argv: append([]string{"x" + text.Draw(t, "name")}, rapid.SliceOfN(text, 0, 5).Draw(t, "argv")...), Env: rapid.SliceOfN(text, 0, 30).Draw(t, "env"), Dir: text.Draw(t, "dir"),
			UID: rapid.IntRange(-1, 1<<31).Draw(t, "uid"), GID: rapid.IntRange(-1, 1<<31).Draw(t, "gid"), Groups: rapid.SliceOfN(rapid.IntRange(0, 1<<31), 0, 5).Draw(t, "groups"),
			Umask: rapid.IntRange(0, 0o777).Draw(t, "umask"), Timeout: time.Duration(rapid.Int64Range(0, 1<<62).Draw(t, "timeout")), LogHead: rapid.Int64Range(0, 1<<62).Draw(t, "head"),
			Notify: rapid.Bool().Draw(t, "notify"), KeepLeftovers: rapid.Bool().Draw(t, "keep"), Cgroup: text.Draw(t, "cgroup"), ConfigRoot: text.Draw(t, "root"),
			Limits: []Limit{{Name: "nofile", Soft: rapid.Uint64Range(0, 1<<63).Draw(t, "soft"), Hard: Unlimited}},
		}
		var m memory
		var p plan
		data := string(s.Encode())
		if !p.read(&m, data) {
			t.Fatalf("no plan of\n%s", data)
		}
		texts := func(all []*byte) (s []string) {
			for _, b := range all {
				if b != nil {
					s = append(s, textz(b))
				}
			}
			return s
		}
		if !slices.Equal(texts(p.argv), s.Argv) || !slices.Equal(texts(p.env), s.Env) || textz(p.dir) != cmp.Or(s.Dir, "/") || p.id != s.ID || p.mark != s.Mark || p.attempt != strconv.Itoa(s.Attempt) ||
			p.cgroupRoot != s.Cgroup || p.configRoot != s.ConfigRoot || p.uid != s.UID || p.gid != s.GID || len(p.groups) != len(s.Groups) || p.umask != s.Umask ||
			p.timeout != int64(s.Timeout) || p.logHead != s.LogHead || p.notify != s.Notify || p.keep != s.KeepLeftovers || p.limits[0].val.Cur != s.Limits[0].Soft || p.limits[0].val.Max != Unlimited {
			t.Errorf("plan %+v\nof %+v", p, s)
		}
		if !slices.Equal(texts(p.paths), candidates(s.Argv[0], s.Env)) {
			t.Errorf("paths %q, want %q", texts(p.paths), candidates(s.Argv[0], s.Env))
		}
		cut := rapid.IntRange(0, len(data)-1).Draw(t, "cut") // what is not whole is none, as for ParseSpec
		if p.read(&m, data[:cut]) {
			t.Errorf("a plan of %q", data[:cut])
		}
	})
}
