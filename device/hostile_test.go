package device

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A hostile console is the worst kind of router, with the dialog of cisco_ios: slow, with a
// short input buffer that loses bytes, and with the quirks of the test. It is behind a real
// pty, as behind a serial line.
type hostile struct {
	quirks quirks
	path   string // of the pty
	master *os.File
	slave  *os.File // kept, so that the line lasts longer than its users
	fifo   chan byte
	random *rand.Rand // of run

	mu      sync.Mutex
	running []string // the configuration
	saved   int
	lost    int
	logins  int
	paged   int
	host    string
	mode    string
	logged  int // characters echoed since the last log line
}

type quirks struct {
	perChar    time.Duration // to take one from the input buffer
	buffer     int           // its size; 4096 when 0
	drop       float64       // the probability that a character is lost
	garble     float64       // the probability that a letter or a digit arrives as another one
	banner     string        // said before the login; \a is a pause in it
	user       string        // asks for a login when not empty
	password   string
	enable     string // begins in the user's mode when not empty
	failLogins int    // right ones that are refused
	logEvery   int    // characters of echo between log lines in the middle of it
	pager      int    // lines on a page
	noRedraw   bool
	lie        string            // lines with this are accepted and forgotten
	deaf       string            // after this line it reads nothing more
	show       []string          // what is in the running configuration besides
	late       string            // after this line the error comes late, behind the prompt
	noEcho     bool              // doesn't echo
	says       map[string]string // what it says to a line, which it takes
	host       string            // its name; core when empty
	cut        int               // so many characters of the name are shown in the configuration mode; all when 0
	execPrompt string            // what is shown for the name in the other modes
	screen     bool              // addresses its screen by rows and columns, for each character
	asks       string            // what it sends with its prompt besides
	save       []string          // what it says when it is to save, each once, then the usual
	// respond makes it another platform: it answers a line with what is said and the
	// next prompt. The first line is empty.
	respond func(line string) (said, prompt string)
	hold    chan string // its lines are sent here before they are answered, and wait for a reader
}

// thinking is the pause for \a. It is longer than a prompt has to stay.
const thinking = 3 * promptStable

func startHostile(t *testing.T, q quirks) *hostile {
	t.Helper()
	master, slave, path := openPTY(t)
	if q.buffer == 0 {
		q.buffer = 4096
	}
	if q.host == "" {
		q.host = "core"
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	h := &hostile{
		quirks: q, path: path, master: master, slave: slave, host: q.host, mode: "",
		fifo: make(chan byte, q.buffer), random: rand.New(rand.NewPCG(seed, 1)),
	}
	var done sync.WaitGroup
	done.Go(h.uart)
	done.Go(h.run)
	t.Cleanup(func() {
		master.Close()
		slave.Close()
		done.Wait()
	})
	return h
}

// openPTY returns both sides of a raw pty.
func openPTY(t *testing.T) (master, slave *os.File, path string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no pty: %v", err)
	}
	raw, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var number int
	var failed error
	err = raw.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed != nil {
			return
		}
		if number, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN); failed != nil {
			return
		}
		var tio *unix.Termios
		if tio, failed = unix.IoctlGetTermios(int(fd), unix.TCGETS); failed == nil {
			tio.Iflag, tio.Oflag, tio.Lflag = 0, 0, 0
			failed = unix.IoctlSetTermios(int(fd), unix.TCSETS, tio)
		}
	})
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	path = fmt.Sprintf("/dev/pts/%d", number)
	slave, err = os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave, path
}

