package device

import (
	"testing"
	"time"
)

// TestHostNames: a host whose name has any characters except blanks is logged in to,
// configured, read and renamed, also on a console that was left in its configuration mode.
func TestHostNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"router-1(LAB)", "r[1]", "rack2/u7", "10.0.0.1:7001", "sw#", "sw>", "a#b>c", "größe-λ1", "r1$", "x|y", "^r1", `r\1`, "(null)", "{host}", "r1-",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := startHostile(t, quirks{host: name})
			useHostile(t, h, "edge"+name)
		})
	}
}

// TestHostsDifferByMode: the prompt of the configuration mode may have another host than other
// prompts, as on IOS, which shows 20 characters of the name there, or where another prompt was
// configured. Parts of that mode may have yet another.
func TestHostsDifferByMode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		quirks quirks
	}{
		{"cut to 20", quirks{host: "THIS.IS.A.PARTICULARLY.LONG", cut: 20}},
		{"cut, and not only letters", quirks{host: "this-is-a-particular(LAB)-#1", cut: 23}},
		{"a prompt of its own", quirks{host: "Loc-S123987345", execPrompt: "Loc-S123987345-STP-1234"}},
		{"quite another", quirks{host: "EWM_20555", execPrompt: "ttyp0:rack(7)", cut: 20}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			useHostile(t, startHostile(t, tt.quirks), "and.still.another.one-that.is.long")
		})
	}
}

// TestModesOfOtherNames: some parts of the configuration mode of IOS have other names: ip dhcp
// pool shows (dhcp-config). A line that leads into such a part, or out of it, works like any
// other, and so does a console that was left there.
func TestModesOfOtherNames(t *testing.T) {
	t.Parallel()
	lines := []string{
		"ip dhcp pool lab", " network 10.0.0.0 255.255.255.0", "crypto ipsec transform-set T esp-aes", " mode tunnel",
		"crypto pki trustpoint T", " enrollment selfsigned", "crypto ipsec profile P", " set transform-set T",
	}
	for _, q := range []quirks{{}, {host: "router-1(LAB)"}, {host: "THIS.IS.A.PARTICULARLY.LONG", cut: 20}} {
		for n, left := range lines {
			t.Run(q.host+left, func(t *testing.T) {
				t.Parallel()
				if n%2 > 0 {
					return
				}
				h := startHostile(t, q)
				s := open(within(t, time.Minute), t, h.target(t))
				if err := s.Configure(within(t, time.Minute), lines); err != nil {
					t.Fatalf("Configure: %v", err)
				}
				if err := s.modes(within(t, time.Minute), s.dialog.Configure.Enter, configure); err != nil {
					t.Fatal(err)
				}
				if err := s.line(within(t, time.Minute), []string{left}, 0, left, 0); err != nil {
					t.Fatal(err)
				}
				s.hangUp()
				s.Close()
				s = open(within(t, time.Minute), t, h.target(t))
				if s.mode != privileged {
					t.Errorf("mode %s after Open, want privileged", modeNames[s.mode])
				}
				same(t, "running-config", h.config(), append(trimmed(lines), left))
			})
		}
	}
}

// useHostile configures a router twice, in a session each; the first is cut inside of the
// configuration mode.
func useHostile(t *testing.T, h *hostile, renamed string) {
	t.Helper()
	lines := []string{"interface Gi0/1", " description one", "router ospf 1", " network 10.0.0.0 0.255.255.255 area 0"}
	first := open(within(t, time.Minute), t, h.target(t))
	if err := first.modes(within(t, time.Minute), first.dialog.Configure.Enter, configure); err != nil {
		t.Fatalf("the configuration mode: %v", err)
	}
	if err := first.line(within(t, time.Minute), lines, 0, lines[0], 0); err != nil {
		t.Fatalf("a line: %v", err)
	}
	first.hangUp()
	first.Close()

	s := open(within(t, time.Minute), t, h.target(t))
	for _, lines := range [][]string{lines, append([]string{"hostname " + renamed}, lines...), lines} {
		if err := s.Configure(within(t, time.Minute), lines); err != nil {
			t.Fatalf("Configure: %v", err)
		}
		if got, err := s.Show(within(t, time.Minute), "show clock"); err != nil || got != "12:00:00.000 UTC Mon Mar 1 1993\n" {
			t.Errorf("Show = %q, %v", got, err)
		}
	}
	want := append(append(append(append([]string{lines[0]}, lines...), "hostname "+renamed), lines...), lines...)
	same(t, "running-config", h.config(), trimmed(want))
}
