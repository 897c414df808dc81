package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"activationd/activation"
	"activationd/activation/service"
	"activationd/activation/service/probe"
	"activationd/control"
	"activationd/internal/config"
	"activationd/internal/envfile"
	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// declarationOf translates a service of the configuration, except its user and the variables
// of its environment file.
func declarationOf(c *config.Config, name string) (*service.Declaration, []*service.Fault) {
	s, d := c.Services[name], service.New(name)
	var faults []*service.Fault
	d.File, d.Lines = c.File, linesOf(c, name)
	d.Command, d.Dir, d.Env, d.EnvFile = s.Command, s.Directory, s.Environment, s.EnvFile
	set(&d.Instances, s.Instances)
	if s.Umask != nil {
		umask := int(*s.Umask)
		d.Umask = &umask
	}
	d.Nice, d.Bind, d.Listen, d.Groups = s.Nice, s.Bind, s.Listen, s.Groups
	for _, name := range slices.Sorted(maps.Keys(s.Limits)) {
		d.Limits = append(d.Limits, wrapper.Limit{Name: name, Soft: s.Limits[name].Soft, Hard: s.Limits[name].Hard})
	}
	d.Ready, d.Alive = checkOf(s.Ready, false), checkOf(s.Alive, true)
	for _, text := range s.After {
		need, err := service.ParseDependency(text)
		if err != nil {
			faults = append(faults, &service.Fault{Service: d, Key: "after", Text: err.Error()})
			continue
		}
		d.After = append(d.After, need)
	}
	d.Restart, d.StopSignal = cmp.Or(s.Restart, d.Restart), cmp.Or(s.StopSignal, d.StopSignal)
	d.Backoff.First = cmp.Or(s.Backoff.First, d.Backoff.First)
	d.Backoff.Max = cmp.Or(s.Backoff.Max, max(d.Backoff.Max, d.Backoff.First))
	set(&d.Stable, s.Stable)
	set(&d.ReadyTimeout, s.ReadyTimeout)
	set(&d.StartLimit.Count, s.StartLimit.Count)
	set(&d.StartLimit.Window, s.StartLimit.Window)
	set(&d.FatalRetry, s.FatalRetry)
	d.Rolling, d.Surge = s.Rolling, s.Surge
	set(&d.Drain, s.Drain)
	set(&d.Grace, s.Grace)
	set(&d.Autostart, s.Autostart)
	set(&d.Log.Keep, s.Log.Keep)
	set(&d.Log.Age, s.Log.Age)
	if s.Log.Size != nil {
		d.Log.Size = int64(*s.Log.Size)
	}
	return d, faults
}

// set replaces a default by the value that the file has.
func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// checkOf translates a check. The configuration has noted a fault if it is not of one kind; a
// check takes its place that has no further fault.
func checkOf(c *config.Check, alive bool) *service.Check {
	if c == nil {
		return nil
	}
	check := service.Check{Kind: probe.Notify}
	if kinds := c.Kinds(); len(kinds) == 1 {
		check = service.Check{
			Kind: kinds[0], Target: cmp.Or(c.TCP, c.HTTP, c.Log), Host: c.Host, Unix: c.Unix, Command: c.Exec, Delay: c.Delay,
			Interval: c.Interval, Timeout: c.Timeout, Failures: c.Failures, Successes: c.Successes,
		}
	}
	check = check.WithDefaults(alive)
	return &check
}

// linesOf returns the lines on which a service's keys stand: those of its variables as
// environment.NAME, and its own as "".
func linesOf(c *config.Config, name string) map[string]int {
	at, _ := c.Place(config.Entry(c.Services, name))
	lines := map[string]int{"": at.Line}
	s := reflect.ValueOf(c.Services[name]).Elem()
	for i := range s.NumField() {
		key, _, _ := strings.Cut(s.Type().Field(i).Tag.Get("yaml"), ",")
		if at, given := c.Place(s.Field(i).Addr().Interface()); given {
			lines[key] = at.Line
		}
	}
	for variable := range c.Services[name].Environment {
		if at, given := c.Place(config.Entry(c.Services[name].Environment, variable)); given {
			lines["environment."+variable] = at.Line
		}
	}
	return lines
}

// services checks the declared services: each by itself, and all of them together.
func (v *validator) services() {
	var all []*service.Declaration
	var faults []*service.Fault
	for _, name := range slices.Sorted(maps.Keys(v.config.Services)) {
		d, wrong := declarationOf(v.config.Config, name)
		all, faults = append(all, d), append(faults, wrong...)
		s := v.config.Services[name]
		v.user(&s.User)
		v.group(&s.Group)
		v.commands(s, d)
	}
	_, wrong := service.Validate(all)
	for _, f := range append(faults, wrong...) {
		if !v.faults.Has(f.Line()) { // what could not be read is no second fault
			v.faults.Add(f.Line(), "services.%s: %s", f.Where(), f.Text)
		}
	}
	for i := range v.config.Discover {
		v.user(&v.config.Discover[i].User)
	}
}

