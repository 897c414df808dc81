package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"activationd/control"
	"activationd/internal/config"
	"activationd/internal/fault"
	"activationd/vlanstore"
)

// maxConfig is the greatest size of a configuration file.
const maxConfig = 4 << 20

// A configuration is what the file says, and what follows from it on this machine.
type configuration struct {
	*config.Config
	roles  map[uint32]control.Role // of the users that access names
	groups map[uint32]control.Role // of the members of groups
	fronts map[int]bool            // the uids of the front server
	pools  vlanstore.Pools         // of the inventory
	// bookable are the patterns of the devices that can be booked: of the key booking, or else
	// the devices of the inventory.
	bookable []string
}

// loadConfig finds and reads the configuration, lays the command line over it, and checks
// that the machine has what it names. Its error, of kind fault.Invalid or fault.NotFound,
// has all faults. Notices are about what may change without the configuration, such as a
// source's file that does not exist yet.
//
// It changes nothing: a reload calls it again.
func loadConfig(o *options, h *host, dirs *directories) (c *configuration, notices []string, err error) {
	name, data, err := readConfig(o, h)
	if err != nil {
		return nil, nil, err
	}
	if name != "" {
		if err := h.trusted(name, ""); err != nil {
			return nil, nil, fmt.Errorf("configuration: %w: %w", err, fault.Invalid)
		}
	}
	c = &configuration{Config: config.Default()}
	h.installedScripts(&c.Reservations)
	faults := c.Read(name, data)
	if name != "" {
		if name, err = filepath.Abs(name); err != nil {
			return nil, nil, fmt.Errorf("the working directory: %w", err)
		}
		c.ResolvePaths(filepath.Dir(name))
	}
	var listenErr error
	if len(o.listen) > 0 {
		listenErr = c.replaceListen(o.listen)
	}
	if c.Socket.Mode == 0 {
		c.Socket.Mode = 0o600
		if h.switches() {
			c.Socket.Mode = 0o666
		}
	}
	c.Socket.Path = cmp.Or(c.Socket.Path, filepath.Join(dirs.Runtime, "control.sock"))
	c.TopologyDirectory = cmp.Or(c.TopologyDirectory, dirs.Topologies)
	v := validator{config: c, host: h, faults: faults, notices: c.Notices}
	v.validate()
	return c, v.notices, errors.Join(faults.Err(), listenErr, v.tokens, v.lab)
}

// readConfig returns the name of the configuration's file for messages, and its content. It
// returns neither if the command line names no file and the default one does not exist.
func readConfig(o *options, h *host) (string, []byte, error) {
	name := o.config
	if name == "" {
		if name = h.defaultConfigFile(); name == "" {
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

// listens returns the addresses of both faces.
func (c *configuration) listens() (all []*config.Listen) {
	for i := range c.Listen {
		all = append(all, &c.Listen[i])
	}
	for i := range c.ListenHTTP {
		all = append(all, &c.ListenHTTP[i])
	}
	return all
}

func (c *configuration) replaceListen(addresses []string) error {
	var errs []error
	c.Listen = nil
	for _, a := range addresses {
		l := config.Listen{Address: a}
		if err := l.Settle(c.Tokens != ""); err != nil {
			errs = append(errs, fmt.Errorf("--listen: %w: %w", err, fault.Invalid))
		}
		c.Listen = append(c.Listen, l)
	}
	return errors.Join(errs...)
}
