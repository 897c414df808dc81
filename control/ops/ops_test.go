package ops

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

func TestNewJob(t *testing.T) {
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	zero, minute := time.Duration(0), time.Minute
	tests := []struct {
		name    string
		in      control.AddIn
		want    func(j activation.NewJob) bool
		wantErr string
	}{
		{"neither at nor in is at once", control.AddIn{Arg: []string{"true"}},
			func(j activation.NewJob) bool { return j.At.IsZero() && j.Argv[0] == "true" }, ""},
		{"in", control.AddIn{In: "5m", Arg: []string{"true"}},
			func(j activation.NewJob) bool { return j.At.Equal(now.Add(5 * time.Minute)) }, ""},
		{"at with a zone", control.AddIn{At: "2026-11-21T12:00:00+01:00", Arg: []string{"true"}},
			func(j activation.NewJob) bool { return j.At.Equal(now.Add(time.Hour)) }, ""},
		{"a script is the shell's input", control.AddIn{Script: "echo a\n"},
			func(j activation.NewJob) bool { return j.Argv[0] == "/bin/sh" && string(j.Stdin) == "echo a\n" }, ""},
		{"timeout 0 is none, and not the default", control.AddIn{Arg: []string{"true"}, Timeout: "0"},
			func(j activation.NewJob) bool { return j.Timeout != nil && *j.Timeout == zero && j.Grace == nil }, ""},
		{"0m is none, too", control.AddIn{Arg: []string{"true"}, Timeout: "0m"},
			func(j activation.NewJob) bool { return *j.Timeout == zero }, ""},
		{"m is not a duration", control.AddIn{Arg: []string{"true"}, Timeout: "m"}, nil, "is not a duration"},
		{"no retries are given", control.AddIn{Arg: []string{"true"}},
			func(j activation.NewJob) bool { return j.Retries == nil }, ""},
		{"0 retries, and not the default", control.AddIn{Arg: []string{"true"}, Retries: "0"},
			func(j activation.NewJob) bool { return *j.Retries == 0 }, ""},
		{"a number of retries", control.AddIn{Arg: []string{"true"}, Retries: "few"}, nil, "retries: "},
		{"a deadline of too long", control.AddIn{Arg: []string{"true"}, Deadline: "100000d"}, nil, "more than 3660 days"},
		{"a deadline of nothing", control.AddIn{Arg: []string{"true"}, Deadline: "0s"}, nil, "must be more than 0"},
		{"timeout", control.AddIn{Arg: []string{"true"}, Timeout: "1m"},
			func(j activation.NewJob) bool { return *j.Timeout == minute }, ""},
		{"a value with an equals sign", control.AddIn{Arg: []string{"true"}, Env: []string{"A=b=c"}},
			func(j activation.NewJob) bool { return j.Env["A"] == "b=c" }, ""},
		{"umask is octal", control.AddIn{Arg: []string{"true"}, Umask: "027"},
			func(j activation.NewJob) bool { return *j.Umask == 0o27 }, ""},
		{"at and in", control.AddIn{At: "now", In: "5m"}, nil, "at and in exclude each other"},
		{"no such time", control.AddIn{At: "teatime-ish"}, nil, "at: "},
		{"no such pause", control.AddIn{In: "soon"}, nil, "in: "},
		{"script and command", control.AddIn{Script: "x", Arg: []string{"true"}}, nil, "script cannot be used together with arg"},
		{"not a variable", control.AddIn{Env: []string{"A"}}, nil, "want NAME=VALUE"},
		{"no umask", control.AddIn{Umask: "8"}, nil, "umask: want an octal number"},
		{"no duration", control.AddIn{Grace: "5 parsecs"}, nil, "grace: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j, err := newJob(&tt.in, now)
			switch {
			case tt.wantErr == "" && err != nil:
				t.Errorf("newJob = %v", err)
			case tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr) || !errors.Is(err, fault.Invalid)):
				t.Errorf("newJob = %v, want an error of kind invalid with %q", err, tt.wantErr)
			case tt.want != nil && !tt.want(j):
				t.Errorf("newJob = %+v", j)
			}
		})
	}
}

