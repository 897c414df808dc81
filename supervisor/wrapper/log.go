package wrapper

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A log keeps the beginning and the end of the script's output. The beginning
// goes to the run's log directly. The rest goes to files beside it, named
// log.0, log.1 and so on, each of the size of the tail. The newest two
// are kept; they hold the tail at any time, even after a kill -9. At the
// end they are appended to the log. If the log is rotated, all of this does not apply.
type log struct {
	head, tail int64
	buf        []byte
	seg        int   // number of the file that is written; -1: still the beginning
	segFD      int   // that file; -1: it could not be made
	segSize    int64 // bytes that should have been written to that file
	gap        int64 // bytes after the beginning, if no end is kept
	lost       int64 // bytes that could not be written
	why        error // why not
	rot        rotation
}

func newLog(s *Spec) *log {
	return &log{head: s.LogHead, tail: s.LogTail, seg: -1, segFD: -1, rot: rotation{limit: s.LogRotate, keep: s.LogKeep, age: s.LogAge}}
}

// buffer returns where the next piece of output is to be read into. It is allocated
// for the first piece, so that a silent script costs nothing.
func (l *log) buffer() []byte {
	if l.buf == nil {
		l.buf = make([]byte, 32<<10)
	}
	return l.buf
}

// write writes the first n bytes of the buffer. Errors must not affect the script.
func (l *log) write(n int) {
	b := l.buf[:n]
	if l.rot.limit > 0 {
		l.writeRotated(b)
		return
	}
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

func (l *log) rotate() {
	if l.segFD >= 0 {
		closeFD(l.segFD)
		l.segFD = -1
	}
	l.seg++
	l.segSize = 0
	if l.seg >= 2 {
		_ = unix.Unlinkat(dirFD, LogPart(l.seg-2), 0)
	}
	fd, err := openat(dirFD, LogPart(l.seg), syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		l.why = err
		return
	}
	l.segFD = fd
}

// close completes the log, and returns a text for the result if output is missing.
func (l *log) close() string {
	if l.segFD >= 0 {
		closeFD(l.segFD)
		l.segFD = -1
	}
	var err error
	switch {
	case l.rot.limit > 0:
		l.confess()
	case l.seg >= 0:
		err = JoinLog(dirFD, logFD, l.tail)
	case l.gap > 0:
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

// gapLine returns the line that stands in the log for n missing bytes.
func gapLine(n int64) []byte {
	return []byte("\n[activationd: " + strconv.Itoa(int(n)) + " bytes of output left out here]\n")
}

// JoinLog appends to the log the end of the output, as far as it was kept in the run
// directory, after a line that says how much is missing in between. The wrapper calls it,
// and the daemon if the wrapper was killed.
func JoinLog(runDir, log int, tail int64) error {
	first, last, sizes, err := segments(runDir)
	if err != nil || last < 0 {
		return err
	}
	have := sizes[0] + sizes[1]
	skip := max(have-tail, 0)
	if gap := int64(first)*tail + skip; gap > 0 {
		if _, err := writeAll(log, gapLine(gap)); err != nil {
			return err
		}
	}
	for n := first; n <= last; n++ {
		if err := appendFile(runDir, LogPart(n), log, skip); err != nil {
			return err
		}
		skip = max(skip-sizes[n-first], 0)
	}
	for n := first; n <= last; n++ {
		_ = unix.Unlinkat(runDir, LogPart(n), 0)
	}
	return nil
}

// segments finds the files of the output's end: one, two in a row, or none
// (then last is -1).
func segments(runDir int) (first, last int, sizes [2]int64, err error) {
	first, last = -1, -1
	fd, err := openat(runDir, ".", syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return first, last, sizes, err
	}
	defer closeFD(fd)
	names, err := readNames(fd)
	if err != nil {
		return first, last, sizes, err
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
		if unix.Fstatat(runDir, LogPart(n), &st, 0) == nil {
			if first < 0 {
				first = n
			}
			sizes[n-first] = st.Size
		}
	}
	return first, last, sizes, nil
}

// atoi returns the number in s, or -1.
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
