package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"activationd/internal/config"
	"activationd/internal/fault"
)

// A listener is an open socket at which the daemon answers.
type listener struct {
	net.Listener
	HTTP   bool          // it speaks HTTP; otherwise the line protocol
	Unix   bool          // peers are known by their uid; otherwise Listen says who they are
	Listen config.Listen // of a TCP listener
}

// maxSocketPath is the longest path that a Unix socket can have on Linux.
const maxSocketPath = 107

// openListeners takes over the sockets that systemd has handed over, and opens the others. The caller closes them; on an error none is
// open. Call it with the store open, so that of two daemons with one state
// directory the second fails at the store's lock.
func openListeners(ctx context.Context, c *config.Config, inherited []*os.File, log *slog.Logger) (open []listener, err error) {
	defer func() {
		if err != nil {
			closeListeners(open)
			open = nil
		}
	}()
	waiting, waitingHTTP := c.Listen, c.ListenHTTP // entries that still have to be opened
	unix := false
	for i, f := range inherited {
		l, err := inherit(f)
		if err != nil {
			closeFiles(inherited[i+1:])
			return open, err
		}
		isUnix := l.Addr().Network() == "unix"
		if conf, rest, ok := claim(waitingHTTP, f.Name(), addressOf(l)); ok {
			waitingHTTP = rest
			open = append(open, listener{Listener: l, HTTP: true, Unix: isUnix, Listen: conf})
		} else if isUnix {
			unix = true
			open = append(open, listener{Listener: l, Unix: true})
		} else {
			if conf, rest, ok = claim(waiting, f.Name(), addressOf(l)); !ok {
				conf.Address = addressOf(l) // as --listen would have it
			}
			waiting = rest
			open = append(open, listener{Listener: l, Listen: conf})
		}
		if isUnix {
			continue
		}
		if err := open[len(open)-1].Listen.Settle(c.Tokens != ""); err != nil {
			closeFiles(inherited[i+1:])
			return open, fmt.Errorf("socket %s from systemd: %w: %w", f.Name(), err, fault.Invalid)
		}
	}
	if !unix {
		l, err := listenUnix(ctx, c.Socket.Path, fs.FileMode(c.Socket.Mode))
		if err != nil {
			return open, err
		}
		open = append(open, listener{Listener: l, Unix: true})
	}
	for i, conf := range slices.Concat(waiting, waitingHTTP) {
		if strings.HasPrefix(conf.Address, config.FromSystemd) {
			return open, fmt.Errorf("listen: systemd hands over no socket with FileDescriptorName=%s: %w",
				strings.TrimPrefix(conf.Address, config.FromSystemd), fault.Invalid)
		}
		l := listener{HTTP: i >= len(waiting), Listen: conf}
		if path := conf.UnixPath(); path != "" {
			l.Unix = true
			l.Listener, err = listenUnix(ctx, path, fs.FileMode(c.Socket.Mode))
		} else {
			l.Listener, err = new(net.ListenConfig).Listen(ctx, "tcp", conf.Address)
		}
		if err != nil {
			return open, fmt.Errorf("listen: %w", err)
		}
		open = append(open, l)
	}
	return open, wrapTLS(open, log)
}

// claim returns the settings for an inherited socket, by its name or else by its address, and
// the settings that remain; ok is false if none are for it.
func claim(confs []config.Listen, name, address string) (conf config.Listen, rest []config.Listen, ok bool) {
	for i, conf := range confs {
		if conf.Address == config.FromSystemd+name || conf.Address == address {
			conf.Address = address
			return conf, slices.Concat(confs[:i], confs[i+1:]), true
		}
	}
	return conf, confs, false
}

// addressOf is the address of l as the configuration has it.
func addressOf(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}

func inherit(f *os.File) (net.Listener, error) {
	l, err := net.FileListener(f) // has a descriptor of its own
	_ = f.Close()
	if err == nil && l.Addr().Network() != "unix" && l.Addr().Network() != "tcp" {
		_ = l.Close()
		err = errors.New("is neither a TCP nor a Unix socket")
	}
	if err != nil {
		return nil, fmt.Errorf("socket %s from systemd (want ListenStream=): %w: %w", f.Name(), err, fault.Invalid)
	}
	return l, nil
}

// unixAddress returns the path of the control socket.
func unixAddress(listeners []listener) string {
	for _, l := range listeners {
		if l.Unix && !l.HTTP {
			return l.Addr().String()
		}
	}
	return ""
}

func closeListeners(listeners []listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// listenUnix listens on a Unix socket. It replaces a socket that no process answers on any
// more, and no other file.
func listenUnix(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path of the control socket has %d bytes, at most %d are possible; set socket.path or --runtime-dir: %s: %w",
			len(path), maxSocketPath, path, fault.Invalid)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("control socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("control socket: %s is there and is not a socket; move it away: %w", path, fault.Conflict)
	default:
		if err := removeStale(ctx, path); err != nil {
			return nil, err
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path) // the umask closes it to other users until its mode is set
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, mode); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

// answerTime is how long a connection must last at least before it counts as one to a daemon.
const answerTime = time.Second

// removeStale removes a socket that a daemon has left. When a daemon is killed, a child that it was
// starting may have the socket open for a moment longer, and then the connection ends at once.
func removeStale(ctx context.Context, path string) error {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(ctx, "unix", path)
	for range 100 {
		if err != nil {
			break
		}
		_ = conn.SetReadDeadline(time.Now().Add(answerTime))
		n, lasts := conn.Read(make([]byte, 1))
		if n > 0 || errors.Is(lasts, os.ErrDeadlineExceeded) {
			break
		}
		_ = conn.Close()
		conn, err = dialer.DialContext(ctx, "unix", path)
	}
	switch {
	case err == nil:
		_ = conn.Close()
		return fmt.Errorf("another activationd answers on %s: %w", path, fault.Conflict)
	case errors.Is(err, syscall.ECONNREFUSED):
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("control socket, left by an earlier daemon: %w", err)
		}
		return nil
	default:
		return fmt.Errorf("control socket: another daemon may be using it: %w: %w", err, fault.Conflict)
	}
}
