package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"activationd/queue"
	"activationd/schedule"
	"activationd/store"
	"activationd/store/bolt"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

var atwrap string

func TestMain(m *testing.M) {
	if os.Getenv("BROKER_LISTEN") != "" {
		listen()
		return
	}
	dir, err := os.MkdirTemp("", "broker")
	if err != nil {
		panic(err)
	}
	atwrap = filepath.Join(dir, "atwrap")
	if out, err := exec.Command("make", "-s", "-C", "../..", "atwrap", "BIN="+dir).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "make atwrap: %v\n%s", err, out)
		os.Exit(1)
	}
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// A place is where the brokers of a test, one after the other, keep what they have.
type place struct {
	t   testing.TB
	dir string
	set Settings
	db  func(store.Store) store.Store // what brokers get; nil: the store itself
}

func newPlace(t testing.TB, listeners ...Listener) *place {
	p := &place{t: t, dir: t.TempDir(), set: Settings{Listeners: listeners}}
	for _, dir := range []string{"runs", "config", "bodies"} {
		if err := os.Mkdir(filepath.Join(p.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(p.end)
	return p
}

// end ends the processes that outlive the brokers of a test.
func (p *place) end() {
	runs := p.supervisor()
	defer runs.Close()
	keys, err := runs.List()
	if err != nil {
		p.t.Error(err)
	}
	left := 0
	for _, k := range keys {
		if found, err := runs.Adopt(k); err == nil && found.State == supervisor.Running {
			if err := runs.Stop(k); err != nil {
				p.t.Error(err)
			}
			left++
		}
	}
	for range left {
		<-runs.Exits()
	}
}

func (p *place) supervisor() *supervisor.Supervisor {
	runs, err := supervisor.New(supervisor.Config{
		Atwrap: atwrap, RunsDir: filepath.Join(p.dir, "runs"), ConfigRoot: filepath.Join(p.dir, "config"), WorkdirsDir: filepath.Join(p.dir, "bodies"),
		Log: slog.New(slog.NewTextHandler(p.t.Output(), nil)),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return runs
}

// A running is a broker that runs.
type running struct {
	*Broker
	t    testing.TB
	db   store.Store
	stop func()
}

type realRuns struct{ *supervisor.Supervisor }

func (r realRuns) Stream(k supervisor.Key) (Stream, error) {
	s, err := r.Supervisor.Stream(k)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// start starts a broker. Its end leaves processes running, as that of a daemon does.
func (p *place) start() *running {
	t := p.t
	t.Helper()
	db, err := bolt.Open(filepath.Join(p.dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	runs := p.supervisor()
	timer, err := schedule.NewTimer()
	if err != nil {
		t.Fatal(err)
	}
	var given store.Store = db
	if p.db != nil {
		given = p.db(db)
	}
	b := New(Parts{DB: given, Runs: realRuns{runs}, Alarm: timer, Log: log, Journal: filepath.Join(p.dir, "deliveries")}, p.set)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- timer.Run(ctx) }()
	go func() { done <- b.Run(ctx) }()
	r := &running{Broker: b, t: t, db: db}
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range 2 {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("the end of a broker: %v", err)
			}
		}
		runs.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(r.stop)
	return r
}

// per returns a listener with a process per message.
func per(name string, command ...string) Listener {
	return Listener{
		Name: name, Queues: []string{name}, Instances: 2, Window: 1, Grace: time.Second, Version: fmt.Sprint(command),
		Policy: queue.Policy{Attempts: 3, Backoff: time.Millisecond},
		Prepare: func() (wrapper.Spec, error) {
			return wrapper.Spec{Argv: command, UID: -1, GID: -1, LogHead: 1 << 16, LogTail: 1 << 16, Env: []string{"PATH=/usr/bin:/bin"}}, nil
		},
	}
}

func (r *running) create(name string) *queue.Queue {
	r.t.Helper()
	q, _, err := r.Create(r.t.Context(), queue.Queue{Name: name}, ann)
	if err != nil {
		r.t.Fatal(err)
	}
	return q
}

func (r *running) push(name, body string, change ...func(*queue.New)) uint64 {
	r.t.Helper()
	m := NewMessage{Queue: name, New: queue.New{Body: []byte(body), Keep: time.Hour}}
	for _, c := range change {
		c(&m.New)
	}
	p := r.Push(r.t.Context(), []NewMessage{m})[0]
	if p.Err != nil {
		r.t.Fatal(p.Err)
	}
	return p.ID
}

// result waits for the end of a message.
func (r *running) result(name string, id uint64) *queue.Result {
	r.t.Helper()
	if err := r.Await(r.t.Context(), name, id); err != nil {
		r.t.Fatal(err)
	}
	res, over, err := r.Result(r.t.Context(), name, id)
	if err != nil || !over {
		r.t.Fatalf("result of %d: over %t, %v", id, over, err)
	}
	return res
}

func withEnv(prepare func() (wrapper.Spec, error), vars ...string) func() (wrapper.Spec, error) {
	return func() (wrapper.Spec, error) {
		s, err := prepare()
		s.Env = append(s.Env, vars...)
		return s, err
	}
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal("no " + path)
		}
		time.Sleep(time.Millisecond)
	}
}
