package spawn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
)

// A message is a version, a method and its arguments. With it come descriptors, the first of which
// is a socket for the answer. An answer is a fault and values.
const version = 1

// A method is what is asked for.
type method byte

const (
	hello method = iota + 1
	contain
	start
	find
	reap
	kept
	listen
	removeSocket
	sendSignal
	killCgroup
	clearLeftovers
	missing
	command
	makeWorkdir
	openFile
	listFiles
	size
	remove
	closePlace
)

// Bounds of a message.
const (
	maxMessage = 64 << 10
	maxFDs     = 64
	maxList    = 1 << 10 // elements of a list
)

// A writer appends values to a message.
type writer struct{ b []byte }

func request(m method, place string) *writer {
	w := &writer{b: []byte{version, byte(m)}}
	w.str(place)
	return w
}

func (w *writer) int(n int64) { w.b = binary.AppendVarint(w.b, n) }

func (w *writer) str(s string) {
	w.b = binary.AppendUvarint(w.b, uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) bool(is bool) {
	if is {
		w.int(1)
	} else {
		w.int(0)
	}
}

func (w *writer) ints(list []int) {
	w.int(int64(len(list)))
	for _, n := range list {
		w.int(int64(n))
	}
}

func (w *writer) strs(list []string) {
	w.int(int64(len(list)))
	for _, s := range list {
		w.str(s)
	}
}

// fault writes an error: no text means that there is none.
func (w *writer) fault(err error) {
	if err == nil {
		w.str("")
		w.int(0)
		w.str("")
		return
	}
	text := err.Error()
	w.str(text[:min(len(text), 4<<10)])
	var errno syscall.Errno
	_ = errors.As(err, &errno) // zero: there is none
	w.int(int64(errno))
	kind := fault.Kind("")
	_ = errors.As(err, &kind)
	w.str(string(kind))
}

// errGarbled is for a message that is not one.
var errGarbled = fmt.Errorf("the message is garbled: %w", fault.Invalid)

// A reader takes values from a message. After the first that is not there, all are zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) int() int64 {
	n, size := binary.Varint(r.b)
	if size <= 0 {
		r.b, r.err = nil, errGarbled
		return 0
	}
	r.b = r.b[size:]
	return n
}

// small is a number that fits into 32 bits, as ids, signals and descriptors do.
func (r *reader) small() int {
	n := r.int()
	if n != int64(int32(n)) {
		r.b, r.err = nil, errGarbled
		return 0
	}
	return int(n)
}

func (r *reader) bool() bool { return r.int() == 1 }

func (r *reader) str() string {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || n > uint64(len(r.b)-size) {
		r.b, r.err = nil, errGarbled
		return ""
	}
	s := string(r.b[size : size+int(n)])
	r.b = r.b[size+int(n):]
	return s
}

func (r *reader) length() int {
	n := r.small()
	if n < 0 || n > maxList {
		r.b, r.err = nil, errGarbled
		return 0
	}
	return n
}

func (r *reader) ints() (list []int) {
	for range r.length() {
		list = append(list, r.small())
	}
	return list
}

func (r *reader) strs() (list []string) {
	for range r.length() {
		list = append(list, r.str())
	}
	return list
}

// end returns an error unless the whole message was read.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = errGarbled
	}
	return r.err
}

// A remoteFault is an error of the other side.
type remoteFault struct {
	text  string
	errno syscall.Errno
	kind  fault.Kind
}

func (f *remoteFault) Error() string { return f.text }

func (f *remoteFault) Unwrap() (errs []error) {
	if f.errno != 0 {
		errs = append(errs, f.errno)
	}
	if f.kind != "" {
		errs = append(errs, f.kind)
	}
	return errs
}

func (r *reader) fault() error {
	f := &remoteFault{text: r.str(), errno: syscall.Errno(r.small()), kind: fault.Kind(r.str())}
	if r.err != nil {
		return r.err
	}
	if f.text == "" {
		return nil
	}
	return f
}

// receive receives one message. The caller closes the descriptors. A message that was cut is garbled.
func receive(socket int) (data []byte, fds []int, err error) {
	buf, oob := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*maxFDs))
	var n, oobn, flags int
	for {
		n, oobn, flags, _, err = unix.Recvmsg(socket, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, nil, err
	}
	control, err := unix.ParseSocketControlMessage(oob[:oobn])
	for _, m := range control {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_RIGHTS {
			more, e := unix.ParseUnixRights(&m)
			fds, err = append(fds, more...), errors.Join(err, e)
		}
	}
	switch {
	case err != nil:
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = errGarbled
	case n == 0 && len(fds) == 0:
		err = io.EOF
	}
	if err != nil {
		closeAll(fds)
		return nil, nil, err
	}
	return buf[:n], fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