func letter(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// uart reads the line at its speed. Bytes that do not fit into the input buffer are lost.
func (h *hostile) uart() {
	defer close(h.fifo)
	buf := make([]byte, 256)
	random := rand.New(rand.NewPCG(1, uint64(len(h.path))))
	for {
		n, err := h.master.Read(buf)
		if err != nil {
			return
		}
		for _, c := range buf[:n] {
			if random.Float64() < h.quirks.drop {
				h.count(&h.lost)
				continue
			}
			if other := c ^ 1; letter(c) && letter(other) && random.Float64() < h.quirks.garble {
				h.count(&h.lost)
				c = other
			}
			select {
			case h.fifo <- c:
			default:
				h.count(&h.lost)
			}
		}
	}
}

func (h *hostile) count(n *int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*n++
}

func (h *hostile) get() (byte, bool) {
	c, ok := <-h.fifo
	if ok && h.quirks.perChar > 0 {
		time.Sleep(h.quirks.perChar) // that is how fast it is
	}
	return c, ok
}

func (h *hostile) print(text string) {
	for i, part := range strings.Split(text, "\a") {
		if i > 0 {
			time.Sleep(thinking)
		}
		_, _ = io.WriteString(h.master, strings.ReplaceAll(part, "\n", "\r\n"))
	}
}

// A lineEditor shows what is typed: in the simplest way for a terminal, or by addresses on a
// screen of 24 rows, in the last of them.
type lineEditor struct {
	h      *hostile
	prompt string
	screen bool
}

func (e lineEditor) at(n int) string { return fmt.Sprintf("\x1b[24;%dH", len([]rune(e.prompt))+n+1) }

func (e lineEditor) begin(line []byte) {
	if !e.screen {
		e.h.print(e.prompt + string(line))
		return
	}
	e.h.print("\x1b[24;1H\x1b[2K\x1b[24;1H\x1b[?25h\x1b[24;1H\x1b[1;24r\x1b[24;1H\x1b[1;24r\x1b[24;1H\x1b[24;1H\x1b[2K\x1b[24;1H\x1b[?25h" +
		e.h.quirks.asks + "\x1b[24;1H\x1b[24;1H" + e.prompt + "\x1b[24;1H" + e.at(0) + "\x1b[24;1H\x1b[?25h" + e.at(0))
	for i, c := range line {
		e.char(i, c)
	}
}

func (e lineEditor) char(i int, c byte) {
	if e.screen {
		e.h.print(e.at(i) + string(c) + e.at(i+1))
	} else {
		e.h.print(string(c))
	}
}

// erase erases the last count characters of n.
func (e lineEditor) erase(n, count int) {
	if e.screen {
		e.h.print(e.at(n-count) + "\x1b[K" + e.at(n-count))
	} else {
		e.h.print(strings.Repeat("\b \b", count))
	}
}

// end goes to a new line, and scrolls the screen without a newline.
func (e lineEditor) end(n int) {
	if e.screen {
		e.h.print("\x1b[1;0H\x1b[1M\x1b[24;1H\x1b[1L" + e.at(n) + "\x1b[24;1H\x1b[2K\x1b[24;1H\x1b[?25h\x1b[24;1H\x1b[1;24r\x1b[24;1H")
	} else {
		e.h.print("\n")
	}
}

// readLine reads what is typed.
func (h *hostile) readLine(prompt string, echo bool) (string, bool) {
	e := lineEditor{h, prompt, h.quirks.screen}
	e.begin(nil)
	var line []byte
	for {
		c, ok := h.get()
		if !ok {
			return "", false
		}
		switch {
		case c == '\r':
			e.end(len(line))
			return string(line), true
		case c == 0x15:
			if echo {
				e.erase(len(line), len(line))
			}
			line = nil
		case c == '\b':
			if len(line) > 0 {
				line = line[:len(line)-1]
				e.erase(len(line)+1, 1)
			}
		case c == 0x12 && !h.quirks.noRedraw:
			e.end(len(line))
			e.begin(line)
		case c == 0x16:
			if c, ok = h.get(); !ok {
				return "", false
			}
			line = append(line, c)
			e.char(len(line)-1, c)
		case c == '?':
			e.end(len(line))
			h.print("  <cr>\n")
			e.begin(line)
		case c >= ' ':
			line = append(line, c)
			if echo {
				e.char(len(line)-1, c)
				h.log()
			}
		}
	}
}

// log writes a log line in the middle of an echo, and does not show the echo again.
func (h *hostile) log() {
	if h.logged++; h.quirks.logEvery > 0 && h.logged >= h.quirks.logEvery {
		h.logged = 0
		h.print("\n*Mar  1 00:01:02.003: %LINK-3-UPDOWN: Interface Gi0/1, changed state to up\n")
	}
}

func (h *hostile) run() {
	h.print(h.quirks.banner)
	if h.quirks.respond != nil {
		for line, ok := "", true; ok; {
			said, prompt := h.quirks.respond(line)
			h.print(said)
			line, ok = h.readLine(prompt, true)
		}
		return
	}
	mode := "#"
	if h.quirks.user != "" && !h.login() {
		return
	}
	if h.quirks.enable != "" {
		mode = ">"
	}
	for {
		line, ok := h.readLine(h.prompt(mode), !h.quirks.noEcho)
		if !ok {
			return
		}
		line = strings.TrimSpace(line)
		if h.quirks.hold != nil {
			h.quirks.hold <- line
		}
		if h.quirks.deaf != "" && line == h.quirks.deaf {
			for range time.Tick(time.Hour) { // until the test's end; uart goes on to fill the buffer
				if _, ok := <-h.fifo; !ok {
					return
				}
			}
		}
		if mode, ok = h.execute(mode, line); !ok {
			return
		}
	}
}

func (h *hostile) prompt(mode string) string {
	switch name := []rune(h.host); {
	case strings.HasPrefix(mode, "(") && h.quirks.cut > 0:
		most := h.quirks.cut
		if mode != "(config)#" { // and less where the mode's name is longer
			most -= 2
		}
		return string(name[:min(len(name), most)]) + mode
	case !strings.HasPrefix(mode, "(") && h.quirks.execPrompt != "":
		return h.quirks.execPrompt + mode
	}
	return h.host + mode
}

func (h *hostile) login() bool {
	for {
		user, ok := h.readLine("\nUsername: ", true)
		if !ok {
			return false
		}
		password, ok := h.readLine("Password: ", false)
		if !ok {
			return false
		}
		h.count(&h.logins)
		if user == h.quirks.user && password == h.quirks.password {
			if h.quirks.failLogins--; h.quirks.failLogins < 0 {
				h.print("\n")
				return true
			}
		}
		h.print("% Login invalid, got " + password + "\n") // some do
	}
}

func (h *hostile) execute(mode, line string) (string, bool) {
	const refusal = "      ^\n% Invalid input detected at '^' marker.\n\n"
	switch {
	case line == "" || line == "!":
	case mode == ">" && line == "enable":
		for range 3 {
			password, ok := h.readLine("Password: ", false)
			if !ok {
				return "", false
			}
			if password == h.quirks.enable {
				return "#", true
			}
		}
		h.print("% Bad secrets\n\n")
	case mode == ">":
		h.print(refusal)
	case strings.HasPrefix(mode, "("):
		return h.configure(mode, line, refusal)
	case line == "configure terminal":
		h.print("Enter configuration commands, one per line.  End with CNTL/Z.\n")
		return "(config)#", true
	case line == "terminal width 0":
	case line == "terminal length 0" && h.quirks.pager == 0:
	case line == "show running-config":
		return mode, h.page(h.config())
	case line == "show clock":
		h.print("12:00:00.000 UTC Mon Mar 1 1993\n")
	case line == "show flood":
		for {
			if _, err := h.master.WriteString(strings.Repeat("all work and no play\r\n", 100)); err != nil {
				return "", false
			}
		}
	case line == "copy running-config startup-config":
		if _, ok := h.readLine("Destination filename [startup-config]? ", true); !ok {
			return "", false
		}
		if len(h.quirks.save) > 0 {
			says := h.quirks.save[0]
			h.quirks.save = h.quirks.save[1:]
			if !strings.HasSuffix(says, "]: ") {
				h.print(says)
				break
			}
			if answer, ok := h.readLine(says, true); !ok || answer != "yes" {
				return mode, ok
			}
		}
		h.count(&h.saved)
		h.print("Building configuration...\n\a[OK]\n")
	case line == "exit" && h.quirks.user != "":
		return mode, h.login()
	default:
		h.print(refusal)
	}
	return mode, true
}

func (h *hostile) configure(mode, line, refusal string) (string, bool) {
	switch {
	case line == "end":
		return "#", true
	case strings.HasPrefix(line, "nonsense"):
		h.print(refusal)
		return mode, true
	case h.quirks.late != "" && line == h.quirks.late:
		h.print(h.prompt(mode) + "\a\n" + refusal) // a prompt too early
		return mode, true
	case h.quirks.lie != "" && strings.Contains(line, h.quirks.lie):
		return mode, true
	case strings.HasPrefix(line, "hostname "):
		h.host = strings.TrimPrefix(line, "hostname ")
	}
	h.print(h.quirks.says[line])
	h.mu.Lock()
	h.running = append(h.running, line)
	h.mu.Unlock()
	for begin, mode := range configModes {
		if strings.HasPrefix(line, begin) {
			return mode, true
		}
	}
	return mode, true
}

// configModes are the modes of some lines. Not all that an IOS has are called config.
var configModes = map[string]string{
	"interface ":                  "(config-if)#",
	"crypto ipsec transform-set ": "(cfg-crypto-trans)#",
	"ip dhcp pool ":               "(dhcp-config)#",
	"crypto pki trustpoint ":      "(ca-trustpoint)#",
	"crypto ipsec profile ":       "(ipsec-profile)#",
}

func (h *hostile) config() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append(append([]string{}, h.quirks.show...), h.running...)
}

