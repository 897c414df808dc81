package device

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// secretLines reads testdata/secrets.txt: lines without the marks, each with the text that is
// shown of it, and with its secrets.
func secretLines(t *testing.T) (lines, shown []string, secrets [][]string) {
	t.Helper()
	data, err := os.ReadFile("testdata/secrets.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		parts := strings.Split(strings.ReplaceAll(line, "›", "‹"), "‹")
		var of []string
		for i := 1; i < len(parts); i += 2 {
			of = append(of, parts[i])
			parts[i] = masked
		}
		lines = append(lines, strings.NewReplacer("‹", "", "›", "").Replace(line))
		shown, secrets = append(shown, strings.Join(parts, "")), append(secrets, of)
	}
	return lines, shown, secrets
}

// TestMaskSecrets: the secrets in a line of a configuration are masked in all places, and
// nothing else is.
func TestMaskSecrets(t *testing.T) {
	lines, shown, _ := secretLines(t)
	for i, l := range lines {
		if got := MaskSecrets(l); got != shown[i] {
			t.Errorf("%q is shown as\n%q, want\n%q", l, got, shown[i])
		}
		if got := MaskSecrets(shown[i]); got != shown[i] {
			t.Errorf("%q is masked again: %q", shown[i], got)
		}
	}
	if got, want := MaskSecrets(strings.Join(lines, "\n")), strings.Join(shown, "\n"); got != want {
		t.Errorf("all together are not shown as each alone is")
	}
}

// TestSecretsOfADevice: the secrets that a device shows are masked in the transcript, in
// whatever pieces they arrive, also if the device moves the cursor for each character. The
// secrets that are sent are masked, too.
func TestSecretsOfADevice(t *testing.T) {
	lines, shown, secrets := secretLines(t)
	addressed := func(line string) string {
		var out strings.Builder
		for i, c := range []byte(line) {
			out.WriteString("\x1b[24;" + strconv.Itoa(i+5) + "H" + string(c) + "\x1b[24;" + strconv.Itoa(i+6) + "H")
		}
		return out.String()
	}
	for i, l := range lines {
		if strings.HasPrefix(l, "its configuration") || strings.HasPrefix(l, "it would") {
			continue // no device says that
		}
		for name, text := range map[string]string{"as it is": l, "addressed": addressed(l)} {
			for _, size := range []int{1, 7, 1000} {
				if size < 1000 && name != "as it is" {
					continue // each character comes in pieces anyway
				}
				for _, d := range []direction{sent, received} {
					if size == 1 && d == sent {
						continue // as what was received
					}
					var kept bytes.Buffer
					tr := NewTranscript(&kept)
					for rest := text + "\r\n"; rest != ""; {
						n := min(size, len(rest))
						tr.add(d, []byte(rest[:n]))
						tr.add(1-d, []byte("x\n")) // so that what came is written
						rest = rest[n:]
					}
					tr.flush()
					got := said(t, kept.String(), d)
					plain, _ := plainText([]byte(got))
					if size == 1000 && name == "as it is" && strings.TrimRight(got, "\r\n") != shown[i] {
						t.Errorf("%s: %q is kept as %q, want %q", name, l, got, shown[i])
					}
					for _, s := range secrets[i] {
						if s = strings.Trim(s, `"`); strings.Contains(plain, s) {
							t.Errorf("%s, by %d: %q has the secret: %q", name, size, l, got)
						}
					}
				}
			}
		}
	}
}

// said returns what a transcript has of one direction.
func said(t *testing.T, kept string, d direction) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(kept) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
		if fields[1] != string("><"[d]) {
			continue
		}
		text, err := strconv.Unquote(fields[2])
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(text)
	}
	return out.String()
}

// TestSecretsOfLines: the secrets of the lines that are sent are nowhere in the transcript,
// nor in an error or a notice, even if the device repeats them: in the echo, also on a screen
// with addresses, in its answer, or in what it shows later.
func TestSecretsOfLines(t *testing.T) {
	t.Parallel()
	for _, screen := range []bool{false, true} {
		h := startHostile(t, quirks{screen: screen, drop: 0.002, says: map[string]string{
			"snmp-server community Blossom RO":     "% Think of something better than Blossom\n",
			"tacacs-server host h key 7 0A1B2C3D4": "% 0A1B2C3D4 will do\n",
		}})
		target := h.target(t)
		target.Limits.Repairs = 20
		var notices []string
		target.Notice = func(n Notice) { notices = append(notices, n.String()) }
		var kept bytes.Buffer
		tr := NewTranscript(&kept)
		s, err := Open(within(t, time.Minute), target, tr)
		if err != nil {
			t.Fatal(err)
		}
		lines := []string{
			"snmp-server community Blossom RO", "tacacs-server host h key 7 0A1B2C3D4", "crypto isakmp key Tulip-7 address 0.0.0.0",
			"standby 1 authentication md5 key-string Daisy-9 timeout 5", "nonsense password Narcissus",
		}
		if err = s.Configure(within(t, 2*time.Minute), lines); err == nil || !strings.Contains(err.Error(), "nonsense password ***") {
			t.Errorf("Configure: %v, want the line in it, masked", err)
		}
		got, showErr := s.Show(within(t, time.Minute), "show running-config")
		if showErr != nil || !strings.Contains(got, lines[0]) {
			t.Errorf("Show = %q, %v, want what is there", got, showErr)
		}
		s.Close()
		all := kept.String() + err.Error() + strings.Join(notices, "\n")
		for _, secret := range []string{"Blossom", "0A1B2C3D4", "Tulip-7", "Daisy-9", "Narcissus"} {
			if strings.Contains(all, secret) {
				t.Errorf("%q is shown:\n%s", secret, all[max(0, strings.Index(all, secret)-200):][:min(400, len(all))])
			}
		}
		if len(notices) != 2 || !strings.Contains(notices[0], "better than ***, to: snmp-server community *** RO") {
			t.Errorf("notices: %q", notices)
		}
	}
}

// TestShortSecretsInTranscript: a secret that is too short to be masked everywhere is masked
// in its place, also while it is typed, where the line ends with return alone, and in its echo
// behind the prompt. A description in the line before does not change that.
func TestShortSecretsInTranscript(t *testing.T) {
	t.Parallel()
	var kept strings.Builder
	tr := NewTranscript(&kept)
	for _, l := range []string{"description foo", "snmp-server community abc RO", "description foo", "key 7 xyz"} {
		tr.add(sent, []byte(l))
		tr.add(received, []byte(l))
		tr.add(sent, []byte("\r"))
		tr.add(received, []byte("\r\nsw(config)#"))
	}
	tr.flush()
	if strings.Contains(kept.String(), "abc") || strings.Contains(kept.String(), "xyz") {
		t.Errorf("the transcript has secrets:\n%s", kept.String())
	}
}

// The expressions are compiled when they are used, so one that is not valid would end a process
// in the middle of its work.
func TestPlacesOfSecretsCompile(t *testing.T) {
	noSecrets()
	for _, p := range secretPlaces {
		if n := p.where().NumSubexp(); n != 1 {
			t.Errorf("%v has %d groups, want 1", p.needs, n)
		}
	}
}
