package device

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// pieces cuts data at the places that the bytes of at give.
func pieces(data, at []byte) [][]byte {
	var out [][]byte
	for _, n := range at {
		if k := int(n) % 7; k < len(data) {
			out, data = append(out, data[:k]), data[k:]
		}
	}
	return append(out, data)
}

// FuzzTelnet checks that the result does not depend on the pieces of a stream, that decoding
// reverses encoding, and that subnegotiations are bounded.
func FuzzTelnet(f *testing.F) {
	f.Add([]byte("hello\r\x00\xff\xff"), []byte{1, 2, 3})
	f.Add([]byte{iac, sb, optComPort, comSuspend, iac, iac, iac, se, 'x', iac, do, optEcho, '\r', 0, '\n'}, []byte{1, 1, 1, 1, 1, 1})
	f.Add(append([]byte{iac, sb}, bytes.Repeat([]byte("x"), 2*maxSub)...), []byte{})
	f.Fuzz(func(t *testing.T, data, at []byte) {
		var whole, parts telnetDecoder
		var said, again []string
		note := func(to *[]string) func(telnetCommand) {
			return func(c telnetCommand) {
				if len(c.sub) > maxSub {
					t.Errorf("a subnegotiation of %d bytes", len(c.sub))
				}
				*to = append(*to, c.String())
			}
		}
		want := whole.feed(data, note(&said))
		var got []byte
		for _, p := range pieces(data, at) {
			got = append(got, parts.feed(p, note(&again))...)
		}
		if !bytes.Equal(got, want) || !slices.Equal(said, again) {
			t.Errorf("in pieces: %q and %q, whole: %q and %q", got, again, want, said)
		}
		for _, binary := range []bool{false, true} {
			if !binary && bytes.Contains(data, []byte("\r\x00")) {
				continue // that is how a bare CR is written there
			}
			d := telnetDecoder{binary: binary}
			back := d.feed(telnetEncode(data, binary), func(c telnetCommand) { t.Errorf("data became %s", c) })
			if !bytes.Equal(back, data) {
				t.Errorf("binary %t: %q became %q", binary, data, back)
			}
		}
	})
}

// FuzzComPort feeds anything that a converter might send.
func FuzzComPort(f *testing.F) {
	f.Add([]byte{comBaud + comFromServer, 0, 0, 37, 128}, []byte{comSuspend + comFromServer})
	f.Add([]byte{comControl, 9}, []byte{})
	f.Fuzz(func(t *testing.T, one, two []byte) {
		w := &telnetWire{com: &comPort{waiting: map[byte][]byte{comBaud: {0, 0, 37, 128}, comControl: {1}, comPurge: {}}}}
		for _, sub := range [][]byte{one, two} {
			w.handleComPort(sub)
		}
		suspended := w.resume != nil
		w.handleComPort([]byte{comResume})
		if w.resume != nil {
			t.Errorf("suspended (%t) after a resume", suspended)
		}
		if len(w.com.refused) > 2 {
			t.Errorf("refused: %q", w.com.refused)
		}
	})
}

// FuzzTerminal checks that the result does not depend on the pieces of the output, and that
// memory grows with the output and not with the numbers in escape sequences.
func FuzzTerminal(f *testing.F) {
	f.Add([]byte("r1#\r\n\x1b[2Kabc\b\b \x1b[99999999Cx\ty"), []byte{1, 2})
	f.Add([]byte("000\xbd0000\r00\xf6"), []byte{1})
	f.Add([]byte("\x1b]0;t\x07\x1b[3P\x1b[J\x1b[H\x1b(B"), []byte{3})
	f.Fuzz(func(t *testing.T, data, at []byte) {
		var whole, parts terminal
		whole.feed(data)
		for _, p := range pieces(data, at) {
			parts.feed(p)
		}
		if !slices.Equal(whole.rows, parts.rows) || whole.line() != parts.line() || whole.col() != parts.col() {
			t.Errorf("in pieces: %q %q %d, whole: %q %q %d", parts.rows, parts.line(), parts.col(), whole.rows, whole.line(), whole.col())
		}
		size := 0
		for _, r := range whole.screen {
			size += len(r.text)
			cells := 0
			for at := 0; at < len(r.text); at += cell(r.text[at:]) {
				cells++
			}
			if cells != r.cells {
				t.Errorf("%q has %d characters and not %d", r.text, cells, r.cells)
			}
		}
		for _, r := range whole.rows {
			size += len(r)
		}
		if most := len(data)*8 + widest*(1+len(data)/4); size > most {
			t.Errorf("%d bytes became %d", len(data), size)
		}
	})
}

