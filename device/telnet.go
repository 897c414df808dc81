package device

import (
	"fmt"
	"net"
	"sync"
)

// The bytes of telnet (RFC 854), and the options that are known here.
const (
	se   = 240
	sb   = 250
	will = 251
	wont = 252
	do   = 253
	dont = 254
	iac  = 255

	optBinary  = 0  // RFC 856
	optEcho    = 1  // RFC 857
	optSGA     = 3  // RFC 858
	optType    = 24 // RFC 1091
	optNAWS    = 31 // RFC 1073
	optComPort = 44 // RFC 2217
)

// columns is the width of the terminal in the negotiation with devices: so wide that no device
// folds a line.
const columns = 1000

// terminalType is the type of the terminal in the negotiation with devices: one without escape
// sequences.
const terminalType = "dumb"

// A telnetDecoder separates a stream into data and commands. It keeps its state between bytes,
// so the stream may arrive in any pieces.
type telnetDecoder struct {
	state  telnetState
	verb   byte
	sub    []byte
	cr     bool // the last byte of data was CR, after which NUL is left out
	binary bool // the other side sends bytes unchanged
}

type telnetState byte

const (
	tnData telnetState = iota
	tnIAC
	tnVerb
	tnSub
	tnSubIAC
)

// maxSub is how long a subnegotiation may be. Further bytes are dropped.
const maxSub = 512

// A telnetCommand is a command of the other side.
type telnetCommand struct {
	verb   byte // will, wont, do, dont or sb
	option byte
	sub    []byte // the content of a subnegotiation
}

// feed returns the data in b, and calls heard for each command, in order.
func (d *telnetDecoder) feed(b []byte, heard func(telnetCommand)) []byte {
	data := make([]byte, 0, len(b))
	for _, c := range b {
		switch d.state {
		case tnData:
			switch {
			case c == iac:
				d.state = tnIAC
			case c == 0 && d.cr && !d.binary:
				d.cr = false
			default:
				d.cr = c == '\r'
				data = append(data, c)
			}
		case tnIAC:
			d.state = tnData
			switch c {
			case iac:
				d.cr = false
				data = append(data, iac)
			case will, wont, do, dont:
				d.verb, d.state = c, tnVerb
			case sb:
				d.sub, d.state = nil, tnSub
			} // other commands have no option, and no meaning here
		case tnVerb:
			d.state = tnData
			heard(telnetCommand{verb: d.verb, option: c})
		case tnSub:
			if c == iac {
				d.state = tnSubIAC
			} else {
				d.keep(c)
			}
		case tnSubIAC:
			d.state = tnSub
			switch {
			case c == iac:
				d.keep(c)
			case c == se:
				d.state = tnData
				if len(d.sub) > 0 {
					heard(telnetCommand{verb: sb, option: d.sub[0], sub: d.sub[1:]})
				}
			}
		}
	}
	return data
}

func (d *telnetDecoder) keep(c byte) {
	if len(d.sub) < maxSub {
		d.sub = append(d.sub, c)
	}
}

// telnetEncode returns data in the form in which it is sent.
func telnetEncode(data []byte, binary bool) []byte {
	out := make([]byte, 0, len(data)+8)
	for _, c := range data {
		out = append(out, c)
		switch {
		case c == iac:
			out = append(out, iac)
		case c == '\r' && !binary:
			out = append(out, 0)
		}
	}
	return out
}

func subnegotiation(option byte, content ...byte) []byte {
	out := []byte{iac, sb, option}
	for _, c := range content {
		out = append(out, c)
		if c == iac {
			out = append(out, iac)
		}
	}
	return append(out, iac, se)
}

// A telnetWire is a connection that speaks telnet, and perhaps RFC 2217. A goroutine of its
// own writes the answers to commands: if the reader wrote them, it would wait forever for a
// peer that does not read.
type telnetWire struct {
	conn net.Conn
	tr   *Transcript
	com  *comPort // nil for plain telnet

	decoder telnetDecoder
	data    []byte // decoded, not yet read

	writing sync.Mutex // held for each write to conn
	replies chan []byte
	closed  chan struct{}
	once    sync.Once
	done    sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	ours   [256]option
	theirs [256]option
	resume chan struct{} // not nil while the other side accepts no data; closed when it accepts data again
}

// An option is on or off. Asked says that we requested the other state.
type option struct{ on, asked bool }

func newTelnetWire(conn net.Conn, tr *Transcript) *telnetWire {
	w := &telnetWire{conn: conn, tr: tr, replies: make(chan []byte, 256), closed: make(chan struct{})}
	w.done.Go(w.replier)
	return w
}

func (w *telnetWire) replier() {
	for {
		select {
		case b := <-w.replies:
			w.writing.Lock()
			_, err := w.conn.Write(b)
			w.writing.Unlock()
			if err != nil {
				return // the next read or write returns the error
			}
		case <-w.closed:
			return
		}
	}
}

// reply queues a command. If the peer requests much and reads no answer, the connection is
// closed.
func (w *telnetWire) reply(b []byte) {
	select {
	case w.replies <- b:
	default:
		w.tr.note("telnet: the other side requests too much and reads no answers")
		_ = w.conn.Close()
	}
}

