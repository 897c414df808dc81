package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"activationd/control"
	"activationd/control/access"
	"activationd/internal/fault"
)

// parting is how long a client may take to say goodbye. The library would wait for 5 s, also if
// another goroutine calls CloseNow (coder/websocket 1.8.15).
const parting = time.Second

// socket runs an operation whose lines go out over a WebSocket, a text message each. What the
// client sends is refused. Before the socket is closed because of an error, the problem is
// sent as a message {"error": PROBLEM}, because a browser shows no more than the code.
func (l *listening) socket(ctx context.Context, cancel context.CancelCauseFunc, w http.ResponseWriter, r *http.Request, c *call) error {
	if r.Method != http.MethodGet {
		return &control.ReplyError{Code: http.StatusMethodNotAllowed, Description: "a WebSocket begins with GET"}
	}
	// The library compares Origin with Host: behind a front server Host must be the client's.
	kept := &keeper{ResponseWriter: w}
	conn, err := websocket.Accept(kept, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return kept.refusal(r, err)
	}
	defer func() { _ = conn.CloseNow() }()
	gone := conn.CloseRead(context.WithoutCancel(ctx))
	defer context.AfterFunc(gone, func() { cancel(errGone) })()
	send := func(data []byte) error {
		ctx, cancel := context.WithTimeout(gone, l.lim.Write)
		defer cancel()
		return conn.Write(ctx, websocket.MessageText, data)
	}
	beats, stop := context.WithCancel(ctx)
	defer stop()
	l.all.Go(func() { l.beat(beats, conn) })
	err = c.op.Stream(ctx, c.caller, c.in.value, func(line any) error {
		data, err := l.encode(ctx, r, c.op, line)
		if err != nil {
			return err
		}
		return send(data)
	})
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, access.ErrShutdown) {
		err = cause
	}
	if gone.Err() != nil {
		return nil // the client has ended it, and there is nobody to tell
	}
	defer time.AfterFunc(parting, func() { _ = kept.conn.Close() }).Stop()
	if err == nil {
		_ = conn.Close(websocket.StatusNormalClosure, "")
		return nil
	}
	p := l.problem(context.WithoutCancel(ctx), c.op, err)
	if data, err := json.Marshal(map[string]*problem{"error": p}); err == nil {
		_ = send(data)
	}
	code := websocket.StatusInternalError
	switch {
	case p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests:
		code = websocket.StatusTryAgainLater
	case p.Status < 500:
		code = websocket.StatusPolicyViolation
	}
	_ = conn.Close(code, short(p.Type))
	return nil
}

// A keeper keeps the connection that the library takes over, or the status with which it would
// reply: the reply is a problem like others.
type keeper struct {
	http.ResponseWriter
	conn    net.Conn
	refused int
}

func (k *keeper) WriteHeader(status int) {
	if status == http.StatusSwitchingProtocols {
		k.ResponseWriter.WriteHeader(status)
		return
	}
	k.refused = status
}

func (k *keeper) Write(p []byte) (int, error) { return len(p), nil }

// refusal is why there is no socket.
func (k *keeper) refusal(r *http.Request, err error) error {
	k.Header().Del("Connection")
	k.Header().Del("Upgrade")
	switch {
	case k.refused == http.StatusForbidden:
		return fmt.Errorf("a page of another site (%.100q) gets no WebSocket of %.100q; a front server must pass Host on: %w", r.Header.Get("Origin"), r.Host, fault.Denied)
	case k.refused >= 500:
		return err
	}
	return fmt.Errorf("%w: %w", err, fault.Invalid)
}

func (k *keeper) Hijack() (conn net.Conn, rw *bufio.ReadWriter, err error) {
	k.conn, rw, err = http.NewResponseController(k.ResponseWriter).Hijack()
	return k.conn, rw, err
}

// beat pings the client of a socket until ctx ends, and closes the socket if it does not answer.
func (l *listening) beat(ctx context.Context, conn *websocket.Conn) {
	ticker := time.NewTicker(l.lim.Alive)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		limit, cancel := context.WithTimeout(ctx, l.lim.Write)
		err := conn.Ping(limit)
		cancel()
		if err != nil && ctx.Err() == nil {
			_ = conn.CloseNow()
			return
		}
	}
}

// short cuts a text to what a closing frame has room for.
func short(text string) string { return strings.ToValidUTF8(text[:min(len(text), 120)], "") }
