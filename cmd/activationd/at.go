package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"activationd/control"
	"activationd/internal/fault"
)

// At is what at(1) and atd have as options and files.
type At struct {
	Allow    string        `yaml:"allow,path"` // the users who may use at; if it is not there, Deny
	Deny     string        `yaml:"deny,path"`  // those who may not; if it is not there either, only root may
	Load     LoadAverage   `yaml:"load"`       // batch jobs wait for one that is lower
	Interval time.Duration `yaml:"interval"`   // between two looks at the load average
	Sendmail string        `yaml:"sendmail,path"`
}

// A LoadAverage is a number of processes that want a processor.
type LoadAverage float64

// UnmarshalText reads a number of more than 0.
func (l *LoadAverage) UnmarshalText(text []byte) error {
	n, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(n > 0 && n <= 1e6) {
		return fmt.Errorf("want a number of more than 0, such as 1.5, have %q", text)
	}
	*l = LoadAverage(n)
	return nil
}

// errNotAllowed is what at.allow and at.deny say to some.
var errNotAllowed = fmt.Errorf("at.allow and at.deny do not let this user use at: %w", fault.Denied)

// mayAt reports whether a caller may use at(1). As with at, root always may, and so
// may whom the daemon belongs to; others if at.allow has their names, or, when
// there is no such file, if at.deny has
// not; if there is neither, they may not.
func (c *core) mayAt(caller control.Caller) error {
	if caller.UID == 0 || caller.UID == c.surroundings.uid {
		return nil
	}
	c.mu.Lock()
	at := c.config.At
	c.mu.Unlock()
	listed, there, err := userIn(at.Allow, caller.Name)
	if err == nil && !there {
		listed, there, err = userIn(at.Deny, caller.Name)
		listed = there && !listed
	}
	switch {
	case errors.Is(err, fs.ErrPermission): // only root may read what Debian installs
		return fmt.Errorf("who may use at cannot be read by this daemon: %w: %w", err, fault.Denied)
	case err != nil:
		return fmt.Errorf("who may use at cannot be read: %w", err)
	case !listed:
		return errNotAllowed
	}
	return nil
}

// userIn reports whether a file has a line that is a user's name, and whether the
// file is there.
func userIn(file, name string) (listed, there bool, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	for line := range bytes.Lines(data) { // a carriage return is not taken off: at doesn't
		listed = listed || string(bytes.TrimSuffix(line, []byte("\n"))) == name
	}
	return listed, true, err
}

// userName returns the name of a user who is named or numbered.
func userName(user string) (string, bool) {
	u, err := lookupUser(user)
	if err != nil {
		return "", false
	}
	return u.Username, true
}

// loadAverage is that of the last minute.
func loadAverage() (float64, error) {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(data), " ")
	return strconv.ParseFloat(first, 64)
}