func TestExitStatus(t *testing.T) {
	attempt := func(phase, reason string, exit, signal int) activation.Attempt {
		return activation.Attempt{Phase: phase, Result: wrapper.Result{Reason: reason, Exit: exit, Signal: signal}}
	}
	tests := []struct {
		name     string
		outcome  activation.Outcome
		attempts []activation.Attempt
		want     int
	}{
		{"success", activation.Succeeded, []activation.Attempt{attempt("activate", wrapper.Exited, 0, 0)}, 0},
		{"its own status", activation.Failed, []activation.Attempt{attempt("activate", wrapper.Exited, 3, 0)}, 3},
		{"a signal", activation.Failed, []activation.Attempt{attempt("activate", wrapper.Exited, -1, 9)}, 137},
		{"not found", activation.Failed, []activation.Attempt{attempt("activate", wrapper.Failed, 127, 0)}, 127},
		{"the newest attempt counts", activation.Failed, []activation.Attempt{
			attempt("activate", wrapper.Exited, 1, 0), attempt("activate", wrapper.Exited, 2, 0)}, 2},
		{"the deactivation does not", activation.Succeeded, []activation.Attempt{
			attempt("activate", wrapper.Exited, 0, 0), attempt("deactivate", wrapper.Exited, 5, 0)}, 0},
		{"timeout", activation.TimedOut, []activation.Attempt{attempt("activate", wrapper.TimedOut, -1, 15)}, 124},
		{"cancelled", activation.Cancelled, nil, 125},
		{"missed", activation.Missed, nil, 125},
		{"lost", activation.Lost, []activation.Attempt{attempt("activate", wrapper.Lost, -1, 0)}, 125},
		{"failed without an attempt", activation.Failed, nil, 125},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := &activation.View{Record: activation.Record{Life: activation.Life{Outcome: tt.outcome, Attempts: tt.attempts}}}
			if got := exitStatus(v); got != tt.want {
				t.Errorf("exitStatus = %d, want %d", got, tt.want)
			}
		})
	}
}

// TestRegistryIsComplete checks that each operation has a role and a line of help.
func TestRegistryIsComplete(t *testing.T) {
	for _, op := range Registry(Daemon{}).Ops() {
		lowest := control.Viewer
		if op.Name == "clock" { // people without a role are shown times, too
			lowest = control.NoRole
		}
		if op.Help == "" || op.Role < lowest || op.Role > control.Admin {
			t.Errorf("operation %s: role %v, help %q", op.Name, op.Role, op.Help)
		}
	}
}

// TestProtocolIsWhole checks that the page on the protocol names each operation.
func TestProtocolIsWhole(t *testing.T) {
	page, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range Registry(Daemon{}).Ops() {
		if !regexp.MustCompile("`([a-z ]+ )?" + op.Name + "[` :]").Match(page) {
			t.Errorf("docs/protocol.md does not name %s", op.Name)
		}
	}
}

// TestActor checks what callers may do with activations that are not their own.
func TestActor(t *testing.T) {
	for _, tt := range []struct {
		name            string
		caller          control.Caller
		onlyOwn, noJobs bool
	}{
		{"a user of the machine", control.Caller{Role: control.Submitter, UID: 1000, Name: "ada"}, true, false},
		{"an operator", control.Caller{Role: control.Operator, UID: 1000, Name: "ada"}, false, false},
		{"an operator of whom only the address is known", control.Caller{Role: control.Operator, UID: -1, Kind: control.ByAddress}, false, true},
		{"an admin of whom only the address is known", control.Caller{Role: control.Admin, UID: -1, Kind: control.ByAddress}, false, false},
	} {
		a := actor(tt.caller)
		if a.OnlyOwn != tt.onlyOwn || a.NoJobs != tt.noJobs || a.UID != tt.caller.UID || a.Name != tt.caller.Name {
			t.Errorf("%s: %+v, want OnlyOwn %v, NoJobs %v", tt.name, a, tt.onlyOwn, tt.noJobs)
		}
	}
}

// TestPlacesInHTTP checks that each operation has a place of its own in HTTP, that only those
// which change nothing are GETs, and that a path says the same as the operation's other names.
func TestPlacesInHTTP(t *testing.T) {
	changes := []string{"add", "edit", "cancel", "run", "retry", "hold", "release", "remove", "pause", "resume", "stop", "push", "purge", "alloc", "free", "forgive"}
	reads := []string{"free"} // the slots that are free
	places := make(map[string]string)
	for _, op := range Registry(Daemon{}).Ops() {
		place := op.Method + " " + op.Path
		if other := places[place]; other != "" {
			t.Errorf("%s: both %s and %s", place, other, op.Name)
		}
		places[place] = op.Name
		words := strings.Fields(op.Name)
		if op.Method == "GET" && slices.Contains(changes, words[len(words)-1]) && !slices.Contains(reads, op.Name) {
			t.Errorf("%s: GET, and it changes something", op.Name)
		}
		if op.Method == "GET" && op.Role > control.Viewer && !op.Streams() && !strings.HasSuffix(op.Name, "list") &&
			!slices.Contains([]string{"service env", "queue dead", "atq", "atcat", "source show"}, op.Name) {
			t.Errorf("%s: GET, although not viewers may call it: does it change nothing?", op.Name)
		}
	}
}
