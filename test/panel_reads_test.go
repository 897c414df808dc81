package test

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"activationd/metrics/exposition"
	"activationd/test/biglab"
	"activationd/test/harness"
)

// largeConfig is the configuration of a daemon with a large laboratory.
const largeConfig = httpConfig + `
sources: [{http: ` + biglab.Source + `}]
reservations: {activate: ['true'], deactivate: ['true']}
history: {keep: 366d}
`

// newLarge starts a daemon with a large laboratory.
func newLarge(t *testing.T, config string, l biglab.Lab) *daemon {
	t.Helper()
	d := newDaemon(t, config)
	if err := os.Mkdir(d.state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := biglab.Fill(t.Context(), d.state+"/state.db", l, time.Now()); err != nil {
		t.Fatal(err)
	}
	d.Start()
	return d
}

// largePages are pages of the panel, with how many values of the store may be read for each.
var largePages = []struct {
	path string
	most int
}{
	{"/", 1500},
	{"/timeline", 3000},
	{"/timeline?view=table", 3000},
	{"/timeline?match=user7", 6000},
	{"/timeline?rows=services", 300},
	{"/timeline?rows=queues", 300},
	{"/timeline?rows=vlans", 300},
	{"/activations", 1500},
	{"/activations?kind=job", 1500},
	{"/activations?state=all", 1500},
	{"/activations?kind=job&state=all", 1500},
	{"/activations?state=failed", 1500},
	{"/activations?failed=yes", 1500},
	{"/activations?failed=yes&since=24h&kind=job&sort=ended&reverse=yes", 1500},
	{"/activations?outcome=succeeded", 1500},
	{"/activations?state=conflicting", 1500},
	{"/activations?state=scheduled&state=held", 1500},
	{"/activations?device=core3", 1500},
	{"/services", 300},
	{"/queues", 300},
	{"/vlans", 300},
	{"/locks", 1500},
	{"/recurrences", 300},
	{"/events", 1500},
	{"/audit", 20_500}, // a search ends after 20,000 numbers of events,
}

// TestPanelReads counts what the daemon reads for each page: it does not depend on how many
// activations are finished or pending. What the daemon does by itself meanwhile, such as to count its events after
// its start, only adds to that, and ends.
func TestPanelReads(t *testing.T) {
	t.Parallel()
	labs := []biglab.Lab{{Finished: 2000, Pending: 1000, Devices: 50}, {Finished: 8000, Pending: 4000, Devices: 50}}
	if harness.All() {
		labs[1] = biglab.Lab{Finished: 100_000, Pending: 10_000, Devices: 50}
	}
	for _, l := range labs {
		d := newLarge(t, largeConfig, l)
		c := d.plainWeb()
		d.await("it has judged all conflicts after its start, and reads nothing by itself", func() bool { return d.reads(c, "/login") == 0 })
		for _, pg := range largePages {
			d.await(fmt.Sprintf("at most %d values are read for %s of %+v", pg.most, pg.path, l), func() bool {
				n := d.reads(c, pg.path)
				t.Logf("%-45s %6d", pg.path, n)
				return n <= pg.most
			})
		}
		d.End()
	}
}

// reads returns how many values of the store the daemon reads for a page. It looks until the answer is
// the same three times, as the daemon may have something else to do meanwhile.
func (d *daemon) reads(c *http.Client, path string) (n int) {
	d.t.Helper()
	count := func() int {
		s, err := exposition.Parse(d.page(c, "/metrics", http.StatusOK))
		if err != nil {
			d.t.Fatal(err)
		}
		all, _ := s.Value("activationd_store_reads_total", "store", "state")
		return int(all)
	}
	n = -1
	same := 0
	d.await("it reads the same for "+path+" again", func() bool {
		before := count()
		scrape := count() - before // which reads, too
		d.page(c, path, http.StatusOK)
		got := count() - before - 2*scrape
		if same++; got != n {
			n, same = got, 1
		}
		return same == 3
	})
	return n
}
