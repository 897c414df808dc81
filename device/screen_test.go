package device

import (
	"errors"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
)

// TestScreenByAddresses: a switch that writes each character to a row and a column of the
// screen, and scrolls without a newline, is used like any other, also on a line that loses
// characters.
func TestScreenByAddresses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		quirks quirks
	}{
		{"login", quirks{screen: true, user: "lab", password: "pw", banner: "\x1b[2J\x1b[?7l\x1b[3;23r\x1b[?6l\x1b[1;1HWelcome to sw#\a\x1b[24;1H"}},
		{"no redraw", quirks{screen: true, noRedraw: true}},
		{"losses", quirks{screen: true, drop: 0.005}},
		{"other names", quirks{screen: true, host: "größe-1(LAB)", cut: 9, enable: "sesame"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := startHostile(t, tt.quirks)
			target := h.target(t)
			target.Limits.Repairs = 20
			if tt.quirks.noRedraw {
				target.Platform.Keys.Redraw = ""
			}
			lines := randomLines(600)
			if err := Send(within(t, 4*time.Minute), target, lines, transcript(t), SendOptions{}); err != nil {
				t.Fatalf("Send: %v", err)
			}
			same(t, "running-config", h.config(), trimmed(lines))
			s := open(within(t, time.Minute), t, target)
			got, err := s.Show(within(t, time.Minute), "show running-config")
			if want := strings.Join(trimmed(lines), "\n") + "\n"; err != nil || got != want {
				t.Errorf("Show: %q, %v, want %q", got, err, want)
			}
			err = s.Configure(within(t, time.Minute), []string{"interface a", " nonsense"})
			if refused, ok := errors.AsType[*LineError](err); !ok || refused.Number != 2 || !strings.HasSuffix(refused.Said, "% Invalid input detected at '^' marker.") {
				t.Errorf("Configure: %v, want line 2 refused", err)
			}
		})
	}
}

// TestScreenIsNotUnderstood: if a device waits for an answer of the terminal that is not
// supported, the error says so.
func TestScreenIsNotUnderstood(t *testing.T) {
	t.Parallel()
	master, slave, path := openPTY(t)
	defer master.Close()
	defer slave.Close()
	if _, err := master.WriteString("\x1b[6n"); err != nil {
		t.Fatal(err)
	}
	go func() {
		for buf := make([]byte, 100); ; {
			if _, err := master.Read(buf); err != nil {
				return
			}
			_, _ = master.WriteString("\x1b[6n")
		}
	}()
	target := Target{Name: "old", URL: "serial://" + path, Platform: dialogOf(t, "cisco_ios").Platform, Limits: Limits{Connect: 4 * time.Second}}
	if _, err := Open(within(t, time.Minute), target, nil); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "it sends ESC [6n for its screen") {
		t.Errorf("Open: %v, want to hear of what it sends", err)
	}
}
