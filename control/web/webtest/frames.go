package webtest

import (
	"encoding/binary"
	"errors"
	"io"
)

// frames is a connection with the frames of a WebSocket (RFC 6455, section 5.2). It calls check
// with each message that a server has sent when it is read, or with what is wrong with it.
type frames struct {
	io.ReadWriteCloser
	rest    []byte // of a frame that is not there as a whole
	message []byte // of a message that is not there as a whole
	check   func(message []byte, wrong error)
}

func (f *frames) Read(p []byte) (int, error) {
	n, err := f.ReadWriteCloser.Read(p)
	f.rest = append(f.rest, p[:n]...)
	for f.frame() {
	}
	return n, err
}

// frame takes a frame from the rest, if there is one.
func (f *frames) frame() bool {
	const continued, text, closing = 0, 1, 8
	if len(f.rest) < 2 {
		return false
	}
	size, head := uint64(f.rest[1]&0x7f), 2
	switch {
	case size == 126 && len(f.rest) >= 4:
		size, head = uint64(binary.BigEndian.Uint16(f.rest[2:])), 4
	case size == 127 && len(f.rest) >= 10:
		size, head = binary.BigEndian.Uint64(f.rest[2:]), 10
	case size >= 126:
		return false
	}
	if uint64(len(f.rest)-head) < size {
		return false
	}
	first, masked, data := f.rest[0], f.rest[1]&0x80 != 0, f.rest[head:head+int(size)]
	f.rest = f.rest[head+int(size):]
	kind := first & 0xf
	switch {
	case masked || first&0x70 != 0:
		f.check(data, errors.New("a server sends frames that are neither masked nor compressed"))
		return true
	case kind >= closing: // to the other end only
		return true
	case kind != text && kind != continued:
		f.check(data, errors.New("a message is a text"))
		return true
	}
	f.message = append(f.message, data...)
	if first&0x80 != 0 { // the last of the message
		f.check(f.message, nil)
		f.message = nil
	}
	return true
}
