package device

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
	"activationd/test/harness"
)

// within bounds a call that should end much earlier by itself, with ten times as much for slow
// machines.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*d)
	t.Cleanup(cancel)
	return ctx
}

// transcript shows the session if the test fails.
func transcript(t *testing.T) *Transcript {
	t.Helper()
	var buf bytes.Buffer
	tr := NewTranscript(&buf)
	t.Cleanup(func() {
		if t.Failed() {
			tr.flush()
			text := buf.String()
			t.Logf("transcript:\n%s", text[max(0, len(text)-8000):])
		}
	})
	return tr
}

func open(ctx context.Context, t *testing.T, target Target) *Session {
	t.Helper()
	s, err := Open(ctx, target, transcript(t))
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// randomLines returns configuration lines of at least so many bytes, with every printable
// character.
func randomLines(size int) []string {
	random := rand.New(rand.NewPCG(7, uint64(size)))
	lines := []string{"interface GigabitEthernet0/1"}
	for n := 0; n < size; {
		b := []byte(" description ")
		for range 10 + random.IntN(60) {
			b = append(b, byte('!'+random.IntN('~'-'!'+1)))
		}
		lines = append(lines, string(b))
		n += len(b) - 1
	}
	return lines
}

func trimmed(lines []string) []string {
	var out []string
	for _, l := range lines {
		out = append(out, strings.TrimSpace(l))
	}
	return out
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: line %d is %q, want %q", what, i+1, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d lines, want %d", what, len(got), len(want))
	}
}

// TestNothingIsLost sends a long configuration through a buffer of 16 bytes that is emptied by one
// byte in a millisecond, on a line that also loses some.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	size := harness.Size(6<<10, 64<<10)
	if testing.Short() {
		size = 2 << 10
	}
	h := startHostile(t, quirks{perChar: time.Millisecond, buffer: 16, drop: 0.0002})
	target := h.target(t)
	target.Pace = Pace{Chunk: 16}
	lines := randomLines(size)
	if err := Send(within(t, 8*time.Minute), target, lines, transcript(t), SendOptions{}); err != nil {
		t.Fatalf("Send: %v", err)
	}
	same(t, "running-config", h.config(), trimmed(lines))
	t.Logf("%d bytes arrived; the line lost %d", size, h.lost)
	if h.saved != 1 {
		t.Errorf("saved %d times, want once", h.saved)
	}
}

// TestPaceIsFound sends with no pace given at all.
func TestPaceIsFound(t *testing.T) {
	t.Parallel()
	h := startHostile(t, quirks{perChar: time.Millisecond, buffer: 16})
	lines := randomLines(2000)
	if err := Send(within(t, 2*time.Minute), h.target(t), lines, transcript(t), SendOptions{}); err != nil {
		t.Fatalf("Send: %v", err)
	}
	same(t, "running-config", h.config(), trimmed(lines))
	if h.lost == 0 {
		t.Errorf("nothing was lost, so nothing was tested")
	}
}

// TestGarbledIsRepaired has a line on which many characters arrive as others, so that
// the echo has the right length.
func TestGarbledIsRepaired(t *testing.T) {
	t.Parallel()
	h := startHostile(t, quirks{garble: 0.01})
	target := h.target(t)
	target.Limits.Repairs = 20
	lines := randomLines(1000)
	if err := Send(within(t, 4*time.Minute), target, lines, transcript(t), SendOptions{}); err != nil {
		t.Fatalf("Send: %v", err)
	}
	same(t, "running-config", h.config(), trimmed(lines))
	if h.lost == 0 {
		t.Errorf("nothing was garbled, so nothing was tested")
	}
}