func (w *telnetWire) Read(p []byte) (int, error) {
	buf := make([]byte, len(p))
	for len(w.data) == 0 {
		n, err := w.conn.Read(buf)
		w.data = w.decoder.feed(buf[:n], w.handle)
		if err != nil && len(w.data) == 0 {
			return 0, err
		}
	}
	n := copy(p, w.data)
	w.data = w.data[n:]
	return n, nil
}

// Write returns when everything is written. It waits while the peer has suspended the flow.
func (w *telnetWire) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		if err := w.flowing(); err != nil {
			return done, err
		}
		piece := p[done:min(len(p), done+64)] // so that few bytes are sent after a suspension
		w.mu.Lock()
		binary := w.ours[optBinary].on
		w.mu.Unlock()
		w.writing.Lock()
		_, err := w.conn.Write(telnetEncode(piece, binary))
		w.writing.Unlock()
		if err != nil {
			return done, err
		}
		done += len(piece)
	}
	return len(p), nil
}

func (w *telnetWire) flowing() error {
	w.mu.Lock()
	resume := w.resume
	w.mu.Unlock()
	if resume == nil {
		return nil
	}
	select {
	case <-resume:
		return nil
	case <-w.closed:
		return net.ErrClosed
	}
}

func (w *telnetWire) Close() error {
	err := w.conn.Close()
	w.once.Do(func() { close(w.closed) })
	w.done.Wait()
	return err
}

// handle handles a command of the other side.
func (w *telnetWire) handle(c telnetCommand) {
	w.tr.note("telnet: they %s", c)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch c.verb {
	case sb:
		w.hearSub(c)
	case will:
		w.theirs[c.option].answer(true, w.wanted(c.option, false), w.say(do, dont, c.option))
		w.decoder.binary = w.theirs[optBinary].on
	case wont:
		w.theirs[c.option].answer(false, false, w.say(do, dont, c.option))
		w.decoder.binary = w.theirs[optBinary].on
	case do:
		on := w.ours[c.option].answer(true, w.wanted(c.option, true), w.say(will, wont, c.option))
		if on && c.option == optNAWS {
			w.reply(subnegotiation(optNAWS, columns>>8, columns&0xff, 0, 0))
		}
	case dont:
		w.ours[c.option].answer(false, false, w.say(will, wont, c.option))
	}
	if w.com != nil && c.option == optComPort && (c.verb == do || c.verb == dont) {
		w.com.agreed = new(bool)
		*w.com.agreed = c.verb == do
	}
}

// say returns a function that tells the peer the state of an option.
func (w *telnetWire) say(yes, no, option byte) func(bool) {
	return func(agree bool) {
		verb := no
		if agree {
			verb = yes
		}
		w.tr.note("telnet: we %s", telnetCommand{verb: verb, option: option})
		w.reply([]byte{iac, verb, option})
	}
}

// answer sets an option to the state that the peer wishes, if we agree. It says the new state,
// unless that is the answer to our request or was the state before, as answers must not be
// answered.
func (o *option) answer(wish, agree bool, say func(bool)) (turnedOn bool) {
	asked, was := o.asked, o.on
	o.asked = false
	o.on = wish && (agree || asked)
	if !asked && (o.on != was || wish && !o.on) {
		say(o.on)
	}
	return o.on && !was
}

// wanted reports whether we agree to an option, for our side or for theirs.
func (w *telnetWire) wanted(option byte, ours bool) bool {
	switch option {
	case optBinary, optSGA:
		return true
	case optEcho:
		return !ours
	case optType, optNAWS:
		return ours
	}
	return false
}

// ask offers or requests an option.
func (w *telnetWire) ask(verb, opt byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if verb == will {
		w.ours[opt].asked = true
	} else {
		w.theirs[opt].asked = true
	}
	w.tr.note("telnet: we %s", telnetCommand{verb: verb, option: opt})
	w.reply([]byte{iac, verb, opt})
}

func (w *telnetWire) hearSub(c telnetCommand) {
	switch c.option {
	case optType:
		if len(c.sub) == 1 && c.sub[0] == 1 && w.ours[optType].on {
			w.reply(subnegotiation(optType, append([]byte{0}, terminalType...)...))
		}
	case optComPort:
		if w.com != nil {
			w.handleComPort(c.sub)
		}
	}
}

func (c telnetCommand) String() string {
	names := map[byte]string{will: "WILL", wont: "WONT", do: "DO", dont: "DONT", sb: "SB"}
	options := map[byte]string{optBinary: "BINARY", optEcho: "ECHO", optSGA: "SGA", optType: "TERMINAL-TYPE",
		optNAWS: "NAWS", optComPort: "COM-PORT"}
	name := options[c.option]
	if name == "" {
		name = fmt.Sprint(c.option)
	}
	if c.verb == sb {
		return fmt.Sprintf("SB %s % x", name, c.sub)
	}
	return names[c.verb] + " " + name
}
