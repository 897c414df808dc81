package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"activationd/activation"
	"activationd/activation/service"
	"activationd/activation/service/discover"
	"activationd/internal/fault"
)

// entriesOf returns where a configuration looks for .env files.
func entriesOf(c *configuration) ([]discover.Entry, error) {
	var entries []discover.Entry
	for _, d := range c.Discover {
		e := discover.Entry{Pattern: d.Env, User: d.User}
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
// configuration c itself declares declared, and its services win. Lookup finds a user.
func (h *host) discovered(c *configuration, r discover.Result, declared []*service.Declaration, lookup func(uid int) (*activation.Identity, error)) ([]*service.Declaration, []*service.Fault) {
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
			rejected = append(rejected, &service.Fault{Service: &d, Text: fmt.Sprintf("the configuration declares the service %s, too (%s:%d), and wins: rename the directory, or remove DAEMON=true", declared[i].Shown, declared[i].File, declared[i].Lines[""])})
			continue
		}
		found = append(found, &d)
	}
	sound, faults := service.Validate(found)
	found = slices.DeleteFunc(found, func(d *service.Declaration) bool { return sound[d.Name] != d })
	rejected = append(rejected, faults...)
	for _, f := range r.Rejected {
		d := service.New(f.Name)
		d.File, d.Lines = c.File, map[string]int{"": h.entryLine(c, f.File)}
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
	if h.uid != 0 && uid != h.uid {
		return fmt.Sprintf("its user would be %d: only root can run something as another user", uid)
	}
	id, err := lookup(uid)
	if err != nil {
		return err.Error()
	}
	d.User = id
	return ""
}

// entryLine returns the line of the entry of the configuration that matches a file.
func (h *host) entryLine(c *configuration, file string) int {
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

// envFiles returns what is wrong with the environment files of services. The daemon starts
// nevertheless, and rejects the services.
func (h *host) envFiles(c *configuration) []error {
	lookup := func(uid int) (*activation.Identity, error) { return &activation.Identity{UID: uid}, nil }
	own, _ := lookup(h.uid)
	declared, rejected, err := h.services(c, own)
	if err != nil {
		return nil // the check of the configuration reports it
	}
	entries, err := entriesOf(c)
	if err != nil {
		return nil
	}
	later := time.Now().Add(time.Minute) // a file that was changed just now is to be checked, too
	_, more := h.discovered(c, discover.Scan(entries, later, discover.Result{}), declared, lookup)
	var errs []error
	for _, f := range append(rejected, more...) {
		errs = append(errs, f)
	}
	return errs
}
