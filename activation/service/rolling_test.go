package service

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"activationd/activation"
	"activationd/activation/service/probe"
)

// At every moment of a rolling restart no more instances are on their way than there are extra
// ones, or one. It ends when each had its turn, stops at the first one that fails, and then
// goes on with that one. It survives being written to the store after each step.
func TestRollout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &Rollout{State: Rolling}
		count := rapid.IntRange(1, 8).Draw(t, "instances")
		for n := 1; n <= count; n++ {
			r.Todo = append(r.Todo, n)
		}
		extra := rapid.IntRange(0, 3).Draw(t, "surge")
		r.addExtra(extra, count)
		at := make(map[int]verdict) // of those that are on their way
		begun := make(map[int]bool)
		look := func(turn Turn) (verdict, string) { return at[turn.N], "why" }
		var ended []int
		for steps := 0; r.State != Rolled; steps++ {
			if steps > 1000 {
				t.Fatalf("it does not end: %+v", r)
			}
			wasStopped := r.State == Stopped
			begin := r.advance("web", look)
			if r.State == Stopped && len(begin) > 0 {
				t.Fatalf("it goes on with %v although it has stopped", begin)
			}
			for _, n := range begin {
				if !r.extra(n) {
					for e := range extra {
						if x := count + 1 + e; at[x] != ready && at[x] != gone {
							t.Fatalf("%d is restarted before the extra instance %d is ready", n, x)
						}
					}
				}
				at[n], begun[n] = waits, true
				r.Now = append(r.Now, Turn{N: n, Run: 1})
			}
			if most := max(1, extra); len(r.Now) > most {
				t.Fatalf("%v are on their way, want at most %d", r.Now, most)
			}
			data, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			r = new(Rollout)
			if err := json.Unmarshal(data, r); err != nil {
				t.Fatal(err)
			}
			if wasStopped || r.State == Stopped {
				if rapid.Bool().Draw(t, "continue") {
					r.again(look)
					for _, n := range r.Todo {
						at[n] = waits
					}
				}
			}
			for _, turn := range r.Now {
				at[turn.N] = rapid.SampledFrom([]verdict{waits, ready, ready, failed, gone}).Draw(t, "becomes")
			}
		}
		for n, v := range at {
			if v == waits || v == failed {
				t.Errorf("it is over, and %d is %d", n, v)
			}
			ended = append(ended, n)
		}
		if len(ended) != count+extra {
			t.Errorf("%d instances had their turn, want %d", len(ended), count+extra)
		}
	})
}

// A declaration is the same after it was in the store: any bytes in its texts, and its hashes.
func TestStoredVersions(t *testing.T) {
	d := New("shop/web")
	check := Check{Kind: probe.HTTP, Target: "http://127.0.0.1:8000+{{instance}}/"}.WithDefaults(false)
	umask := 0o27
	d.Command, d.Env, d.FileEnv = []string{"/bin/\xff", "\"'\\", "\ufffd"}, map[string]string{"A": "\xfe\x00"}, map[string]string{"B": "\n"}
	d.Dir, d.EnvFile, d.User, d.Umask, d.Ready = "/srv/\x80", "/srv/.env", &activation.Identity{Name: "www", UID: 33, GID: 33}, &umask, &check
	d.After, d.Surge, d.Rolling, d.Drain = []Dependency{{"db", Started}}, 2, true, time.Second
	v := new(versions)
	v.change(d, false)
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	got := new(versions)
	if err := json.Unmarshal(data, got); err != nil {
		t.Fatal(err)
	}
	o := got.of(got.Target)
	if o == nil || !reflect.DeepEqual(o, d) || o.LiveHash() != d.LiveHash() {
		t.Errorf("%+v, want %+v", o, d)
	}
	if !slices.Equal(o.Command, d.Command) {
		t.Errorf("the command %q, want %q", o.Command, d.Command)
	}
	if err := json.Unmarshal([]byte(`{"all":[{"command":["no quotes"]}]}`), got); err == nil {
		t.Error("a text without quotes is read")
	}
}
