package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"activationd/control"
)

const (
	queueClients  = 64
	queueMessages = 20_000 // that they push in all
	queueWindow   = 64     // that the listener has at once
	queueBody     = 512    // bytes
	perMessage    = 2000   // messages with a process each
	answers       = "answer"
)

// queues measures messages through a queue: pushed by 64 clients, each of which waits for its
// reply, and worked off by one listener. The peer is redis, which writes each command to disk
// before it replies.
func queues(b *bench, t *table) error {
	var ours, single, jobs, theirs, theirSingle float64
	_, missing := exec.LookPath("redis-server")
	sides := []func() error{
		func() (err error) {
			ours, jobs, err = b.queue(queueWindow, queueMessages)
			return err
		},
		func() (err error) {
			if missing == nil && b.peers {
				theirs, err = b.redis(queueWindow, queueMessages)
			}
			return err
		},
		func() (err error) {
			single, _, err = b.queue(1, queueMessages/10)
			return err
		},
		func() (err error) {
			if missing == nil && b.peers {
				theirSingle, err = b.redis(1, queueMessages/10)
			}
			return err
		},
	}
	what := fmt.Sprintf("%d messages through a queue: %d clients, one stream listener that has %d at once", queueMessages, queueClients, queueWindow)
	if len(t.row(what, "/s").figures)%2 == 1 {
		sides[0], sides[1], sides[2], sides[3] = sides[1], sides[0], sides[3], sides[2]
	}
	for _, side := range sides {
		if err := side(); err != nil {
			return err
		}
	}
	t.add(what, "/s", ours)
	t.add("  jobs that the same clients submit", "/s", jobs)
	t.ratio("  ratio: messages to jobs", ours, jobs).atLeast(0.7)
	if b.peers {
		t.peer("  redis, LMOVE and LREM pipelined by as many", "/s", theirs, missing).noted("appendfsync always")
		t.ratio("  ratio: to redis", ours, theirs).atLeast(1)
	}
	t.add("the same, a listener that has one at once", "/s", single)
	if b.peers {
		t.peer("  redis, LMOVE and LREM one after the other", "/s", theirSingle, missing).noted("appendfsync always")
		t.ratio("  ratio: to redis, one at once", single, theirSingle).atLeast(1)
	}
	return b.perMessage(t)
}

// queue measures the daemon: messages a second, and the jobs that the same clients submit.
func (b *bench) queue(window, n int) (rate, jobs float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, 0, err
	}
	d, err := b.start(fmt.Sprintf("listeners: [{queues: [io], per: stream, window: %d, command: [%q, %q]}]\n", window, self, answers))
	if err != nil {
		return 0, 0, err
	}
	defer d.end()
	if err := d.create("io"); err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, d.remove("io")) }()
	begin := time.Now()
	if err := d.pushAll("io", n); err != nil {
		return 0, 0, err
	}
	if err := d.empty("io"); err != nil {
		return 0, 0, err
	}
	rate = float64(n) / time.Since(begin).Seconds()
	jobs, err = d.callers(queueClients, 3*time.Second)
	return rate, jobs, err
}

func (d *daemon) create(queue string) error {
	_, _, err := call[control.Queue](d, "queue create", control.QueueCreateIn{Name: []string{queue}})
	return err
}

func (d *daemon) remove(queue string) error {
	_, _, err := call[control.Queue](d, "queue delete", control.QueueDeleteIn{Name: queue, Now: true, Discard: true})
	return err
}

// pushAll has the clients push messages.
func (d *daemon) pushAll(queue string, n int) error {
	request := []byte("queue push\nname:" + queue + "\nbody:" + strings.Repeat("x", queueBody) + "\n\n")
	return together(n, func(next func() bool) error {
		c, err := net.Dial("unix", d.client.Address)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		in := bufio.NewReader(c)
		for next() {
			if _, err := c.Write(request); err != nil {
				return err
			}
			for end := false; !end; { // as lean as the client of redis below
				line, err := in.ReadSlice('\n')
				if err != nil {
					return err
				}
				if line[0] >= '4' && line[0] <= '5' {
					return errors.New(string(line))
				}
				end = string(line) == ".\n"
			}
		}
		return nil
	})
}

