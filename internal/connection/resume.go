package connection

import (
	"bytes"
	"fmt"
	"net"

	"activationd/internal/direct"
	"activationd/internal/fault"
)

// A resumed connection has carried a request before the program was initialised. The same
// request is made again, and not sent again.
type resumed struct {
	*fileConn
	x *direct.Exchange
}

// Resume returns the connection of an exchange that was begun, for the rest of it.
func Resume(x *direct.Exchange) net.Conn { return &resumed{newFileConn(x.Conn), x} }

func (c *resumed) Write(b []byte) (int, error) {
	if c.x.Request == nil {
		return c.fileConn.Write(b)
	}
	if !bytes.Equal(b, c.x.Request) {
		return 0, fmt.Errorf("the request was sent in another form; \"atctl list\" shows whether it was carried out: %w", fault.Internal)
	}
	sent := c.x.Sent
	c.x.Request = nil
	if sent == len(b) {
		return sent, nil
	}
	n, err := c.fileConn.Write(b[sent:])
	return sent + n, err
}

func (c *resumed) Read(b []byte) (int, error) {
	if len(c.x.Reply) == 0 {
		return c.fileConn.Read(b)
	}
	n := copy(b, c.x.Reply)
	c.x.Reply = c.x.Reply[n:]
	return n, nil
}
