package device

import (
	"bytes"
	"cmp"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Secrets are found by their place in a line, in whatever is sent or received: commands, their
// echo, configurations, refusals. A word that may be a secret counts as one.
const (
	// word matches a secret, with or without quotes, also in a line that is itself quoted.
	word = `(\\"[^"]*"?|"(?:[^"\\]|\\.)*"?|'[^']*'|[^\s"]+)`
	// whose matches the owner of the password, which may stand before it on a ProCurve.
	whose = `(?:(?:manager|operator|port-access) +(?:user-name +(?:"[^"]*"|\S+) +)?)?`
	// kinds matches the words for the kind of a secret, which may stand before it.
	kinds = `(?:(?:\d{1,3}|level +\d+|encryption-type +\d+|encrypted|unencrypted|hashed|hash|clear|cleartext|clear-text|plain|plaintext|plain-text|` +
		`ascii|ascii-text|hex|hexadecimal|string|text|value|md5|sha\d*|sha-\d+|hmac-\S+|cmac-\S+|aes-\d+-cmac|scrypt|pbkdf2|` +
		`cipher|irreversible-cipher|simple|local|remote|fallback) +)*`
)

// A place is a place in a line where a secret may be.
type place struct {
	needs []string // parts of words; a line without any of them has no such place
	where func() *regexp.Regexp
}

// secretPlaces are the places of secrets. Each expression has one group, which matches the
// secret.
var secretPlaces = []place{
	// NAME password 7 X, key-string X, message-digest-key 1 md5 X, ntp authentication-key 1 md5 X, secret "X"
	newPlace("pass|secret|psk|key|ascii-text", `(?:password|passwd|passphrase|pass-phrase|secret|psk|key-string|pre-?shared-key|`+
		`authentication-key|message-digest-key|server-key|secret-key|shared-key|privacy-key|set-key|ascii-text|plain-text-password-value) +`+whose+kinds+word),
	newPlace("authentication-key", `authentication-key +\d+ .*?value +`+word),
	// password=X, token: X, --api-key=X
	newPlace("pass|secret|psk|shared|token|api", `(?:password|passwd|passphrase|secret|psk|pre-?shared-key|token|api[_-]?key)["']?[=:] *`+word),
	newPlace("auth=", `auth=(?:key|token[\w-]*),`+word),
	// Keys in lines that say what they are for.
	newPlace("tac|rad", `(?:tacacs|radius|tacplus|radsec)[\w-]*\b.*? key +`+kinds+word),
	newPlace("key ", `(?:^|["/#>]) *(?:no +)?(?:pac +)?key +[05-9] +`+word),
	newPlace("key ", `(?:^|["/#>]) *(?:no +)?(?:pac +)?key +([^\s"]*[^\s"\d][^\s"]*)`),
	newPlace("key ", `(?:^|["/#>]) *(?:no +)?key +[[:xdigit:]]{2,} +[0-9] +`+word), // for MACsec: its name, its kind, the key
	newPlace("key ", `(?:^|["/#>]) *server(?:-private)?\b.*? key +`+kinds+word),
	newPlace("key ", `(?:isakmp|authentication) +key +`+kinds+word),
	newPlace("key ", `pre-?shared-key\b.*? key +`+kinds+word),
	newPlace("server-profile", `server-profile +\S+ +key +`+word),
	newPlace("config-key", `config-key +(?:password-encrypt +|newpass +|ascii +)`+word),
	newPlace("md5", `md5 +\d+ +key +`+word),
	newPlace("md5-key|auth-key", `(?:md5-key|auth-key)[ =]+`+word),
	newPlace("private key", `private +key +`+word),
	newPlace("cipher", `cipher +`+kinds+`([[:xdigit:]]{8,})`),
	newPlace("authenticator", `authenticator +`+kinds+`([[:xdigit:]]{8,})`),
	newPlace("spi |esp ", `(?:spi|esp) +\S.*? ([[:xdigit:]]{16,})`),
	newPlace("spi |esp ", `(?:spi|esp) +\S.*? [[:xdigit:]]{16,} .*? ([[:xdigit:]]{16,})`),
	// Keys that protect virtual addresses, in clear text.
	newPlace("standby|vrrp|glbp", `(?:standby|vrrp|glbp|vrrp-group)\b.*? authentication +(?:text +)?`+word),
	newPlace("msdp", `msdp +password +peer +\S+ +`+kinds+word),
	newPlace("key", `(?:private-?key|privatekey) *[= ] *`+word),
	newPlace("nhrp", `nhrp +authentication +`+word),
	newPlace("authentication", `authentication +(?:mode +hmac-sha-256|string) +`+kinds+word),
	// SNMP.
	newPlace("snmp", `snmp(?:-server|-agent)? +community +(?:(?:read|write) +)?`+kinds+word),
	newPlace("snmp", `snmp[ /]+community .*\bname=`+word),
	newPlace("community", `(?:^|[#>]) *community +`+word+` *(?:\{|authorization\b|clients\b|$)`),
	newPlace("community-entry", `community-entry +\S+ +community +`+word),
	newPlace("snmp", `snmp-server +host +\S+ +(?:(?:traps?|informs?|vrf +\S+|use-vrf +\S+|version +(?:1|2c|3 +(?:auth|noauth|priv))) +)*`+word),
	newPlace("auth ", `\bauth +(?:md5|sha[\w-]*) +`+kinds+word),
	newPlace("snmp", `snmp-server +user\b.* priv +(?:(?:des\d*|3des|aes[\w-]*|128|192|256) +)*`+word),
	// Words that are secrets by their form, or are marked as secrets.
	newPlace("$", `(\$(?:1|2[aby]|5|6|7|8|9|14|y|sha512|aes\d+)\$[^\s"\\]+)`),
	newPlace("://", `://[^/\s:@"]*:([^@\s/"]+)@`),
	newPlace("://", `://[^/\s:@"]*:([^@\s/"]*[^\d@\s/"][^@\s/"]*)$`), // the rest may follow
	newPlace(" -u ", ` -u +[^\s:"]+:`+word),
	newPlace("secret-data", word+`;? *## SECRET-DATA`),
}

func newPlace(needs, where string) place {
	return place{strings.Split(needs, "|"), whenUsed(`(?i)` + where)}
}

// whenUsed returns a function that compiles an expression when it is first called. Few of these
// expressions are used by one process, and compiling all takes longer than the rest of its start.
func whenUsed(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// noSecrets are words in such places that are not secrets.
var noSecrets = whenUsed(`(?i)^["']?(?:` +
	`(?:minimum|maximum)-\S*|format|change-type|required|encryption|option|rollover|expire\S*|policy|length|lengths|prompt|history|lifetime|type|` +
	`address|hostname|ipv6|chain|chains|generate|zeroize|pubkey-chain|key-chain|keychain|config-key|set-key|import|export|` +
	`md5|ietf-md5|text|sha\d*|message-digest|rsa-sig|rsa-encr|pre-share|` +
	`add|read|write|notify|access|context|match|udp-port|peer|traps|informs|version|<\*>|` +
	`\d+:\d+|` + // a BGP community
	`is|was|are|for|must|will|and|or|of|to|the|not|in|on|has|with|by|set|may|can|\*\*\*|\{|\}|;)[,.;:]?["']?$`)

// A span is a part of a text.
type span struct{ from, to int }

// secretsIn returns the places of the secrets in a line, in order and without overlaps.
func secretsIn(line string) []span {
	lower := strings.ToLower(line)
	// Descriptions have no secrets, even if they contain the words that precede secrets.
	end := len(line)
	for _, word := range []string{"description ", "remark "} {
		if at := strings.Index(lower, word); at == 0 || at > 0 && (line[at-1] == ' ' || line[at-1] == '"') {
			end = min(end, at)
		}
	}
	var found []span
	for _, p := range secretPlaces {
		if !slices.ContainsFunc(p.needs, func(part string) bool { return strings.Contains(lower, part) }) {
			continue
		}
		for from := 0; from < end; {
			m := p.where().FindStringSubmatchIndex(line[from:end])
			if m == nil {
				break
			}
			s := span{from + m[2], from + m[3]}
			if !noSecrets().MatchString(line[s.from:s.to]) {
				found = append(found, s)
			}
			if m[2] == 0 {
				m[2] = m[3]
			}
			from += m[2] // the next secret may begin within this one
		}
	}
	slices.SortFunc(found, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var apart []span
	for _, s := range found {
		if n := len(apart); n > 0 && s.from <= apart[n-1].to {
			apart[n-1].to = max(apart[n-1].to, s.to)
		} else {
			apart = append(apart, s)
		}
	}
	return apart
}

// MaskSecrets returns a text with *** in the places where configurations have secrets:
// passwords, keys and communities, encrypted or not.
func MaskSecrets(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		for len(line) > longestLine { // too long for a line of a configuration
			out.WriteString(MaskSecrets(line[:longestLine]))
			line = line[longestLine:]
		}
		at := 0
		for _, s := range secretsIn(line) {
			out.WriteString(line[at:s.from] + masked)
			at = s.to
		}
		out.WriteString(line[at:])
	}
	return out.String()
}

// SecretsOf returns the secrets in some lines, without quotes, for [Transcript.Mask] to find
// them elsewhere. It leaves out short ones, which would also mask other words.
func SecretsOf(lines ...string) (secrets []Secret) {
	for _, line := range lines {
		for _, s := range secretsIn(line) {
			for _, w := range strings.Fields(strings.Trim(strings.TrimRight(line[s.from:s.to], ";"), `"'\`)) {
				if len(w) >= 4 {
					secrets = append(secrets, Secret(w))
				}
			}
		}
	}
	return secrets
}

// A lineMasker masks secrets in lines that arrive in pieces.
type lineMasker struct {
	line []byte // the part of the line that has arrived
	ends string // the bytes that can end a line
}

// longestLine is how much of a line is kept for finding secrets.
const longestLine = 2048

// mask returns what can be shown of the next piece of a line. Only the last byte of the piece
// can end the line.
func (m *lineMasker) mask(piece []byte) []byte {
	shown := len(m.line)
	m.line = append(m.line, piece...)
	plain, at := plainText(m.line)
	var out []byte
	for _, s := range secretsIn(plain) {
		from, to := at[s.from], at[s.to-1]+1
		if to <= shown {
			continue
		}
		if from > shown {
			out = append(out, m.line[shown:from]...)
		}
		out = append(out, masked...)
		shown = to
	}
	out = append(out, m.line[shown:]...)
	if n := len(m.line); strings.IndexByte(m.ends, piece[len(piece)-1]) >= 0 || n > longestLine {
		m.line = m.line[:0]
	}
	return out
}

// plainText returns a line with blanks for control characters and without escape sequences,
// and the position of each of its bytes in the line.
func plainText(line []byte) (string, []int) {
	if bytes.IndexFunc(line, func(r rune) bool { return r < ' ' }) < 0 {
		at := make([]int, len(line))
		for i := range at {
			at[i] = i
		}
		return string(line), at
	}
	var plain []byte
	var at []int
	for i := 0; i < len(line); i++ {
		if n := escapeLength(line[i:]); n > 0 {
			i += n - 1
			continue
		}
		plain, at = append(plain, max(line[i], ' ')), append(at, i)
	}
	return string(plain), at
}

// escapeLength returns the length of the escape sequence at the beginning of b, or a greater
// length if the sequence is incomplete, or 0 if there is none.
func escapeLength(b []byte) int {
	if b[0] != 0x1b {
		return 0
	}
	if len(b) == 1 || b[1] != '[' {
		return 2
	}
	for i, c := range b[2:] {
		if c >= 0x40 && c <= 0x7e {
			return i + 3
		}
	}
	return len(b) + 1
}
