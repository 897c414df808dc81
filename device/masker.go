package device

import (
	"slices"
	"strings"
)

const masked = "***"

// A masker replaces secrets in a stream of bytes, also if they arrive in pieces or a line of
// the terminal ends inside them.
type masker struct {
	secrets []string
	held    []byte // bytes that may be the beginning of a secret
}

// between are the bytes that may come inside a secret, where a line of the screen is full.
// Escape sequences may come, too, by which some devices show each character.
const between = "\r\n\x00"

// slack is how many such bytes there may be; moves is how many bytes of escape sequences there
// may be between two characters.
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

// filter returns what can be shown of the stream after data has arrived.
func (m *masker) filter(data []byte) []byte {
	if len(m.secrets) == 0 {
		return data
	}
	return m.scan(data, false)
}

// scan masks data. If it is the whole text, nothing is held back at its end.
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

// rest ends the stream. It returns the mask if something is held back.
func (m *masker) rest() []byte {
	if len(m.held) == 0 {
		return nil
	}
	m.held = m.held[:0]
	return []byte(masked)
}

// match returns how many bytes at the beginning of b are a secret, the longest one, and
// whether further bytes could make a secret or a longer one of them.
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

// clean masks a whole text.
func (m *masker) clean(text string) string {
	one := masker{secrets: m.secrets}
	return string(one.scan([]byte(text), true))
}
