package access_test

import (
	"net"
	"net/netip"
	"testing"

	"activationd/control"
	"activationd/control/access"
)

// TestQuota checks who is counted together. Of 8 connections, one caller may have 4, and
// all callers below operator together 6.
func TestQuota(t *testing.T) {
	q := access.NewQuota(8)
	at := func(address string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address)) }
	anonymous := control.Caller{Kind: control.ByAddress, Role: control.Viewer, Name: "loopback", UID: -1}
	named := control.Caller{Role: control.Viewer, Name: "rez", UID: -1}
	var releases []func()
	for i, tt := range []struct {
		caller control.Caller
		from   string
		ok     bool
	}{
		{anonymous, "127.0.0.1:1", true}, {anonymous, "127.0.0.1:2", true}, {anonymous, "127.0.0.1:3", true}, {anonymous, "127.0.0.1:4", true},
		{anonymous, "127.0.0.1:5", false},
		{anonymous, "127.0.0.2:1", true}, // another address, so another client
		{named, "127.0.0.1:6", true},
		{named, "127.0.0.1:7", false}, // all together
		{control.Caller{Role: control.Operator, Name: "ops", UID: -1}, "127.0.0.1:8", true},
	} {
		release, err := q.Take(tt.caller, at(tt.from))
		if ok := err == nil; ok != tt.ok {
			t.Errorf("connection %d, of %s from %s: %v, want ok = %v", i, tt.caller.Name, tt.from, err, tt.ok)
		} else if ok {
			releases = append(releases, release)
		}
	}
	for _, release := range releases {
		release()
		release() // counts once
	}
	for i := range 4 {
		if _, err := q.Take(named, at("127.0.0.1:1")); err != nil {
			t.Errorf("after all were released, connection %d: %v", i, err)
		}
	}
}
