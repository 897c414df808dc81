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

// A reservationCheck reads files of reservations as a load does, and announces nothing.
type reservationCheck struct {
	host    *host
	config  *configuration
	ids     map[string]string // where each id was read first
	faults  []error
	notices []string
	read    []string // what was read, for the user
}

// sources reads the sources of the configuration that are files. A file that does not exist
// may appear later; the check of the configuration has a notice of it.
func (c *reservationCheck) sources() {
	for i := range c.config.Sources {
		s := &c.config.Sources[i]
		if s.Files == "" || s.SQL != nil {
			continue
		}
		if _, err := os.Stat(s.Files); errors.Is(err, fs.ErrNotExist) {
			c.read = append(c.read, s.Files)
			continue
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
	var source reservation.Source = c.host.fileSource(s)
	if c.config.Lab.Inventory != "" {
		source = checkedSource{source, c.config.Lab.Inventory}
	}
	set, err := source.Load(context.Background())
	if err != nil {
		for text := range strings.SplitSeq(fault.Text(err), "\n") {
			c.wrong(text)
		}
		return
	}
	announced := announce.Source{Source: source, Lead: s.Reservations.Lead, Tail: s.Reservations.Tail, Missed: s.Reservations.Missed}
	announced.Settle(&set)
	dir := sourceDir(s.Files)
	for _, x := range set.Rejects {
		for _, text := range x.Faults() {
			c.wrong(filepath.Join(dir, text))
		}
	}
	var odd []string
	for i := range set.Reservations {
		r := &set.Reservations[i]
		where := filepath.Join(dir, r.Where)
		if other, twice := c.ids[r.ID]; twice {
			c.wrong(fmt.Sprintf("%s: id: %s is already used at %s", where, r.ID, other))
			continue
		}
		c.ids[r.ID] = where
		if r.End.Before(time.Now()) {
			odd = append(odd, fmt.Sprintf("%s: %s: its slot ended at %s, so it is passed over unless it is known already", where, r.ID, activation.TimeText(r.End)))
			continue
		}
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
		c.notices = append(c.notices, fmt.Sprintf("%s: there are %d more reservations like these", s.Files, n))
	}
	c.read = append(c.read, fmt.Sprintf("%s: %d reservation(s)", s.Files, len(set.Reservations)))
}

// maxOdd bounds the notices about the reservations of one source.
const maxOdd = 20

func (c *reservationCheck) wrong(text string) {
	c.faults = append(c.faults, fmt.Errorf("%s: %w", text, fault.Invalid))
}
