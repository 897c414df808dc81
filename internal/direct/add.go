package direct

import (
	"strconv"
	"unicode/utf8"
)

// names are the arguments of the operation in the order in which they are sent.
var names = [...]string{"in", "arg", "dir", "timeout", "grace", "lock", "label", "missed", "umask", "notices", "after", "tag", "backoff"}

func (p *path) add(args []string) (status int) {
	if terminal(1) {
		return leave
	}
	request := p.addRequest(args)
	if request == nil {
		return leave
	}
	conn := p.connect()
	if conn < 0 || !p.ask(conn, request, "\n.\n") {
		return leave
	}
	id := added(text(p.Reply))
	if id == "" || !write(1, append(append(p.text[:0], id...), '\n')) { // if the ordinary path cannot write either, it says so
		return leave
	}
	return 0
}

// addRequest returns the request, or nil if it does not understand a part of the command line, a value must be
// encoded, there is no room, or the directory is not known.
func (p *path) addRequest(args []string) []byte {
	flags, command := split(args)
	dir := p.getwd()
	// One word with spaces is looked for in the file system: it may be a mistake.
	if len(command) == 0 || command[0] == "" || len(command) == 1 && spaced(command[0]) || dir == "" {
		return nil
	}
	room := len(p.request) - 128 - len(dir)
	for _, a := range args {
		if room -= len("timeout:\n") + len(a); room < 0 || !plain(a) {
			return nil
		}
	}
	b, used := append(p.request[:0], "add\n"...), 0
	for _, name := range names {
		switch name {
		case "umask":
			b = append(appendOctal(append(b, "umask:"...), umask()), '\n')
		case "notices":
			b = append(b, "notices:yes\n"...)
		case "dir":
			b = appendArgument(b, name, dir)
		case "arg":
			for _, value := range command {
				b = appendArgument(b, name, value)
			}
		default:
			several := name == "lock" || name == "after" || name == "tag"
			for i, rest := 0, flags; len(rest) > 0; {
				var flag, value string
				if flag, value, rest = next(rest); value == "" {
					return nil
				}
				if flag != name {
					continue
				}
				if i++; i > 1 && !several || !plain(value) {
					return nil
				}
				b = appendArgument(b, name, value)
				used++
			}
		}
	}
	for rest := flags; len(rest) > 0; used-- {
		_, _, rest = next(rest)
	}
	if used != 0 || !plain(dir) { // some flag has another name
		return nil
	}
	return append(b, '\n')
}

func appendArgument(b []byte, name, value string) []byte {
	return append(append(append(append(b, name...), ':'), value...), '\n')
}

// split returns the flags with their values, and the command after them, which is empty if the flags are not
// complete.
func split(args []string) (flags, command []string) {
	rest := args
	for len(rest) > 0 && len(rest[0]) > 1 && rest[0][0] == '-' {
		if rest[0] == "--" {
			return args[:len(args)-len(rest)], rest[1:]
		}
		_, _, rest = next(rest)
	}
	return args[:len(args)-len(rest)], rest
}

// next returns the name and the value of the first flag, and what follows them. The value is empty if there is
// none, or if this is not a flag whose name has two dashes.
func next(args []string) (name, value string, rest []string) {
	name, value, with := cut(args[0], '=')
	rest = args[1:]
	if !with && len(rest) > 0 {
		value, rest = rest[0], rest[1:]
	}
	if len(name) <= len("--") || name[:len("--")] != "--" {
		return "", "", rest
	}
	return name[len("--"):], value, rest
}

// appendOctal appends a umask in octal, in at least four digits.
func appendOctal(b []byte, mask int) []byte {
	for limit := 0o1000; limit > 1 && mask < limit; limit >>= 3 {
		b = append(b, '0')
	}
	return strconv.AppendInt(b, int64(mask), 8)
}

// plain reports whether a value is sent without quotes.
func plain(s string) bool {
	return utf8.ValidString(s) && (s == "" || s[0] != '"') && !contains(s, '\n') && !contains(s, '\r') && !contains(s, 0)
}

func spaced(s string) bool { return contains(s, ' ') || contains(s, '\t') || contains(s, '\n') }

func contains(s string, c byte) bool {
	_, _, found := cut(s, c)
	return found
}

func cut(s string, at byte) (before, after string, found bool) {
	for i := range len(s) {
		if s[i] == at {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// number reports whether text is a number, of at most 20 digits.
func number(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return text != "" && len(text) <= 20
}

// added returns the id in a reply which says that a job was added, and nothing else.
// Otherwise it returns "".
func added(reply string) string {
	summary, rest, _ := cut(reply, '\n')
	id, ok := after(summary, "200 OK id=")
	if !ok || !number(id) {
		return ""
	}
	for _, want := range [...]string{`{"id":"`, id, `","due":"`} {
		if rest, ok = after(rest, want); !ok {
			return ""
		}
	}
	time, end, _ := cut(rest, '"')
	if len(time) < len("2006-01-02T15:04:05Z") || end != "}\n.\n" {
		return ""
	}
	return id
}

// after returns what follows the beginning of s.
func after(s, begin string) (rest string, ok bool) {
	if len(s) < len(begin) || s[:len(begin)] != begin {
		return "", false
	}
	return s[len(begin):], true
}
