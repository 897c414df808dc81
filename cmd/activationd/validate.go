package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/control/access"
	"activationd/internal/config"
	"activationd/internal/diag"
	"activationd/internal/fault"
	"activationd/lab"
	"activationd/supervisor/wrapper"
	"activationd/vlanstore"
)

// A validator compares a configuration with the machine.
type validator struct {
	*host
	config  *configuration
	faults  *diag.List
	tokens  error
	lab     error
	notices []string
	refused []string
}

// wrong notes a fault in the value that field points to.
func (v *validator) wrong(field any, err error) {
	at, _ := v.config.Place(field)
	v.faults.Add(at.Line, "%s: %s", at.Key, fault.Text(err))
}

func (v *validator) notice(field any, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if at, ok := v.config.Place(field); ok {
		text = fmt.Sprintf("%s:%d: %s: %s", v.config.File, at.Line, at.Key, text)
	}
	if !slices.Contains(v.notices, text) {
		v.notices = append(v.notices, text)
	}
}

func (v *validator) validate() {
	c := v.config
	v.roles()
	for _, l := range c.listens() {
		v.user(&l.User)
		if t := l.TLS; t != nil && t.Certificate != "" && t.Key != "" {
			if _, err := tlsConfig(t); err != nil {
				v.wrong(t, err)
			}
		}
	}
	if c.Tokens != "" {
		v.tokens = v.named(&c.Tokens, new(access.Tokens).Load(c.Tokens))
	}
	if c.Lab.Inventory != "" {
		var err error
		c.pools, c.bookable, err = readInventory(c.Lab.Inventory)
		v.lab = v.named(&c.Lab.Inventory, err)
	}
	v.user(&c.Reservations.User)
	for i := range c.Sources {
		v.source(&c.Sources[i])
	}
	v.booking()
	for i := range c.Recurrences {
		v.recurrence(&c.Recurrences[i])
	}
	v.services()
	v.queues()
	v.hooks()
	v.trust()
}

// named notes a fault if the file that field names cannot be opened. It returns the faults in
// the file's content, as they have the file's name and lines.
func (v *validator) named(field *string, err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		v.wrong(field, path)
		return nil
	}
	return err
}

// readInventory reads from an inventory the VLAN ids that may be leased, and the names of the
// devices that users may have: all but the switches. The daemon uses nothing else of it; the
// rest is for the scripts.
func readInventory(inventory string) (pools vlanstore.Pools, devices []string, err error) {
	inv, err := lab.ReadInventory(inventory)
	if err != nil {
		return nil, nil, err
	}
	for name, dev := range inv.Devices {
		if dev.Domain == "" {
			devices = append(devices, name)
		}
	}
	slices.Sort(devices)
	pools = vlanstore.Pools{}
	for domain, p := range inv.Pools {
		pool := vlanstore.Pool{Domain: domain, Ranges: ranges(p.Ranges), Exclude: ranges(p.Exclude)}
		if err := pool.Check(); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", inventory, err)
		}
		pools[domain] = pool
	}
	return pools, devices, nil
}

func ranges(rs []lab.Range) (all []vlanstore.Range) {
	for _, r := range rs {
		all = append(all, vlanstore.Range(r))
	}
	return all
}

func (v *validator) source(s *config.Source) {
	v.user(&s.Reservations.User)
	if s.Files != "" {
		if _, err := os.Stat(s.Files); err != nil {
			v.notice(&s.Files, "%s", fault.Text(err))
		}
	}
	if s.SQL != nil && s.SQL.TimeZone != "" {
		if _, err := time.LoadLocation(s.SQL.TimeZone); err != nil {
			v.wrong(&s.SQL.TimeZone, fmt.Errorf("no such zone: %q; write one such as Europe/Prague", s.SQL.TimeZone))
		}
	}
	if s.SQL != nil && s.SQL.DSNFile != "" {
		data, err := os.ReadFile(s.SQL.DSNFile)
		if err == nil {
			err = secretFile(s.SQL.DSNFile)
		}
		if s.SQL.DSN = strings.TrimSpace(string(data)); err == nil && s.SQL.DSN == "" {
			err = errors.New("is empty")
		}
		if err != nil {
			v.wrong(&s.SQL.DSNFile, err)
		}
	}
	v.scripts(s, &s.Reservations)
}

// booking settles which devices can be booked.
func (v *validator) booking() {
	b := v.config.Booking
	switch {
	case b == nil:
		v.config.bookable = nil
		return
	case len(b.Devices) > 0:
		v.config.bookable = b.Devices
	case len(v.config.bookable) == 0 && v.lab == nil:
		v.wrong(b, errors.New("devices: missing; name those that can be booked, or set lab.inventory to a file with devices"))
	}
	v.user(&b.Reservations.User)
	v.scripts(b, &b.Reservations)
}

// scripts looks for the scripts of reservations; of is the value of the configuration that has
// their settings.
func (v *validator) scripts(of any, r *config.Reservations) {
	all := &v.config.Reservations
	for _, c := range []struct {
		key         string
		own, common *[]string
	}{{"activate", &r.Activate, &all.Activate}, {"deactivate", &r.Deactivate, &all.Deactivate}} {
		text := v.missing(*c.own, "", r.Environment, r.User)
		if text == "" {
			continue
		}
		_, isOwn := v.config.Place(c.own)
		_, isCommon := v.config.Place(c.common)
		switch {
		case isOwn:
			v.notice(c.own, "%s", text)
		case isCommon:
			v.notice(c.common, "%s", text)
		default:
			v.notice(of, "its default for %s: %s", c.key, text)
		}
	}
}

// missing says what would keep a command from being started now; empty if nothing would.
func (h *host) missing(command []string, dir string, env map[string]string, user string) string {
	if len(command) == 0 || command[0] == "" {
		return ""
	}
	id, err := lookupIdentity(cmp.Or(user, strconv.Itoa(h.uid)))
	if err != nil {
		return "" // the check of the user reports it
	}
	c := wrapper.Command{Name: command[0], Path: h.pathOf(env), Dir: dir, Home: id.Home, UID: id.UID, GID: id.GID, Groups: id.Groups}
	return c.Missing()
}

// user checks that a user exists and that this process can run something as that user.
func (v *validator) user(name *string) {
	if _, written := v.config.Place(name); *name == "" || !written {
		return
	}
	u, err := lookupUser(*name)
	switch {
	case err != nil:
		v.wrong(name, err)
	case !v.switches() && u.Uid != strconv.Itoa(v.uid):
		v.wrong(name, fmt.Errorf("only root can run something as %s", *name))
	}
}

// secretFile reports whether a file can be read, and by its owner and group only.
func secretFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", name)
	case info.Mode().Perm()&0o007 != 0:
		return fmt.Errorf("%s can be used by everybody on this machine; chmod it to 0600 or 0640", name)
	}
	return nil
}
