package device

import (
	"fmt"
	"net"
	"sync"
)

// Telnet's bytes: RFC 854, and the options that are known here.
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

// columns is the width of the terminal that devices are told to have: so wide that
// none of them folds a line.
const columns = 1000

// terminalType is what devices are told to speak to: one without escape sequences.
const terminalType = "dumb"

// A telnetDecoder takes a stream apart. Its state is between the bytes, so that it
// doesn't matter how the stream comes in pieces.
type telnetDecoder struct {
	state  telnetState
	verb   byte
	sub    []byte
	cr     bool // the last byte of data was CR, so that NUL is to be left out
	binary bool // they send bytes as they are
}

type telnetState byte

const (
	tnData telnetState = iota
	tnIAC
	tnVerb
	tnSub
	tnSubIAC
)

// maxSub is how long a subnegotiation may be; what is longer is cut.
const maxSub = 512

// A telnetCommand is what was said beside the data.
type telnetCommand struct {
	verb   byte // will, wont, do, dont or sb
	option byte
	sub    []byte // of sb, without the option
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
			} // others have no option, and mean nothing to us
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

// telnetEncode returns data as it goes over the connection.
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

// A telnetWire is a connection that speaks telnet, and perhaps RFC 2217. What is to
// be answered is written by a goroutine of its own: a reader that waited for a peer
// that reads nothing would be the end of both.
type telnetWire struct {
	conn net.Conn
	tr   *Transcript
	com  *comPort // nil: plain telnet

	decoder telnetDecoder
	data    []byte // decoded, not yet read

	writing sync.Mutex // held for each write to conn
	replies chan []byte
	closed  chan struct{}
	once    sync.Once
	done    sync.WaitGroup

	mu     sync.Mutex // guards what follows
	ours   [256]option
	theirs [256]option
	resume chan struct{} // not nil while they want no data; closed when they do again
}

// An option is on or off, and perhaps we asked for the other.
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
				return // the next read or write says it
			}
		case <-w.closed:
			return
		}
	}
}

// reply queues a command. A peer that asks and asks and takes no answer is hung up on.
func (w *telnetWire) reply(b []byte) {
	select {
	case w.replies <- b:
	default:
		w.tr.note("telnet: too many answers that they don't take")
		_ = w.conn.Close()
	}
}

func (w *telnetWire) Read(p []byte) (int, error) {
	buf := make([]byte, len(p))
	for len(w.data) == 0 {
		n, err := w.conn.Read(buf)
		w.data = w.decoder.feed(buf[:n], w.hear)
		if err != nil && len(w.data) == 0 {
			return 0, err
		}
	}
	n := copy(p, w.data)
	w.data = w.data[n:]
	return n, nil
}

// Write returns when all is written. While the peer has suspended the flow it waits.
func (w *telnetWire) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		if err := w.flowing(); err != nil {
			return done, err
		}
		piece := p[done:min(len(p), done+64)] // little goes after a suspension
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

// hear is told each command.
func (w *telnetWire) hear(c telnetCommand) {
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

// say returns what tells the peer yes or no.
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

// answer takes what the peer wants the option to be, and says what it becomes, unless
// that is what we had asked for or what it is already: answers aren't answered.
func (o *option) answer(wish, agree bool, say func(bool)) (turnedOn bool) {
	asked, was := o.asked, o.on
	o.asked = false
	o.on = wish && (agree || asked)
	if !asked && (o.on != was || wish && !o.on) {
		say(o.on)
	}
	return o.on && !was
}

// wanted tells which options we agree to, of ours and of theirs.
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

// ask offers or requests an option without being asked.
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
			w.hearComPort(c.sub)
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