// TestLossIsRepaired has a line on which much is lost.
func TestLossIsRepaired(t *testing.T) {
	t.Parallel()
	for _, noRedraw := range []bool{false, true} {
		t.Run(fmt.Sprint("noRedraw=", noRedraw), func(t *testing.T) {
			t.Parallel()
			h := startHostile(t, quirks{drop: 0.01, noRedraw: noRedraw})
			target := h.target(t)
			target.Limits.Repairs = 20
			if noRedraw {
				target.Platform.Keys.Redraw = ""
			}
			lines := randomLines(1000)
			if err := Send(within(t, 4*time.Minute), target, lines, transcript(t), SendOptions{}); err != nil {
				t.Fatalf("Send: %v", err)
			}
			same(t, "running-config", h.config(), trimmed(lines))
			if h.lost == 0 {
				t.Errorf("nothing was lost, so nothing was tested")
			}
		})
	}
}

// TestLossIsGivenUp has a line on which no piece arrives complete.
func TestLossIsGivenUp(t *testing.T) {
	t.Parallel()
	h := startHostile(t, quirks{})
	s := open(within(t, time.Minute), t, h.target(t))
	s.target.Limits.Repairs = 1
	s.dialog.Keys.Special, s.dialog.Keys.Quote = "x", "y" // the echo has more than was meant
	err := s.Configure(within(t, time.Minute), []string{"interface x"})
	if !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "pace") {
		t.Errorf("Configure: %v, want Unavailable, and to hear of the pace", err)
	}
	if len(h.config()) != 0 {
		t.Errorf("%q was executed", h.config())
	}
}

// TestHashesFoolNobody puts the prompt into the banner, into a description and into an
// answer, each time with a pause behind it.
func TestHashesFoolNobody(t *testing.T) {
	t.Parallel()
	show := []string{
		"hostname core", "banner motd ^C", "core#", "core#\a", "# core# \a#", "^C",
		"interface Gi0/1", " description core(config)#\a and more", "core(config-if)#\a", "core#\a",
	}
	h := startHostile(t, quirks{
		banner: "\n######\ncore#\a\ntrap#\a\n## all that you do is logged #\ntrap>\a\n",
		user:   "lab", password: "se#cret>", show: show,
	})
	s := open(within(t, time.Minute), t, h.target(t))
	lines := []string{"interface Gi0/2", " description core#", " description core(config)# no"}
	if err := s.Configure(within(t, time.Minute), lines); err != nil {
		t.Fatalf("Configure: %v", err)
	}
	got, err := s.Show(within(t, time.Minute), "show running-config")
	if err != nil {
		t.Fatalf("Show: %v", err)
	}
	want := strings.ReplaceAll(strings.Join(append(show, trimmed(lines)...), "\n")+"\n", "\a", "")
	if got != want {
		t.Errorf("show running-config:\n%q, want\n%q", got, want)
	}
}

// TestLogsInTheEcho has a message in the middle of every other line's echo.
func TestLogsInTheEcho(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		noRedraw bool
		every    int
	}{{"redraw", false, 37}, {"erase", true, 67}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := startHostile(t, quirks{logEvery: tt.every, noRedraw: tt.noRedraw})
			target := h.target(t)
			if tt.noRedraw {
				target.Platform.Keys.Redraw = ""
			}
			s := open(within(t, time.Minute), t, target)
			lines := randomLines(1000)
			if err := s.Configure(within(t, 2*time.Minute), lines); err != nil {
				t.Fatalf("Configure: %v", err)
			}
			same(t, "running-config", h.config(), trimmed(lines))
			got, err := s.Show(within(t, time.Minute), "show running-config")
			if want := strings.Join(trimmed(lines), "\n") + "\n"; err != nil || got != want {
				t.Errorf("Show: %q, %v, want %q", got, err, want)
			}
		})
	}
}

