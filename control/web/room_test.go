package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"activationd/control"
	"activationd/control/web"
)

// TestRoom checks that connections which wait make room for new ones, whatever their clients have
// sent, and that streams do not.
func TestRoom(t *testing.T) {
	const conns = 4
	tick := make(chan struct{})
	ticks := control.DeclareStream("ticks", control.Viewer, "send ticks", func(ctx context.Context, _ control.Caller, _ control.Nothing, send func(thing) error) error {
		for n := 1; ; n++ {
			if err := send(thing{ID: "tick", N: n}); err != nil {
				return err
			}
			select {
			case <-tick:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}).At("GET /ticks")
	for _, tt := range []struct{ name, sends string }{
		{"nothing", ""},
		{"half a head", "GET /healthz HTTP/1.1\r\nHost: "},
		{"a request", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hour := time.Hour // nothing ends by itself
			base := serveOps(t, &web.Server{Limits: web.Limits{Conns: conns, Head: hour, Idle: hour, Partial: hour}}, ticks)
			address := strings.TrimPrefix(base, "http://")
			stream := follow(t, &http.Client{Transport: &http.Transport{}}, base+web.Prefix+"/ticks", "application/jsonl", "")
			expect(t, stream, `{"id":"tick","n":1}`+"\n")
			var waiting []*bufio.Reader
			for range conns + 1 {
				conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				if err := conn.SetDeadline(time.Now().Add(hang)); err != nil {
					t.Fatal(err)
				}
				if _, err := fmt.Fprint(conn, tt.sends); err != nil {
					t.Fatal(err)
				}
				waiting = append(waiting, bufio.NewReader(conn))
				if tt.name == "a request" {
					resp, err := http.ReadResponse(waiting[len(waiting)-1], nil)
					if err != nil {
						t.Fatalf("connection %d: %v", len(waiting), err)
					}
					if _, err := io.ReadAll(resp.Body); err != nil {
						t.Fatal(err)
					}
				}
			}
			client := &http.Client{Transport: &http.Transport{}, Timeout: hang}
			defer client.CloseIdleConnections()
			resp, err := client.Get(base + "/healthz")
			if err != nil {
				t.Fatalf("one more client: %v", err)
			}
			if err := resp.Body.Close(); err != nil {
				t.Error(err)
			}
			tick <- struct{}{}
			expect(t, stream, `{"id":"tick","n":2}`+"\n")
			if _, err := io.ReadAll(waiting[0]); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("the connection that has waited longest is still open: %v", err)
			}
		})
	}
}

// TestWaits checks that calls which wait take places of streams, and leave those of calls free.
func TestWaits(t *testing.T) {
	waiting, end := make(chan string), make(chan struct{})
	push := control.Declare("queue push", control.Submitter, "push", func(_ context.Context, _ control.Caller, in control.QueuePushIn) (r control.Reply[thing], err error) {
		if in.Wait != "" {
			waiting <- in.Name
			<-end
		}
		return control.Reply[thing]{Lines: []thing{{ID: in.Name}}}, nil
	}).At("POST /queues/{name}/messages").Single()
	release := sync.OnceFunc(func() { close(end) })
	defer release()
	// One client may have half of each.
	base, _ := serveAs(t, &web.Server{Limits: web.Limits{Calls: 2, Streams: 6}}, control.Submitter, control.NewRegistry(push))
	client := &http.Client{Transport: &http.Transport{}, Timeout: hang}
	defer client.CloseIdleConnections()
	post := func(name, body string) int {
		resp, err := client.Post(base+web.Prefix+"/queues/"+name+"/messages", "application/json", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return 0
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		return resp.StatusCode
	}
	status := make(chan int, 3)
	for i := range 3 {
		go func() { status <- post(fmt.Sprint("waits", i), `{"wait":"1h"}`) }()
		select {
		case <-waiting:
		case code := <-status:
			t.Fatalf("push %d that waits: %d", i, code)
		case <-time.After(hang):
			t.Fatal("a push does not arrive")
		}
	}
	if got := post("now", `{}`); got != 200 {
		t.Errorf("a push that does not wait: %d", got)
	}
	if got := post("fourth", `{"wait":"1h"}`); got != 429 {
		t.Errorf("the fourth push that waits: %d, want 429", got)
	}
	release()
	for range 3 {
		select {
		case got := <-status:
			if got != 200 {
				t.Errorf("a push that has waited: %d", got)
			}
		case <-time.After(hang):
			t.Fatal("a push does not end")
		}
	}
	if got := post("after", `{}`); got != 200 {
		t.Errorf("a push after all: %d", got)
	}
}
