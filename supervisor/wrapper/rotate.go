package wrapper

import (
	"bytes"
	"errors"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A rotation is the state of a log that is rotated: the run's log has the newest output,
// and log.1, log.2 and so on have older output, the newest first. A file ends where a line
// does. A line that does not fit into a file goes into the next one, unless its beginning
// was written before its end was known: then its file becomes larger. Only when a file has
// twice its size, a line is cut. A file that has reached its age is complete, too; that is
// noticed when there is more output, because nothing may wake up an idle wrapper.
type rotation struct {
	limit int64         // bytes of a file; 0: the log is not rotated
	keep  int           // how many older files are kept
	age   time.Duration // of a file; 0: any
	begun time.Time     // when the first output was written to the present file
	from  int64         // where the present file begins in the output
	size  int64         // bytes in the present file
	mid   bool          // the present file ends within a line
	lost  int64         // bytes whose loss the log does not mention yet
}

// LogFrom is the extended attribute of a file of a rotated log that says where the file
// begins in the output. The first file has none, because it begins at 0. Followers need
// it to find their place again.
const LogFrom = "user.activationd.from"

// nextLog is the name of a file until it becomes the log.
const nextLog = LogFile + ".new"

var (
	errRemoved   = errors.New("the log was removed")
	errTruncated = errors.New("the log was truncated")
)

// LogPart returns the name of a numbered file of a log. In a rotated log, 1 is the newest of the older files.
func LogPart(n int) string { return LogFile + "." + strconv.Itoa(n) }

// writeRotated writes output to a log that is rotated.
func (l *log) writeRotated(b []byte) {
	if n, why := l.rot.gone(); why != nil {
		l.drop(n, why)
		l.rot.from, l.rot.size = l.rot.from+l.rot.size, 0
		if l.begin(b) != nil {
			return
		}
	}
	for now := time.Now(); len(b) > 0; {
		if n := l.rot.fits(b, now); n > 0 {
			l.add(b[:n])
			b = b[n:]
		} else if l.begin(b) != nil {
			return
		}
	}
}

// gone returns how much of the present file is gone, and why. Also after somebody has
// truncated it, the next file has to begin: more output would not be where readers look for it.
func (r *rotation) gone() (n int64, why error) {
	var st syscall.Stat_t
	known := syscall.Fstat(logFD, &st) == nil
	switch {
	case known && st.Nlink == 0:
		return r.size, errRemoved
	case known && st.Size < r.size:
		return r.size - st.Size, errTruncated
	}
	return 0, nil
}

// fits returns how many bytes of b belong into the present file; 0 if the next file has to
// begin first.
func (r *rotation) fits(b []byte, now time.Time) int {
	room := r.limit - r.size
	if r.size == 0 {
		r.begun = now
	} else if r.age > 0 && now.Sub(r.begun) >= r.age {
		room = 0
	}
	if int64(len(b)) <= room {
		return len(b)
	}
	if room > 0 {
		if n := bytes.LastIndexByte(b[:room], '\n') + 1; n > 0 {
			return n
		}
	}
	if r.size > 0 && !r.mid {
		return 0
	}
	n := bytes.IndexByte(b, '\n') + 1
	if n == 0 {
		n = len(b)
	}
	return int(min(int64(n), max(2*r.limit-r.size, 0)))
}

// begin begins the next file. If that is not possible, b is lost, and the next output
// tries again.
func (l *log) begin(b []byte) error {
	err := l.rot.next()
	if err != nil {
		l.drop(int64(len(b)), err)
	}
	return err
}

// add appends b to the present file. If output was lost before it, a line that says so
// comes first.
func (l *log) add(b []byte) {
	if !l.confess() {
		l.drop(int64(len(b)), l.why)
		return
	}
	n, err := writeAll(logFD, b)
	if n > 0 {
		l.rot.size += int64(n)
		l.rot.mid = b[n-1] != '\n'
	}
	if err != nil {
		l.drop(int64(len(b)-n), err)
	}
}

func (l *log) drop(n int64, why error) {
	l.rot.lost += n
	l.lost += n
	l.why = why
}

// confess writes a line for the output that was lost, as a whole or not at all. It
// returns false if there is no room for it.
func (l *log) confess() bool {
	r := &l.rot
	if r.lost == 0 {
		return true
	}
	note := "[activationd: " + strconv.FormatInt(r.lost, 10) + " bytes of output are missing here: " + l.why.Error() + "]\n"
	if r.mid {
		note = "\n" + note
	}
	n, err := writeAll(logFD, []byte(note))
	if err != nil {
		var st syscall.Stat_t
		if n > 0 && syscall.Fstat(logFD, &st) == nil {
			_ = syscall.Ftruncate(logFD, st.Size-int64(n)) // else a part of the line stays
		}
		l.why = err
		return false
	}
	r.size += int64(n)
	r.mid, r.lost = false, 0
	return true
}

// next makes the next file the log. Its steps are such that a wrapper that is killed
// between two of them, or cannot take one, leaves all files of the log, in order.
func (r *rotation) next() error {
	_ = unix.Unlinkat(dirFD, nextLog, 0)
	fd, err := openat(dirFD, nextLog, syscall.O_WRONLY|syscall.O_APPEND|syscall.O_CREAT|syscall.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	from := r.from + r.size
	_ = unix.Fsetxattr(fd, LogFrom, []byte(strconv.FormatInt(from, 10)), 0) // some file systems have no attributes
	if err = r.shift(); err == nil {
		err = unix.Renameat(dirFD, nextLog, dirFD, LogFile)
	}
	if err == nil {
		err = syscall.Dup3(fd, logFD, 0)
	}
	if err != nil {
		_ = unix.Unlinkat(dirFD, nextLog, 0)
		return err
	}
	_ = syscall.Dup3(fd, logFD+1, 0) // Go's runtime reports there why it ends
	r.from, r.size = from, 0
	return nil
}

// shift renames the log to log.1, after log.1 to log.2 and so on up to the first number
// that is free, or to the last one, whose file is removed. The log stays if no old files
// are kept; it is replaced then.
func (r *rotation) shift() error {
	if r.keep == 0 || !there(LogFile) {
		return nil
	}
	free := 1
	for free < r.keep && there(LogPart(free)) {
		free++
	}
	for n := free; n > 1; n-- {
		if err := unix.Renameat(dirFD, LogPart(n-1), dirFD, LogPart(n)); err != nil {
			return err
		}
	}
	return unix.Renameat(dirFD, LogFile, dirFD, LogPart(1))
}

// there reports whether the run directory has an entry of that name.
func there(name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(dirFD, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}
