package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"activationd/lab"
)

func newPlatformsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "platforms [NAME...]",
		Short: "List the platforms that devices may be of",
		Long: `Platforms lists the platforms, those that come with the program and, with an inventory,
those in its templates' directory: whether a switch below labs may be one, whether a node
with a startup-config may, on what it was tried, and which kinds of a topology's nodes it
serves. Of those that are named all is told, with the manual by which they were written.

Tried on a device is: on the hardware or software that labs have; emulated: on its own
software in an emulated machine; model: only on a model written by the manual. A platform
of your own is marked with *.`,
		RunE: func(_ *cobra.Command, names []string) error {
			return a.platforms(names)
		},
	}
	a.inventoryFlag(cmd)
	return cmd
}

func (a *app) platforms(names []string) error {
	dir := ""
	if a.inventory != "" {
		inv, err := lab.ReadInventory(a.inventory)
		if err != nil {
			return err
		}
		dir = inv.Templates
	}
	whole := len(names) > 0
	if !whole {
		var err error
		if names, err = lab.PlatformNames(dir); err != nil {
			return err
		}
	}
	var all []lab.About
	var errs []error
	for _, name := range names {
		p, err := lab.LoadPlatform(dir, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, p.About(dir))
	}
	switch {
	case a.json:
		for _, p := range all {
			a.printJSON(p)
		}
	case whole:
		for i, p := range all {
			if i > 0 {
				fmt.Println()
			}
			showPlatform(p)
		}
	default:
		showPlatforms(all)
	}
	return errors.Join(errs...)
}

const width = 80

// showPlatforms prints a table; the kinds go on over several lines.
func showPlatforms(all []lab.About) {
	longest := len("PLATFORM")
	for _, p := range all {
		longest = max(longest, len(p.Platform)+1)
	}
	row := func(name, isSwitch, node, tried, kinds string) {
		before := fmt.Sprintf("%-*s  %-6s  %-4s  %-8s  ", longest, name, isSwitch, node, tried)
		fmt.Println(before + fold(kinds, len(before)))
	}
	row("PLATFORM", "SWITCH", "NODE", "TRIED", "KINDS")
	for _, p := range all {
		name := p.Platform
		if p.File != "" {
			name += "*"
		}
		row(name, yes(p.Switch), yes(p.Node), orNone(p.Tried), orNone(strings.Join(p.Kinds, ", ")))
	}
}

// showPlatform prints all of one.
func showPlatform(p lab.About) {
	for _, f := range [][2]string{
		{"platform", p.Platform},
		{"switch", yes(p.Switch)},
		{"node", yes(p.Node)},
		{"tried", orNone(p.Tried)},
		{"kinds", orNone(strings.Join(p.Kinds, ", "))},
		{"manual", orNone(p.Manual)},
		{"file", cmp.Or(p.File, "comes with the program")},
	} {
		fmt.Printf("%-8s  %s\n", f[0], fold(f[1], len("platform  ")))
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func orNone(s string) string { return cmp.Or(s, "-") }

// fold puts the words of a text into lines that all begin behind so many columns.
func fold(text string, column int) string {
	var b strings.Builder
	at := column
	for i, w := range strings.Fields(text) {
		switch {
		case i == 0:
		case at+1+len(w) > width:
			b.WriteString("\n" + strings.Repeat(" ", column))
			at = column
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(w)
		at += len(w)
	}
	return b.String()
}
