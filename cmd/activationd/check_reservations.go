package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"activationd/activation"
	"activationd/activation/announce"
	"activationd/calendar"
	"activationd/internal/config"
	"activationd/internal/document"
	"activationd/internal/fault"
	"activationd/reservation"
)

// sortFiles returns those of the files of the command line that have reservations: a file
// whose key reservations is a list, and a directory. Another file is the configuration.
func (o *options) sortFiles() (reservations []string, err error) {
	for _, name := range o.files {
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", err, fault.NotFound)
		}
		data, _ := os.ReadFile(name) // an error is for the reader of the configuration
		if info.IsDir() || document.HasList(data, "reservations") {
			reservations = append(reservations, name)
			continue
		}
		if o.config != "" {
			return nil, fmt.Errorf("%s and %s are not files of reservations; only one configuration can be checked: %w", o.config, name, fault.Invalid)
		}
		o.config = name
	}
	return reservations, nil
}

// A reservationCheck reads files and databases of reservations as a load does, and announces
// nothing.
type reservationCheck struct {
	host    *host
	config  *configuration
	ids     map[string]string // where each id was read first
	uses    []calendar.Use    // in the order in which a load would announce them
	faults  []error
	notices []string
	read    []string // what was read, for the user
}

// sources reads the sources of the configuration; those that are databases only withSQL. A
// file that does not exist may appear later; the check of the configuration has a notice of
// it.
func (c *reservationCheck) sources(withSQL bool) {
	for i := range c.config.Sources {
		s := &c.config.Sources[i]
		switch {
		case s.SQL != nil && !withSQL:
			c.read = append(c.read, fmt.Sprintf("%s database %s, not read; --sql reads it", s.SQL.Driver, s.SQL.Name))
			continue
		case s.HTTP != "": // the daemon has its content
			c.read = append(c.read, "source "+s.HTTP+", whose reservations clients put into the daemon, not read")
			continue
		case s.SQL == nil && s.Files == "", s.SQL != nil && s.SQL.DSN == "":
			continue // the check of the configuration reports it
		case s.SQL == nil:
			if _, err := os.Stat(s.Files); errors.Is(err, fs.ErrNotExist) {
				c.read = append(c.read, s.Files)
				continue
			}
		}
		c.source(s)
	}
}

// files reads files that are no sources. The configuration's defaults hold for them.
func (c *reservationCheck) files(names []string) {
	for _, name := range names {
		c.source(&config.Source{Files: filepath.Clean(name), Reservations: c.config.Reservations})
	}
}

func (c *reservationCheck) source(s *config.Source) {
	source, err := c.host.newSource(s)
	if err != nil {
		return // the check of the configuration reports it
	}
	source = checked(source, c.config)
	set, err := source.Load(context.Background()) // which ends in time: see package sql
	if err != nil {
		for text := range strings.SplitSeq(fault.Text(err), "\n") {
			if at, ok := c.config.Place(s); ok && s.SQL != nil {
				text = fmt.Sprintf("%s:%d: %s: %s", c.config.File, at.Line, at.Key, text)
			}
			c.wrong(text)
		}
		return
	}
	announced := announce.Source{Source: source, Lead: s.Reservations.Lead, Tail: s.Reservations.Tail, Missed: s.Reservations.Missed, Priority: s.Priority}
	announced.Settle(&set)
	place := func(at string) string { return source.Name() + ": " + at }
	if s.SQL == nil {
		dir := sourceDir(s.Files)
		place = func(at string) string { return filepath.Join(dir, at) }
	}
	for _, x := range set.Rejects {
		for _, text := range x.Faults() {
			c.wrong(place(text))
		}
	}
	var odd []string
	over := 0
	for i := range set.Reservations {
		r := &set.Reservations[i]
		where := place(r.Where)
		if other, twice := c.ids[r.ID]; twice {
			c.wrong(fmt.Sprintf("%s: id: %s is already used at %s", where, r.ID, other))
			continue
		}
		c.ids[r.ID] = where
		if r.End.Before(time.Now()) {
			if over++; s.SQL == nil { // a database keeps them
				odd = append(odd, fmt.Sprintf("%s: %s: its slot ended at %s, so it is passed over unless it is known already", where, r.ID, activation.TimeText(r.End)))
			}
			continue
		}
		c.use(r)
		env := maps.Clone(s.Reservations.Environment)
		maps.Copy(env, r.Env)
		for _, command := range [][]string{r.Activate, r.Deactivate} {
			if text := c.host.missing(command, "", env, s.Reservations.User); text != "" {
				odd = append(odd, fmt.Sprintf("%s: %s: %s", where, r.ID, text))
			}
		}
	}
	c.notices = append(c.notices, set.Notices...)
	c.notices = append(c.notices, odd[:min(len(odd), maxOdd)]...)
	if n := len(odd) - maxOdd; n > 0 {
		c.notices = append(c.notices, fmt.Sprintf("%s: there are %d more reservations like these", source.Name(), n))
	}
	text := fmt.Sprintf("%s: %d reservation(s)", source.Name(), len(set.Reservations))
	if s.SQL != nil && over > 0 {
		text += fmt.Sprintf(", of which %d are over", over)
	}
	c.read = append(c.read, text)
}

// use notes what a reservation will occupy.
func (c *reservationCheck) use(r *reservation.Reservation) {
	u := calendar.Use{
		ID: r.ID, From: r.Start.Add(-*r.Lead), To: r.End, Devices: r.Devices,
		Priority: r.Priority, Announced: uint64(len(c.uses)),
	}
	if c.config.Lab.Inventory != "" { // otherwise no pool is known
		u.VLANs = r.VLANs
	}
	c.uses = append(c.uses, u)
}

// conflicts adds a notice for each reservation that cannot have what it wants: an operator
// may settle it before it starts, and it waits otherwise.
func (c *reservationCheck) conflicts() {
	l := calendar.Limits{Now: time.Now(), Runs: c.config.Runs.MaxParallel, VLANs: make(map[string]int)}
	for domain, pool := range c.config.pools {
		l.VLANs[domain] = pool.Size()
	}
	found := calendar.Judge(c.uses, l)
	said := 0
	for i := range c.uses {
		id := c.uses[i].ID
		conflicts := found[id]
		if len(conflicts) == 0 {
			continue
		}
		if said++; said > maxOdd {
			continue
		}
		for j := range conflicts {
			for k, other := range conflicts[j].With {
				conflicts[j].With[k] = fmt.Sprintf("%s (%s)", other, c.ids[other])
			}
		}
		c.notices = append(c.notices, fmt.Sprintf("%s: %s: %s", c.ids[id], id, activation.ConflictsText(conflicts)))
	}
	if said > maxOdd {
		c.notices = append(c.notices, fmt.Sprintf("there are %d more reservations with conflicts", said-maxOdd))
	}
}

// maxOdd bounds the notices about the reservations of one source.
const maxOdd = 20

func (c *reservationCheck) wrong(text string) {
	c.faults = append(c.faults, fmt.Errorf("%s: %w", text, fault.Invalid))
}