func TestPagerIsTurned(t *testing.T) {
	t.Parallel()
	var show []string
	for i := range 100 {
		show = append(show, fmt.Sprintf("line %d --More-- of it", i))
	}
	h := startHostile(t, quirks{pager: 10, show: show})
	s := open(within(t, time.Minute), t, h.target(t))
	got, err := s.Show(within(t, time.Minute), "show running-config")
	if want := strings.Join(show, "\n") + "\n"; err != nil || got != want {
		t.Errorf("Show: %q, %v, want %q", got, err, want)
	}
	if h.paged != 9 {
		t.Errorf("the pager came %d times, want 9", h.paged)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		quirks   quirks
		password Secret
		kind     error
		says     string
		logins   int
	}{
		{"right", quirks{user: "lab", password: "pw"}, "pw", nil, "", 2},
		{"refused though it is right", quirks{user: "lab", password: "pw", failLogins: 1}, "pw", fault.Denied, "% Login invalid", 2},
		{"wrong", quirks{user: "lab", password: "pw"}, "wrong", fault.Denied, "% Login invalid", 2},
		{"no password", quirks{user: "lab", password: "pw"}, "", fault.Denied, "no password", 0},
		{"enable", quirks{user: "lab", password: "pw", enable: "pw"}, "pw", nil, "", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := startHostile(t, tt.quirks)
			target := h.target(t)
			target.Login.Password = tt.password
			s, err := Open(within(t, time.Minute), target, transcript(t))
			if tt.kind == nil && err != nil || tt.kind != nil && (!errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("Open: %v, want %v and %q", err, tt.kind, tt.says)
			}
			if s != nil {
				s.Close()
			}
			if err != nil && tt.password != "" && strings.Contains(err.Error(), string("got "+tt.password)) {
				t.Errorf("the error has the password: %v", err)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			// The line was flushed when it was opened, and an empty user was one more: who is
			// there had to be found out.
			if h.logins > tt.logins {
				t.Errorf("%d logins were tried, want at most %d", h.logins, tt.logins)
			}
		})
	}
}

// TestSecretsInErrors has devices repeat what was typed.
func TestSecretsInErrors(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"Sup3r.s3cret", `with "quotes" and \`} {
		h := startHostile(t, quirks{user: "lab", password: "pw"})
		target := h.target(t)
		target.Login.Password = Secret(secret)
		var kept strings.Builder
		tr := NewTranscript(&kept)
		_, err := Open(within(t, time.Minute), target, tr)
		for _, text := range []string{fmt.Sprint(err), kept.String()} {
			if strings.Contains(text, secret) || strings.Contains(text, strings.Trim(strconv.Quote(secret), `"`)) || !strings.Contains(text, "got ***") {
				t.Errorf("a refused password is shown:\n%s", text)
			}
		}
	}
	// A line that goes with the limit of what is kept.
	h := startHostile(t, quirks{})
	s := open(within(t, time.Minute), t, h.target(t))
	s.secrets.mask("Sup3r.s3cret")
	e := s.refused(1, "username Sup3r.s3cret", []string{strings.Repeat("x", maxSaid-6) + "Sup3r.s3cret"})
	if strings.Contains(e.Error(), "Sup3r") {
		t.Errorf("refused: %v", e)
	}
}

func TestEnable(t *testing.T) {
	t.Parallel()
	h := startHostile(t, quirks{enable: "open sesame"})
	s := open(within(t, time.Minute), t, h.target(t))
	if s.mode != privileged {
		t.Errorf("mode %s after Open, want privileged", modeNames[s.mode])
	}
	h = startHostile(t, quirks{enable: "open sesame"})
	target := h.target(t)
	target.Login.Enable = "wrong"
	if _, err := Open(within(t, time.Minute), target, transcript(t)); !errors.Is(err, fault.Denied) {
		t.Errorf("Open with a wrong enable password: %v, want Denied", err)
	}
}

