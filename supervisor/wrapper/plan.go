package wrapper

import (
	"strings"
	"syscall"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A plan is what a specification says, in the form in which the kernel wants it. It is made without Go's
// allocator, which the early stage does not have.
type plan struct {
	child
	text string // the specification

	env                      []*byte
	id, phase, attempt, mark string
	cgroupRoot, configRoot   string // Spec.Cgroup, Spec.ConfigRoot
	notBefore, timeout       int64  // as in Spec, in nanoseconds; notBefore since 1970
	logHead, logRotate       int64
	watchdog                 int64
	keep, notify             bool
	stream, topology         bool
	listen                   []*byte
}

// A memory gives pieces of memory that are never freed, and that the garbage collector does not know.
type memory struct{ free []byte }

// ordinary is memory that is enough for an ordinary run.
var ordinary [16 << 10]byte

// moreMemory is how much the kernel is asked for at once for others.
const moreMemory = 256 << 10

// take returns n bytes, all zero; nil if there are none.
func (m *memory) take(n int) []byte {
	n = (n + 7) &^ 7
	if n > len(m.free) {
		size := max(n, moreMemory)
		p, _, errno := syscall.RawSyscall6(syscall.SYS_MMAP, 0, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
		if errno != 0 {
			return nil
		}
		m.free = unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&p))), size)
	}
	b := m.free[:n:n]
	m.free = m.free[n:]
	return b
}

// array returns room for n values, which begins empty.
func array[T any](m *memory, n int) []T {
	var v T
	b := m.take(max(n, 1) * int(unsafe.Sizeof(v)))
	if b == nil {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)[:0]
}

// join returns texts one after the other, with a zero byte after the last; nil if there is no memory.
func (m *memory) join(parts ...string) *byte {
	size := 1
	for _, p := range parts {
		size += len(p)
	}
	b := m.take(size)
	if b == nil {
		return nil
	}
	n := 0
	for _, p := range parts {
		n += copy(b[n:], p)
	}
	return unsafe.SliceData(b)
}

// textz returns the text at an address, up to a zero byte.
func textz(p *byte) string {
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return unsafe.String(p, n)
}

// decimal writes a number into b, and returns it as a text.
func decimal(b *[20]byte, n int) string {
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return unsafe.String(&b[i], len(b)-i)
		}
	}
}

// read makes the plan of a specification. It returns false if there is not enough memory, or if the specification
// is not one, which [ParseSpec] explains.
func (p *plan) read(m *memory, text string) bool {
	*p = plan{child: child{out: -1, in: -1, stdout: -1, cgroup: -1, uid: -1, gid: -1}, text: text, attempt: "0"}
	lines := 0
	for i := range len(text) {
		if text[i] == '\n' {
			lines++
		}
	}
	p.argv, p.env = array[*byte](m, lines+1), array[*byte](m, lines)
	p.limits, p.groups, p.listen = array[rlimit](m, lines), array[uint32](m, lines), array[*byte](m, lines)
	if p.argv == nil || p.env == nil || p.limits == nil || p.groups == nil || p.listen == nil {
		return false
	}
	rest, ok := strings.CutPrefix(text, specHead+"\n")
	for n := 1; ok && n < lines; n++ {
		var l string
		l, rest, _ = strings.Cut(rest, "\n")
		if n == lines-1 {
			return l == "end" && rest == "" && p.complete(m)
		}
		key, value, _ := strings.Cut(l, " ")
		ok = p.set(m, key, value)
	}
	return false
}

// set takes a line of the specification.
func (p *plan) set(m *memory, key, value string) bool {
	if value == "" {
		return false
	}
	if value[0] == '"' {
		s := unquote(m, value)
		return s != nil && p.setText(key, s)
	}
	if key == "limit" {
		return p.setLimit(value)
	}
	n, ok := integer(value)
	return ok && p.setNumber(key, n, value)
}

func (p *plan) setText(key string, s *byte) bool {
	switch key {
	case "id":
		p.id = textz(s)
	case "phase":
		p.phase = textz(s)
	case "boot", "address": // the daemon's
	case "mark":
		p.mark = textz(s)
	case "arg":
		p.argv = append(p.argv, s)
	case "env":
		p.env = append(p.env, s)
	case "dir":
		p.dir = s
	case "listen":
		p.listen = append(p.listen, s)
	case "cgroup":
		p.cgroupRoot = textz(s)
	case "config-root":
		p.configRoot = textz(s)
	default:
		return false
	}
	return true
}

func (p *plan) setNumber(key string, n int64, digits string) bool {
	switch key {
	case "attempt":
		p.attempt = digits
	case "uid":
		p.uid = int(n)
	case "gid":
		p.gid = int(n)
	case "group":
		p.groups = append(p.groups, uint32(n))
	case "umask":
		p.umask = int(n)
	case "nice":
		p.nice, p.addNice = int(n), n != 0
	case "no-new-privs":
		p.noNewPrivs = n != 0
	case "no-caps":
		p.noCaps = n != 0
	case "oom-reset":
		if n != 0 {
			p.oomScore = pathz("/proc/self/oom_score_adj\x00")
		}
	case "timeout":
		p.timeout = n
	case "grace", "term-signal", "log-tail", "log-keep", "log-age": // they are for later
	case "log-head":
		p.logHead = n
	case "log-rotate":
		p.logRotate = n
	case "keep":
		p.keep = n != 0
	case "notify":
		p.notify = n != 0
	case "watchdog":
		p.watchdog = n
	case "stream":
		p.stream = n != 0
	case "not-before":
		p.notBefore = n
	case "topology":
		p.topology = n != 0
	default:
		return false
	}
	return true
}

