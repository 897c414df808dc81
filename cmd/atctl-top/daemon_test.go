package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"

	"activationd/control"
)

// A server answers like a daemon that has one job, over pipes.
type server struct {
	down   chan struct{} // closed: it answers nothing any more
	events chan string   // lines for who follows events
	output chan string   // lines for who follows an output

	mu    sync.Mutex
	asked []string // the first and the second line of each request
}

func newServer() *server {
	return &server{down: make(chan struct{}), events: make(chan string), output: make(chan string)}
}

func (s *server) dial(context.Context, string, string) (net.Conn, error) {
	select {
	case <-s.down:
		return nil, errors.New("refused")
	default:
	}
	ours, theirs := net.Pipe()
	context.AfterFunc(contextOf(s.down), func() { _ = theirs.Close() })
	go s.serve(theirs)
	return ours, nil
}

// contextOf returns a context that ends when c is closed.
func contextOf(c chan struct{}) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-c; cancel() }()
	return ctx
}

func (s *server) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	for in := bufio.NewReader(conn); ; {
		var request []string
		for {
			l, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if l == "\n" {
				break
			}
			request = append(request, strings.TrimSpace(l))
		}
		s.mu.Lock()
		s.asked = append(s.asked, strings.Join(request, " "))
		s.mu.Unlock()
		reply := "200 OK\n.\n"
		switch request[0] {
		case "status":
			reply = "200 OK\n{\"version\":\"v1\"}\n.\n"
		case "events":
			s.copy(conn, in, s.events)
			continue
		case "log":
			s.copy(conn, in, s.output)
			continue
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
	}
}

// copy sends lines until one ends the reply or the client hangs up. It returns when there is
// another request, or none will come.
func (s *server) copy(conn net.Conn, in *bufio.Reader, lines chan string) {
	if _, err := io.WriteString(conn, "200 OK\n"); err != nil {
		return
	}
	next := make(chan struct{})
	go func() {
		defer close(next)
		_, _ = in.Peek(1)
	}()
	for {
		select {
		case <-next:
			return
		case l := <-lines:
			if _, err := io.WriteString(conn, l); err != nil || strings.HasSuffix(l, ".\n") {
				<-next
				return
			}
		}
	}
}

// count returns how often something was asked for since the last call.
func (s *server) count(what string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.asked {
		if strings.HasPrefix(a, what) {
			n++
		}
	}
	s.asked = nil
	return n
}

// TestReadsOnlyAfterEvents checks that nothing is read while nothing happens, that a burst of
// events makes only few reads, and that a daemon that was away is followed again.
func TestReadsOnlyAfterEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		var mu sync.Mutex
		current := s
		d := newDaemon(&control.Client{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			return current.dial(ctx, network, address)
		}})
		ctx, cancel := context.WithCancel(t.Context())
		msgs := make(chan tea.Msg, 1000)
		done := make(chan struct{})
		go func() { defer close(done); d.follow(ctx, func(m tea.Msg) { msgs <- m }) }()

		time.Sleep(time.Hour)
		if n := s.count("status"); n != 2 { // at once, and once more, see connected
			t.Errorf("in an hour without events, there were %d reads, want 2", n)
		}
		for i := range 1000 {
			s.events <- fmt.Sprintf("{\"seq\":%d}\n", i)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		if n := s.count("status"); n < 3 || n > 6 {
			t.Errorf("in a second with 1000 events, there were %d reads, want about 4", n)
		}
		s.events <- "\n" // it only keeps the connection alive
		time.Sleep(time.Minute)
		if n := s.count("status"); n != 0 {
			t.Errorf("after a sign of life, there were %d reads, want none", n)
		}
		d.setMatch("backup")
		time.Sleep(time.Second)
		if n := s.count("list state:scheduled state:waiting state:held match:backup"); n != 1 {
			t.Errorf("after another filter, there were %d lists with it, want 1", n)
		}

		close(s.down)
		time.Sleep(time.Minute)
		next := newServer()
		mu.Lock()
		current = next
		mu.Unlock()
		time.Sleep(time.Minute)
		if n := next.count("status"); n != 2 {
			t.Errorf("when the daemon was back, there were %d reads, want 2", n)
		}
		aways, last := 0, tea.Msg(nil)
		for len(msgs) > 0 {
			if last = <-msgs; isAway(last) {
				aways++
			}
		}
		if aways < 50 || isAway(last) {
			t.Errorf("%d failures to reach the daemon were reported in a minute, and the last message is %T", aways, last)
		}
		cancel()
		<-done
		close(next.down)
		_ = d.client.Close()
	})
}

func isAway(m tea.Msg) bool { _, ok := m.(awayMsg); return ok }

// TestOneLogAtATime checks that the output of one job is followed until that of another is
// wanted, and goes on at its place when the daemon was away.
func TestOneLogAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		d := newDaemon(&control.Client{Dial: s.dial})
		ctx, cancel := context.WithCancel(t.Context())
		msgs := make(chan tea.Msg, 1000)
		done := make(chan struct{})
		go func() { defer close(done); d.copyLogs(ctx, func(m tea.Msg) { msgs <- m }) }()

		d.showLog("7")
		s.output <- `{"id":"7","phase":"activate","n":1,"base64":"/w==","next":"activate.1.1"}` + "\n"
		if m, ok := (<-msgs).(logMsg); !ok || m.id != "7" || string(m.data) != "\xff" || m.out.N != 1 {
			t.Errorf("the message is %+v", m)
		}
		// A stream that fails is one of a daemon that stops.
		s.output <- `{"error":{"code":503,"text":"the daemon stops"}}` + "\n.\n"
		if m, ok := (<-msgs).(logEndMsg); !ok || !m.again {
			t.Errorf("the message is %+v", m)
		}
		s.output <- `{"id":"7","text":"more"}` + "\n"
		<-msgs
		if n := s.count("log id:7 lines:1000 follow:yes next:activate.1.1"); n != 1 {
			t.Errorf("the output was asked for %d times from its place on, want once", n)
		}
		d.showLog("8")
		synctest.Wait() // the other request has ended
		s.output <- `{"id":"8","text":"other"}` + "\n"
		if m, ok := (<-msgs).(logMsg); !ok || m.id != "8" {
			t.Errorf("the message is %+v", m)
		}
		s.output <- ".\n"
		if m, ok := (<-msgs).(logEndMsg); !ok || m.again || m.err != nil {
			t.Errorf("the message is %+v", m)
		}
		d.showLog("")
		time.Sleep(time.Minute)
		s.count("")
		if len(msgs) > 0 {
			t.Errorf("there are more messages: %+v", <-msgs)
		}
		cancel()
		<-done
		close(s.down)
		_ = d.client.Close()
	})
}
