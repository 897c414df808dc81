package lab

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"activationd/topology"
)

// A modelSim is a model on a TCP port, with the command line of its platform.
type modelSim struct {
	mu    sync.Mutex
	model interface {
		model
		leave()
	}
	url   string
	saved string
}

// startModel starts with the current state of the model.
func startModel(t *testing.T, m model) *modelSim {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &modelSim{url: "tcp://" + ln.Addr().String()}
	s.model = m.(interface {
		model
		leave()
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return s
}

func (s *modelSim) state() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.model.String()
}

// by gives lines as another user.
func (s *modelSim) by(lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range lines {
		_ = s.model.do(l)
	}
}

func (s *modelSim) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	configuring := false
	in := bufio.NewReader(conn)
	s.mu.Lock()
	prompt := s.prompt(false)
	s.mu.Unlock()
	fmt.Fprint(conn, "\r\n"+prompt)
	var line []byte
	for {
		_ = conn.SetDeadline(time.Now().Add(10 * time.Minute))
		b, err := in.ReadByte()
		switch {
		case err != nil:
			return
		case b == '\r':
			said := s.answer(strings.TrimSpace(string(line)), &configuring)
			line = line[:0]
			if _, err := io.WriteString(conn, strings.ReplaceAll("\n"+said, "\n", "\r\n")); err != nil {
				return
			}
		case b == 0x15: // and the screen shows it
			fmt.Fprint(conn, strings.Repeat("\b \b", len(line)))
			line = line[:0]
		case b >= ' ':
			line = append(line, b)
			if _, err := conn.Write([]byte{b}); err != nil {
				return
			}
		}
	}
}

func (s *modelSim) answer(line string, configuring *bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	said := ""
	switch {
	case line == "" || strings.HasPrefix(line, "terminal ") || line == "no page":
	case line == "configure terminal":
		*configuring = true
	case *configuring:
		said = s.model.do(line)
		*configuring = line != "end"
	case line == "copy running-config startup-config" || line == "write memory":
		s.saved = s.model.String()
		said = "Copy complete.\n"
	default:
		said = s.model.show(line)
	}
	if said != "" && !strings.HasSuffix(said, "\n") {
		said += "\n"
	}
	return said + s.prompt(*configuring)
}

// prompt shows the host and the mode. The caller holds mu.
func (s *modelSim) prompt(configuring bool) string {
	host, mode := "", ifElse(configuring, "(config)", "")
	switch m := s.model.(type) {
	case *aossModel:
		host = m.host
		if kind, name, ok := strings.Cut(m.in, " "); ok {
			mode = "(" + ifElse(kind == "vlan", "vlan-", "eth-") + name + ")"
		}
	case *nxosModel:
		host = m.root.under[m.find2("hostname ")].line[len("hostname "):]
		if len(m.at) > 1 {
			mode = "(config-" + strings.Fields(m.at[len(m.at)-1].line)[0] + ")"
		}
	}
	return host + mode + "# "
}

