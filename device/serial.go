package device

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
)

// openSerial opens a serial line for exclusive use and sets it. Go's poller serves the file,
// so that Close ends a blocked Read or Write.
//
// This is our own code, because go.bug.st/serial v1.8.0, which is well maintained, has neither
// a Write that Close ends (it is a bare write(2)) nor flow control (it turns off XON/XOFF and
// RTS/CTS).
func openSerial(path string, l lineSettings) (*serialWire, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENXIO), errors.Is(err, unix.EBUSY), errors.Is(err, unix.EIO):
		return nil, fmt.Errorf("%w: %w", err, fault.Unavailable)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w; is the user in the group of serial lines (dialout)? %w", err, fault.Denied)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	raw, err := f.SyscallConn()
	if err == nil {
		var failed error
		err = raw.Control(func(fd uintptr) { failed = setSerial(int(fd), l) })
		err = errors.Join(err, failed)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w: %w", path, err, fault.Invalid)
	}
	return &serialWire{File: f}, nil
}

// A serialWire is an open serial line.
type serialWire struct {
	*os.File

	ended bool // the session ended well: the bytes written last may still be on their way
}

// Close makes the line available to others, also if another process still has it open. Bytes
// that wait to be sent are discarded, unless the session ended well: the kernel would go on
// sending them for up to 30 s.
func (w *serialWire) Close() error {
	if raw, err := w.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			if !w.ended {
				_ = unix.IoctlSetInt(int(fd), unix.TCFLSH, unix.TCOFLUSH)
			}
			_ = unix.IoctlSetInt(int(fd), unix.TIOCNXCL, 0) // the line may be gone
		})
	}
	return w.File.Close()
}

func setSerial(fd int, l lineSettings) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
	if err != nil {
		return fmt.Errorf("is not a serial line: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TIOCEXCL, 0); err != nil {
		return fmt.Errorf("is in use by another process: %w", err)
	}
	// Bytes that wait to be sent are those of an earlier user. Setting the line could send
	// them.
	if err := unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCOFLUSH); err != nil {
		return fmt.Errorf("does not discard the bytes of an earlier user: %w", err)
	}
	t.Iflag = unix.IGNBRK
	t.Oflag, t.Lflag = 0, 0
	t.Cflag |= unix.CREAD | unix.CLOCAL
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if l.baud != 0 {
		t.Cflag &^= unix.CBAUD | unix.CSIZE | unix.PARENB | unix.PARODD | unix.CSTOPB | unix.CRTSCTS
		t.Cflag |= unix.BOTHER | [...]uint32{5: unix.CS5, 6: unix.CS6, 7: unix.CS7, 8: unix.CS8}[l.bits]
		t.Ispeed, t.Ospeed = uint32(l.baud), uint32(l.baud) //nolint:gosec // checked when the URL was read
		if l.parity != "none" {
			t.Cflag |= unix.PARENB
		}
		if l.parity == "odd" {
			t.Cflag |= unix.PARODD
		}
		if l.stop == 2 {
			t.Cflag |= unix.CSTOPB
		}
		switch l.flow {
		case "xonxoff":
			t.Iflag |= unix.IXON | unix.IXOFF
		case "rtscts":
			t.Cflag |= unix.CRTSCTS
		}
	}
	if err := unix.IoctlSetTermios(fd, unix.TCSETS2, t); err != nil {
		return fmt.Errorf("can't be set: %w", err)
	}
	// Bytes that were received before are for an earlier user.
	return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIOFLUSH)
}
