package lab

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A promptSim is a command line on a TCP port, with an echo and a prompt. Respond is the
// device behind it: it is called with mu held, first with an empty line.
type promptSim struct {
	ln net.Listener
	wg sync.WaitGroup

	mu      sync.Mutex
	respond func(line string) (said, prompt string)
	typed   []string
}

// acceptAll serves all connections, until the test ends.
func acceptAll(t *testing.T, ln net.Listener, wg *sync.WaitGroup, serve func(net.Conn)) {
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
}

func newPromptSim(t *testing.T, respond func(line string) (said, prompt string)) *promptSim {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &promptSim{ln: ln, respond: respond}
	acceptAll(t, ln, &s.wg, s.serve)
	return s
}

func (s *promptSim) answer(line string) (said, prompt string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if line != "" {
		s.typed = append(s.typed, line)
	}
	return s.respond(line)
}

// heard returns the lines that were typed since its last call.
func (s *promptSim) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	typed := strings.Join(s.typed, "\n")
	s.typed = nil
	return typed
}

func (s *promptSim) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	said, prompt := s.answer("")
	fmt.Fprint(conn, strings.ReplaceAll("\n"+said+prompt, "\n", "\r\n"))
	var line []byte
	for quoted := false; ; {
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		b, err := in.ReadByte()
		if err != nil {
			return
		}
		echo := ""
		switch {
		case quoted || b >= ' ' && b < 0x7f:
			line, quoted, echo = append(line, b), false, string(b)
		case b == 0x16:
			quoted = true
		case b == '\r':
			said, prompt = s.answer(string(line))
			echo = strings.ReplaceAll("\n"+said+prompt, "\n", "\r\n")
			line = line[:0]
		case b == 0x15:
			echo, line = "\r"+strings.Repeat(" ", len(prompt)+len(line))+"\r"+prompt, line[:0]
		case b == 0x0c:
			echo = "\r\n" + prompt + string(line)
		case (b == '\b' || b == 0x7f) && len(line) > 0:
			echo, line = "\b \b", line[:len(line)-1]
		}
		if _, err := io.WriteString(conn, echo); err != nil {
			return
		}
	}
}
