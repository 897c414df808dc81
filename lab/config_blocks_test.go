package lab

import (
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/device"

	"activationd/topology"
)

// planOf plans a startup-config for a platform.
func planOf(t *testing.T, platform, config string) (nodePlan, error) {
	t.Helper()
	p, err := LoadPlatform("", platform)
	if err != nil {
		t.Fatal(err)
	}
	return p.dialect.plan(&topology.Node{Name: "n1", Config: config, ConfigLine: 1})
}

// TestLinesAsWritten: blanks within a line are kept, as they may belong to a description or a
// password.
func TestLinesAsWritten(t *testing.T) {
	p, err := planOf(t, "cisco_ios", "interface Gi0/1\n  description to  r2   \n enable secret a  b\n")
	if err != nil || !slices.Contains(p.apply, " description to  r2") {
		t.Errorf("%q, %v", p.apply, err)
	}
}

// TestOpenBanner: a line that begins a dialogue is refused.
func TestOpenBanner(t *testing.T) {
	for config, want := range map[string]bool{
		"banner motd\nWelcome\nEOF\ninterface Ethernet1\n": true,
		"banner motd ^C\nWelcome\n^C\n":                    true,
		"banner motd #Welcome#\n":                          false,
		"hostname banner\n":                                false,
	} {
		if _, err := planOf(t, "arista_eos", config); (err != nil) != want || want && !strings.Contains(err.Error(), "begins a text of several lines") {
			t.Errorf("%q: %v", config, err)
		}
	}
}

// TestAddressesAsShown: addresses are compared in the form in which a host shows them.
func TestAddressesAsShown(t *testing.T) {
	p, err := planOf(t, "linux", "ip addr add 2001:db8:0:0::1/64 dev eth1\nip -6 route add 2001:db8:0:1::/64 via fe80:0::1\n")
	want := "ip address replace 2001:db8::1/64 dev eth1\nip -6 route replace 2001:db8:0:1::/64 via fe80::1"
	if got := strings.Join(p.apply, "\n"); err != nil || got != want {
		t.Errorf("%s, %v", got, err)
	}
	for _, line := range []string{"ip addr add 10.9.9.9/33 dev eth1", "ip addr add 10.9.9/24 dev eth1", "ip route add default via 10.0.0.256", "ip addr add 2001::db8::1/64 dev eth1"} {
		if _, err := planOf(t, "linux", line); err == nil {
			t.Errorf("%s is planned", line)
		}
	}
}

// TestUndoing: the time for undoing follows from the pace, as the time for applying does.
func TestUndoing(t *testing.T) {
	p := &Plan{Devices: []DevicePlan{
		{Name: "a", Platform: "x", Undo: []string{"one", "two", "three"}, Access: Access{Connect: "telnet://192.0.2.1", Pace: device.Pace{Line: time.Second}}},
		{Name: "b", Platform: "x", Undo: []string{"one"}, Access: Access{Connect: "telnet://192.0.2.2", Pace: device.Pace{Line: time.Second}}},
	}}
	if got := p.UndoDuration(nil); got < 3*time.Second || got > 10*time.Second {
		t.Errorf("undoing takes %v", got)
	}
}