func (p *plan) setLimit(value string) bool {
	name, rest, _ := strings.Cut(value, " ")
	soft, hard, _ := strings.Cut(rest, " ")
	s, ok := natural(soft)
	h, ok2 := natural(hard)
	if r := resource(name); r >= 0 && ok && ok2 {
		p.limits = append(p.limits, rlimit{uintptr(r), syscall.Rlimit{Cur: s, Max: h}})
		return true
	}
	return false
}

// complete fills what follows from what was read.
func (p *plan) complete(m *memory) bool {
	if len(p.argv) == 0 {
		return false
	}
	p.argv = append(p.argv, nil)
	if p.dir == nil {
		p.dir = pathz("/\x00")
	}
	// Becoming another user empties the effective and the permitted set, unless a
	// securebit says otherwise, but never the inheritable one.
	p.noCaps = p.noCaps || p.uid > 0
	p.caps.header.Version = unix.LINUX_CAPABILITY_VERSION_3
	p.sockets = len(p.listen)
	if p.stream {
		p.in, p.stdout = FirstSocket+p.sockets+2, FirstSocket+p.sockets+3
	}
	if p.addNice {
		old, errno := rawCall(syscall.SYS_GETPRIORITY, syscall.PRIO_PROCESS, 0, 0) // 20 less the niceness
		if errno != 0 {
			return false
		}
		p.nice += 20 - old
	}
	path := standardPath
	for _, e := range p.env {
		if v, ok := strings.CutPrefix(textz(e), "PATH="); ok {
			path = v
		}
	}
	return p.candidates(m, path)
}

// candidates fills the paths that are tried for the command, see [candidates].
func (p *plan) candidates(m *memory, path string) bool {
	name := textz(p.argv[0])
	if name == "" {
		return false
	}
	p.paths = array[*byte](m, strings.Count(path, ":")+1)
	if p.paths == nil {
		return false
	}
	if strings.IndexByte(name, '/') >= 0 {
		p.paths = append(p.paths, p.argv[0])
		return true
	}
	for more := true; more; {
		var dir string
		dir, path, more = strings.Cut(path, ":")
		if dir == "" {
			dir = "."
		}
		c := m.join(dir, "/", name)
		if c == nil {
			return false
		}
		p.paths = append(p.paths, c)
	}
	return true
}

// integer reads a number as strconv.AppendInt writes it.
func integer(s string) (n int64, ok bool) {
	digits, negative := strings.CutPrefix(s, "-")
	u, ok := natural(digits)
	if ok = ok && u < 1<<63; negative {
		return -int64(u), ok
	}
	return int64(u), ok
}

func natural(s string) (n uint64, ok bool) {
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 || n > (^uint64(0)-uint64(d))/10 {
			return 0, false
		}
		n = 10*n + uint64(d)
	}
	return n, s != ""
}

// unquote reads a text as strconv.AppendQuote writes it. It returns nil if s is not one, or has a zero byte.
func unquote(m *memory, s string) *byte {
	b := m.take(len(s))
	if b == nil || len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return nil
	}
	n := 0
	for s = s[1 : len(s)-1]; s != ""; {
		c := s[0]
		s = s[1:]
		if c == '"' {
			return nil
		}
		if c != '\\' {
			b[n] = c
			n++
			continue
		}
		var size int
		if size, s = unescape(b[n:], s); size == 0 || b[n] == 0 {
			return nil
		}
		n += size
	}
	return unsafe.SliceData(b)
}

// unescape writes what stands for the escape at the beginning of s, without its backslash. It returns how many
// bytes these are, and what follows; 0 if that is no escape.
func unescape(b []byte, s string) (size int, rest string) {
	if s == "" {
		return 0, s
	}
	digits := 0
	switch c := s[0]; c {
	case '"', '\\':
		b[0] = c
	case 'a', 'b', 't', 'n', 'v', 'f', 'r':
		b[0] = "\a\b\t\n\v\f\r"[strings.IndexByte("abtnvfr", c)]
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	default:
		return 0, s
	}
	if len(s) <= digits {
		return 0, s
	}
	var v rune
	for _, c := range []byte(s[1 : 1+digits]) {
		d := strings.IndexByte("0123456789abcdef", c)
		if d < 0 {
			return 0, s
		}
		v = v<<4 | rune(d)
	}
	switch {
	case digits == 2:
		b[0] = byte(v)
	case digits > 2:
		return utf8.EncodeRune(b, v), s[1+digits:]
	}
	return 1, s[1+digits:]
}
