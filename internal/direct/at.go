package direct

import (
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
func (p *path) at(queue string, args []string) (status int) {
	file := ""
	if len(args) > 2 && args[0] == "-f" && args[1] != "" {
		file, args = args[1], args[2:]
	}
	if file == "" && terminal(0) {
		return leave
	}
	zone, ok := p.local()
	if !ok {
		return leave
	}
	p.begun = now()
	due, east, ok := soon(args, p.begun, &zone)
	dir := p.getwd()
	if !ok || dir == "" || p.repeats() {
		return leave
	}
	script, ok := p.read(file, dir)
	if !ok {
		return leave
	}
	p.When = time.Unix(due+int64(east), 0).UTC().AppendFormat(p.when[:0], TimeLayout)
	r := AtRequest{When: due, Queue: queue, Script: script}
	conn := p.connect()
	if conn < 0 || !p.ask(conn, r.Append(p.request[:0]), "\n") {
		return leave
	}
	summary, _, _ := cut(text(p.Reply), '\n')
	id, ok := after(summary, "200 OK id=")
	if !ok || !number(id) {
		return leave
	}
	said := append(append(append(p.text[:0], Warning+"job "...), id...), " at "...)
	if !write(2, append(append(said, p.When...), '\n')) {
		return 1
	}
	return 0
}

// read returns the whole script of a job, with the commands that are in a file or come from standard input. It fails
// if there is no room.
func (p *path) read(file, dir string) (script []byte, ok bool) {
	room := len(p.script)/2 - 2*len(dir)
	for _, kv := range p.env {
		room -= 3*len(kv) + len("; export \n")
	}
	if room < 256 {
		return nil, false
	}
	script = AppendHead(p.script[:0], p.env, dir)
	if file == "" {
		p.input, ok = readAll(0, script)
		return terminate(script, p.input, ok)
	}
	// Others cannot be read again, and a FIFO's writer would take it for the end of the reader that the file is closed.
	if st, ok := p.stat(file, 0); !ok || !regular(&st) {
		return nil, false
	}
	in, errno := p.open(file)
	if errno != 0 {
		return nil, false
	}
	var commands []byte
	if st, stated := fstat(in); stated && regular(&st) {
		commands, ok = readAll(in, script)
	}
	shut(in)
	return terminate(script, commands, ok)
}

func regular(st *syscall.Stat_t) bool { return st.Mode&syscall.S_IFMT == syscall.S_IFREG }

// terminate appends a newline to the commands, which are in the memory after b, and returns b with them. It fails if
// they are not complete.
func terminate(b, commands []byte, complete bool) (script []byte, ok bool) {
	if !complete {
		return nil, false
	}
	b = b[:len(b)+len(commands)]
	return append(b, '\n'), true
}

// readAll reads into the memory after b. It fails if there is no room for it and one more byte.
func readAll(fd int, b []byte) (data []byte, ok bool) {
	data = b[len(b):]
	for room := cap(data) - 1; len(data) < room; {
		n, errno := read(fd, data[len(data):room])
		if errno != 0 {
			return data, false
		}
		if n == 0 {
			return data, true
		}
		data = data[:len(data)+n]
	}
	return data, false
}

// soon returns the time "now" or "now + N UNIT", as package timespec does, and the seconds by which local time is
// then ahead of UTC. It fails if it is another time, or if the clocks change near it.
func soon(words []string, now int64, zone *zone) (due int64, east int, ok bool) {
	today, ok := zone.at(now)
	if !ok || today.east%60 != 0 {
		return 0, 0, false
	}
	now -= now % 60
	if len(words) == 1 && words[0] == "now" {
		return now, today.east, true
	}
	if len(words) != 4 || words[0] != "now" || words[1] != "+" || len(words[2]) > 4 || !number(words[2]) {
		return 0, 0, false
	}
	count, _ := strconv.Atoi(words[2])
	n := int64(count)
	switch words[3] {
	case "min", "minute", "minutes":
		due = now + n*60
		then, ok := zone.at(due)
		return due, then.east, ok
	case "hour", "hours":
		due = now + n*3600
		then, ok := zone.at(due)
		return due, then.east, ok
	case "week", "weeks":
		n *= 7
	case "day", "days":
	default:
		return 0, 0, false
	}
	const near, day, last = 25 * 3600, 24 * 3600, 7_226_582_400 // the year 2198 has ended everywhere a day after that, which package timespec takes
	local := now + int64(today.east) + n*day
	then, ok := zone.at(local - int64(today.east))
	due = local - int64(then.east)
	return due, then.east, ok && due < last && due-then.begin >= near && then.end-due >= near
}

// An AtRequest is what at asks of the daemon.
type AtRequest struct {
	When                int64
	Queue, Mail, Mailto string
	Script              []byte
}

// Append appends the request as control.Client would send it.
func (r *AtRequest) Append(b []byte) []byte {
	b = append(strconv.AppendInt(append(b, "at\nwhen:"...), r.When, 10), '\n')
	for _, arg := range [...]struct{ name, value string }{{"queue", r.Queue}, {"mail", r.Mail}} {
		if arg.value != "" {
			b = appendArgument(b, arg.name, arg.value)
		}
	}
	if r.Mailto != "" {
		b = append(strconv.AppendQuote(append(b, "mailto:"...), r.Mailto), '\n')
	}
	b = append(b, "base64:yes\n"...)
	for rest := r.Script; len(rest) > 0; {
		piece := rest[:min(len(rest), mostOfPiece)]
		rest = rest[len(piece):]
		b = append(appendBase64(append(b, "script:"...), piece), '\n')
	}
	return append(b, '\n')
}

// Pieces returns a script in base64, in pieces that fit into lines.
func Pieces(script []byte) (pieces []string) {
	for piece := range slices.Chunk(script, mostOfPiece) {
		pieces = append(pieces, string(appendBase64(nil, piece)))
	}
	return pieces
}

const mostOfPiece = 3 << 16 // a multiple of 3, so that only the last piece is padded

// appendBase64 is AppendEncode of package base64, whose encodings are made when a program is initialised.
func appendBase64(b, data []byte) []byte {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for len(data) > 0 {
		n := min(len(data), 3)
		var v uint
		for i := range 3 {
			if v <<= 8; i < n {
				v |= uint(data[i])
			}
		}
		b = append(b, digits[v>>18&63], digits[v>>12&63], digits[v>>6&63], digits[v&63])
		for i := n; i < 3; i++ {
			b[len(b)-3+i] = '='
		}
		data = data[n:]
	}
	return b
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

// repeats reports whether two variables have the same name. Go's runtime leaves one of them out.
func (p *path) repeats() bool {
	for i, kv := range p.env {
		name, _, found := cut(kv, '=')
		for _, other := range p.env[:i] {
			if found && len(other) > len(name) && other[len(name)] == '=' && other[:len(name)] == name {
				return true
			}
		}
	}
	return false
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