// page shows lines with a pager.
func (h *hostile) page(lines []string) bool {
	const more = " --More-- "
	for i, l := range lines {
		if h.quirks.pager > 0 && i > 0 && i%h.quirks.pager == 0 {
			h.print(more)
			h.count(&h.paged)
			c, ok := h.get()
			if !ok {
				return false
			}
			n := len(more)
			h.print(strings.Repeat("\b", n) + strings.Repeat(" ", n) + strings.Repeat("\b", n))
			if c == 'q' {
				return true
			}
		}
		h.print(l + "\n")
	}
	return true
}

// target returns a target for the console as a serial line.
func (h *hostile) target(t *testing.T) Target {
	t.Helper()
	p, err := BuiltIn("cisco_ios")
	if err != nil {
		t.Fatal(err)
	}
	return Target{Name: "core", URL: "serial://" + h.path, Platform: p,
		Login: Login{User: h.quirks.user, Password: Secret(h.quirks.password), Enable: Secret(h.quirks.enable)}}
}

// A bridge offers the console by TCP, like a converter. It cuts each connection after as many
// bytes from the client as cuts says, or never without cuts.
type bridge struct {
	listener net.Listener
	h        *hostile
	cuts     []int
	done     sync.WaitGroup
}

func startBridge(t *testing.T, h *hostile, cuts ...int) *bridge {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &bridge{listener: l, h: h, cuts: cuts}
	b.done.Go(b.serve)
	t.Cleanup(func() {
		l.Close()
		b.done.Wait()
	})
	return b
}

func (b *bridge) url() string { return "tcp://" + b.listener.Addr().String() }

// serve serves one connection after the other.
func (b *bridge) serve() {
	for n := 0; ; n++ {
		conn, err := b.listener.Accept()
		if err != nil {
			return
		}
		var client io.Reader = conn
		if n < len(b.cuts) {
			client = io.LimitReader(conn, int64(b.cuts[n]))
		}
		var down sync.WaitGroup
		down.Go(func() {
			_, _ = io.Copy(conn, b.h.slave)
		})
		_, _ = io.Copy(b.h.slave, client)
		conn.Close()
		b.h.slave.SetReadDeadline(time.Now())
		down.Wait()
		b.h.slave.SetReadDeadline(time.Time{})
	}
}
