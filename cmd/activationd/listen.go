package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"activationd/internal/fault"
)

// A listener is an open door of the control server.
type listener struct {
	net.Listener
	Unix   bool   // peers are known by their uid; otherwise Listen says who they are
	Listen Listen // of a TCP listener
}

// maxSocketPath is the longest path that a Unix socket can have on Linux.
const maxSocketPath = 107

// openListeners opens every door: those that systemd handed over, which it
// consumes, and the rest itself. The caller closes them; on an error none is
// open. Call it with the store open, so that of two daemons with one state
// directory the second fails at the store's lock.
func openListeners(ctx context.Context, c *Config, inherited []*os.File, log *slog.Logger) (open []listener, err error) {
	defer func() {
		if err != nil {
			closeDoors(open)
			open = nil
		}
	}()
	waiting := c.Listen // those that still have to be opened
	unix := false
	for i, f := range inherited {
		l, err := inherit(f)
		if err != nil {
			closeFiles(inherited[i+1:])
			return open, err
		}
		if l.Addr().Network() == "unix" {
			unix = true
			open = append(open, listener{Listener: l, Unix: true})
			continue
		}
		var conf Listen
		conf, waiting = claim(waiting, f.Name(), l.Addr().String())
		open = append(open, listener{Listener: l, Listen: conf})
		if err := settleListen(&open[len(open)-1].Listen, c.Tokens != ""); err != nil {
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
	for _, conf := range waiting {
		if strings.HasPrefix(conf.Address, fromSystemd) {
			return open, fmt.Errorf("listen: systemd hands over no socket with FileDescriptorName=%s: %w",
				strings.TrimPrefix(conf.Address, fromSystemd), fault.Invalid)
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", conf.Address)
		if err != nil {
			return open, fmt.Errorf("listen: %w", err)
		}
		open = append(open, listener{Listener: l, Listen: conf})
	}
	return open, wrapTLS(open, log)
}

// wrapTLS puts TLS around the listeners that are to speak it.
func wrapTLS(open []listener, log *slog.Logger) error {
	for i := range open {
		if t := open[i].Listen.TLS; t != nil {
			conf, err := t.config()
			if err != nil {
				return fmt.Errorf("listen %s: %w", open[i].Addr(), err)
			}
			open[i].Listener = tls.NewListener(open[i].Listener, t.renewed(conf, log))
		}
	}
	return nil
}

// claim returns the settings for an inherited socket, by its name or else by
// its address, and the others. A socket of which the configuration says
// nothing gets what --listen would give it.
func claim(confs []Listen, name, address string) (Listen, []Listen) {
	for i, conf := range confs {
		if conf.Address == fromSystemd+name || conf.Address == address {
			conf.Address = address
			rest := append([]Listen(nil), confs[:i]...)
			return conf, append(rest, confs[i+1:]...)
		}
	}
	return Listen{Address: address}, confs
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
func unixAddress(doors []listener) string {
	for _, l := range doors {
		if l.Unix {
			return l.Addr().String()
		}
	}
	return ""
}

func closeDoors(doors []listener) {
	for _, l := range doors {
		_ = l.Close()
	}
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// listenUnix listens on a Unix socket. It takes the place of a socket on which
// nobody answers any more, and of nothing else.
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
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path) // nobody else's yet, by the umask
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, mode); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

func removeStale(ctx context.Context, path string) error {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(ctx, "unix", path)
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
		return fmt.Errorf("control socket: somebody may be there, but: %w: %w", err, fault.Conflict)
	}
}

// renewed returns a configuration that has the files read for each connection, so that
// renewed certificates need no restart. As long as they cannot be read, as while they are
// written, those that were read last hold; why is logged, once.
func (t *TLS) renewed(conf *tls.Config, log *slog.Logger) *tls.Config {
	var mu sync.Mutex
	last, told := conf, ""
	first := conf.Clone()
	first.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now, err := t.config()
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			last, told = now, ""
		case err.Error() != told:
			told = err.Error()
			log.Error("the certificate cannot be read; the one that was read last is shown on", "file", t.Certificate, "err", err)
		}
		return last, nil
	}
	return first
}

// config reads the files that t names.
func (t *TLS) config() (*tls.Config, error) {
	info, err := os.Stat(t.Key)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o007 != 0 { // a group may have certificates to handle
		return nil, fmt.Errorf("%s: everybody may open it (mode %04o), and it is a secret; chmod 600 it: %w", t.Key, info.Mode().Perm(), fault.Invalid)
	}
	pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if t.ClientCA != "" {
		pem, err := os.ReadFile(t.ClientCA)
		if err != nil {
			return nil, err
		}
		conf.ClientCAs = x509.NewCertPool()
		if !conf.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: has no certificate in it", t.ClientCA)
		}
		conf.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return conf, nil
}
