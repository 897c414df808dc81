package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"activationd/control"
)

// overHTTP measures requests and streams over HTTP, beside the line protocol.
func overHTTP(b *bench, t *table) error {
	dir, err := os.MkdirTemp("", "activationd-bench-http-") // a short path for the socket
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	socket := filepath.Join(dir, "http.sock")
	d, err := b.start("listen_http: [\"unix:" + socket + "\"]\n")
	if err != nil {
		return err
	}
	defer d.end()
	if err := d.httpCreates(t, socket); err != nil {
		return err
	}
	if _, err := d.fill(); err != nil {
		return err
	}
	if err := d.httpLists(t, socket); err != nil {
		return err
	}
	return d.httpStreams(t, socket)
}

// httpClient returns a client of a daemon's socket for so many requests at a time.
func httpClient(socket string, conns int) *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: conns, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
}

// ask sends a request and reads its reply.
func ask(c *http.Client, method, path, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, "http://daemon/api/v1"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, data)
	}
	return data, err
}

// httpCreates compares submissions of 64 clients with those of the line protocol, in turns.
func (d *daemon) httpCreates(t *table, socket string) error {
	const clients = 64
	var line, web []float64
	for range 3 {
		rate, err := d.callers(clients, 2*time.Second)
		if err != nil {
			return err
		}
		line = append(line, rate)
		var done atomic.Int64
		var wg sync.WaitGroup
		errs := make(chan error, clients)
		began := time.Now()
		for range clients {
			wg.Go(func() {
				if err := httpCreate(socket, &done, began.Add(2*time.Second)); err != nil {
					errs <- err
				}
			})
		}
		wg.Wait()
		took := time.Since(began)
		select {
		case err := <-errs:
			return err
		default:
		}
		web = append(web, float64(done.Load())/took.Seconds())
	}
	t.add("submissions over HTTP, 64 clients", "/s", median(web))
	t.add("  over the line protocol, in turns", "/s", median(line))
	t.ratio("  ratio of both", median(web), median(line)).atLeast(0.7)
	return nil
}

// httpCreate submits jobs over one connection until a time, and counts them. It does no more for
// a request than the client of the line protocol does: net/http's client takes as much of the
// processors as the daemon.
func httpCreate(socket string, done *atomic.Int64, until time.Time) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	const body = `{"arg":["true"],"in":"20d"}`
	request := fmt.Sprintf("POST /api/v1/activations HTTP/1.1\r\nHost: daemon\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	in := bufio.NewReader(conn)
	for time.Now().Before(until) {
		if _, err := io.WriteString(conn, request); err != nil {
			return err
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusCreated {
			err = fmt.Errorf("a submission: %s %s", resp.Status, data)
		}
		if err != nil {
			return err
		}
		done.Add(1)
	}
	return nil
}

// httpLists measures a page of a long list.
func (d *daemon) httpLists(t *table, socket string) error {
	c := httpClient(socket, 1)
	defer c.CloseIdleConnections()
	var took []float64
	for range 200 {
		began := time.Now()
		data, err := ask(c, http.MethodGet, "/activations?limit=100", "")
		if err != nil {
			return err
		}
		took = append(took, time.Since(began).Seconds()*1000)
		var page struct{ Items []json.RawMessage }
		if err := json.Unmarshal(data, &page); err != nil || len(page.Items) != 100 {
			return fmt.Errorf("%d items: %w", len(page.Items), err)
		}
	}
	t.add(fmt.Sprintf("GET of 100 out of %d", d.b.pending), "ms", median(took)).atMost(5)
	return nil
}

// httpStreams measures streams of events that nobody sends anything to, and then one event for
// all of them. Their client is another process, whose descriptors are its own.
func (d *daemon) httpStreams(t *table, socket string) error {
	n := 10_000
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	n = min(n, int(lim.Max)-500)
	idle, err := d.starts(200, 20*time.Millisecond)
	if err != nil {
		return err
	}
	before, _ := d.memory()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, followsEvents, socket, strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = in.Close() // it ends then
		_ = cmd.Wait()
	}()
	lines := bufio.NewScanner(out)
	next := func() (time.Time, error) {
		if !lines.Scan() {
			return time.Time{}, errors.New("the client of streams has ended")
		}
		ns, err := strconv.ParseInt(lines.Text(), 10, 64)
		return time.Unix(0, ns), err
	}
	if _, err := next(); err != nil {
		return err
	}
	after, _ := d.memory()
	t.add(fmt.Sprintf("memory of the daemon for each of %d streams of events", n), "KiB", (after-before)*1024/float64(n)).atMost(32)
	var took []float64
	for range 9 {
		began := time.Now()
		if _, _, err := call[control.PublishOut](d, "publish", control.PublishIn{Topic: "bench.event", Text: "all"}); err != nil {
			return err
		}
		at, err := next()
		if err != nil {
			return err
		}
		took = append(took, at.Sub(began).Seconds()*1000)
	}
	t.add("  until one event has come to all of them", "ms", median(took)).atMost(500)
	stop := make(chan struct{})
	var published sync.WaitGroup
	published.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(500 * time.Millisecond):
				_, _, _ = call[control.PublishOut](d, "publish", control.PublishIn{Topic: "bench.event", Text: "all"})
			}
		}
	})
	go func() {
		for lines.Scan() { // nobody wants these times
		}
	}()
	busy, err := d.starts(200, 20*time.Millisecond)
	close(stop)
	published.Wait()
	if err != nil {
		return err
	}
	t.add("lateness of a start while two events in a second go to all of them: p50", "ms", median(busy)).noted("%.2f ms without streams", median(idle))
	t.ratio("  ratio to without streams", median(busy), median(idle)).atMost(1.2)
	t.add("  p99", "ms", percentile(busy, 0.99)).atMost(10).noted("%.2f ms without streams", percentile(idle, 0.99))
	return nil
}

// followsEvents is the command of the client of streams.
const followsEvents = "follow-events"

// followEvents opens so many streams of events that the bench publishes. It prints the time when all of
// them have begun, and each time an event has come to all, and ends with its input.
func followEvents(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	socket := args[0]
	var begun, came atomic.Int64
	times := make(chan time.Time, 100)
	errs := make(chan error, 1)
	fail := func(err error) {
		select {
		case errs <- err:
		default:
		}
	}
	for range n {
		conn, err := net.Dial("unix", socket)
		for ; errors.Is(err, syscall.EAGAIN); conn, err = net.Dial("unix", socket) {
			time.Sleep(time.Millisecond) // the daemon has not accepted the last ones
		}
		if err != nil {
			return err
		}
		go func() {
			if _, err := io.WriteString(conn, "GET /events?topic=bench.%23 HTTP/1.1\r\nHost: daemon\r\nAccept: text/event-stream\r\n\r\n"); err != nil {
				fail(err)
				return
			}
			in := bufio.NewReaderSize(conn, 512)
			first := true
			for {
				line, err := in.ReadSlice('\n')
				switch {
				case errors.Is(err, bufio.ErrBufferFull):
					continue
				case err != nil:
					fail(err)
					return
				case first && bytes.HasPrefix(line, []byte(":")):
					first = false
					if begun.Add(1) == int64(n) {
						times <- time.Now()
					}
				case bytes.HasPrefix(line, []byte("id: ")):
					if came.Add(1)%int64(n) == 0 {
						times <- time.Now()
					}
				}
			}
		}()
	}
	go func() {
		for at := range times {
			fmt.Println(at.UnixNano())
		}
	}()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		fail(nil)
	}()
	return <-errs
}
