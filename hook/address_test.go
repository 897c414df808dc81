package hook

import (
	"net/netip"
	"testing"
)

func TestKindOfAddress(t *testing.T) {
	for _, tt := range []struct{ addr, want string }{
		{"8.8.8.8", ""}, {"1.1.1.1", ""}, {"172.32.0.1", ""}, {"100.128.0.1", ""}, {"2606:4700::1111", ""}, {"2a00::1", ""},
		{"::ffff:8.8.8.8", ""}, {"64:ff9b::808:808", ""}, {"2002:808:808::1", ""},
		{"127.0.0.1", "loopback"}, {"127.255.1.2", "loopback"}, {"::1", "loopback"}, {"::ffff:127.0.0.1", "loopback"},
		{"10.1.2.3", "private"}, {"172.16.0.1", "private"}, {"172.31.255.255", "private"}, {"192.168.1.1", "private"}, {"fd00:ec2::254", "private"},
		{"::ffff:192.168.0.1", "private"}, {"64:ff9b::a00:1", "private"}, {"2002:c0a8:101::1", "private"}, {"64:ff9b::7f00:1", "loopback"},
		{"169.254.169.254", "link-local"}, {"fe80::1%eth0", "link-local"}, {"64:ff9b::a9fe:a9fe", "link-local"},
		{"224.0.0.1", "multicast"}, {"239.1.1.1", "multicast"}, {"ff02::1", "multicast"}, {"ff0e::1", "multicast"},
		{"0.0.0.0", "unspecified"}, {"::", "unspecified"}, {"::ffff:0.0.0.0", "unspecified"},
		{"0.1.2.3", "reserved"}, {"100.64.0.1", "reserved"}, {"192.0.2.7", "reserved"}, {"198.18.0.1", "reserved"}, {"240.0.0.1", "reserved"},
		{"255.255.255.255", "reserved"}, {"::7f00:1", "reserved"}, {"fec0::1", "reserved"}, {"2001:db8::1", "reserved"}, {"2001::1", "reserved"},
		{"64:ff9b:1::a00:1", "reserved"},
	} {
		if got := kindOfAddress(netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("%s is %q, want %q", tt.addr, got, tt.want)
		}
	}
}
