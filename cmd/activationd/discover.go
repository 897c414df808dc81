package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"activationd/activation"
	"activationd/activation/service"
	"activationd/activation/service/discover"
	"activationd/internal/fault"
)

// entriesOf returns where a configuration looks for .env files.
func entriesOf(c *configuration) ([]discover.Entry, error) {
	var entries []discover.Entry
	for i := range c.Discover {
		d := &c.Discover[i]
		e := discover.Entry{Pattern: d.Env, User: d.User, Declare: func(name string) (*service.Declaration, error) {
			declared, faults := discoveredDeclaration(c.Config, d, name)
			if len(faults) > 0 {
				return nil, faults[0]
			}
			return declared, nil
		}}
		if d.User != "" {
			id, err := lookupIdentity(d.User)
			if err != nil {
				return nil, err
			}
			e.UID = id.UID
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// discovered returns the services that a scan has found, and what is wrong with others. The
// configuration c itself declares declared, and those of refused, which cannot be read now: its
// services win. Lookup finds a user.
func (h *host) discovered(c *configuration, r discover.Result, declared []*service.Declaration, refused []*service.Fault, lookup func(uid int) (*activation.Identity, error)) ([]*service.Declaration, []*service.Fault) {
	declared = slices.Clip(declared)
	for _, f := range refused {
		declared = append(declared, f.Service)
	}
	var found []*service.Declaration
	var rejected []*service.Fault
	for _, f := range r.Found {
		d := *f.Declaration
		if text := h.runsAs(&d, f.UID, lookup); text != "" {
			rejected = append(rejected, &service.Fault{Service: &d, Text: text})
			continue
		}
		if i := slices.IndexFunc(declared, func(o *service.Declaration) bool { return o.Name == d.Name }); i >= 0 {
			d.Name = "" // the instances of this name are the other's
			rejected = append(rejected, &service.Fault{Service: &d, Text: fmt.Sprintf("the configuration declares the service %s, too (%s), and wins: rename the directory, or remove DAEMON=true", declared[i].Shown, declared[i].Position(""))})
			continue
		}
		found = append(found, &d)
	}
	// Those of the configuration come first, so that a fault of two is never theirs.
	sound, faults := service.Validate(append(declared, found...))
	faults = slices.DeleteFunc(faults, func(f *service.Fault) bool { return slices.Contains(declared, f.Service) })
	found = slices.DeleteFunc(found, func(d *service.Declaration) bool { return sound[d.Name] != d })
	for _, f := range faults {
		if f.Key == "after" && slices.ContainsFunc(r.Rejected, func(o discover.Rejected) bool { return o.Changing && f.Service.Needs(o.Name) }) {
			f.Text = "" // what it needs is just being written, and so read by the next load
		}
	}
	rejected = append(rejected, faults...)
	for _, f := range r.Rejected {
		d := service.New(f.Name)
		d.Positions = map[string]service.Position{"": {File: c.File, Line: entryLine(c, f.File)}}
		if f.Kept || slices.ContainsFunc(slices.Concat(declared, found), func(o *service.Declaration) bool { return o.Name == d.Name }) {
			d.Name = "" // there is a declaration of these instances
		}
		text := fault.Text(f.Err)
		if f.Changing {
			text = "" // nothing is wrong; the instances wait for the next load
		}
		rejected = append(rejected, &service.Fault{Service: d, Text: text})
	}
	return found, rejected
}

// runsAs sets the user of a service, or says why that cannot be.
func (h *host) runsAs(d *service.Declaration, uid int, lookup func(uid int) (*activation.Identity, error)) string {
	if !h.switches() && uid != h.uid {
		return fmt.Sprintf("its user would be %d: only root can run something as another user", uid)
	}
	id, err := lookup(uid)
	if err != nil {
		return err.Error()
	}
	d.User = id
	if err := h.trustedChecks(d); err != nil {
		return err.Error()
	}
	return ""
}

// trustedChecks is trusted for each file that the checks of a service execute.
func (h *host) trustedChecks(d *service.Declaration) error {
	for n := 1; n <= d.Instances; n++ {
		i, err := d.Instance(n)
		if err != nil {
			return nil //nolint:nilerr // the check of the whole reports it
		}
		for _, c := range []*service.Check{i.Ready, i.Alive} {
			if c == nil || len(c.Command) == 0 {
				continue
			}
			if err := h.trustedCommand(c.Command, h.pathOf(i.Env), d.User.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// entryLine returns the line of the entry of the configuration that matches a file.
func entryLine(c *configuration, file string) int {
	for i := range c.Discover {
		if ok, _ := filepath.Match(c.Discover[i].Env, file); ok {
			at, _ := c.Place(&c.Discover[i])
			return at.Line
		}
	}
	return 0
}

// scan looks for .env files. A dry run changes nothing that is remembered, nor logs warnings.
func (d *daemon) scan(entries []discover.Entry, dryRun bool) discover.Result {
	if dryRun {
		return d.discovered.Try(entries)
	}
	r := d.discovered.Scan(entries)
	warned := map[string]bool{}
	for _, f := range r.Found {
		for _, text := range f.Warnings {
			if !d.warned[text] {
				d.log.Warn("another program would read a line of this file differently", "service", f.Shown, "line", text)
			}
			warned[text] = true
		}
	}
	d.warned = warned
	return r
}

// An envCheck is what a look at the environment files of services finds.
type envCheck struct {
	found   []*service.Declaration // by .env files
	faults  []error                // the daemon starts nevertheless, and rejects the services
	notices []string
}

// envFiles reads the environment files of services as a load does, without the users.
func (h *host) envFiles(c *configuration) (e envCheck) {
	lookup := func(uid int) (*activation.Identity, error) {
		return &activation.Identity{UID: uid, Name: strconv.Itoa(uid)}, nil
	}
	own, _ := lookup(h.uid)
	declared, rejected, err := h.services(c, own)
	if err != nil {
		return e // the check of the configuration reports it
	}
	entries, err := entriesOf(c)
	if err != nil {
		return e
	}
	later := time.Now().Add(time.Minute) // a file that was changed just now is to be checked, too
	r := discover.Scan(entries, later, discover.Result{})
	found, more := h.discovered(c, r, declared, rejected, lookup)
	e.found = found
	for _, f := range append(rejected, more...) {
		e.faults = append(e.faults, f)
	}
	for _, f := range r.Found {
		e.notices = append(e.notices, f.Warnings...)
	}
	for i := range c.Discover {
		pattern := c.Discover[i].Env
		matches := func(f string) bool { ok, _ := filepath.Match(pattern, f); return ok }
		if !slices.ContainsFunc(r.Found, func(f discover.Found) bool { return matches(f.EnvFile) }) &&
			!slices.ContainsFunc(r.Rejected, func(f discover.Rejected) bool { return matches(f.File) }) {
			at, _ := c.Place(&c.Discover[i])
			e.notices = append(e.notices, fmt.Sprintf("%s:%d: %s: no file %s says DAEMON=true", c.File, at.Line, at.Key, pattern))
		}
	}
	return e
}
