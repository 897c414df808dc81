package metrics

import (
	"context"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// prefix precedes the names of all metrics of the daemon.
const prefix = "activationd_"

// MaxNames bounds how many names of a kind are labels: of queues, services, sources, pools or
// hooks. Those that come first by name have series; activationd_metrics_dropped_total counts the
// series that the others lack.
const MaxNames = 1000

// patience bounds how long a reading takes.
const patience = 5 * time.Second

// scrapes is how many are served at a time.
const scrapes = 4

// Parts are what a [Recorder] needs.
type Parts struct {
	Version, Revision string
	// Read reads the parts of the daemon. Parts that cannot be read by the end of ctx it leaves
	// out, and names them.
	Read func(ctx context.Context) *Reading
	Log  *slog.Logger
}

// A Recorder has all metrics. Its methods may be called by any goroutine.
type Recorder struct {
	parts    Parts
	registry *prometheus.Registry
	descs    []*prometheus.Desc

	attempts *prometheus.CounterVec
	late     prometheus.Histogram
	took     *prometheus.HistogramVec
	restarts *prometheus.CounterVec
	commits  prometheus.Histogram
	requests *prometheus.CounterVec
	inFlight *prometheus.GaugeVec
	dropped  prometheus.Counter

	mu       sync.Mutex
	services map[string]bool // that have restarts
}

// lateBuckets, tookBuckets and commitBuckets are the upper bounds of histograms, in seconds.
var (
	lateBuckets   = []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10}
	tookBuckets   = []float64{.01, .05, .1, .5, 1, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}
	commitBuckets = []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5}
)

// New returns a recorder.
func New(p Parts) *Recorder {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: buckets}
	}
	r := &Recorder{
		parts: p, registry: prometheus.NewRegistry(),
		attempts: counter("attempts_total", "Attempts that have ended.", "kind", "phase", "outcome"),
		late:     prometheus.NewHistogram(histogram("start_lateness_seconds", "How much later than it should a script was started.", lateBuckets)),
		took: prometheus.NewHistogramVec(
			histogram("attempt_duration_seconds", "How long the scripts of attempts ran.", tookBuckets), []string{"kind", "phase"}),
		restarts: counter("service_restarts_total", "Processes of a service that have ended and are followed by another, by how they ended.", "service", "reason"),
		commits:  prometheus.NewHistogram(histogram("store_commit_seconds", "How long it took to write transactions to the disk.", commitBuckets)),
		requests: counter("requests_total", "Requests of clients, by the code of the reply; 0 if there was none.", "face", "op", "code"),
		inFlight: prometheus.NewGaugeVec(
			prometheus.GaugeOpts{Name: prefix + "requests_in_flight", Help: "Requests of clients that are being served."}, []string{"face"}),
		dropped: prometheus.NewCounter(
			prometheus.CounterOpts{Name: prefix + "metrics_dropped_total", Help: "Series that were left out, as there are too many names."}),
		services: make(map[string]bool),
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: prefix + "build_info", Help: "Always 1; the labels say which program this is.",
		ConstLabels: prometheus.Labels{"version": p.Version, "revision": p.Revision, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
	for i := range families {
		r.descs = append(r.descs, families[i].desc())
	}
	for _, face := range []string{"http", "line"} {
		r.inFlight.WithLabelValues(face)
	}
	r.registry.MustRegister(r, r.attempts, r.late, r.took, r.restarts, r.commits, r.requests, r.inFlight, r.dropped, build,
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	return r
}

// Handler returns the handler of GET /metrics.
func (r *Recorder) Handler() http.Handler {
	return promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapes, ErrorLog: complaints{r.parts.Log}, ErrorHandling: promhttp.HTTPErrorOnError,
	})
}

// complaints logs what the library says.
type complaints struct{ log *slog.Logger }

func (c complaints) Println(v ...any) { c.log.Error("metrics", "about", v) }

// Describe implements [prometheus.Collector].
func (r *Recorder) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range r.descs {
		descs <- d
	}
}

// Collect implements [prometheus.Collector].
func (r *Recorder) Collect(out chan<- prometheus.Metric) {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	reading := r.parts.Read(ctx)
	r.forget(reading)
	for i := range families {
		f := &families[i]
		kind := prometheus.GaugeValue
		if f.counter {
			kind = prometheus.CounterValue
		}
		limit := newLimit(f.labels)
		f.read(reading, func(value float64, labels ...string) {
			m, err := prometheus.NewConstMetric(r.descs[i], kind, value, labels...)
			if err != nil || !limit.admits(labels) { // an error: the name is no valid text
				r.dropped.Inc()
				return
			}
			out <- m
		})
	}
}

// A limit admits the series of the first [MaxNames] names, each once: one that comes twice would
// have the library refuse all.
type limit struct {
	on     bool
	names  map[string]bool
	series map[string]bool
}

func newLimit(labels []string) limit {
	return limit{len(labels) > 0 && names[labels[0]], make(map[string]bool), make(map[string]bool)}
}

func (l *limit) admits(labels []string) bool {
	series := strings.Join(labels, "\xff") // which valid texts do not have
	if l.series[series] {
		return false
	}
	if l.on && !l.names[labels[0]] {
		if len(l.names) == MaxNames {
			return false
		}
		l.names[labels[0]] = true
	}
	l.series[series] = true
	return true
}

// forget removes what was counted for services that are gone.
func (r *Recorder) forget(now *Reading) {
	if slices.Contains(now.Failed, PartServices) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.services {
		if !slices.ContainsFunc(now.Services, func(s Service) bool { return s.Name == name }) {
			r.restarts.DeletePartialMatch(prometheus.Labels{"service": name})
			delete(r.services, name)
		}
	}
}

// Started counts the start of a script, and how late it was.
func (r *Recorder) Started(late time.Duration) { r.late.Observe(seconds(late)) }

// Ended counts the end of an attempt. Took is how long its script ran; negative: it did not.
func (r *Recorder) Ended(kind, phase, outcome string, took time.Duration) {
	r.attempts.WithLabelValues(kind, phase, outcome).Inc()
	if took >= 0 {
		r.took.WithLabelValues(kind, phase).Observe(took.Seconds())
	}
}

// Restarted counts a process of a service that has ended and is followed by another.
func (r *Recorder) Restarted(service, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.services[service] && len(r.services) == MaxNames {
		r.dropped.Inc()
		return
	}
	r.services[service] = true
	r.restarts.WithLabelValues(service, reason).Inc()
}

// Committed counts a transaction that was written to the disk.
func (r *Recorder) Committed(took time.Duration) { r.commits.Observe(took.Seconds()) }

// Begin counts a request of a client that begins. A face is a protocol.
func (r *Recorder) Begin(face string) { r.inFlight.WithLabelValues(face).Inc() }

// End counts a request that has ended, for one of the daemon's operations, by the code of the reply.
func (r *Recorder) End(face, op string, code int) {
	r.inFlight.WithLabelValues(face).Dec()
	r.requests.WithLabelValues(face, op, strconv.Itoa(code)).Inc()
}
