package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

func (p *checker) checkListen() {
	for i := range p.Listen {
		l := &p.Listen[i]
		if err := l.Settle(p.Tokens != ""); err != nil {
			p.wrong(l, "%v", err)
		}
		for j := range i {
			if p.Listen[j].Address == l.Address && l.Address != "" && !strings.HasSuffix(l.Address, ":0") {
				p.wrong(&l.Address, "%s is already there on line %d", l.Address, p.places[&p.Listen[j]].Line)
			}
		}
	}
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
