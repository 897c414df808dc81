package device

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"activationd/internal/fault"
)

// An address is a parsed URL of a device.
type address struct {
	scheme string
	host   string // with its port; or the path of a serial line
	line   lineSettings
}

// lineSettings are the settings of a serial line: of this machine's, or of a converter's by
// RFC 2217.
type lineSettings struct {
	baud   int // 0: the line is left as it is set
	bits   int
	parity string
	stop   int
	flow   string
}

var defaultPorts = map[string]string{"ssh": "22", "telnet": "23", "tcp": "", "rfc2217": "", "serial": ""}

// The words for the settings of a line, and their numbers in RFC 2217.
var (
	parities = map[string]byte{"none": 1, "odd": 2, "even": 3}
	flows    = map[string]byte{"none": 1, "xonxoff": 2, "rtscts": 3}
)

// CheckURL returns what is wrong with a device's URL, or nil. The kind of the error is
// [fault.Invalid]. These forms are valid:
//
//	ssh://HOST[:22]      telnet://HOST[:23]      tcp://HOST:PORT
//	rfc2217://HOST:PORT[?baud=9600&bits=8&parity=none&stop=1&flow=none]
//	serial:///dev/ttyS0[?the same]
//
// Parity is none, odd or even, and flow none, xonxoff or rtscts. If baud is missing, the line
// is left as it is set.
func CheckURL(u string) error {
	_, err := parseURL(u)
	return err
}

// Endpoint returns the same text for all URLs of one line, or of one port of a host, without
// asking a name server. For a text that is not the URL of a device it returns "".
func Endpoint(u string) string {
	a, err := parseURL(u)
	if err != nil {
		return ""
	}
	if a.scheme == "serial" {
		if file, err := filepath.EvalSymlinks(a.host); err == nil {
			return file
		}
		return a.host
	}
	host, port, _ := net.SplitHostPort(a.host) // it was joined before
	n, _ := strconv.Atoi(port)                 // it is a number
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	return net.JoinHostPort(host, strconv.Itoa(n))
}

func parseURL(text string) (address, error) {
	bad := func(format string, args ...any) (address, error) {
		return address{}, fmt.Errorf("%q: %s: %w", text, fmt.Sprintf(format, args...), fault.Invalid)
	}
	u, err := url.Parse(text)
	if err != nil {
		return address{}, fmt.Errorf("%w: %w", err, fault.Invalid)
	}
	port, known := defaultPorts[u.Scheme]
	switch {
	case !known:
		return bad("must begin with ssh://, telnet://, tcp://, rfc2217:// or serial://")
	case u.User != nil:
		return bad("must have no user and no password: these are credentials")
	case u.Fragment != "" || u.Opaque != "":
		return bad("has more than a scheme, an address and settings")
	}
	a := address{scheme: u.Scheme}
	if a.scheme == "serial" {
		if u.Host != "" || !path.IsAbs(u.Path) || path.Clean(u.Path) != u.Path {
			return bad("must be serial:// and the absolute path of a device, as in serial:///dev/ttyS0")
		}
		a.host = u.Path
	} else {
		if u.Path != "" && u.Path != "/" {
			return bad("must have no path")
		}
		if u.Port() != "" {
			port = u.Port()
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || u.Hostname() == "" {
			return bad("needs a host and a port between 1 and 65535")
		}
		a.host = net.JoinHostPort(u.Hostname(), port)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return bad("%v", err)
	}
	a.line, err = parseLine(query, a.scheme == "serial" || a.scheme == "rfc2217")
	if err != nil {
		return bad("%v", err)
	}
	return a, nil
}

func parseLine(query url.Values, serial bool) (lineSettings, error) {
	l := lineSettings{bits: 8, parity: "none", stop: 1, flow: "none"}
	for key, values := range query {
		if !serial || len(values) != 1 {
			return l, fmt.Errorf("?%s: only serial lines have settings, and each once", key)
		}
		value := values[0]
		var ok bool
		switch key {
		case "baud":
			l.baud, ok = number(value, 50, 4_000_000)
		case "bits":
			l.bits, ok = number(value, 5, 8)
		case "stop":
			l.stop, ok = number(value, 1, 2)
		case "parity":
			l.parity = value
			_, ok = parities[value]
		case "flow":
			l.flow = value
			_, ok = flows[value]
		default:
			return l, fmt.Errorf("?%s: the settings are baud, bits, parity, stop and flow", key)
		}
		if !ok {
			return l, fmt.Errorf("?%s=%s: is not a possible value", key, value)
		}
	}
	if l.baud == 0 && len(query) > 0 {
		return l, fmt.Errorf("the settings of a line need a baud")
	}
	return l, nil
}

func number(text string, low, high int) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= low && n <= high
}

// byteTime returns how long a byte takes on the line, with its start and stop bits.
func (l lineSettings) byteTime() time.Duration {
	if l.baud == 0 {
		return 0
	}
	bits := 1 + l.bits + l.stop
	if l.parity != "none" {
		bits++
	}
	return time.Duration(bits) * time.Second / time.Duration(l.baud)
}
