#!/usr/bin/env bash
# github.com/coder/websocket v1.8.15 with Go 1.26.
#
# Close sends a closing frame and waits up to 5 s for the peer's. CloseNow is described as closing
# the connection without attempting a close handshake. If another goroutine is in Close, CloseNow
# does not end that handshake, but waits for it: a peer that reads nothing holds both for 5 s. Who
# wants to limit the wait has to close the network connection itself, which ends both at once.
#
# Seen, with a peer that does not read, and CloseNow called 0.5 s after Close:
#   Close alone             returns after 5 s
#   Close, then CloseNow    both return after 5 s
#   Close, then net.Conn    both return at once
#
# Needs Go and a proxy of Go modules.
set -euo pipefail

dir=$(mktemp -d)
trap 'chmod -R u+w "$dir" && rm -rf "$dir"' EXIT
cd "$dir"
export GOFLAGS=-mod=mod GOMODCACHE=$dir/mod

cat >go.mod <<'MOD'
module closing

go 1.24

require github.com/coder/websocket v1.8.15
MOD

cat >main.go <<'GO'
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/coder/websocket"
)

// keeper keeps the network connection.
type keeper struct {
	http.ResponseWriter
	conn net.Conn
}

func (k *keeper) Hijack() (c net.Conn, rw *bufio.ReadWriter, err error) {
	k.conn, rw, err = http.NewResponseController(k.ResponseWriter).Hijack()
	return k.conn, rw, err
}

func main() {
	for _, how := range []string{"Close alone", "CloseNow", "net.Conn"} {
		took := make(chan [2]time.Duration)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			k := &keeper{ResponseWriter: w}
			c, err := websocket.Accept(k, r, nil)
			if err != nil {
				panic(err)
			}
			c.CloseRead(context.Background())
			began, other := time.Now(), make(chan time.Duration, 1)
			go func() {
				time.Sleep(500 * time.Millisecond)
				switch how {
				case "CloseNow":
					c.CloseNow()
				case "net.Conn":
					k.conn.Close()
				}
				other <- time.Since(began)
			}()
			c.Close(websocket.StatusNormalClosure, "")
			took <- [2]time.Duration{time.Since(began), <-other}
		}))
		c, _, err := websocket.Dial(context.Background(), s.URL, nil) // it never reads
		if err != nil {
			panic(err)
		}
		t := <-took
		words := func(d time.Duration) string {
			if d > 4*time.Second {
				return "after 5 s"
			}
			return "at once"
		}
		fmt.Printf("%s: Close returned %s, the other %s\n", how, words(t[0]), words(t[1]))
		c.CloseNow()
		s.CloseClientConnections()
	}
}
GO
go build -o closing . 2>build.log || { cat build.log && exit 1; }

./closing | tee seen
diff seen - <<'SEEN'
Close alone: Close returned after 5 s, the other at once
CloseNow: Close returned after 5 s, the other after 5 s
net.Conn: Close returned at once, the other at once
SEEN
