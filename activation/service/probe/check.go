package probe

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A Check finds out whether an instance is ready, or alive. Its texts are complete: whoever
// makes an instance's checks has put in the instance's number and port.
type Check struct {
	Kind     string        `json:"kind"`
	Target   string        `json:"target,omitempty"`  // see the kinds
	Host     string        `json:"host,omitempty"`    // of HTTP: the header Host, if it is not the URL's
	Unix     string        `json:"unix,omitempty"`    // of HTTP: the socket to connect to; Target can be a path then
	Command  []string      `json:"command,omitempty"` // of Exec
	Delay    time.Duration `json:"delay,omitempty"`   // of Delay
	Interval time.Duration `json:"interval,omitempty"`
	// Timeout is that of one check. For the liveness of kind Notify, it is the longest time
	// between two of the instance's messages.
	Timeout   time.Duration `json:"timeout,omitempty"`
	Failures  int           `json:"failures,omitempty"`  // so many checks in a row must fail
	Successes int           `json:"successes,omitempty"` // so many in a row must succeed
}

// The kinds of checks.
const (
	Notify = "notify" // the instance says so itself, by sd_notify(3)
	TCP    = "tcp"    // Target accepts a connection: HOST:PORT, PORT on this machine, or unix:PATH
	HTTP   = "http"   // Target answers a GET request with a status from 200 to 399: a URL, HOST:PORT/PATH or PORT/PATH
	Exec   = "exec"   // Command exits with status 0
	Log    = "log"    // a line of the log matches Target, a regular expression
	Delay  = "delay"  // Delay has passed since the start
)

// once reports whether the check has nothing to say after its first success.
func (c *Check) once() bool { return c.Kind == Log || c.Kind == Delay || c.Kind == Notify }

// WithDefaults returns the check with a default instead of each value that is 0.
func (c Check) WithDefaults(alive bool) Check {
	interval, timeout, failures := time.Second, 2*time.Second, 3
	switch {
	case c.Kind == Notify && alive:
		interval, timeout, failures = 0, 30*time.Second, 1
	case c.Kind == Notify, c.Kind == Delay:
		interval, timeout, failures = 0, 0, 0
	case c.Kind == Log:
		failures = 0
	case alive:
		interval, timeout = 10*time.Second, 5*time.Second
	}
	if c.Interval == 0 {
		c.Interval = interval
	}
	if c.Timeout == 0 {
		c.Timeout = timeout
	}
	if c.Failures == 0 {
		c.Failures = failures
	}
	if c.Successes == 0 {
		c.Successes = 1
	}
	return c
}

// Validate returns what is wrong with the check, which may lack values that have a default.
// The texts of its errors begin with the name of the wrong value.
func (c Check) Validate(alive bool) error {
	if c.Interval < 0 || c.Timeout < 0 || c.Delay < 0 || c.Failures < 0 || c.Successes < 0 {
		return errors.New("interval, timeout, delay, failures and successes: none can be less than 0")
	}
	if alive && (c.Kind == Log || c.Kind == Delay) {
		return fmt.Errorf("%s says nothing about whether a process still works; want %s, %s, %s or %s", c.Kind, Notify, TCP, HTTP, Exec)
	}
	switch c.Kind {
	case Notify:
	case Delay:
		if c.Delay == 0 {
			return errors.New("delay: must be more than 0")
		}
	case TCP:
		_, err := addresses(c.Target)
		return err
	case HTTP:
		_, err := c.url()
		return err
	case Exec:
		if len(c.Command) == 0 || c.Command[0] == "" {
			return errors.New("exec: want a command and its arguments, such as [/usr/bin/pg_isready, -q]")
		}
	case Log:
		_, err := c.pattern()
		return err
	default:
		return fmt.Errorf("%q is no kind of check: the kinds are %s", c.Kind, strings.Join([]string{Notify, TCP, HTTP, Exec, Log, Delay}, ", "))
	}
	return nil
}

// Address returns the host and the port that the check connects to; empty texts if it connects
// to none.
func (c *Check) Address() (host, port string) {
	switch {
	case c == nil:
	case c.Kind == TCP:
		if to, err := addresses(c.Target); err == nil && to[0].network == "tcp" {
			host, port, _ = net.SplitHostPort(to[0].text)
		}
	case c.Kind == HTTP && c.Unix == "":
		if u, err := c.url(); err == nil {
			return u.Hostname(), cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
		}
	}
	return host, port
}

// Path is the path of the Unix socket that the check connects to; empty: it connects to none.
func (c *Check) Path() string {
	switch {
	case c == nil:
	case c.Kind == TCP:
		if path, ok := strings.CutPrefix(c.Target, "unix:"); ok {
			return path
		}
	case c.Kind == HTTP:
		return c.Unix
	}
	return ""
}

// An address is where a check connects to.
type address struct{ network, text string }

// addresses returns where a check of kind TCP connects to: the first that accepts is enough.
func addresses(target string) ([]address, error) {
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		if path == "" {
			return nil, fmt.Errorf("tcp: want unix:PATH, have %q", target)
		}
		return []address{{"unix", path}}, nil
	}
	if isPort(target) {
		return []address{{"tcp", "127.0.0.1:" + target}, {"tcp", "[::1]:" + target}}, nil
	}
	host, port, err := net.SplitHostPort(target)
	if err != nil || host == "" || !isPort(port) {
		return nil, fmt.Errorf("tcp: want HOST:PORT, PORT or unix:PATH, have %q; an IPv6 address is in brackets, as in [::1]:8080", target)
	}
	return []address{{"tcp", target}}, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// url returns where a check of kind HTTP sends its request.
func (c *Check) url() (*url.URL, error) {
	text := c.Target
	switch {
	case strings.HasPrefix(text, "http://"), strings.HasPrefix(text, "https://"):
	case strings.Contains(text, "://"):
		return nil, fmt.Errorf("http: want a URL that begins with http:// or https://, have %q", text)
	case strings.HasPrefix(text, "/"):
		if c.Unix == "" {
			return nil, fmt.Errorf("http: %q: a path needs a port before it, as in 8080%s, or a socket (unix)", text, text)
		}
		text = "http://localhost" + text
	default:
		if port, _, _ := strings.Cut(text, "/"); isPort(port) {
			text = "127.0.0.1:" + text
		}
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if err != nil {
		return nil, fmt.Errorf("http: %w, have %q", err, c.Target)
	}
	if u.Hostname() == "" || u.Port() != "" && !isPort(u.Port()) {
		return nil, fmt.Errorf("http: want a URL, HOST:PORT/PATH or PORT/PATH, have %q", c.Target)
	}
	return u, nil
}

func (c *Check) pattern() (*regexp.Regexp, error) {
	if c.Target == "" {
		return nil, errors.New("log: a regular expression is missing")
	}
	re, err := regexp.Compile(c.Target)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return re, nil
}

// String names the check in a few words.
func (c *Check) String() string {
	switch c.Kind {
	case HTTP:
		if c.Unix != "" {
			return c.Kind + " " + c.Unix + " " + c.Target
		}
		return c.Kind + " " + c.Target
	case Exec:
		return c.Kind + " " + strings.Join(c.Command, " ")
	case Delay:
		return c.Kind + " " + c.Delay.String()
	case Notify:
		return c.Kind
	}
	return c.Kind + " " + c.Target
}
