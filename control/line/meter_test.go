package line_test

import (
	"fmt"
	"io"
	"slices"
	"testing"

	"activationd/control"
	"activationd/control/line"
)

// A meter hands over what is counted.
type meter struct{ counted chan string }

func (m *meter) Begin(face string) { m.counted <- face + " begins" }

func (m *meter) End(_, op string, code int) { m.counted <- fmt.Sprintf("%s: %d", op, code) }

// TestMeter checks that each request is counted when it begins, and once when it ends, however that is.
func TestMeter(t *testing.T) {
	const begins = "line begins"
	for _, tt := range []struct {
		name, send string
		leave      bool // the client leaves at once after it has begun
		want       []string
	}{
		{"a reply", "ping\n", false, []string{begins, "ping: 200"}},
		{"an error", "fail\nkind:not-found\n", false, []string{begins, "fail: 404"}},
		{"an error after lines", "fail\nkind:not-found\nlate:yes\n", false, []string{begins, "fail: 200"}},
		{"an argument that is wrong", "echo\ntext:x\nn:many\n", false, []string{begins, "echo: 400"}},
		{"a batch", "add\narg:x\n\nadd\n\nadd\narg:y\n", false, []string{begins, begins, begins, "add: 200", "add: 400", "add: 200"}},
		{"a stream that fails", "events\nid:none\n", false, []string{begins, "events: 404"}},
		{"a panic", "panic\n", false, []string{begins, "panic: 0"}},
		{"a stream whose client leaves", "events\n", true, []string{begins, "events: 0"}},
		{"builtins", "help\n\nquit\n", false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := &meter{make(chan string, 100)}
			r := serve(t, &line.Server{Meter: m}, unixListener(t), as(control.Operator))
			conn := dial(t, r.ln)
			if _, err := io.WriteString(conn, tt.send+"\n"); err != nil {
				t.Fatal(err)
			}
			if tt.leave {
				<-r.started
				_ = conn.Close()
			}
			var got []string
			for range tt.want {
				got = append(got, <-m.counted)
			}
			_ = conn.Close()
			r.cancel()
			<-r.served // all connections have ended
			close(m.counted)
			for text := range m.counted {
				got = append(got, text)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("counted %q, want %q", got, tt.want)
			}
		})
	}
}
