package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

func (p *checker) checkListen() {
	var all []*Listen
	for i := range p.Listen {
		if p.Listen[i].UnixPath() != "" {
			p.wrong(&p.Listen[i].Address, "the path of the Unix socket is socket.path")
			continue
		}
		all = append(all, &p.Listen[i])
	}
	for i := range p.ListenHTTP {
		all = append(all, &p.ListenHTTP[i])
	}
	for i, l := range all {
		if err := l.Settle(p.Tokens != ""); err != nil {
			p.wrong(l, "%v", err)
		}
		for _, other := range all[:i] {
			if other.Address == l.Address && l.Address != "" && !strings.HasSuffix(l.Address, ":0") {
				p.wrong(&l.Address, "%s is already there on line %d", l.Address, p.places[other].Line)
			}
		}
	}
	if b := p.BasePath; b != "" && (!strings.HasPrefix(b, "/") || strings.HasSuffix(b, "/") || path.Clean(b) != b || strings.ContainsAny(b, "?#%{} ")) {
		p.wrong(&p.BasePath, "want a path such as /lab, have %q", b)
	}
}

// UnixPath returns the path of a Unix socket; empty: it is none.
func (l *Listen) UnixPath() string {
	path, _ := strings.CutPrefix(l.Address, "unix:")
	if path == l.Address {
		return ""
	}
	return path
}

// Settle sets the role that a listener has by default, and checks that the listener admits
// no client that cannot be identified. With tokens, clients may have tokens.
func (l *Listen) Settle(tokens bool) error {
	if l.TLS != nil && (l.TLS.Certificate == "" || l.TLS.Key == "") {
		return errors.New("tls: needs certificate and key")
	}
	if name, ok := strings.CutPrefix(l.Address, FromSystemd); ok && name != "" {
		return nil // its address is known when systemd hands it over
	}
	if strings.HasPrefix(l.Address, "unix:") {
		return l.settleUnix()
	}
	loopback, err := isLoopback(l.Address)
	if err != nil {
		return err
	}
	known := loopback || l.TLS != nil && l.TLS.ClientCA != ""
	if l.Role == "" {
		l.Role = "none"
		if known {
			l.Role = "operator"
		}
	}
	switch {
	case l.TLS == nil && !loopback:
		return fmt.Errorf("%s can be reached from other machines, so it needs tls (or listen on 127.0.0.1)", l.Address)
	case !known && l.Role != "none":
		return fmt.Errorf("role: anybody could come in as %s; set tls.client_ca, or take role none and tokens", l.Role)
	case l.Role == "none" && !tokens && known:
		return errors.New("nobody could use it: take another role, or set tokens at the top of the file")
	case l.Role == "none" && !tokens:
		return errors.New("nobody could use it: set tls.client_ca, or tokens at the top of the file")
	}
	return nil
}

// settleUnix checks a Unix socket, whose peers are known by their uid.
func (l *Listen) settleUnix() error {
	switch {
	case l.UnixPath() == "" || !strings.HasPrefix(l.UnixPath(), "/"):
		return fmt.Errorf("want unix: and an absolute path, have %q", l.Address)
	case l.TLS != nil:
		return errors.New("tls: a Unix socket needs none")
	case l.Role != "" || l.User != "":
		return errors.New("role and user: on a Unix socket the roles of users are those of access")
	}
	return nil
}

// FromSystemd begins the address of a socket that systemd hands over.
const FromSystemd = "systemd:"

func isLoopback(address string) (bool, error) {
	if address == "" {
		return false, errors.New("address: missing; write HOST:PORT")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false, fmt.Errorf("want HOST:PORT, have %q", address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return false, fmt.Errorf("want a port from 0 to 65535, have %q", port)
	}
	// Of names only localhost is sure to be loopback: the addresses of others may change.
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback(), nil
}
