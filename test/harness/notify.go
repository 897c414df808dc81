package harness

import (
	"net"
	"os"
	"testing"
)

// A NotifySocket is the receiving end of sd_notify(3).
type NotifySocket struct {
	States chan string

	path  string
	close func()
}

func newNotifySocket(t *testing.T, path string) *NotifySocket {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	n := &NotifySocket{States: make(chan string, 1000), path: path}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			k, _, err := conn.ReadFromUnix(buf)
			if err != nil {
				return
			}
			select {
			case n.States <- string(buf[:k]):
			default: // nobody has looked for long
			}
		}
	}()
	n.close = func() { _ = conn.Close(); <-done }
	t.Cleanup(n.close)
	return n
}

// drain forgets what an earlier start reported.
func (n *NotifySocket) drain() {
	for {
		select {
		case <-n.States:
		default:
			return
		}
	}
}