// TestRefusedLine checks that the error names the line, and that the session goes on.
func TestRefusedLine(t *testing.T) {
	t.Parallel()
	h := startHostile(t, quirks{late: "description late"})
	s := open(within(t, time.Minute), t, h.target(t))
	for _, tt := range []struct {
		lines  []string
		number int
	}{
		{[]string{"interface a", "", " nonsense here", " description x"}, 3},
		{[]string{"nonsense"}, 1},
		{[]string{"interface a", " description late", " description x"}, 2},
		{[]string{"interface a", " description late"}, 2},
	} {
		err := s.Configure(within(t, time.Minute), tt.lines)
		refused, ok := errors.AsType[*LineError](err)
		if !ok || refused.Number != tt.number || !errors.Is(err, fault.Invalid) || !strings.Contains(refused.Said, "% Invalid input detected") {
			t.Errorf("Configure(%q): %v, want a LineError for line %d", tt.lines, err, tt.number)
		}
	}
	if err := s.Configure(within(t, time.Minute), []string{"hostname edge", "interface b"}); err != nil {
		t.Errorf("Configure after refusals: %v", err)
	}
	if slices.Contains(h.config(), "description x") {
		t.Errorf("a line behind a refused one was executed: %q", h.config())
	}
	if _, err := s.Show(within(t, time.Minute), "nonsense"); !errors.Is(err, fault.Invalid) {
		t.Errorf("Show(nonsense): %v, want Invalid", err)
	}
	if got, err := s.Show(within(t, time.Minute), "show clock"); err != nil || got != "12:00:00.000 UTC Mon Mar 1 1993\n" {
		t.Errorf("Show(show clock) = %q, %v", got, err)
	}
	if err := s.Configure(within(t, time.Minute), []string{"description \x15"}); !errors.Is(err, fault.Invalid) {
		t.Errorf("Configure with a control character: %v, want Invalid", err)
	}
}

// TestCut cuts the connection at many places of an upload.
func TestCut(t *testing.T) {
	t.Parallel()
	lines := []string{
		"interface Gi0/1", " description one?", " ip address 10.0.0.1 255.255.255.0", " no shutdown",
		"interface Gi0/2", " description two", " ip address 10.0.1.1 255.255.255.0", " no shutdown",
		"router ospf 1", " network 10.0.0.0 0.0.255.255 area 0",
	}
	for _, at := range []int{1, 60, 110, 125, 140, 190, 260, 300, 333} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			h := startHostile(t, quirks{})
			target := h.target(t)
			target.URL = startBridge(t, h, at, at/2+70).url()
			last := 0
			opts := SendOptions{Progress: func(n int) {
				if n < last {
					t.Errorf("progress went back from %d to %d", last, n)
				}
				last = n
			}}
			if err := Send(within(t, 2*time.Minute), target, lines, transcript(t), opts); err != nil {
				t.Fatalf("Send: %v", err)
			}
			if last != len(lines) {
				t.Errorf("progress ended with %d, want %d", last, len(lines))
			}
			// Each interface has exactly its own lines, however often they were said.
			blocks := map[string][]string{}
			block := ""
			for _, l := range h.config() {
				if strings.HasPrefix(l, "interface") || strings.HasPrefix(l, "router") {
					block = l
				} else if !slices.Contains(blocks[block], l) {
					blocks[block] = append(blocks[block], l)
				}
			}
			got := fmt.Sprint(blocks["interface Gi0/1"], blocks["interface Gi0/2"], blocks["router ospf 1"])
			want := fmt.Sprint(trimmed(lines[1:4]), trimmed(lines[5:8]), trimmed(lines[9:]))
			if got != want {
				t.Errorf("configured %s, want %s", got, want)
			}
		})
	}
}

// TestCutForGood has a connection that is cut again and again during the login, after the
// whole configuration has arrived.
func TestCutForGood(t *testing.T) {
	t.Parallel()
	h := startHostile(t, quirks{})
	target := h.target(t)
	target.URL = startBridge(t, h, 40, 40, 40).url()
	err := Send(within(t, time.Minute), target, []string{"interface a"}, transcript(t), SendOptions{Reconnects: 1})
	if !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "cut") {
		t.Errorf("Send: %v, want Unavailable: it was cut", err)
	}
}

