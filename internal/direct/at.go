package direct

import (
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// Warning is what at prints before it knows whether it succeeds.
const Warning = "warning: commands will be executed using /bin/sh\n"

// TimeLayout is that of the time in at's line about a job.
const TimeLayout = "Mon Jan _2 15:04:05 2006"

// at adds a job to a queue, or to the usual one. The arguments are -f and a file, if not
// standard input has the script, and a time.
func at(queue string, args []string) *Exchange {
	file := ""
	if len(args) > 2 && args[0] == "-f" && args[1] != "" {
		file, args = args[1], args[2:]
	}
	for i := range os.Getenv("TZ") {
		if c := os.Getenv("TZ")[i]; c >= '0' && c <= '9' {
			return nil // perhaps a description of a zone, which package time does not know
		}
	}
	due := soon(args, time.Now(), time.Local)
	dir, err := os.Getwd()
	if due.IsZero() || err != nil || file == "" && terminal(0) {
		return nil
	}
	conn := connect() // the daemon identifies the user while the request is prepared
	if conn < 0 {
		return nil
	}
	script, err := appendScript(AppendHead(nil, os.Environ(), dir), file)
	if err != nil {
		_ = syscall.Close(conn)
		return nil
	}
	r := AtRequest{When: due.Unix(), Queue: queue, Script: Pieces(append(script, '\n'))}
	x := &Exchange{Conn: conn, Request: r.Bytes(), Said: Warning, When: due.Format(TimeLayout)}
	if !x.ask("\n") {
		return x
	}
	summary, _, _ := cut(string(x.Reply), '\n')
	const ok = "200 OK id="
	if len(summary) <= len(ok) || summary[:len(ok)] != ok || !number(summary[len(ok):]) {
		return x
	}
	if _, err := os.Stderr.WriteString(x.Said + "job " + summary[len(ok):] + " at " + x.When + "\n"); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
	return nil
}

// appendScript appends a file or standard input. It fails only if it has read nothing.
func appendScript(b []byte, file string) ([]byte, error) {
	in, begin := 0, len(b)
	if file != "" {
		var err error
		if in, err = syscall.Open(file, syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err != nil {
			return nil, err
		}
	}
	for {
		b = slices.Grow(b, 4096)
		n, err := Read(in, b[len(b):cap(b)])
		switch {
		case err != nil && len(b) > begin && file == "":
			_, _ = os.Stderr.WriteString(Warning + "at: Input error\n") // what was read cannot be read again
			os.Exit(1)
		case err != nil:
			return nil, err
		case n == 0:
			return b, nil
		}
		b = b[:len(b)+n]
	}
}

// soon returns the time "now" or "now + N UNIT", as package timespec does, or the zero time if
// it is another one, or if the clocks change near it.
func soon(words []string, now time.Time, loc *time.Location) time.Time {
	now = now.In(loc)
	now = now.Add(-time.Duration(now.Second())*time.Second - time.Duration(now.Nanosecond())).Round(0)
	if len(words) == 1 && words[0] == "now" {
		return now
	}
	if len(words) != 4 || words[0] != "now" || words[1] != "+" || len(words[2]) > 4 || !number(words[2]) {
		return time.Time{}
	}
	n, _ := strconv.Atoi(words[2])
	switch words[3] {
	case "min", "minute", "minutes":
		return now.Add(time.Duration(n) * time.Minute)
	case "hour", "hours":
		return now.Add(time.Duration(n) * time.Hour)
	case "week", "weeks":
		n *= 7
	case "day", "days":
	default:
		return time.Time{}
	}
	t := now.AddDate(0, 0, n)
	const near = 25 * time.Hour
	begin, end := t.ZoneBounds()
	if t.Year() > 2198 || !begin.IsZero() && t.Sub(begin) < near || !end.IsZero() && end.Sub(t) < near {
		return time.Time{}
	}
	return t
}

// An AtRequest is what at asks of the daemon.
type AtRequest struct {
	When                int64
	Queue, Mail, Mailto string
	Script              []string // see Pieces
}

// Bytes returns the request as control.Client would send it.
func (r *AtRequest) Bytes() []byte {
	b := append(strconv.AppendInt([]byte("at\nwhen:"), r.When, 10), '\n')
	for _, arg := range [...]struct{ name, value string }{
		{"queue:", r.Queue}, {"mail:", r.Mail}, {"mailto:", strconv.Quote(r.Mailto)}, {"base64:", "yes"},
	} {
		if arg.value != "" && arg.value != `""` {
			b = append(append(append(b, arg.name...), arg.value...), '\n')
		}
	}
	for _, piece := range r.Script {
		b = append(append(append(b, "script:"...), piece...), '\n')
	}
	return append(b, '\n')
}

// Pieces returns a script in base64, in pieces that fit into lines. Package base64 takes longer to
// be initialised.
func Pieces(script []byte) (pieces []string) {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	const most = 3 << 16 // a multiple of 3, so that only the last piece is padded
	for piece := range slices.Chunk(script, most) {
		b := make([]byte, 0, (len(piece)+2)/3*4)
		for three := range slices.Chunk(piece, 3) {
			var v uint
			for i := range 3 {
				if v <<= 8; i < len(three) {
					v |= uint(three[i])
				}
			}
			b = append(b, digits[v>>18], digits[v>>12&63], digits[v>>6&63], digits[v&63])
			for i := len(three); i < 3; i++ {
				b[len(b)-3+i] = '='
			}
		}
		pieces = append(pieces, string(b))
	}
	return pieces
}

// AppendHead appends the beginning of an at job: the umask, the environment and the directory.
// The daemon writes the three lines before it.
func AppendHead(b []byte, environ []string, dir string) []byte {
	b = append(strconv.AppendInt(append(b, "umask "...), int64(umask()), 8), '\n')
	for _, kv := range environ {
		name, value, ok := cut(kv, '=')
		if !ok || !exported(name) {
			continue
		}
		b = quote(append(append(b, name...), '='), value, "%/{[]=}@+#,.:-_")
		b = append(append(append(b, "; export "...), name...), '\n')
	}
	b = quote(append(b, "cd "...), dir, "/")
	return append(b, " || {\n\t echo 'Execution directory inaccessible' >&2\n\t exit 1\n}\n"...)
}

// exported reports whether a job gets a variable: a shell can set it, and it does not belong
// to this terminal, this shell or this run. The daemon finds the processes of a run by
// variables of the last kind.
func exported(name string) bool {
	switch name {
	case "", "TERM", "DISPLAY", "_", "SHELLOPTS", "BASH_VERSINFO", "EUID", "GROUPS", "PPID", "UID":
		return false
	}
	const ours = "ACTIVATION_"
	if len(name) >= len(ours) && name[:len(ours)] == ours {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !letter(c) && c != '_' && (c < '0' || c > '9' || i == 0) {
			return false
		}
	}
	return true
}

// quote appends a word for the shell as at does: a backslash precedes every character except
// letters, digits, the characters of plain, and characters that are not ASCII.
func quote(b []byte, s, plain string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\n':
			b = append(b, "\"\n\""...)
			continue
		case letter(c), c >= '0' && c <= '9', c >= 0x80, contains(plain, c):
		default:
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return b
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func contains(s string, c byte) bool {
	_, _, found := cut(s, c)
	return found
}