// together runs a client in each of some goroutines. Next is true n times in all.
func together(n int, client func(next func() bool) error) error {
	var left atomic.Int64
	left.Store(int64(n))
	errs := make(chan error, queueClients)
	var wg sync.WaitGroup
	for range queueClients {
		wg.Go(func() { errs <- client(func() bool { return left.Add(-1) >= 0 }) })
	}
	wg.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

// empty waits until a queue has no messages.
func (d *daemon) empty(queue string) error {
	for begin := time.Now(); time.Since(begin) < patience; time.Sleep(time.Millisecond) {
		_, list, err := call[control.Queue](d, "queue list", control.QueueListIn{Name: []string{queue}})
		if err != nil {
			return err
		}
		if q := list[0]; q.Ready+q.Delayed+q.Work == 0 {
			if q.Dead > 0 {
				return fmt.Errorf("%d dead letters", q.Dead)
			}
			return nil
		}
	}
	return errors.New("the queue does not get empty")
}

// answerMessages is the listener: it answers each message at once.
func answerMessages() error {
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var m struct {
			ID uint64 `json:"id"`
		}
		if err := json.Unmarshal(line, &m); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "{\"id\":%d,\"ok\":true}\n", m.ID); err != nil {
			return err
		}
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

// redis measures redis with a worker that moves messages to a list of its own, and removes them
// from there when they are done: as many with one write as window says.
func (b *bench) redis(window, n int) (rate float64, err error) {
	dir, err := os.MkdirTemp(b.dir, "redis")
	if err != nil {
		return 0, err
	}
	socket := filepath.Join(dir, "s")
	cmd := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--dir", dir, "--appendonly", "yes", "--appendfsync", "always", "--save", "")
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		c, err := net.Dial("unix", socket)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Since(begin) > patience {
			return 0, err
		}
	}
	begin := time.Now()
	worked := make(chan error, 1)
	go func() { worked <- redisWorker(socket, window, n) }()
	body := strings.Repeat("x", queueBody)
	err = together(n, func(next func() bool) error {
		c, err := dialRedis(socket)
		if err != nil {
			return err
		}
		defer c.close()
		for next() {
			if err := c.send("LPUSH", "io", body); err != nil {
				return err
			}
			if _, err := c.reply(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if err := <-worked; err != nil {
		return 0, err
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}

// redisWorker works off n messages.
func redisWorker(socket string, window, n int) error {
	c, err := dialRedis(socket)
	if err != nil {
		return err
	}
	defer c.close()
	for done := 0; done < n; {
		// The first one is waited for; the others are there or not.
		if err := c.send("BLMOVE", "io", "work", "RIGHT", "LEFT", "0"); err != nil {
			return err
		}
		for range window - 1 {
			if err := c.send("LMOVE", "io", "work", "RIGHT", "LEFT"); err != nil {
				return err
			}
		}
		var got []string
		for range window {
			body, err := c.reply()
			if err != nil {
				return err
			}
			if body != "" {
				got = append(got, body)
			}
		}
		for _, body := range got {
			if err := c.send("LREM", "work", "-1", body); err != nil {
				return err
			}
		}
		for range got {
			if _, err := c.reply(); err != nil {
				return err
			}
		}
		done += len(got)
	}
	return nil
}

// A redisConn speaks redis's protocol, as far as this needs it.
type redisConn struct {
	net.Conn
	in  *bufio.Reader
	out *bufio.Writer
}

func dialRedis(socket string) (*redisConn, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	return &redisConn{c, bufio.NewReader(c), bufio.NewWriter(c)}, nil
}

func (c *redisConn) close() { _ = c.Close() }

// send writes a command; the next reply flushes it.
func (c *redisConn) send(words ...string) error {
	_, err := fmt.Fprintf(c.out, "*%d\r\n", len(words))
	for _, w := range words {
		if err == nil {
			_, err = fmt.Fprintf(c.out, "$%d\r\n%s\r\n", len(w), w)
		}
	}
	return err
}

// reply returns a reply that is a number or a text; empty: nil.
func (c *redisConn) reply() (string, error) {
	if err := c.out.Flush(); err != nil {
		return "", err
	}
	line, err := c.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	switch kind, rest := line[0], line[1:]; kind {
	case ':', '+':
		return rest, nil
	case '$':
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return "", err
		}
		buf := make([]byte, n+2)
		_, err = io.ReadFull(c.in, buf)
		return string(buf[:n]), err
	default:
		return "", errors.New("redis: " + line)
	}
}

// perMessage measures messages that have a process each, beside bare fork and exec of the same
// program.
func (b *bench) perMessage(t *table) error {
	const instances = 4
	d, err := b.start(fmt.Sprintf("listeners: [{queues: [pool], instances: %d, command: [/bin/true]}]\n", instances))
	if err != nil {
		return err
	}
	defer d.end()
	if err := d.create("pool"); err != nil {
		return err
	}
	pause := control.QueuePauseIn{Name: []string{"pool"}}
	if _, _, err := call[control.Queue](d, "queue pause", pause); err != nil {
		return err
	}
	if err := d.pushAll("pool", perMessage); err != nil {
		return err
	}
	begin := time.Now()
	if _, _, err := call[control.Queue](d, "queue resume", pause); err != nil {
		return err
	}
	if err := d.empty("pool"); err != nil {
		return err
	}
	ours := perMessage / time.Since(begin).Seconds()
	bare, err := perSecond(perMessage, instances, "/bin/true")
	if err != nil {
		return err
	}
	t.add(fmt.Sprintf("%d messages with a process of /bin/true each, %d at a time", perMessage, instances), "/s", ours)
	t.add(fmt.Sprintf("  bare fork+exec of it, %d at a time", instances), "/s", bare)
	t.ratio("  ratio: processes", ours, bare).atLeast(0.3)
	return d.remove("pool")
}
