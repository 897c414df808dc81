package device

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"activationd/internal/fault"
)

// The client's commands of RFC 2217. The number of the converter's answer is 100 higher.
const (
	comBaud       = 1
	comBits       = 2
	comParity     = 3
	comStop       = 4
	comControl    = 5
	comSuspend    = 8
	comResume     = 9
	comLineMask   = 10
	comModemMask  = 11
	comPurge      = 12
	comFromServer = 100

	purgeBoth = 3
)

// A comPort is the state of the agreement with a serial-to-Ethernet converter.
type comPort struct {
	agreed  *bool           // nil until the converter has said whether it speaks RFC 2217
	waiting map[byte][]byte // the requested values, by command
	refused []string
}

// handleComPort handles a notification or an answer of the converter. w.mu is held.
func (w *telnetWire) handleComPort(sub []byte) {
	if len(sub) == 0 {
		return
	}
	command, value := sub[0], sub[1:]
	if command >= comFromServer {
		command -= comFromServer
	}
	switch command {
	case comSuspend:
		if w.resume == nil {
			w.resume = make(chan struct{})
		}
	case comResume:
		if w.resume != nil {
			close(w.resume)
			w.resume = nil
		}
	case comPurge:
		delete(w.com.waiting, comPurge)
	default:
		want, ok := w.com.waiting[command]
		if !ok {
			return
		}
		if command == comControl && len(value) == 1 && value[0] > 3 {
			return // about another setting of this command
		}
		delete(w.com.waiting, command)
		if !slices.Equal(want, value) {
			w.com.refused = append(w.com.refused, comSaid(command, want, value))
		}
	}
}

func comSaid(command byte, want, got []byte) string {
	name := map[byte]string{comBaud: "baud", comBits: "bits", comParity: "parity", comStop: "stop", comControl: "flow"}[command]
	if command == comBaud && len(want) == 4 && len(got) == 4 {
		return fmt.Sprintf("baud %d instead of %d", binary.BigEndian.Uint32(got), binary.BigEndian.Uint32(want))
	}
	return fmt.Sprintf("%s %v instead of %v", name, got, want)
}

// answerTimeout is how long the answer to a setting is awaited.
const answerTimeout = 3 * time.Second

// negotiate agrees on RFC 2217 and sets the line. Data that arrives meanwhile is dropped: it
// was received before the converter's buffers were purged.
func (w *telnetWire) negotiate(ctx context.Context, line lineSettings) error {
	w.com = &comPort{waiting: map[byte][]byte{}}
	w.ask(will, optComPort)
	w.ask(will, optBinary)
	w.ask(do, optBinary)
	w.ask(do, optSGA)
	if err := w.readUntil(ctx, func() bool { return w.com.agreed != nil }); err != nil {
		return fmt.Errorf("does not say whether it speaks RFC 2217 (%w); is it telnet://?", err)
	}
	if !*w.com.agreed {
		return fmt.Errorf("doesn't speak RFC 2217; use telnet://, and set the line at the converter: %w", fault.Invalid)
	}
	w.set(comLineMask, nil, 0)
	w.set(comModemMask, nil, 0)
	if line.baud != 0 {
		baud := binary.BigEndian.AppendUint32(nil, uint32(line.baud)) //nolint:gosec // checked when the URL was read
		w.set(comBaud, baud, baud...)
		for command, value := range map[byte]byte{
			comBits: byte(line.bits), comParity: parities[line.parity], comStop: byte(line.stop), comControl: flows[line.flow],
		} {
			w.set(command, []byte{value}, value)
		}
	}
	w.set(comPurge, []byte{}, purgeBoth)
	soon, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := w.readUntil(soon, func() bool { return len(w.com.waiting) == 0 })
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case len(w.com.refused) > 0:
		return fmt.Errorf("has a line with %v: %w", w.com.refused, fault.Invalid)
	case err != nil && ctx.Err() == nil && soon.Err() != nil:
		w.tr.note("rfc2217: no answer to the commands %v", slices.Sorted(maps.Keys(w.com.waiting)))
		return nil
	}
	return err
}

func (w *telnetWire) set(command byte, expect []byte, value ...byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if expect != nil {
		w.com.waiting[command] = expect
	}
	w.tr.note("rfc2217: we set %d to %v", command, value)
	w.reply(subnegotiation(optComPort, append([]byte{command}, value...)...))
}

// readUntil reads and drops data until ok returns true. ok is called with w.mu held.
func (w *telnetWire) readUntil(ctx context.Context, ok func() bool) error {
	ran := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		w.conn.SetReadDeadline(time.Unix(1, 0))
		close(ran)
	})
	defer func() {
		if !stop() {
			<-ran
			w.conn.SetReadDeadline(time.Time{})
		}
	}()
	buf := make([]byte, 512)
	for {
		w.mu.Lock()
		done := ok()
		w.mu.Unlock()
		if done {
			return nil
		}
		n, err := w.conn.Read(buf)
		w.decoder.feed(buf[:n], w.handle)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return cutError(err)
		}
	}
}
