package main

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/chromedp/chromedp"

	"activationd/test/biglab"
)

const (
	panelTimes = 5 // a page is opened so often
	emptyPage  = "/login"
	// The goals of a page: kB as they are sent, elements, and ms until a browser has run its scripts.
	panelSize     = 150
	panelElements = 5000
	panelUsable   = 1000
)

// panelPages are those that people open first, and some that search.
var panelPages = []string{
	"/", "/timeline", "/timeline?view=table", "/timeline?window=7d", "/timeline?match=user7", "/timeline?rows=services", "/timeline?rows=vlans",
	"/activations", "/activations?kind=job", "/activations?state=all", "/activations?failed=yes", "/activations?device=core3", "/activations?owner=user7",
	"/activations?owner=user7&state=all", "/activations?sort=owner", "/activations?match=backup&kind=job", "/services", "/queues", "/vlans", "/locks",
	"/recurrences", "/events", "/audit", "/reports",
}

// panelSpeed opens pages of the panel of a large laboratory in a browser, by turns with an empty
// page of the same server.
func panelSpeed(b *bench, t *table) error {
	l := biglab.Lab{Finished: 100_000, Pending: 10_000, Devices: 500}
	if b.pending < 1_000_000 {
		l.Finished = 10_000
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := free.Addr().String()
	_ = free.Close()
	dir, err := os.MkdirTemp(b.dir, "d")
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		return err
	}
	if err := biglab.Fill(context.Background(), filepath.Join(dir, "state", "state.db"), l, time.Now()); err != nil {
		return err
	}
	d, err := b.startIn(dir, fmt.Sprintf(`
listen_http: [{address: %q, role: admin}]
sources: [{http: %s}]
reservations: {activate: ['true'], deactivate: ['true']}
history: {keep: 366d}
`, address, biglab.Source))
	if err != nil {
		return err
	}
	defer d.kill()
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1400, 900))...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	if err := chromedp.Do(ctx); err != nil { // the browser lives as long as the context of its start
		return fmt.Errorf("chromium does not start: %w", err)
	}
	for _, path := range panelPages {
		size, err := sent("http://" + address + path)
		if err != nil {
			return err
		}
		var empty, full []float64
		elements := 0
		for range panelTimes {
			e, _, err := opened(ctx, "http://"+address+emptyPage)
			if err != nil {
				return err
			}
			f, n, err := opened(ctx, "http://"+address+path)
			if err != nil {
				return err
			}
			empty, full, elements = append(empty, e), append(full, f), n
		}
		t.add("panel: "+path+", as it is sent", "kB", float64(size)/1000).atMost(panelSize)
		t.add("  elements", "", float64(elements)).atMost(panelElements)
		t.add("  until it can be used", "ms", median(full)).atMost(panelUsable).noted("an empty page %.0f ms", median(empty))
	}
	return nil
}

// sent returns the size of a page as a browser gets it.
func sent(address string) (int64, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Accept-Encoding", "gzip") // so that the client leaves it as it is
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	var n counter
	body := io.TeeReader(resp.Body, &n)
	if resp.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(body); err != nil {
			return 0, err
		}
	}
	if _, err = io.Copy(io.Discard, body); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", address, resp.Status)
	}
	return int64(n), err
}

// A counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// opened opens a page in a browser, and returns how many milliseconds passed until its scripts had
// run, and how many elements it has.
func opened(ctx context.Context, address string) (ms float64, elements int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(address)); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", address, err)
	}
	if ms, err = chromedp.Run(ctx, chromedp.Evaluate[float64](`performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd`)); err != nil {
		return 0, 0, err
	}
	elements, err = chromedp.Run(ctx, chromedp.Evaluate[int](`document.querySelectorAll("*").length`))
	return ms, elements, err
}
