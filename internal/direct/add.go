package direct

import (
	"os"
	"strconv"
	"unicode/utf8"
)

// names are the arguments of the operation in the order in which they are sent.
var names = [...]string{"in", "arg", "dir", "timeout", "grace", "lock", "label", "missed", "umask", "notices", "after", "tag", "backoff"}

// values are those of the arguments.
type values [len(names)][]string

const (
	argArg = 1
	argDir = 2
)

func add(args []string) *Exchange {
	v := new(values)
	if !v.parse(args) || terminal(1) {
		return nil
	}
	request := v.request()
	if request == nil {
		return nil
	}
	fd := connect()
	if fd < 0 {
		return nil
	}
	x := &Exchange{Conn: fd, Request: request}
	if !x.ask("\n.\n") {
		return x
	}
	id := added(string(x.Reply))
	if id == "" {
		return x
	}
	if _, err := os.Stdout.WriteString(id + "\n"); err != nil {
		return x // the ordinary path fails in the same way, and says so
	}
	os.Exit(0)
	return nil
}

// parse reads flags and a command. It reports whether it understands all of them.
func (v *values) parse(args []string) bool {
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		a := args[0]
		args = args[1:]
		if a == "--" {
			break
		}
		name, value, ok := cut(a, '=')
		if !ok {
			if len(args) == 0 {
				return false
			}
			value, args = args[0], args[1:]
		}
		if value == "" || !v.set(name, value) {
			return false
		}
	}
	// One word with spaces is looked for in the file system: it may be a mistake.
	if len(args) == 0 || args[0] == "" || len(args) == 1 && spaced(args[0]) {
		return false
	}
	v[argArg] = args
	return true
}

// set sets the argument of a flag whose value is sent as it is.
func (v *values) set(name, value string) bool {
	switch name {
	case "--in", "--timeout", "--grace", "--label", "--missed", "--backoff", "--lock", "--after", "--tag":
	default:
		return false
	}
	for i := range names {
		if names[i] == name[2:] {
			several := name == "--lock" || name == "--after" || name == "--tag"
			v[i] = append(v[i], value)
			return several || len(v[i]) == 1
		}
	}
	return false
}

// request returns the request, or nil if a value must be encoded or the directory is not known.
func (v *values) request() []byte {
	dir, err := os.Getwd()
	if err != nil {
		return nil
	}
	v[argDir] = []string{dir}
	b := append(make([]byte, 0, 512), "add\n"...)
	for i, name := range names {
		switch name {
		case "umask":
			b = append(append(append(b, "umask:"...), octal(umask())...), '\n')
		case "notices":
			b = append(b, "notices:yes\n"...)
		}
		for _, value := range v[i] {
			if !plain(value) {
				return nil
			}
			b = append(append(append(append(b, name...), ':'), value...), '\n')
		}
	}
	return append(b, '\n')
}

// octal returns a umask in octal, in at least four digits.
func octal(mask int) string {
	text := strconv.FormatInt(int64(mask), 8)
	for len(text) < 4 {
		text = "0" + text
	}
	return text
}

// plain reports whether a value is sent without quotes.
func plain(s string) bool {
	if !utf8.ValidString(s) || s != "" && s[0] == '"' {
		return false
	}
	for i := range len(s) {
		if s[i] == '\n' || s[i] == '\r' || s[i] == 0 {
			return false
		}
	}
	return true
}

func spaced(s string) bool {
	for i := range len(s) {
		if s[i] == ' ' || s[i] == '\t' || s[i] == '\n' {
			return true
		}
	}
	return false
}

func cut(s string, at byte) (before, after string, found bool) {
	for i := range len(s) {
		if s[i] == at {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// added returns the id in a reply which says that a job was added, and nothing else.
// Otherwise it returns "".
func added(reply string) string {
	summary, rest, _ := cut(reply, '\n')
	const ok, field, due = "200 OK id=", `{"id":"`, `","due":"`
	if len(summary) <= len(ok) || summary[:len(ok)] != ok {
		return ""
	}
	id := summary[len(ok):]
	if !number(id) {
		return ""
	}
	begin := field + id + due
	if len(rest) < len(begin) || rest[:len(begin)] != begin {
		return ""
	}
	time, end, _ := cut(rest[len(begin):], '"')
	if len(time) < len("2006-01-02T15:04:05Z") || end != "}\n.\n" {
		return ""
	}
	return id
}
