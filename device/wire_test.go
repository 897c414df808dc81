package device

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"activationd/internal/fault"
)

// A converter is the other side of RFC 2217, with the faults that a test sets.
type converter struct {
	t        *testing.T
	listener net.Listener
	refuse   bool // DONT COM-PORT
	baud     uint32
	mute     bool // answers no setting
	done     sync.WaitGroup

	mu   sync.Mutex
	conn net.Conn
	data bytes.Buffer
	set  map[byte][]byte
	more chan struct{} // one token when data came
}

func startConverter(t *testing.T, c *converter) *converter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.t, c.listener, c.set, c.more = t, l, map[byte][]byte{}, make(chan struct{}, 1)
	c.done.Go(c.serve)
	t.Cleanup(func() {
		l.Close()
		c.mu.Lock()
		if c.conn != nil {
			c.conn.Close()
		}
		c.mu.Unlock()
		c.done.Wait()
	})
	return c
}

func (c *converter) serve() {
	conn, err := c.listener.Accept()
	if err != nil {
		return
	}
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	d := telnetDecoder{binary: true}
	buf := make([]byte, 100)
	for {
		n, err := conn.Read(buf)
		data := d.feed(buf[:n], c.hear)
		c.mu.Lock()
		c.data.Write(data)
		c.mu.Unlock()
		if len(data) > 0 {
			select {
			case c.more <- struct{}{}:
			default:
			}
		}
		if err != nil {
			return
		}
	}
}

func (c *converter) hear(cmd telnetCommand) {
	yes := map[byte]byte{will: do, do: will}
	switch {
	case cmd.verb == will && cmd.option == optComPort && c.refuse:
		c.say(iac, dont, optComPort)
	case cmd.verb == will || cmd.verb == do:
		c.say(iac, yes[cmd.verb], cmd.option)
	case cmd.verb == sb && cmd.option == optComPort && len(cmd.sub) > 0:
		c.mu.Lock()
		c.set[cmd.sub[0]] = cmd.sub[1:]
		c.mu.Unlock()
		if c.mute {
			return
		}
		answer := append([]byte{cmd.sub[0] + comFromServer}, cmd.sub[1:]...)
		if cmd.sub[0] == comBaud && c.baud != 0 {
			answer = binary.BigEndian.AppendUint32([]byte{comBaud + comFromServer}, c.baud)
		}
		c.say(subnegotiation(optComPort, answer...)...)
	}
}

func (c *converter) say(b ...byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn.Write(b)
}

func (c *converter) url() string { return "rfc2217://" + c.listener.Addr().String() }

func dial(ctx context.Context, t *testing.T, url string) (io.ReadWriteCloser, error) {
	t.Helper()
	a, err := parseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dialDevice(ctx, a.host)
	if err != nil {
		return nil, err
	}
	return overTCP(ctx, conn, a, transcript(t))
}

func TestConverter(t *testing.T) {
	t.Parallel()
	c := startConverter(t, &converter{})
	w, err := dial(within(t, time.Minute), t, c.url()+"?baud=65535&bits=7&parity=even&stop=2&flow=rtscts")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c.mu.Lock()
	got := map[byte]string{}
	for k, v := range c.set {
		got[k] = string(v)
	}
	c.mu.Unlock()
	// 65535 is 00 00 ff ff: each 255 is doubled on the way.
	for k, v := range map[byte]string{comBaud: "\x00\x00\xff\xff", comBits: "\x07", comParity: "\x03", comStop: "\x02", comControl: "\x03", comPurge: "\x03"} {
		if got[k] != v {
			t.Errorf("command %d has set %q, want %q", k, got[k], v)
		}
	}
	// Nothing is written while the flow is suspended, and all of it when it goes on.
	c.say(subnegotiation(optComPort, comSuspend+comFromServer)...)
	c.say(append(subnegotiation(optComPort, comFromServer+comModemMask), 'x')...)
	one := make([]byte, 1)
	if _, err := io.ReadFull(w, one); err != nil || one[0] != 'x' {
		t.Fatalf("read %q, %v", one, err)
	}
	message := bytes.Repeat([]byte("a\r\xff\x00b"), 100)
	wrote := make(chan error, 1)
	go func() {
		_, err := w.Write(message)
		wrote <- err
	}()
	select {
	case err := <-wrote:
		t.Fatalf("Write returned %v while the flow was suspended", err)
	case <-c.more:
		t.Fatal("data came while the flow was suspended")
	case <-time.After(100 * time.Millisecond):
	}
	c.say(subnegotiation(optComPort, comResume+comFromServer)...)
	go io.Copy(io.Discard, w) // commands are heard by reading
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	for {
		c.mu.Lock()
		data := bytes.Clone(c.data.Bytes())
		c.mu.Unlock()
		if len(data) >= len(message) {
			if !bytes.Equal(data, message) {
				t.Errorf("arrived: %q, want %q", data[:20], message[:20])
			}
			break
		}
		<-c.more
	}
}

func TestConverterRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		c     *converter
		query string
		kind  error
		says  string
	}{
		{"no RFC 2217", &converter{refuse: true}, "", fault.Invalid, "telnet://"},
		{"another baud", &converter{baud: 9600}, "?baud=115200", fault.Invalid, "baud 9600 instead of 115200"},
		{"mute", &converter{mute: true}, "?baud=9600", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := startConverter(t, tt.c)
			w, err := dial(within(t, time.Minute), t, c.url()+tt.query)
			if tt.kind == nil && err != nil || tt.kind != nil && (!errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("%v, want %v and %q", err, tt.kind, tt.says)
			}
			if w != nil {
				w.Close()
			}
		})
	}
}

// TestSuspendedForGood has a converter that suspends the flow and never resumes it.
func TestSuspendedForGood(t *testing.T) {
	t.Parallel()
	c := startConverter(t, &converter{})
	wire, err := dial(within(t, time.Minute), t, c.url())
	if err != nil {
		t.Fatal(err)
	}
	l := newLink(wire, nil)
	c.say(append(subnegotiation(optComPort, comSuspend+comFromServer), 'x')...)
	<-l.in
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := l.write(ctx, []byte("hello")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("write: %v, want DeadlineExceeded", err)
	}
	l.close()
}

// TestTelnetOptions checks which options are agreed to, and that answers are not answered.
func TestTelnetOptions(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	w := newTelnetWire(ours, nil)
	go io.Copy(io.Discard, w)
	heard := make(chan telnetCommand, 100)
	var reading sync.WaitGroup
	reading.Go(func() {
		var d telnetDecoder
		buf := make([]byte, 100)
		for {
			n, err := theirs.Read(buf)
			d.feed(buf[:n], func(c telnetCommand) { heard <- c })
			if err != nil {
				return
			}
		}
	})
	for _, tt := range []struct {
		say  []byte
		want string
	}{
		{[]byte{iac, will, optEcho}, "DO ECHO"},
		{[]byte{iac, will, optEcho, iac, do, optEcho}, "WONT ECHO"}, // nothing about what is so already
		{[]byte{iac, do, optNAWS}, "WILL NAWS"},
		{nil, "SB NAWS 03 e8 00 00"},
		{[]byte{iac, do, optType}, "WILL TERMINAL-TYPE"},
		{subnegotiation(optType, 1), "SB TERMINAL-TYPE 00 64 75 6d 62"},
		{[]byte{iac, do, 34}, "WONT 34"},
		{[]byte{iac, will, 200}, "DONT 200"},
		{[]byte{iac, wont, 200, iac, dont, 34, iac, wont, optEcho}, "DONT ECHO"},
	} {
		if tt.say != nil {
			if _, err := theirs.Write(tt.say); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case c := <-heard:
			if c.String() != tt.want {
				t.Errorf("after % x: %s, want %s", tt.say, c, tt.want)
			}
		case <-time.After(10 * time.Minute):
			t.Fatalf("after % x: nothing, want %s", tt.say, tt.want)
		}
	}
	w.Close()
	theirs.Close()
	reading.Wait()
}
