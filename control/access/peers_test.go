package access_test

import (
	"net"
	"net/netip"
	"testing"

	"activationd/control"
	"activationd/control/access"
	"activationd/internal/fault"
)

// A distant is a connection from an address.
type distant struct {
	net.Conn
	from string
}

func (d distant) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(d.from))
}

func TestTCPPeers(t *testing.T) {
	peers := access.TCPPeers{Role: control.Operator, UID: -1, GID: -1}
	mapped := access.TCPPeers{Role: control.Submitter, User: "lab", UID: 1000, GID: 100}
	tests := []struct {
		from  string
		peers access.TCPPeers
		want  control.Caller
		err   string
	}{
		{"127.0.0.1:4711", peers, control.Caller{Kind: control.ByAddress, Role: control.Operator, Name: "loopback", UID: -1, GID: -1, Via: "tcp 127.0.0.1:4711"}, ""},
		{"[::1]:1", peers, control.Caller{Kind: control.ByAddress, Role: control.Operator, Name: "loopback", UID: -1, GID: -1, Via: "tcp [::1]:1"}, ""},
		{"[::ffff:127.8.8.8]:1", peers, control.Caller{Kind: control.ByAddress, Role: control.Operator, Name: "loopback", UID: -1, GID: -1, Via: "tcp 127.8.8.8:1"}, ""},
		{"127.0.0.1:1", mapped, control.Caller{Kind: control.ByAddress, Role: control.Submitter, Name: "lab", UID: 1000, GID: 100, Via: "tcp 127.0.0.1:1"}, ""},
		{"192.0.2.1:1", peers, control.Caller{}, "from 192.0.2.1 only TLS is accepted, with a certificate or a token: denied"},
		{"[2001:db8::1]:1", mapped, control.Caller{}, "from 2001:db8::1 only TLS is accepted, with a certificate or a token: denied"},
	}
	for _, tt := range tests {
		got, err := tt.peers.Authenticate(distant{from: tt.from})
		if problem := text(err); got != tt.want || problem != tt.err {
			t.Errorf("%s: %+v, %q, want %+v, %q", tt.from, got, problem, tt.want, tt.err)
		}
	}
}

// text returns the text of an error, or nothing.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestNoUnixPeer(t *testing.T) {
	pipe, _ := net.Pipe()
	if _, err := access.UnixPeers(nil)(pipe); fault.Of(err) != fault.Denied {
		t.Errorf("a pipe is not a Unix connection: %v", err)
	}
}
