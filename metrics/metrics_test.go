package metrics_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/metrics"
	"activationd/metrics/exposition"
)

// full is a reading with a series of each family.
func full() *metrics.Reading {
	return &metrics.Reading{
		Failed: []string{metrics.PartVLANs}, States: map[string]int{"finished": 3}, Pauses: map[string]int{"daemon": 1},
		Sources:  []metrics.Source{{Name: "file", Read: time.Unix(1e9, 0), Loads: map[string]uint64{"ok": 1}}},
		VLANs:    []metrics.VLANs{{Pool: "campus", Free: 5, Leased: 2, Quarantined: 1}},
		Queues:   []metrics.Queue{{Name: "mail", Ready: 2, Deliveries: map[string]uint64{"done": 7}}},
		Hooks:    []metrics.Hook{{Name: "chat", Pending: 1}},
		Services: []metrics.Service{{Name: "web", States: map[string]int{"ready": 2}}},
		Disks:    []metrics.Disk{{Directory: "state", Free: 1, Size: 2, Inodes: 3, AllInodes: 4}},
		Stores:   map[string]int64{"state": 5},
		Reads:    map[string]uint64{"state": 7},
	}
}

// exercise has a series of each metric that is counted.
func exercise(r *metrics.Recorder) {
	r.Started(3 * time.Millisecond)
	r.Ended("job", "activate", "succeeded", time.Second)
	r.Restarted("web", "failed")
	r.Committed(time.Millisecond)
	r.Begin("line")
	r.End("line", "add", 200)
}

func recorder(read func() *metrics.Reading) *metrics.Recorder {
	return metrics.New(metrics.Parts{
		Version: "v1", Revision: "abc", Log: slog.New(slog.DiscardHandler), Read: func(context.Context) *metrics.Reading { return read() },
	})
}

func scrape(t *testing.T, r *metrics.Recorder) *exposition.Scrape {
	t.Helper()
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("GET /metrics: %d: %s", w.Code, w.Body)
	}
	s, err := exposition.Parse(w.Body.String())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDocumented compares the metrics with their description.
func TestDocumented(t *testing.T) {
	r := recorder(full)
	exercise(r)
	var have []string
	for name := range scrape(t, r).Families {
		if strings.HasPrefix(name, "activationd_") {
			have = append(have, name)
		}
	}
	slices.Sort(have)
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(activationd_[a-z_]+)").FindAllStringSubmatch(string(text), -1) {
		told = append(told, m[1])
	}
	slices.Sort(told)
	if !slices.Equal(have, told) {
		t.Errorf("the daemon has\n%s\nand docs/metrics.md describes\n%s", strings.Join(have, "\n"), strings.Join(told, "\n"))
	}
}

// TestTooManyNames has more queues than there are labels for, and one that comes twice.
func TestTooManyNames(t *testing.T) {
	const more = 3
	r := recorder(func() *metrics.Reading {
		reading := new(metrics.Reading)
		for i := range metrics.MaxNames + more {
			reading.Queues = append(reading.Queues, metrics.Queue{Name: fmt.Sprintf("q%05d", i)})
		}
		reading.Hooks = []metrics.Hook{{Name: "twice"}, {Name: "twice"}}
		reading.Sources = []metrics.Source{{Name: "no\xfftext"}}
		return reading
	})
	scrape(t, r)
	s := scrape(t, r) // what the first one dropped is counted
	bytes := s.Families["activationd_queue_bytes"].Series
	if len(bytes) != metrics.MaxNames {
		t.Errorf("%d queues have series, want %d", len(bytes), metrics.MaxNames)
	}
	if _, ok := s.Value("activationd_queue_bytes", "queue", fmt.Sprintf("q%05d", metrics.MaxNames)); ok {
		t.Error("a queue beyond the limit has a series")
	}
	if n, _ := s.Value("activationd_metrics_dropped_total"); n < more {
		t.Errorf("%v series were dropped, want at least %d", n, more)
	}
	if _, ok := s.Value("activationd_hook_pending", "hook", "twice"); !ok {
		t.Error("a hook that comes twice has no series")
	}
}

// TestServiceIsGone removes a service: its series go, too, also those that were counted.
func TestServiceIsGone(t *testing.T) {
	now := full()
	r := recorder(func() *metrics.Reading { return now })
	exercise(r)
	restarts := func() bool {
		_, ok := scrape(t, r).Value("activationd_service_restarts_total", "service", "web", "reason", "failed")
		return ok
	}
	if !restarts() {
		t.Error("a service with a restart has no series")
	}
	now = full()
	now.Services, now.Failed = nil, []string{metrics.PartServices}
	if scrape(t, r); !restarts() {
		t.Error("the series is gone, as services could not be read")
	}
	now.Failed = nil
	scrape(t, r) // what is counted may be read before the service is seen to be gone
	if restarts() {
		t.Error("a service is gone, and its series is not")
	}
}

// TestManyServices counts restarts of more services than there are labels for.
func TestManyServices(t *testing.T) {
	r := recorder(func() *metrics.Reading { return &metrics.Reading{Failed: []string{metrics.PartServices}} })
	for i := range metrics.MaxNames + 1 {
		r.Restarted(fmt.Sprint("s", i), "failed")
	}
	s := scrape(t, r)
	if n := len(s.Families["activationd_service_restarts_total"].Series); n != metrics.MaxNames {
		t.Errorf("%d services have series, want %d", n, metrics.MaxNames)
	}
	if n, _ := s.Value("activationd_metrics_dropped_total"); n != 1 {
		t.Errorf("%v series were dropped, want 1", n)
	}
}
