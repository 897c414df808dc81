package device

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
)

// TestNotices: words of a device about a line that it accepts do not fail the upload. They
// become a notice with the line, also if they come late. Log lines and the echo do not.
func TestNotices(t *testing.T) {
	t.Parallel()
	h := startHostile(t, quirks{logEvery: 90, says: map[string]string{
		"auto-cost reference-bandwidth 1000": "% OSPF: Reference bandwidth is changed. \n        Please ensure reference bandwidth is consistent across all routers.\n",
		"switchport voice vlan 200":          "% Voice VLAN does not exist. Creating vlan 200\n",
		"network 10.0.0.0/24 area 0":         "Please remove all ip ospf area x.x.x.x commands first.\n",
		"username lab secret Sup3rS3cret":    "WARNING: Sup3rS3cret is easily guessed\n",
		"description late":                   "core(config-if)#\a\n% It is late.\n",
		"no shutdown":                        "core(config-if)#\a\n% It is very late.\n",
	}})
	var kept strings.Builder
	tr := NewTranscript(&kept)
	target := h.target(t)
	var got []string
	target.Notice = func(n Notice) { got = append(got, n.String()) }
	tr.Mask("Sup3rS3cret")
	lines := append(randomLines(400), "router ospf 1", " auto-cost reference-bandwidth 1000", " network 10.0.0.0/24 area 0",
		"interface Gi0/2", " switchport voice vlan 200", " description late", " description x", "username lab secret Sup3rS3cret", "interface Gi0/3", " no shutdown")
	if err := Send(within(t, 2*time.Minute), target, lines, tr, SendOptions{}); err != nil {
		t.Fatalf("Send: %v", err)
	}
	want := []string{
		"the device says: % OSPF: Reference bandwidth is changed. / Please ensure reference bandwidth is consistent across all routers., to: router ospf 1 / auto-cost reference-bandwidth 1000",
		"the device says: Please remove all ip ospf area x.x.x.x commands first., to: router ospf 1 / network 10.0.0.0/24 area 0",
		"the device says: % Voice VLAN does not exist. Creating vlan 200, to: interface Gi0/2 / switchport voice vlan 200",
		"the device says: % It is late., to: interface Gi0/2 / description late",
		"the device says: WARNING: *** is easily guessed, to: username lab secret ***",
		"the device says: % It is very late., to: interface Gi0/3 / no shutdown",
	}
	if !slices.Equal(got, want) {
		t.Errorf("notices:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	same(t, "running-config", h.config(), trimmed(lines))
	for _, w := range want {
		if !strings.Contains(kept.String(), "- core: "+w) {
			t.Errorf("the transcript has no %q", w)
		}
	}
}

// TestNoticesOfOthers: on a platform that answers configuration lines, as a user's platform
// may do, only harmless messages become notices.
func TestNoticesOfOthers(t *testing.T) {
	t.Parallel()
	h := startHostile(t, quirks{says: map[string]string{"one": "done\n", "two": "done\nmind the gap\n", "three": "alas\n"}})
	target := h.target(t)
	target.Platform.Quiet, target.Platform.Errors, target.Platform.Harmless = false, []string{"alas|mind.*"}, []string{"mind.*"}
	var got []string
	target.Notice = func(n Notice) { got = append(got, n.String()) }
	s := open(within(t, time.Minute), t, target)
	err := s.Configure(within(t, time.Minute), []string{"one", "two", "three"})
	if refused, ok := errors.AsType[*LineError](err); !ok || refused.Number != 3 {
		t.Errorf("Configure: %v, want line 3 refused", err)
	}
	if want := []string{"the device says: mind the gap, to: two"}; !slices.Equal(got, want) {
		t.Errorf("notices %q, want %q", got, want)
	}
}

// TestSave: a configuration counts as saved only if the device says so, in the words of its
// platform: not if its storage was busy, and not if it says nothing.
func TestSave(t *testing.T) {
	t.Parallel()
	busy := "startup-config file open failed (Device or resource busy)\n"
	for _, tt := range []struct {
		name, platform string
		says           []string
		kind           error
		want           string // of the error
	}{
		{"IOS", "cisco_ios", nil, nil, ""},
		{"IOS, compressed", "cisco_ios", []string{"Building configuration...\nCompressed configuration from 10194 bytes to 5372 bytes[OK]\n"}, nil, ""},
		{"IOS, busy", "cisco_ios", []string{busy}, fault.Unavailable, "startup-config file open failed (Device or resource busy)"},
		{"IOS, aborted", "cisco_ios", []string{"Configuration update aborted: timed out\n"}, fault.Unavailable, "Configuration update aborted: timed out"},
		{"IOS, refused", "cisco_ios", []string{"% Error opening nvram:/startup-config\n"}, fault.Invalid, "% Error opening nvram:"},
		{"IOS, asks", "cisco_ios", []string{"% Warning: Saving this config to nvram may corrupt any network management or security files stored at the end of nvram.\nContinue? [no]: "},
			fault.Unavailable, "may corrupt"},
		{"IOS, half", "cisco_ios", []string{"Building configuration...\n"}, fault.Unavailable, "Building configuration..."},
		{"nothing", "cisco_ios", []string{""}, fault.Unavailable, "is not saved"},
		{"EOS", "arista_eos", []string{"Copy completed successfully.\n"}, nil, ""},
		{"EOS, full", "arista_eos", []string{"copying /tmp/x: No space left on device\n"}, fault.Unavailable, "No space left on device"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := startHostile(t, quirks{save: tt.says})
			target := h.target(t)
			target.Platform.Saved = dialogOf(t, tt.platform).Saved
			s := open(within(t, time.Minute), t, target)
			err := s.Save(within(t, time.Minute))
			if tt.kind == nil && err != nil || tt.kind != nil && (!errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Save: %v, want %v and %q", err, tt.kind, tt.want)
			}
		})
	}
	// What passes is tried again.
	h := startHostile(t, quirks{save: []string{busy}})
	if err := Send(within(t, time.Minute), h.target(t), []string{"interface a"}, transcript(t), SendOptions{}); err != nil || h.saved != 1 {
		t.Errorf("Send to a device whose storage is busy for a moment: %v, saved %d times; want once", err, h.saved)
	}
	// A user's own platform need not know the words.
	h = startHostile(t, quirks{save: []string{"fine\n"}})
	target := h.target(t)
	target.Platform.Saved = nil
	if err := open(within(t, time.Minute), t, target).Save(within(t, time.Minute)); err != nil {
		t.Errorf("Save on a platform without words for it: %v", err)
	}
}
