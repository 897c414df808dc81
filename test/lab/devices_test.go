package lab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"activationd/device"
)

// inside is set, to the laboratory's directory, for a test that runs itself once
// more in the namespace where the devices' addresses are.
const inside = "ACTIVATIOND_LAB_INSIDE"

// TestDevices configures a switch over a real sshd and a router over a real
// Serial-Ethernet converter, with the package that atctl uses, but without atctl.
func TestDevices(t *testing.T) {
	if dir := os.Getenv(inside); dir != "" {
		t.Run("switch", func(t *testing.T) { trySwitch(t, dir) })
		t.Run("router", func(t *testing.T) { tryRouter(t, dir) })
		return
	}
	t.Parallel()
	l := newLab(t, 2, "LAB_ROUTERS=r1")
	l.do("routers_start")
	was, blank := l.configuration(), l.routerConfig("r1")
	cmd := l.in("mgmt", os.Args[0], "-test.run=^TestDevices$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+l.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	l.unchanged("at last", was)
	if is := l.routerConfig("r1"); is != blank {
		t.Errorf("the router has\n%s\nblank it had\n%s", is, blank)
	}
}

// A talk is a device and the transcript of its sessions.
type talk struct {
	t      *testing.T
	ctx    context.Context
	target device.Target
	said   bytes.Buffer
	tr     *device.Transcript
}

func newTalk(t *testing.T, platform string, target device.Target) *talk {
	t.Helper()
	p, err := device.BuiltIn(platform)
	if err != nil {
		t.Fatal(err)
	}
	target.Platform = p
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	k := &talk{t: t, ctx: ctx, target: target}
	k.tr = device.NewTranscript(&k.said)
	t.Cleanup(func() {
		cancel()
		if t.Failed() {
			t.Logf("the transcript:\n%s", &k.said)
		}
	})
	return k
}

// send configures the device and saves.
func (k *talk) send(lines ...string) {
	k.t.Helper()
	if err := device.Send(k.ctx, k.target, lines, k.tr, device.SendOptions{}); err != nil {
		k.t.Fatalf("sending: %v", err)
	}
}

// shows opens a session, and returns the output of a command.
func (k *talk) shows(command string) string {
	k.t.Helper()
	s, err := device.Open(k.ctx, k.target, k.tr)
	if err != nil {
		k.t.Fatalf("open: %v", err)
	}
	defer func() { _ = s.Close() }()
	said, err := s.Show(k.ctx, command)
	if err != nil {
		k.t.Fatalf("%s: %v", command, err)
	}
	return said
}

// refused checks that a line is refused, and that the error says which line and why.
func (k *talk) refused(bad, words string, lines ...string) {
	k.t.Helper()
	err := device.Send(k.ctx, k.target, lines, k.tr, device.SendOptions{})
	refusal, ok := errors.AsType[*device.LineError](err)
	if !ok || strings.TrimSpace(refusal.Line) != bad || !strings.Contains(refusal.Said, words) {
		k.t.Errorf("after %q the device was said to have refused %+v (%v), want %q, with %q", lines, refusal, err, bad, words)
	}
}

func trySwitch(t *testing.T, dir string) {
	key, err := os.ReadFile(filepath.Join(dir, "id_ed25519"))
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.ReadFile(filepath.Join(dir, "sw1", "host_key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(filepath.Join(dir, "sw2", "host_key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	sw := device.Target{
		Name: "sw1", URL: "ssh://127.0.0.1:2201", Login: device.Login{User: "root", Key: device.Secret(key)},
		HostKeys: device.HostKeys{Lines: string(host)},
	}
	k := newTalk(t, "openvswitch", sw)
	k.send("ovs-vsctl set Port p1 tag=100 protected=false", "ovs-vsctl add Port t0 trunks 100")
	if got := strings.TrimSpace(k.shows("ovs-vsctl get Port p1 tag")); got != "100" {
		t.Errorf("the tag is %q, want 100", got)
	}
	k.refused("ovs-vsctl set Port nowhere tag=1", "no row", "ovs-vsctl set Port nowhere tag=1", "ovs-vsctl set Port p1 tag=200")
	if got := strings.TrimSpace(k.shows("ovs-vsctl get Port p1 tag")); got != "100" {
		t.Errorf("after a refusal the tag is %q, want 100: what follows is not sent", got)
	}
	k.send("ovs-vsctl clear Port p1 tag -- set Port p1 protected=true", "ovs-vsctl remove Port t0 trunks 100")

	sw.HostKeys.Lines = string(other)
	k = newTalk(t, "openvswitch", sw)
	if s, err := device.Open(k.ctx, k.target, k.tr); err == nil {
		_ = s.Close()
		t.Error("a switch with another host key was logged in to")
	}
}

func tryRouter(t *testing.T, _ string) {
	k := newTalk(t, "frr", device.Target{
		Name: "r1", URL: "rfc2217://127.0.0.1:7001?baud=9600",
		Pace: device.Pace{Character: time.Millisecond, Chunk: 16, ChunkDelay: 5 * time.Millisecond, Line: 5 * time.Millisecond},
	})
	before := k.shows("show running-config")
	if !strings.Contains(before, "hostname r1\n") {
		t.Errorf("the running configuration is\n%s", before)
	}
	lines := []string{
		"interface eth1", " description # this is no prompt: r1# ", " ip address 10.0.0.1/24", "exit",
		"router ospf", " network 10.0.0.0/8 area 0", "exit",
	}
	k.send(lines...)
	if got := k.shows("show running-config"); !strings.Contains(got, " ip address 10.0.0.1/24\n") || !strings.Contains(got, " network 10.0.0.0/8 area 0\n") {
		t.Errorf("the running configuration is\n%s", got)
	}
	k.refused("ip address nonsense", "%", "interface eth2", " ip address nonsense", " ip address 10.0.9.9/24")
	if got := k.shows("show running-config"); strings.Contains(got, "10.0.9.9") {
		t.Errorf("after a refusal the rest was sent, too:\n%s", got)
	}
	k.send("no router ospf", "interface eth1", " no description", " no ip address 10.0.0.1/24", "exit")
	if got := k.shows("show running-config"); got != before {
		t.Errorf("the running configuration is\n%s\nwant\n%s", got, before)
	}
}
