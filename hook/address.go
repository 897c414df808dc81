package hook

import (
	"fmt"
	"net/netip"
	"syscall"
)

// special are the networks that do not lead to a host of the public Internet, apart from those
// that package netip recognises.
var special = prefixes(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fec0::/10",
)

// Networks whose addresses have an IPv4 address in them, and at which bit it begins.
var embedding = map[netip.Prefix]int{netip.MustParsePrefix("64:ff9b::/96"): 96, netip.MustParsePrefix("2002::/16"): 16}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// kindOfAddress says in a word what an address is if it is not public, such as "loopback". For a
// public address it returns "".
func kindOfAddress(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	switch {
	case a.IsUnspecified():
		return "unspecified"
	case a.IsLoopback():
		return "loopback"
	case a.IsPrivate():
		return "private"
	case a.IsLinkLocalUnicast():
		return "link-local"
	case a.IsMulticast():
		return "multicast"
	}
	for p, bit := range embedding {
		if p.Contains(a) {
			b := a.As16()
			return kindOfAddress(netip.AddrFrom4([4]byte(b[bit/8 : bit/8+4])))
		}
	}
	for _, p := range special {
		if p.Contains(a) {
			return "reserved"
		}
	}
	return ""
}

// publicOnly refuses to connect to an address that is not public. It is for
// [net.Dialer.Control], which is called with the address that is about to be used: what a name
// resolved to earlier does not matter.
func publicOnly(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%q: %w", address, err)
	}
	return refusePrivate(ap.Addr())
}

func refusePrivate(a netip.Addr) error {
	if kind := kindOfAddress(a); kind != "" {
		return fmt.Errorf("%s is a %s address; allow_private: yes allows such addresses", a, kind)
	}
	return nil
}
