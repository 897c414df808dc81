package ops_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/control/access"
	"activationd/control/line"
	"activationd/control/ops"
	"activationd/internal/fault"
	"activationd/store/bolt"
	"activationd/vlanstore"
	"activationd/vlanstore/vlantest"
)

// serve serves the operations of an engine that runs nothing. It returns a function that
// returns clients, all of which identify as a certain caller.
func serve(t testing.TB, pools vlanstore.Pools, as control.Caller) func() *control.Client {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	engine := activation.New(activation.Parts{DB: db, Log: log}, activation.Settings{Pools: pools})
	s := &line.Server{Registry: ops.Registry(ops.Daemon{Engine: engine, Sections: new(vlanstore.Sections)}), Log: log, Gate: &access.Gate{Log: log}}
	dir, err := os.MkdirTemp("", "ops-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln, func(net.Conn) (control.Caller, error) { return as, nil }) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-done, db.View(context.Background(), vlanstore.Verify), db.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return func() *control.Client {
		c := &control.Client{Address: dir + "/s"}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

func vlanPools(of map[string]string) vlanstore.Pools {
	all := vlanstore.Pools{}
	for domain, text := range of {
		var r vlanstore.Range
		if _, err := fmt.Sscanf(text, "%d-%d", &r.First, &r.Last); err != nil {
			panic(err)
		}
		all[domain] = vlanstore.Pool{Domain: domain, Ranges: []vlanstore.Range{r}}
	}
	return all
}

var admin = control.Caller{Role: control.Admin, Name: "root", UID: 0}

// TestVLANsAreLinearizable has several clients request few VLANs at the same time, each on a
// connection of its own. The replies must be possible if the requests came one after another.
func TestVLANsAreLinearizable(t *testing.T) {
	few := map[string]string{"a": "10-14", "b": "20-22"}
	client := serve(t, vlanPools(few), admin)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	h := vlantest.New(few)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			rnd, c := rand.New(rand.NewPCG(seed, uint64(n))), client()
			for range 60 {
				if err := h.Ask(t.Context(), c, n, h.Random(rnd)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	h.Check(t)
	if !h.Lie() {
		t.Error("not one VLAN was leased in the second half")
		return
	}
	lie := &failed{TB: t}
	h.Check(lie)
	if lie.errors == 0 {
		t.Error("a false reply is not detected")
	}
}

// A failed is a test that only counts its errors.
type failed struct {
	testing.TB
	errors int
}

func (f *failed) Helper()               {}
func (f *failed) Logf(string, ...any)   {}
func (f *failed) Error(...any)          { f.errors++ }
func (f *failed) Errorf(string, ...any) { f.errors++ }

// TestVLANWords checks how the operations read their arguments.
func TestVLANWords(t *testing.T) {
	client := serve(t, vlanPools(map[string]string{"a": "10-14", "b": "20-22"}), admin)()
	for _, tt := range []struct {
		op, want string // in the error, or the ids
		in       any
	}{
		{"alloc", "10 11 20", control.VLANAllocIn{Holder: "h", Link: []string{"x", "y", "z"}, Domain: []string{"a", "a", "b"}}},
		{"alloc", "12 14", control.VLANAllocIn{Holder: "h", Link: []string{"v", "w"}, Domain: []string{"a"}, ID: []string{"0", "14"}}},
		{"alloc", "domain: there must be one for each of 3 links", control.VLANAllocIn{Holder: "h", Link: []string{"x", "y", "z"}, Domain: []string{"a", "a"}}},
		{"alloc", "id: there must be one for each of 2 links", control.VLANAllocIn{Holder: "h", Link: []string{"x", "y"}, Domain: []string{"a"}, ID: []string{"1"}}},
		{"alloc", `id: "one" is not a whole number`, control.VLANAllocIn{Holder: "h", Link: []string{"x"}, Domain: []string{"a"}, ID: []string{"one"}}},
		{"alloc", "vlan alloc needs holder", control.VLANAllocIn{Link: []string{"x"}, Domain: []string{"a"}}},
		{"list", "10 11 12 14 20", control.VLANListIn{Holder: "h"}},
		{"list", "20", control.VLANListIn{Domain: "b"}},
		{"list", "", control.VLANListIn{State: "quarantined"}},
		{"list", "want leased or quarantined", control.VLANListIn{State: "free"}},
		{"quarantine", "20", control.VLANQuarantineIn{Domain: "b", ID: 20, Reason: "a\nb"}},
		{"quarantine", "vlan quarantine needs reason", control.VLANQuarantineIn{Domain: "b", ID: 20}},
		{"release", "20 of b is in quarantine", control.VLANReleaseIn{Domain: "b", ID: 20}},
		{"release", "vlan release needs either domain and id, or a holder", control.VLANReleaseIn{}},
		{"release", "vlan release needs either domain and id, or a holder", control.VLANReleaseIn{Domain: "a", ID: 10, Holder: "h"}},
		{"release", "vlan release needs either domain and id, or a holder", control.VLANReleaseIn{Domain: "a", Holder: "h"}},
		{"release", "vlan release needs either domain and id, or a holder", control.VLANReleaseIn{Domain: "a", ID: 10, Link: "x"}},
		{"release", "10", control.VLANReleaseIn{Domain: "a", ID: 10}},
		{"release", "11", control.VLANReleaseIn{Holder: "h", Link: "y"}},
		{"release", "12 14", control.VLANReleaseIn{Holder: "h"}},
		{"release", "h has no VLAN", control.VLANReleaseIn{Holder: "h"}},
		{"free", "20", control.VLANIn{Domain: "b", ID: 20}},
		{"free", "20 of b is free", control.VLANIn{Domain: "b", ID: 20}},
	} {
		_, lines, err := control.Call[control.VLANLease](t.Context(), client, "vlan "+tt.op, tt.in)
		var ids []string
		for _, l := range lines {
			ids = append(ids, fmt.Sprint(l.ID))
		}
		if got := strings.Join(ids, " "); err == nil && got != tt.want || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("vlan %s %+v: %q, %v, want %q", tt.op, tt.in, got, err, tt.want)
		}
	}
	_, lines, err := control.Call[control.VLANPool](t.Context(), client, "vlan pools", nil)
	if want := []control.VLANPool{{Domain: "a", Ranges: "10-14", Size: 5, Free: 5}, {Domain: "b", Ranges: "20-22", Size: 3, Free: 3}}; err != nil || !reflect.DeepEqual(lines, want) {
		t.Errorf("pools: %+v, %v", lines, err)
	}
}

// TestManyLinks leases all ids in one request.
func TestManyLinks(t *testing.T) {
	client := serve(t, vlanPools(map[string]string{"a": "1-4094"}), admin)()
	in := control.VLANAllocIn{Holder: "h", Domain: []string{"a"}}
	for i := range 4094 {
		in.Link = append(in.Link, fmt.Sprintf("r%d:eth1 -- r%d:eth2", i, i+1))
	}
	_, lines, err := control.Call[control.VLANLease](t.Context(), client, "vlan alloc", in)
	if err != nil || len(lines) != 4094 || lines[4093].ID != 4094 {
		t.Fatalf("%d leases, %v", len(lines), err)
	}
	_, _, err = control.Call[control.VLANLease](t.Context(), client, "vlan alloc", control.VLANAllocIn{Holder: "h", Domain: []string{"a"}, Link: []string{"one more"}})
	if !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "1 short for h; its ids are held by: h 4094") {
		t.Errorf("one more: %v", err)
	}
}

// A guest is inside a section, or waits for it.
type guest struct {
	lines chan string // of its reply
	end   chan error  // why it is not inside any more
	leave context.CancelFunc
}

// TestSectionLimits checks how long a guest waits for a section and holds it.
func TestSectionLimits(t *testing.T) {
	var op *control.Op
	visit := func(t *testing.T, in control.SectionIn) *guest {
		ctx, cancel := context.WithCancel(t.Context())
		g := &guest{lines: make(chan string, 9), end: make(chan error, 1), leave: cancel}
		go func() {
			g.end <- op.Stream(ctx, control.Caller{Role: control.Submitter, Name: "anna", Via: "unix pid 7"}, &in, func(line any) error {
				l, ok := line.(control.SectionLine)
				if !ok {
					return fmt.Errorf("%T", line)
				}
				g.lines <- strings.TrimSpace(l.What + " " + l.For)
				return ctx.Err()
			})
		}()
		return g
	}
	told := func(g *guest, want string) {
		t.Helper()
		if got := <-g.lines; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	sections := func(t *testing.T, fn func(t *testing.T)) {
		op = ops.Registry(ops.Daemon{Sections: new(vlanstore.Sections)}).Lookup("vlan section")
		synctest.Test(t, fn)
	}
	t.Run("held too long", func(t *testing.T) {
		sections(t, func(t *testing.T) {
			began := time.Now()
			first := visit(t, control.SectionIn{})
			told(first, "inside")
			second := visit(t, control.SectionIn{Wait: "2m", Hold: "10s"})
			told(second, "waiting anna (unix pid 7)")
			if err := <-first.end; !errors.Is(err, fault.Conflict) || time.Since(began) != time.Minute {
				t.Errorf("the first one is out after %v: %v", time.Since(began), err)
			}
			told(second, "inside")
			if err := <-second.end; !errors.Is(err, fault.Conflict) || time.Since(began) != 70*time.Second {
				t.Errorf("the second one is out after %v: %v", time.Since(began), err)
			}
		})
	})
	t.Run("waited too long", func(t *testing.T) {
		sections(t, func(t *testing.T) {
			began := time.Now()
			first := visit(t, control.SectionIn{Name: "x", Hold: "1h"})
			told(first, "inside")
			for _, wait := range []struct {
				text string
				long time.Duration
			}{{"", 30 * time.Second}, {"5s", 35 * time.Second}, {"0", 35 * time.Second}, {"0s", 35 * time.Second}} {
				second := visit(t, control.SectionIn{Name: "x", Wait: wait.text})
				told(second, "waiting anna (unix pid 7)")
				if err := <-second.end; !errors.Is(err, fault.Unavailable) || time.Since(began) != wait.long {
					t.Errorf("wait %q: out after %v: %v", wait.text, time.Since(began), err)
				}
			}
			other := visit(t, control.SectionIn{Name: "y", Wait: "0"})
			told(other, "inside")
			first.leave()
			other.leave()
			<-first.end
			free := visit(t, control.SectionIn{Name: "x", Wait: "0"})
			told(free, "inside")
			free.leave()
			<-free.end
			<-other.end
		})
	})
	t.Run("hangs up", func(t *testing.T) {
		sections(t, func(t *testing.T) {
			first := visit(t, control.SectionIn{})
			told(first, "inside")
			second := visit(t, control.SectionIn{})
			told(second, "waiting anna (unix pid 7)")
			third := visit(t, control.SectionIn{})
			told(third, "waiting anna (unix pid 7)")
			second.leave()
			if err := <-second.end; !errors.Is(err, context.Canceled) {
				t.Errorf("the second one: %v", err)
			}
			first.leave()
			<-first.end
			told(third, "inside")
			third.leave()
			<-third.end
		})
	})
	t.Run("invalid requests", func(t *testing.T) {
		sections(t, func(t *testing.T) {
			for _, in := range []control.SectionIn{{Wait: "soon"}, {Wait: "25h"}, {Hold: "0s"}, {Hold: "25h"}, {Name: "a b"}, {Name: strings.Repeat("x", 65)}} {
				if err := <-visit(t, in).end; !errors.Is(err, fault.Invalid) {
					t.Errorf("%+v: %v", in, err)
				}
			}
		})
	})
	t.Run("too many", func(t *testing.T) {
		sections(t, func(t *testing.T) {
			var all []*guest
			for range 64 {
				all = append(all, visit(t, control.SectionIn{Wait: "1h"}))
				<-all[len(all)-1].lines
			}
			if err := <-visit(t, control.SectionIn{Name: "other"}).end; !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "64 visitors of anna") {
				t.Errorf("one too many: %v", err)
			}
			for _, g := range all {
				g.leave()
			}
			for _, g := range all {
				<-g.end
			}
			again := visit(t, control.SectionIn{})
			told(again, "inside")
			again.leave()
			<-again.end
		})
	})
}

// BenchmarkVLANs has 64 callers lease and release 8 ids each, on connections of their own.
func BenchmarkVLANs(b *testing.B) {
	client := serve(b, vlanPools(map[string]string{"a": "1-4000"}), admin)
	var links []string
	for i := range 8 {
		links = append(links, fmt.Sprint("link ", i))
	}
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		c := client()
		holder := fmt.Sprintf("%p", c)
		for pb.Next() {
			_, lines, err := control.Call[control.VLANLease](context.Background(), c, "vlan alloc", control.VLANAllocIn{Holder: holder, Link: links, Domain: []string{"a"}})
			if err != nil || len(lines) != len(links) {
				b.Errorf("%d, %v", len(lines), err)
			}
			if _, _, err := control.Call[control.VLANLease](context.Background(), c, "vlan release", control.VLANReleaseIn{Holder: holder}); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
}
