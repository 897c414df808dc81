package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"activationd/control"
	"activationd/internal/fault"
)

// errNotAllowed is for users whom at.allow and at.deny exclude.
var errNotAllowed = fmt.Errorf("at.allow and at.deny do not let this user use at: %w", fault.Denied)

// mayAt returns an error if a caller may not use at(1). As with at, root always may, and so
// may the daemon's own user. Other users may if at.allow has their names or, if there is no
// such file, if at.deny has not. If neither file exists, they may not.
func (d *daemon) mayAt(caller control.Caller) error {
	if caller.UID == 0 || caller.UID == d.host.uid {
		return nil
	}
	d.mu.Lock()
	at := d.current.At
	d.mu.Unlock()
	listed, there, err := userIn(at.Allow, caller.Name)
	if err == nil && !there {
		listed, there, err = userIn(at.Deny, caller.Name)
		listed = there && !listed
	}
	switch {
	case errors.Is(err, fs.ErrPermission): // on Debian only root may read the file
		return fmt.Errorf("this daemon may not read who may use at: %w: %w", err, fault.Denied)
	case err != nil:
		return fmt.Errorf("cannot read who may use at: %w", err)
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
	for line := range bytes.Lines(data) { // a carriage return is kept, as at keeps it
		listed = listed || string(bytes.TrimSuffix(line, []byte("\n"))) == name
	}
	return listed, true, err
}

// loadAverage returns the load average of the last minute.
func loadAverage() (float64, error) {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(data), " ")
	return strconv.ParseFloat(first, 64)
}
