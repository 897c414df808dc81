package wrapper

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A log keeps the beginning and the end of the script's output. The beginning
// goes to the run's log directly. What follows goes to files beside it, named
// log.0, log.1 and so on, each of the size of the tail, of which the newest two
// are kept; they hold the tail at any instant, also that of a kill -9. In the
// end they are joined to the log.
type log struct {
	head, tail int64
	buf        []byte
	seg        int   // number of the file that is written; -1: still the beginning
	segFD      int   // -1: could not be made
	segSize    int64 // of what should have been written to it
	gap        int64 // bytes after the beginning, if no end is kept
	lost       int64 // bytes that the disk did not take
	why        error
}

func newLog(s *Spec) *log { return &log{head: s.LogHead, tail: s.LogTail, seg: -1, segFD: -1} }

// buffer is where the next piece of output is to be put. It is made for the
// first, so that a silent script costs nothing.
func (l *log) buffer() []byte {
	if l.buf == nil {
		l.buf = make([]byte, 32<<10)
	}
	return l.buf
}

// write takes in the first n bytes of the buffer. The script is not to suffer
// from what goes wrong here.
func (l *log) write(n int) {
	b := l.buf[:n]
	if l.head > 0 {
		k := min(l.head, int64(len(b)))
		l.head -= k
		l.put(logFD, b[:k])
		b = b[k:]
	}
	if l.tail == 0 {
		l.gap += int64(len(b))
		return
	}
	for len(b) > 0 {
		if l.seg < 0 || l.segSize >= l.tail {
			l.rotate()
		}
		k := min(l.tail-l.segSize, int64(len(b)))
		l.put(l.segFD, b[:k])
		l.segSize += k
		b = b[k:]
	}
}

func (l *log) put(fd int, b []byte) {
	if fd < 0 {
		l.lost += int64(len(b))
		return
	}
	n, err := writeAll(fd, b)
	if err != nil {
		l.lost += int64(len(b) - n)
		l.why = err
	}
}

func segment(n int) string { return LogFile + "." + strconv.Itoa(n) }

func (l *log) rotate() {
	if l.segFD >= 0 {
		closeFD(l.segFD)
		l.segFD = -1
	}
	l.seg++
	l.segSize = 0
	if l.seg >= 2 {
		_ = unix.Unlinkat(dirFD, segment(l.seg-2), 0)
	}
	fd, err := openat(dirFD, segment(l.seg), syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		l.why = err
		return
	}
	l.segFD = fd
}

// close completes the log, and returns what people should know of it.
func (l *log) close() string {
	if l.segFD >= 0 {
		closeFD(l.segFD)
		l.segFD = -1
	}
	var err error
	if l.seg >= 0 {
		err = JoinLog(dirFD, logFD, l.tail)
	} else if l.gap > 0 {
		_, err = writeAll(logFD, gapLine(l.gap))
	}
	if err != nil {
		l.why = err
	}
	if l.why == nil {
		return ""
	}
	if l.lost > 0 {
		return "output of " + strconv.Itoa(int(l.lost)) + " bytes not kept: " + l.why.Error()
	}
	return errnoText("output not kept whole", l.why)
}

// gapLine is the line of the log that stands for n bytes that are not there.
func gapLine(n int64) []byte {
	return []byte("\n[activationd: " + strconv.Itoa(int(n)) + " bytes of output left out here]\n")
}

// JoinLog appends to the log what was kept of the output's end in its run
// directory, with a line that says how much is missing between. It is for the
// wrapper, and for the daemon when the wrapper was killed.
func JoinLog(runDir, log int, tail int64) error {
	first, last, sizes := segments(runDir)
	if last < 0 {
		return nil
	}
	have := sizes[0] + sizes[1]
	skip := max(have-tail, 0)
	if gap := int64(first)*tail + skip; gap > 0 {
		if _, err := writeAll(log, gapLine(gap)); err != nil {
			return err
		}
	}
	for n := first; n <= last; n++ {
		if err := appendFile(runDir, segment(n), log, skip); err != nil {
			return err
		}
		skip = max(skip-sizes[n-first], 0)
	}
	for n := first; n <= last; n++ {
		_ = unix.Unlinkat(runDir, segment(n), 0)
	}
	return nil
}

// segments finds the files of the output's end: one, two in a row, or none
// (last is -1).
func segments(runDir int) (first, last int, sizes [2]int64) {
	first, last = -1, -1
	fd, err := openat(runDir, ".", syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return first, last, sizes
	}
	defer closeFD(fd)
	buf := make([]byte, 4<<10)
	var names []string
	for {
		n, err := syscall.ReadDirent(fd, buf)
		if err != nil || n <= 0 {
			break
		}
		_, _, names = syscall.ParseDirent(buf[:n], -1, names)
	}
	for _, name := range names {
		if s, ok := strings.CutPrefix(name, LogFile+"."); ok {
			if n := atoi(s); n > last {
				last = n
			}
		}
	}
	for n := max(last-1, 0); n <= last; n++ {
		var st unix.Stat_t
		if unix.Fstatat(runDir, segment(n), &st, 0) == nil {
			if first < 0 {
				first = n
			}
			sizes[n-first] = st.Size
		}
	}
	return first, last, sizes
}

// atoi returns the number that s is, or -1.
func atoi(s string) int {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > 1<<40 {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	if s == "" {
		return -1
	}
	return n
}

func appendFile(dir int, name string, to int, skip int64) error {
	fd, err := openat(dir, name, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0) // a script may have made a pipe of it
	if err != nil {
		return err
	}
	defer closeFD(fd)
	if _, err := syscall.Seek(fd, skip, 0); err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := read(fd, buf)
		if err != nil || n == 0 {
			return err
		}
		if _, err := writeAll(to, buf[:n]); err != nil {
			return err
		}
	}
}
