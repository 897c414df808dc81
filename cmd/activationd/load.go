package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"activationd/control/line"
	"activationd/internal/diag"
	"activationd/internal/fault"
	"activationd/lab"
	"activationd/vlanstore"
)

// maxConfig is the size beyond which a file is no configuration.
const maxConfig = 4 << 20

// loadConfig finds and reads the configuration, lays the command line over it,
// and looks at what it names on this machine. Its error, of kind fault.Invalid
// or fault.NotFound, tells everything that is wrong; notices are what may yet
// come right, such as a source's file that is not there.
//
// A reload calls it again: it changes nothing.
func loadConfig(o *options, s *surroundings) (c *Config, notices []string, err error) {
	name, data, err := readConfig(o, s)
	if err != nil {
		return nil, nil, err
	}
	if name != "" {
		if err := s.trusted(name, ""); err != nil {
			return nil, nil, fmt.Errorf("configuration: %w: %w", err, fault.Invalid)
		}
	}
	defaults := defaultConfig()
	s.installedScripts(&defaults.Reservations)
	c, faults := parseConfig(name, data, defaults)
	if name != "" {
		if name, err = filepath.Abs(name); err != nil {
			return nil, nil, fmt.Errorf("the working directory: %w", err)
		}
		resolvePaths(reflect.ValueOf(c).Elem(), filepath.Dir(name))
	}
	var listenErr error
	if len(o.listen) > 0 {
		listenErr = c.replaceListen(o.listen)
	}
	if c.Socket.Mode == 0 {
		c.Socket.Mode = 0o600
		if s.uid == 0 {
			c.Socket.Mode = 0o666
		}
	}
	l := looker{config: c, surroundings: s, faults: faults}
	l.look()
	return c, l.notices, errors.Join(faults.Err(), listenErr, l.tokens, l.lab)
}

// readConfig returns the configuration's file as it is to be called in
// messages, and its content; neither, if there is none and none was asked for.
func readConfig(o *options, s *surroundings) (string, []byte, error) {
	name := o.config
	if name == "" {
		if name = s.defaultConfigFile(); name == "" {
			return "", nil, nil
		}
	}
	f, err := os.Open(name)
	if o.config == "" && errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		kind := fault.Invalid
		if errors.Is(err, fs.ErrNotExist) {
			kind = fault.NotFound
		}
		return "", nil, fmt.Errorf("configuration: %w: %w", err, kind)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("configuration: %w: %w", err, fault.Invalid)
	case len(data) > maxConfig:
		return "", nil, fmt.Errorf("configuration: %s is larger than 4 MiB: %w", name, fault.Invalid)
	}
	return name, data, nil
}

func (c *Config) replaceListen(addresses []string) error {
	var errs []error
	c.Listen = nil
	for _, a := range addresses {
		l := Listen{Address: a}
		if err := settleListen(&l, c.Tokens != ""); err != nil {
			errs = append(errs, fmt.Errorf("--listen: %w: %w", err, fault.Invalid))
		}
		c.Listen = append(c.Listen, l)
	}
	return errors.Join(errs...)
}

// resolvePaths makes relative paths start at dir, where the file is.
func resolvePaths(v reflect.Value, dir string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			resolvePaths(v.Elem(), dir)
		}
	case reflect.Slice:
		for i := range v.Len() {
			resolvePaths(v.Index(i), dir)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Field(i)
			switch name, option := tagOf(v.Type().Field(i)); {
			case option == "path":
				if p := field.String(); p != "" && !filepath.IsAbs(p) {
					field.SetString(filepath.Join(dir, p))
				}
			case option == "command":
				// Without a slash it is looked for in PATH.
				command, _ := reflect.TypeAssert[[]string](field)
				if len(command) > 0 && strings.Contains(command[0], "/") && !filepath.IsAbs(command[0]) {
					command[0] = filepath.Join(dir, command[0])
				}
			case name != "" || option == "inline":
				resolvePaths(field, dir)
			}
		}
	}
}

// A looker compares a configuration with the machine.
type looker struct {
	*surroundings
	config  *Config
	faults  *diag.List
	tokens  error
	lab     error
	notices []string
	refused []string
}

// wrong notes a fault in the value that field points to.
func (l *looker) wrong(field any, err error) {
	at := l.config.where[field]
	l.faults.Add(at.line, "%s: %v", at.key, err)
}

