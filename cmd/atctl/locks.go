package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"activationd/control"
)

func newLocksCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "locks",
		Short: "Show who holds each lock, and who waits for whom",
		Long: `Locks draws, below everyone who holds a lock or a device, those who wait for it, and
below these who waits for them, each with the lock that it is about. Who waits for
several is drawn below each of them, what waits for him only once.

With --json it prints one object for each lock and each who holds it (what: holds) or
is in line for it (what: waits), in the order of the line.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runLocks(cmd.Context(), a)
		},
	}
}

func runLocks(ctx context.Context, a *app) error {
	if a.json {
		return a.printJSON(ctx, "locks", control.Nothing{})
	}
	p := picture{holds: make(map[string][]string), below: make(map[string][]control.Lock),
		known: make(map[string]bool), waits: make(map[string]bool), drawn: make(map[string]bool)}
	err := stream(ctx, a, "locks", control.Nothing{}, func(l control.Lock) error {
		p.add(l)
		return nil
	})
	if err != nil {
		return err
	}
	return p.draw()
}

// A picture is who waits for whom.
type picture struct {
	holds map[string][]string       // the locks that an id holds
	below map[string][]control.Lock // who waits for an id
	ids   []string                  // in the order in which they came
	known map[string]bool
	waits map[string]bool // for somebody
	drawn map[string]bool
}

func (p *picture) add(l control.Lock) {
	p.know(l.ID)
	if l.What == "holds" {
		p.holds[l.ID] = append(p.holds[l.ID], l.Want)
		return
	}
	for _, id := range l.For {
		p.waits[l.ID] = true
		p.know(id)
		p.below[id] = append(p.below[id], l)
	}
}

func (p *picture) know(id string) {
	if !p.known[id] {
		p.known[id] = true
		p.ids = append(p.ids, id)
	}
}

// draw draws all; who waits for nobody stands at the left.
func (p *picture) draw() error {
	for _, id := range p.ids {
		if p.waits[id] {
			continue
		}
		line := printable(id)
		if len(p.holds[id]) > 0 {
			line += " holds " + printable(strings.Join(p.holds[id], ", "))
		}
		if _, err := fmt.Fprintln(os.Stdout, line); err != nil {
			return err
		}
		if err := p.drawBelow(id, ""); err != nil {
			return err
		}
	}
	return nil
}

func (p *picture) drawBelow(id, indent string) error {
	if p.drawn[id] {
		return nil
	}
	p.drawn[id] = true
	for i, l := range p.below[id] {
		branch, deeper := "├─ ", "│  "
		if i == len(p.below[id])-1 {
			branch, deeper = "└─ ", "   "
		}
		if _, err := fmt.Fprintf(os.Stdout, "%s%s%s waits for %s\n", indent, branch, printable(l.ID), printable(l.Want)); err != nil {
			return err
		}
		if err := p.drawBelow(l.ID, indent+deeper); err != nil {
			return err
		}
	}
	return nil
}
