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
		Short: "Show which jobs hold locks, and which wait for them",
		Long: `Locks draws a tree. At the top is each job or reservation that holds a lock or a device.
Below it are the jobs and reservations that wait for it, with the lock. Below each of these
are those that wait for it, and so on. A job that waits for several others is drawn below
each of them, but the jobs below it are drawn only once.

With --json it prints one object for each lock and each job that holds it (what: holds) or
waits for it (what: waits), in the order of the queue.`,
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
	p := waitTree{holds: make(map[string][]string), below: make(map[string][]control.Lock),
		known: make(map[string]bool), waits: make(map[string]bool), drawn: make(map[string]bool)}
	err := stream(ctx, a, "locks", control.Nothing{}, func(l control.Lock) error {
		p.add(l)
		return nil
	})
	if err != nil {
		return err
	}
	if len(p.ids) == 0 {
		_, err := fmt.Println("no job or reservation holds a lock or waits for one")
		return err
	}
	return p.draw()
}

// A waitTree says which activations wait for which.
type waitTree struct {
	holds map[string][]string       // the locks that an id holds
	below map[string][]control.Lock // the activations that wait for an id
	ids   []string                  // in the order of their arrival
	known map[string]bool
	waits map[string]bool // for another activation
	drawn map[string]bool
}

func (p *waitTree) add(l control.Lock) {
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

func (p *waitTree) know(id string) {
	if !p.known[id] {
		p.known[id] = true
		p.ids = append(p.ids, id)
	}
}

// draw draws the tree. Activations that wait for no other are at the left.
func (p *waitTree) draw() error {
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

func (p *waitTree) drawBelow(id, indent string) error {
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