// commands checks the commands of a service's instances, and what else tells root what to do.
func (v *validator) commands(s *config.Service, d *service.Declaration) {
	if s.EnvFile != "" {
		v.refuse(&s.EnvFile, "env_file", v.trusted(s.EnvFile, s.User))
	}
	for n := 1; n <= d.Instances+d.Surge; n++ {
		i, err := d.Instance(n)
		if err != nil {
			return // the check of the whole reports it
		}
		if text := v.missing(i.Command, i.Dir, i.Env, s.User); text != "" {
			v.notice(&s.Command, "%s", text)
		}
		v.refuse(&s.Command, "command", v.trustedCommand(i.Command, v.pathOf(i.Env), s.User))
		for _, c := range []*service.Check{i.Ready, i.Alive} {
			if c != nil {
				v.refuse(&s.Command, "command", v.trustedCommand(c.Command, v.pathOf(i.Env), s.User))
			}
		}
		if n == 1 && slices.Equal(i.Command, d.Command) && i.Dir == d.Dir && maps.Equal(i.Env, d.Env) {
			return // the others have the same commands
		}
	}
}

// group checks that a group exists and that this process can run something with it.
func (v *validator) group(name *string) {
	if *name == "" {
		return
	}
	gid, err := lookupGroup(*name)
	switch {
	case err != nil:
		v.wrong(name, err)
	case v.uid != 0 && gid != os.Getgid():
		v.wrong(name, fmt.Errorf("only root can run something with the group %s", *name))
	}
}

// lookupGroup finds a group by name or number.
func lookupGroup(name string) (int, error) {
	if gid, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(gid), nil
	}
	g, err := user.LookupGroup(name)
	if _, unknown := errors.AsType[user.UnknownGroupError](err); unknown {
		return 0, fmt.Errorf("there is no group %s", name)
	}
	if err != nil {
		return 0, fmt.Errorf("group %s: %w: %w", name, err, fault.Unavailable)
	}
	return strconv.Atoi(g.Gid)
}

// places returns where .env files declare services.
func (d *daemon) places() (all []control.ServicePlace) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.current.Discover {
		all = append(all, control.ServicePlace{Env: e.Env, User: e.User})
	}
	return all
}

// declared reads the services as the files declare them now.
func (d *daemon) declared() ([]*service.Declaration, []*service.Fault, error) {
	conf, _, err := loadConfig(d.options, d.host, d.dirs)
	if err != nil {
		return nil, nil, err
	}
	services, rejected, err := d.services(conf)
	if err != nil {
		return nil, nil, err
	}
	entries, err := entriesOf(conf)
	found, wrong := d.host.discovered(conf, d.scan(entries, true), services, d.users.lookup)
	return slices.Concat(services, found), slices.Concat(rejected, wrong), err
}

// services returns the services that a configuration declares, for the engine, and those whose
// environment file cannot be read now.
func (d *daemon) services(conf *configuration) (declared []*service.Declaration, rejected []*service.Fault, err error) {
	return d.host.services(conf, d.users.own())
}

// services returns the same. Own is the daemon's own user.
func (h *host) services(conf *configuration, own *activation.Identity) (declared []*service.Declaration, rejected []*service.Fault, err error) {
	for _, name := range slices.Sorted(maps.Keys(conf.Services)) {
		s := conf.Services[name]
		d, faults := declarationOf(conf.Config, name)
		if len(faults) > 0 {
			return nil, nil, faults[0] // the check of the configuration has found none
		}
		d.User = own
		if s.User != "" {
			if d.User, err = lookupIdentity(s.User); err != nil {
				return nil, nil, err
			}
		}
		if s.Group != "" {
			id := *d.User
			if id.GID, err = lookupGroup(s.Group); err != nil {
				return nil, nil, err
			}
			d.User = &id
		}
		if err := h.readEnvFile(d, s.User); err != nil {
			rejected = append(rejected, &service.Fault{Service: d, Key: "env_file", Text: fault.Text(err)})
			continue
		}
		declared = append(declared, d)
	}
	return declared, rejected, nil
}

// readEnvFile reads a declaration's environment file, if it has one. User is the service's, if
// it has one of its own.
func (h *host) readEnvFile(d *service.Declaration, user string) error {
	if d.EnvFile == "" {
		return nil
	}
	if err := h.trusted(d.EnvFile, user); err != nil {
		return err
	}
	f, err := os.OpenFile(d.EnvFile, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not keep us
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if h.trusted(d.EnvFile, "") != nil { // its user may have put a link to another's file there
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != d.User.UID {
			return fmt.Errorf("%s does not belong to %s, who could change what is read", d.EnvFile, d.User.Name)
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, envfile.MaxSize+1))
	if err != nil {
		return err
	}
	vars, _, err := envfile.Parse(d.EnvFile, data)
	if err != nil {
		return err
	}
	d.FileEnv = make(map[string]string, len(vars))
	for _, v := range vars {
		if strings.HasPrefix(v.Name, "ACTIVATION") {
			return fmt.Errorf("%s:%d: %s: names that begin with ACTIVATION are the daemon's own", d.EnvFile, v.Line, v.Name)
		}
		d.FileEnv[v.Name] = v.Value
	}
	return nil
}
