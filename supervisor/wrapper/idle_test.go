package wrapper

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"
)

// forgotten are the variables of a wrapper that the idle stage need not remember, and why.
var forgotten = map[string]string{
	"run.topology":      "only the script's environment has it",
	"run.held":          "it is in the limit",
	"run.input":         "the specification says it",
	"run.stopped":       "the wrapper is not idle after that",
	"run.ended":         "likewise",
	"run.reaped":        "likewise",
	"run.status":        "likewise",
	"quiet.able":        "it is found out again",
	"log.buf":           "there is nothing in it",
	"notifier.buf":      "likewise",
	"notifier.stale":    "a wrapper whose file is stale does not become idle",
	"notifier.received": "without it, garbage is collected a little later",
}

// Whatever a wrapper knows survives its being idle, or is named above.
func TestIdleRemembersAll(t *testing.T) {
	w := &run{log: new(log)}
	inside := map[uintptr]string{}
	for _, f := range w.remembered() {
		inside[reflect.ValueOf(f.value).Pointer()] = f.key
	}
	for _, whole := range []any{&w.spec, &w.result, &w.notifier.state, &w.log.why} { // they have keys of their own
		inside[reflect.ValueOf(whole).Pointer()] = "whole"
	}
	var visit func(v reflect.Value)
	visit = func(v reflect.Value) {
		for i := range v.NumField() {
			f, name := v.Field(i), v.Type().Name()+"."+v.Type().Field(i).Name
			_, ok := inside[f.Addr().Pointer()]
			if ok && (f.Kind() != reflect.Struct || f.Type() == reflect.TypeFor[time.Time]()) || name == "run.result" || name == "notifier.state" {
				continue
			}
			switch {
			case name == "run.beginning": // it is over
			case f.Kind() == reflect.Struct:
				visit(f)
			case f.Type() == reflect.TypeFor[*log]():
				visit(f.Elem())
			case forgotten[name] == "":
				t.Errorf("the idle stage does not remember %s", name)
			}
		}
	}
	visit(reflect.ValueOf(w).Elem())
}

func TestIdleStateIsReadBack(t *testing.T) {
	at := time.Unix(0, 1_700_000_000_123_456_789)
	w := &run{
		spec: &Spec{
			ID: "a\nb", Phase: "serve", Attempt: 3, Argv: []string{"/bin/sh"}, Env: []string{"PATH=/x:\xff", "HOME=/h"}, Dir: "/d", UID: 7, GID: 8,
			Groups: []int{9, 10}, Umask: 0o27, Nice: 2, NoNewPrivs: true, NoCaps: true, OOMReset: true, Timeout: 5, Grace: 6, TermSignal: 2, LogHead: 11,
			LogTail: 12, LogRotate: 13, LogKeep: 14, LogAge: 16, KeepLeftovers: true, Notify: true, Watchdog: 15, Listen: []string{"web"}, Addresses: []string{"/s"}, Cgroup: "/c", ConfigRoot: "/r",
			Boot: "boot", Mark: "mark",
		},
		result:   Result{Text: "no cgroup", PID: 20, WrapperPID: 21, Exit: -1, Started: at, Contained: GuardSubreaper},
		notifier: notifier{state: Notified{Ready: at, Status: "up \"ä\"", Refused: 3, Refusal: "x", Watchdog: at}},
		log:      &log{why: errors.New("no space")},
	}
	for i, f := range w.remembered() {
		switch v := f.value.(type) {
		case *string:
			*v = f.key + " \x00\n"
		case *bool:
			*v = true
		case *int:
			*v = 100 + i
		case *int64:
			*v = 1<<40 + int64(i)
		case *time.Duration:
			*v = time.Duration(1<<50 + i)
		case *time.Time:
			*v = at.Add(time.Duration(i))
		}
	}
	got := new(run)
	if err := got.decode(string(w.encode())); err != nil {
		t.Fatal(err)
	}
	if got.log.why.Error() != "no space" {
		t.Errorf("read back: %v", got.log.why)
	}
	got.log.why, w.log.why = nil, nil
	if !reflect.DeepEqual(any(got), any(w)) {
		t.Errorf("read back:\n%+v\n%+v, want:\n%+v\n%+v", got, got.spec, w, w.spec)
	}
}

// The command line and the environment, which may be long or secret, are not kept, besides what a hint
// at the end needs.
func TestIdleKeepsNoSecrets(t *testing.T) {
	w := &run{log: new(log), spec: &Spec{Argv: []string{"/bin/sh", "-c", "secret"}, Env: []string{"A=1", "PATH=/x", "HOME=/h", "PASSWORD=x"}, UID: -1, GID: -1}}
	got := new(run)
	if err := got.decode(string(w.encode())); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.spec.Argv, w.spec.Argv[:1]) || !slices.Equal(got.spec.Env, []string{"PATH=/x", "HOME=/h"}) {
		t.Errorf("kept %q %q", got.spec.Argv, got.spec.Env)
	}
	if got.spec.Command().Name != "/bin/sh" || len(w.spec.Env) != 4 {
		t.Errorf("command %+v, environment %q", got.spec.Command(), w.spec.Env)
	}
}

func TestPatienceGrows(t *testing.T) {
	q := quiet{patience: 10 * time.Second}
	for range 10 {
		q.grow()
	}
	if q.patience != mostPatience {
		t.Errorf("patience = %v, want %v", q.patience, mostPatience)
	}
}