// TestLie has a device that answers OK and forgets a line. What it shows afterwards reveals
// that.
func TestLie(t *testing.T) {
	t.Parallel()
	h := startHostile(t, quirks{lie: "switchport access vlan"})
	s := open(within(t, time.Minute), t, h.target(t))
	if err := s.Configure(within(t, time.Minute), []string{"interface a", " switchport access vlan 7", " no shutdown"}); err != nil {
		t.Fatalf("Configure: %v", err)
	}
	got, err := s.Show(within(t, time.Minute), "show running-config")
	if err != nil || got != "interface a\nno shutdown\n" {
		t.Errorf("Show = %q, %v; want what is there, and no more", got, err)
	}
}

// TestDeaf has devices that stop reading, one with an echo, one without: there writes
// block when the line's buffers are full.
func TestDeaf(t *testing.T) {
	t.Parallel()
	for _, blind := range []bool{false, true} {
		t.Run(fmt.Sprint("blind=", blind), func(t *testing.T) {
			t.Parallel()
			h := startHostile(t, quirks{noEcho: blind})
			target := h.target(t)
			target.Platform.Blind = blind
			target.Limits.Command = 10 * time.Second // in which the login's commands are done
			s := open(within(t, time.Minute), t, target)
			stopReading(t, h)
			line := "description " + strings.Repeat("x", 200)
			if blind {
				line = strings.Repeat(line, 1000)
			}
			err := s.Configure(within(t, time.Minute), []string{line})
			if !errors.Is(err, fault.Unavailable) {
				t.Errorf("Configure: %v, want Unavailable", err)
			}
			if err := s.Configure(within(t, time.Minute), []string{line}); !errors.Is(err, fault.Unavailable) {
				t.Errorf("Configure after it: %v, want the same", err)
			}
			s.Close()
		})
	}
}

// stopReading makes the console stop reading, so that the line's buffers fill up.
func stopReading(t *testing.T, h *hostile) {
	t.Helper()
	h.master.SetReadDeadline(time.Now())
}

// TestFlood has a device whose output does not end.
func TestFlood(t *testing.T) {
	t.Parallel()
	h := startHostile(t, quirks{})
	target := h.target(t)
	target.Limits.Output = 1 << 20
	s := open(within(t, time.Minute), t, target)
	if got, err := s.Show(within(t, time.Minute), "show flood"); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "1048576 bytes") {
		t.Errorf("Show(show flood): %d bytes, %v; want Unavailable", len(got), err)
	}
}

// TestContextEnds checks that a waiting call ends with its context, and returns the cause.
func TestContextEnds(t *testing.T) {
	t.Parallel()
	h := startHostile(t, quirks{hold: make(chan string)})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() {
		_, err := Open(ctx, h.target(t), nil)
		done <- err
	}()
	<-h.quirks.hold // it executes a command, and nobody takes the next
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Open: %v, want Canceled", err)
		}
	case <-time.After(10 * time.Minute):
		t.Fatal("Open goes on")
	}
	close(h.quirks.hold)
}

// TestLineVanishes removes a serial line during a session, like a pulled adapter.
func TestLineVanishes(t *testing.T) {
	t.Parallel()
	h := startHostile(t, quirks{})
	s := open(within(t, time.Minute), t, h.target(t))
	h.slave.Close()
	h.master.Close()
	if _, err := s.Show(within(t, time.Minute), "show clock"); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "cut") {
		t.Errorf("Show: %v, want Unavailable: the connection was cut", err)
	}
}

// TestBlockedWrite fills a line whose other side does not read: the write ends with its
// context, and leaves no goroutine.
func TestBlockedWrite(t *testing.T) {
	t.Parallel()
	master, slave, path := openPTY(t)
	defer master.Close()
	defer slave.Close()
	w, err := openSerial(path, lineSettings{})
	if err != nil {
		t.Fatal(err)
	}
	l := newLink(w, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := l.write(ctx, make([]byte, 1<<20)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("write: %v, want DeadlineExceeded", err)
	}
	closed := make(chan struct{})
	go func() {
		l.close() // waits for the writer
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(10 * time.Minute):
		t.Fatal("the write goes on after the link was closed")
	}
}