// FuzzPrompt checks that only prompts of the learned host are prompts: a match begins with the
// host, has nothing behind the mark, and is also a candidate.
func FuzzPrompt(f *testing.F) {
	f.Add("r1", "r1(config-if)#")
	f.Add("r.1", "rx1#")
	f.Add("a#b", "a#b#")
	f.Add("\xffr1", "\xffr1#")
	f.Add("core", "core# description core#")
	platforms := []*dialog{}
	for _, name := range []string{"cisco_ios", "arista_eos", "frr", "juniper_junos"} {
		platforms = append(platforms, dialogOf(f, name))
	}
	f.Fuzz(func(t *testing.T, host, line string) {
		for _, d := range platforms {
			m, of := d.candidate(line)
			if m != noMode && (of == "" || !strings.HasPrefix(line, of)) {
				t.Errorf("%q is a prompt of %q", line, of)
			}
			d.learn(host)
			if d.prompt(line) == noMode {
				continue
			}
			rest, ok := strings.CutPrefix(strings.TrimRight(line, " "), host)
			if !ok || rest != ">" && rest != "#" && (!strings.HasPrefix(rest, "(conf") || !strings.HasSuffix(rest, ")#") || strings.Count(rest, ")") > 1) {
				t.Errorf("%q is a prompt of %q", line, host)
			}
		}
	})
}

// FuzzMasker checks that no secret is shown, in whatever pieces the stream arrives, and that a
// stream without secrets is not changed.
func FuzzMasker(f *testing.F) {
	f.Add("secret", "sec", []byte("a secret sec\r\nret secre"), []byte{1, 2, 3})
	f.Add("aab", "b", []byte("aaab"), []byte{1, 1, 1})
	f.Add("x\ry", "", []byte("xy x\ny"), []byte{2})
	f.Fuzz(func(t *testing.T, one, two string, data, at []byte) {
		var m masker
		m.mask(Secret(one), Secret(two))
		var got []byte
		for _, p := range pieces(data, at) {
			got = append(got, m.filter(bytes.Clone(p))...)
		}
		got = append(got, m.rest()...)
		clean := m.clean(string(data))
		hit := bytes.ContainsRune(data, 0x1b) // what moves the cursor may stand in a secret
		for _, s := range m.secrets {
			hit = hit || bytes.Contains(unfolded(data), []byte(s))
			if strings.Contains(masked, s) || strings.Contains(s, "*") {
				return // the mask itself has it
			}
		}
		for _, s := range m.secrets {
			if bytes.Contains(got, []byte(s)) || strings.Contains(clean, s) {
				t.Errorf("%q is in %q or in %q", s, got, clean)
			}
		}
		if !hit && clean != string(data) {
			t.Errorf("clean(%q) = %q, though no secret is in it", data, clean)
		}
		if rest, cut := bytes.CutSuffix(got, []byte(masked)); !hit && !bytes.Equal(got, data) && (!cut || !bytes.HasPrefix(data, rest)) {
			t.Errorf("%q became %q, though no secret is in it", data, got)
		}
	})
}

// FuzzSecrets checks that the masked places are in order and within the line, that a line in
// pieces shows no more than a whole one, and that a line without secrets is not changed.
func FuzzSecrets(f *testing.F) {
	f.Add([]byte("enable secret 5 $1$a$b\nkey \"x\n"), []byte{3, 4})
	f.Add([]byte("\x1b[24;1Hpassword\x1b[24;9H \x1b[K7 \x1b"), []byte{6, 6, 6, 6})
	f.Add([]byte("description x\nntp authentication-key 1 md5 \xff 7\n"), []byte{1})
	f.Fuzz(func(t *testing.T, data, at []byte) {
		for line := range strings.Lines(string(data)) {
			last := 0
			for _, s := range secretsIn(line) {
				if s.from < last || s.to <= s.from || s.to > len(line) {
					t.Fatalf("secrets of %q: %v", line, secretsIn(line))
				}
				last = s.to
			}
			var m lineMasker
			var got []byte
			for _, p := range pieces([]byte(line), at) {
				if len(p) > 0 {
					got = append(got, m.mask(p)...)
				}
			}
			if !bytes.Contains(got, []byte(masked)) && string(got) != line {
				t.Errorf("%q became %q", line, got)
			}
			if len(got) > len(line)*len(masked) {
				t.Errorf("%q became %q", line, got)
			}
		}
	})
}

func unfolded(data []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if strings.ContainsRune(between, r) {
			return -1
		}
		return r
	}, data)
}
