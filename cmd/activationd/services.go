package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"path/filepath"
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
	at, _ := c.Place(config.Entry(c.Services, name))
	d.Positions = map[string]service.Position{"": {File: c.File, Line: at.Line}}
	positions(c, reflect.ValueOf(s).Elem(), d.Positions)
	d.Command, d.Dir, d.EnvFile = s.Command, s.Directory, s.EnvFile
	set(&d.Instances, s.Instances)
	return d, declareRules(&s.ServiceRules, d)
}

// discoveredDeclaration returns what an entry of discover says of a service of that name.
func discoveredDeclaration(c *config.Config, e *config.Discover, name string) (*service.Declaration, []*service.Fault) {
	d := service.New(name)
	at, _ := c.Place(e)
	d.Positions = map[string]service.Position{"": {File: c.File, Line: at.Line}}
	positions(c, reflect.ValueOf(e).Elem(), d.Positions)
	faults := declareRules(&e.ServiceRules, d)
	if d.Needs(name) { // what the others need is found by the same entry, and does not need itself
		d.After = slices.DeleteFunc(d.After, func(need service.Dependency) bool { return need.Name == d.Name })
		d.Bind = d.Bind && len(d.After) > 0
	}
	return d, faults
}

// declareRules lays rules of the configuration over a declaration, and fills in its name in
// all texts that it has.
func declareRules(r *config.ServiceRules, d *service.Declaration) (faults []*service.Fault) {
	d.Env = r.Environment
	if r.Umask != nil {
		umask := int(*r.Umask)
		d.Umask = &umask
	}
	d.Nice, d.Bind, d.Listen, d.Groups = r.Nice, r.Bind, r.Listen, r.Groups
	for _, name := range slices.Sorted(maps.Keys(r.Limits)) {
		d.Limits = append(d.Limits, wrapper.Limit{Name: name, Soft: r.Limits[name].Soft, Hard: r.Limits[name].Hard})
	}
	d.Ready, d.Alive = checkOf(r.Ready, false), checkOf(r.Alive, true)
	for _, text := range r.After {
		need, err := service.ParseDependency(service.Named(text, d.Shown))
		if err != nil {
			faults = append(faults, &service.Fault{Service: d, Key: "after", Text: err.Error()})
			continue
		}
		d.After = append(d.After, need)
	}
	d.Restart, d.StopSignal = cmp.Or(r.Restart, d.Restart), cmp.Or(r.StopSignal, d.StopSignal)
	d.Backoff.First = cmp.Or(r.Backoff.First, d.Backoff.First)
	d.Backoff.Max = cmp.Or(r.Backoff.Max, max(d.Backoff.Max, d.Backoff.First))
	set(&d.Stable, r.Stable)
	set(&d.ReadyTimeout, r.ReadyTimeout)
	set(&d.StartLimit.Count, r.StartLimit.Count)
	set(&d.StartLimit.Window, r.StartLimit.Window)
	set(&d.FatalRetry, r.FatalRetry)
	d.Rolling, d.Surge = r.Rolling, r.Surge
	set(&d.Drain, r.Drain)
	set(&d.Grace, r.Grace)
	set(&d.Autostart, r.Autostart)
	set(&d.Log.Keep, r.Log.Keep)
	set(&d.Log.Age, r.Log.Age)
	if r.Log.Size != nil {
		d.Log.Size = int64(*r.Log.Size)
	}
	d.FillNames()
	return faults
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

// positions adds where the keys of a service stand that the configuration has: those of its
// variables as environment.NAME.
func positions(c *config.Config, keys reflect.Value, known map[string]service.Position) {
	for i := range keys.NumField() {
		field := keys.Type().Field(i)
		if field.Anonymous {
			positions(c, keys.Field(i), known)
			continue
		}
		key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if at, given := c.Place(keys.Field(i).Addr().Interface()); given {
			known[key] = service.Position{File: c.File, Line: at.Line}
		}
		variables, _ := reflect.TypeAssert[map[string]string](keys.Field(i))
		for name := range variables {
			if at, given := c.Place(config.Entry(variables, name)); given {
				known[key+"."+name] = service.Position{File: c.File, Line: at.Line}
			}
		}
	}
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
		v.serviceFault(f, "services."+f.Where())
	}
	for i := range v.config.Discover {
		e := &v.config.Discover[i]
		v.user(&e.User)
		for _, f := range entryFaults(v.config.Config, e, all) {
			v.serviceFault(f, fmt.Sprintf("discover[%d].%s", i, f.Key))
		}
	}
}

func (v *validator) serviceFault(f *service.Fault, where string) {
	if line := f.Position().Line; !v.faults.Has(line) { // what could not be read is no second fault
		v.faults.Add(line, "%s: %s", where, f.Text)
	}
}

// entryFaults returns what is wrong with each service that an entry of discover finds, whatever
// files there are. The configuration itself declares declared.
func entryFaults(c *config.Config, e *config.Discover, declared []*service.Declaration) []*service.Fault {
	d, faults := discoveredDeclaration(c, e, "any-project/any-service")
	d.Command = []string{"true"}
	needs := len(d.After)
	d.After = slices.DeleteFunc(d.After, func(need service.Dependency) bool { // others may be found, too
		return !slices.ContainsFunc(declared, func(o *service.Declaration) bool { return o.Name == need.Name })
	})
	d.Bind = d.Bind && (needs == 0 || len(d.After) > 0)
	_, wrong := service.Validate(append(slices.Clip(declared), d))
	for _, f := range wrong {
		if f.Service == d {
			faults = append(faults, f)
		}
	}
	return faults
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
		for _, address := range i.Listen {
			if dir := filepath.Dir(address); strings.HasPrefix(address, "/") && !isDir(dir) {
				v.notice(&s.Listen, "there is no directory %s for the socket %s", dir, filepath.Base(address))
			}
		}
		v.refuse(&s.Command, "command", v.trustedCommand(i.Command, v.pathOf(i.Env), s.User))
		for _, c := range []*service.Check{i.Ready, i.Alive} {
			if c != nil {
				v.refuse(&s.Command, "command", v.trustedCommand(c.Command, v.pathOf(i.Env), s.User))
			}
		}
		if n == 1 && slices.Equal(i.Command, d.Command) && slices.Equal(i.Listen, d.Listen) && i.Dir == d.Dir && maps.Equal(i.Env, d.Env) {
			return // the others have the same commands
		}
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
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
	case !v.switches() && gid != os.Getgid():
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
	found, wrong := d.host.discovered(conf, d.scan(entries, true), services, rejected, d.users.lookup)
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
			id.AnyGroup = true
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