// TestSwitchesOverLines: on two switches and a node, a plan is uploaded over their command
// lines, verified, found wrong after somebody has changed it, and erased.
func TestSwitchesOverLines(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		platform   string
		node       model
		port       string // as in the inventory
		kind, end  string // as in the topology
		config     string
		wrong      []string // what somebody does to sw1, and takes back
		right      []string
		alsoOfNode []string // and to n1
	}{
		{
			"cisco_nxos", newNexus(t, "feature ospf", "vlan 20"), "Ethernet1/1", "cisco_n9kv", "eth1", "hostname lab-a\nfeature interface-vlan\ninterface Vlan20\n  ip address 10.20.0.1/24\ninterface Ethernet1/1\n  no switchport\n  ip address 10.0.0.1/24\n  no shutdown\nvlan 10,20\nvlan 10\n  name left\n",
			[]string{"interface p1", "switchport mode trunk", "end"}, []string{"interface p1", "switchport mode access", "end"}, []string{"interface Ethernet1/2", "mtu 9000", "end"},
		},
		{
			"aruba_aoss", newProCurve(t, "vlan 20", "untagged 3", "exit"), "1", "aruba_aoss", "1", "hostname \"lab-a\"\ninterface 2\n   disable\n   exit\nvlan 20\n   tagged A1-A2\n   exit\nvlan 100\n   name \"left\"\n   untagged 1-3,A1\n   exit\n",
			[]string{"vlan 300", "tagged p1", "end"}, []string{"no vlan 300"}, []string{"interface A3", "disable", "end"},
		},
	} {
		t.Run(tt.platform, func(t *testing.T) {
			t.Parallel()
			sw1, sw2 := modelOf(tt.platform), modelOf(tt.platform)
			prepare(sw1, "p1", false)
			prepare(sw2, "p2", false)
			prepare(sw1, "t1", true)
			prepare(sw2, "t2", true)
			sims := map[string]*modelSim{"sw1": startModel(t, sw1), "sw2": startModel(t, sw2), "n1": startModel(t, tt.node)}
			inventory := fmt.Sprintf("pools: {lab: {ranges: [100-199]}}\ndevices:\n  h1: {platform: linux}\n  sw1: {platform: %[1]s, domain: lab, connect: '%[2]s'}\n  sw2: {platform: %[1]s, domain: lab, connect: '%[3]s'}\n  n1: {platform: %[1]s, connect: '%[4]s'}\n"+
				"wiring: ['h1:eth1 -- sw1:p1', 'n1:%[5]s -- sw2:p2']\ntrunks: ['sw1:t1 -- sw2:t2']\n", tt.platform, sims["sw1"].url, sims["sw2"].url, sims["n1"].url, tt.port)
			text := fmt.Sprintf("name: lines\ntopology:\n  nodes:\n    h1: {kind: linux}\n    n1:\n      kind: %s\n      startup-config: |\n        %s\n  links: [{endpoints: ['h1:eth1', 'n1:%s']}]\n", tt.kind, strings.ReplaceAll(strings.TrimSpace(tt.config), "\n", "\n        "), tt.end)
			inv, err := ParseInventory("i", []byte(inventory))
			if err != nil {
				t.Fatal(err)
			}
			topo, err := topology.Parse("t", []byte(text), nil)
			if err != nil {
				t.Fatal(err)
			}
			in := Input{Activation: "1@lines", Inventory: inv, Topology: topo}
			if in.Platforms, err = inv.Platforms(); err != nil {
				t.Fatal(err)
			}
			if in.Mapping, err = Map(inv, in.Platforms, topo, nil); err != nil {
				t.Fatal(err)
			}
			if in.Links, err = Route(inv, topo, in.Mapping); err != nil {
				t.Fatal(err)
			}
			in.Links[0].VLAN = 117
			plan, err := Generate(in)
			if err != nil {
				t.Fatal(err)
			}
			dir, keep := t.TempDir(), t.TempDir()
			if err := WritePlan(dir, plan, in.Platforms); err != nil {
				t.Fatal(err)
			}
			was := map[string]string{}
			for name, s := range sims {
				was[name] = s.state()
			}
			w := &Work{Activation: "1@lines", Locks: t.TempDir(), Getenv: os.Getenv, Say: func(device, text string) { t.Logf("%s: %s", device, text) }}
			verify := func() error {
				p, all, err := ReadKept(keep)
				if err != nil {
					t.Fatal(err)
				}
				return w.Verify(t.Context(), p, all)
			}
			for range 2 { // the second finds all as it should be
				if err := w.Upload(t.Context(), dir, keep); err != nil {
					t.Fatal(err)
				}
				if err := verify(); err != nil {
					t.Fatal(err)
				}
			}
			for name, s := range sims {
				if s.saved != s.state() {
					t.Errorf("%s is not saved", name)
				}
			}
			sims["sw1"].by(tt.wrong)
			if err := verify(); err == nil || !strings.Contains(err.Error(), "sw1:p1") {
				t.Errorf("with %q verify says %v", tt.wrong, err)
			}
			sims["sw1"].by(tt.right)
			sims["n1"].by(tt.alsoOfNode)
			if err := w.Erase(t.Context(), keep); err != nil {
				t.Fatal(err)
			}
			for name, s := range sims {
				if got := s.state(); got != was[name] {
					t.Errorf("%s has\n%s\nwas\n%s", name, got, was[name])
				}
			}
		})
	}
}
