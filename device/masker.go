package device

import (
	"slices"
	"strings"
)

const masked = "***"

// A masker replaces secrets in a stream of bytes, also where they come in pieces or
// a terminal's line ends inside of them.
type masker struct {
	secrets []string
	held    []byte // what may be the beginning of a secret
}

// between are the bytes that may stand inside of a secret: a line of the screen was full.
// So may escape sequences, by which some devices show each character.
const between = "\r\n\x00"

// slack is how many of them there may be; moves, how many bytes of escape sequences
// between two characters.
const (
	slack = 16
	moves = 64
)

func (m *masker) mask(secrets ...Secret) {
	for _, s := range secrets {
		bare := strings.Map(func(r rune) rune {
			if strings.ContainsRune(between, r) {
				return -1
			}
			return r
		}, string(s))
		if bare != "" && !slices.Contains(m.secrets, bare) {
			m.secrets = append(m.secrets, bare)
		}
	}
}

// filter returns what can be shown of the stream after data has come.
func (m *masker) filter(data []byte) []byte {
	if len(m.secrets) == 0 {
		return data
	}
	return m.scan(data, false)
}

// scan does so, of a text that is whole with nothing held back at its end.
func (m *masker) scan(data []byte, whole bool) []byte {
	m.held = append(m.held, data...)
	var out []byte
	i := 0
	for i < len(m.held) {
		n, open := m.match(m.held[i:])
		if open && !whole {
			break
		}
		if n > 0 {
			out = append(out, masked...)
			i += n
			continue
		}
		out = append(out, m.held[i])
		i++
	}
	m.held = append(m.held[:0], m.held[i:]...)
	return out
}

// rest ends the stream: it returns the mask when something was held back.
func (m *masker) rest() []byte {
	if len(m.held) == 0 {
		return nil
	}
	m.held = m.held[:0]
	return []byte(masked)
}

// match returns how many bytes of b's beginning are a secret, the longest, and whether
// more bytes could make it one, or a longer one.
func (m *masker) match(b []byte) (n int, open bool) {
	for _, s := range m.secrets {
		got, more := matchOne(b, s)
		n, open = max(n, got), open || more
	}
	return n, open
}

func matchOne(b []byte, secret string) (n int, open bool) {
	matched, skipped, moved := 0, 0, 0
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == secret[matched]:
			matched++
			moved = 0
			if matched == len(secret) {
				return i + 1, false
			}
		case matched > 0 && skipped < slack && strings.IndexByte(between, c) >= 0:
			skipped++
		case matched > 0 && c == 0x1b:
			length := escapeLength(b[i:])
			if moved += length; moved > moves {
				return 0, false
			}
			i += length - 1
		default:
			return 0, false
		}
	}
	return 0, matched > 0
}

// clean masks a text that is whole.
func (m *masker) clean(text string) string {
	one := masker{secrets: m.secrets}
	return string(one.scan([]byte(text), true))
}