func (l *looker) notice(field any, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if at, ok := l.config.where[field]; ok {
		text = fmt.Sprintf("%s:%d: %s: %s", l.config.File, at.line, at.key, text)
	}
	if !slices.Contains(l.notices, text) {
		l.notices = append(l.notices, text)
	}
}

func (l *looker) look() {
	c := l.config
	c.Access.resolve(l)
	for i := range c.Listen {
		l.user(&c.Listen[i].User)
		if t := c.Listen[i].TLS; t != nil && t.Certificate != "" && t.Key != "" {
			if _, err := t.config(); err != nil {
				l.wrong(t, err)
			}
		}
	}
	if c.Tokens != "" {
		l.tokens = l.named(&c.Tokens, new(line.Tokens).Load(c.Tokens))
	}
	if c.Lab.Inventory != "" {
		var err error
		c.Lab.pools, err = readPools(c.Lab.Inventory)
		l.lab = l.named(&c.Lab.Inventory, err)
	}
	l.user(&c.Reservations.User)
	for i := range c.Sources {
		l.source(&c.Sources[i])
	}
	for i := range c.Recurrences {
		l.recurrence(&c.Recurrences[i])
	}
	l.trust()
}

// named notes what is wrong with a file that field names, if it cannot be opened,
// and returns what is wrong in it: that has the file's name, and its lines.
func (l *looker) named(field *string, err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		l.wrong(field, path)
		return nil
	}
	return err
}

// readPools reads the VLAN ids that may be lent out of an inventory. The daemon
// looks at nothing else in it; that is for the scripts.
func readPools(inventory string) (vlanstore.Pools, error) {
	inv, err := lab.ReadInventory(inventory)
	if err != nil {
		return nil, err
	}
	pools := vlanstore.Pools{}
	for domain, p := range inv.Pools {
		pool := vlanstore.Pool{Domain: domain, Ranges: ranges(p.Ranges), Exclude: ranges(p.Exclude)}
		if err := pool.Check(); err != nil {
			return nil, fmt.Errorf("%s: %w", inventory, err)
		}
		pools[domain] = pool
	}
	return pools, nil
}

func ranges(rs []lab.Range) (all []vlanstore.Range) {
	for _, r := range rs {
		all = append(all, vlanstore.Range(r))
	}
	return all
}

func (l *looker) source(s *Source) {
	l.user(&s.Reservations.User)
	if s.Files != "" {
		if _, err := os.Stat(s.Files); err != nil {
			l.notice(&s.Files, "%v", err)
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
			l.wrong(&s.SQL.DSNFile, err)
		}
	}
	for _, command := range []*[]string{&s.Reservations.Activate, &s.Reservations.Deactivate} {
		if len(*command) == 0 || !filepath.IsAbs((*command)[0]) {
			continue
		}
		if err := executable((*command)[0]); err != nil {
			l.notice(command, "%v", err)
		}
	}
}

// user checks that a user exists and that this process can become him.
func (l *looker) user(name *string) {
	if _, written := l.config.where[name]; *name == "" || !written {
		return
	}
	u, err := lookupUser(*name)
	switch {
	case err != nil:
		l.wrong(name, err)
	case l.uid != 0 && u.Uid != strconv.Itoa(l.uid):
		l.wrong(name, fmt.Errorf("only root can run something as %s", *name))
	}
}

// lookupUser finds a user by name or number.
func lookupUser(name string) (*user.User, error) {
	if _, err := strconv.ParseUint(name, 10, 32); err == nil {
		u, err := user.LookupId(name)
		if err == nil {
			return u, nil
		}
		if _, unknown := errors.AsType[user.UnknownUserIdError](err); !unknown {
			return nil, fmt.Errorf("user %s: %w: %w", name, err, fault.Unavailable)
		}
	}
	u, err := user.Lookup(name)
	if _, unknown := errors.AsType[user.UnknownUserError](err); unknown {
		return nil, fmt.Errorf("there is no user %s", name)
	}
	if err != nil { // there may be no descriptors, say
		return nil, fmt.Errorf("user %s: %w: %w", name, err, fault.Unavailable)
	}
	return u, nil
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

func executable(name string) error {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s is not executable", name)
	}
	return nil
}
