package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"activationd/internal/fault"
	"activationd/topology"
)

// TestHostIsWhatItWas configures a real host, a shell in a network namespace, and checks that
// its state is the same afterwards. If that cannot be promised, nothing is sent.
func TestHostIsWhatItWas(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make a network namespace")
	}
	space := fmt.Sprintf("atl-host-%d", os.Getpid())
	ip := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	in := func(args ...string) string { t.Helper(); return ip(append([]string{"-netns", space}, args...)...) }
	ip("netns", "add", space)
	t.Cleanup(func() { ip("netns", "delete", space) })
	in("link", "add", "eth1", "type", "veth", "peer", "name", "peer1")
	in("link", "set", "peer1", "up")
	in("link", "set", "eth1", "up")
	in("address", "add", "10.77.0.9/24", "dev", "eth1")
	in("link", "add", "eth3", "type", "veth", "peer", "name", "peer3")
	in("link", "set", "eth3", "up") // one that never was is shown otherwise
	in("link", "set", "eth3", "down")

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = conn.Close() }() // its client has gone
				shell := exec.Command("ip", "netns", "exec", space, "script", "-qfec", "PS1='host# ' sh -i", "/dev/null")
				shell.Stdin, shell.Stdout = conn, conn
				_ = shell.Run() // ends when its client hangs up
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); serving.Wait() })

	inv, err := ParseInventory("inventory.yaml", fmt.Appendf(nil,
		"pools: {lab: {ranges: [100-199]}}\ndevices:\n  h1: {platform: linux, connect: 'tcp://%s'}\n", ln.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := inv.Platforms()
	if err != nil {
		t.Fatal(err)
	}
	work := &Work{Activation: "1@host", Locks: t.TempDir(), Getenv: os.Getenv, Say: func(string, string) {}}
	state := func() string {
		return strings.Join([]string{in("-4", "-o", "address", "show", "dev", "eth1"), in("route", "show"), in("-o", "link", "show", "dev", "eth1"), in("-o", "link", "show", "dev", "eth3")}, "\n")
	}
	for _, tt := range []struct {
		name    string
		before  []string // what it has already
		refused bool
	}{
		{"clean", nil, false},
		{"a link that is up", []string{"link set eth3 up"}, false},
		{"another address", []string{"address add 10.78.0.1/24 dev eth1"}, false},
		{"the address", []string{"address add 10.77.0.1/24 dev eth1"}, true},
		{"another default route", []string{"route add default via 10.77.0.254"}, true},
		{"a route to the same", []string{"route add 10.9.0.0/16 via 10.77.0.254"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, args := range tt.before {
				in(strings.Fields(args)...)
			}
			was := state()
			topo, err := topology.Parse("topology", []byte(`topology: {nodes: {h1: {kind: linux, startup-config: "ip address add 10.77.0.1/24 dev eth1\nip link set eth1 up\nip link set eth3 up\nip link set dev eth3 up\nip route add default via 10.77.0.2\nip route add 10.9.0.0/16 via 10.77.0.2\n"}}}`), nil)
			if err != nil {
				t.Fatal(err)
			}
			p, err := Generate(Input{Activation: "1@host", Inventory: inv, Platforms: platforms, Topology: topo, Mapping: Mapping{{"h1", "h1", "linux"}}})
			if err != nil {
				t.Fatal(err)
			}
			dir, keep := t.TempDir(), t.TempDir()
			if err := WritePlan(dir, p, platforms); err != nil {
				t.Fatal(err)
			}
			err = work.Upload(t.Context(), dir, keep)
			if tt.refused != errors.Is(err, fault.Conflict) || !tt.refused && err != nil {
				t.Errorf("upload: %v", err)
			}
			if is := state(); tt.refused != (is == was) {
				t.Errorf("after the upload it is\n%s\nwas\n%s", is, was)
			}
			if err := work.Erase(t.Context(), keep); err != nil {
				t.Errorf("erase: %v", err)
			}
			if is := state(); is != was {
				t.Errorf("after the erase it is\n%s\nwas\n%s", is, was)
			}
			for _, args := range tt.before {
				in(strings.Fields(strings.NewReplacer(" add ", " delete ", " up", " down").Replace(args))...)
			}
		})
	}
}
