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
		Short: "List the supported platforms of devices",
		Long: `Platforms lists the built-in platforms and, with an inventory, those in its directory of
templates: whether a platform is supported for switches and for nodes with a startup-config,
how it was tested, and for which kinds of nodes in a topology it is used. If you name
platforms, it prints all details of these, with the manuals that they are based on.

TRIED says on what a platform was tested: a device (hardware or software that laboratories
have), emulated (the platform's own software in an emulated machine), or a model (a program
that imitates the device as its manual describes it). A platform of your own is marked
with *.`,
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

// showPlatforms prints a table; the kinds may take several lines.
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

// showPlatform prints all details of a platform.
func showPlatform(p lab.About) {
	for _, f := range [][2]string{
		{"platform", p.Platform},
		{"switch", yes(p.Switch)},
		{"node", yes(p.Node)},
		{"tried", orNone(p.Tried)},
		{"kinds", orNone(strings.Join(p.Kinds, ", "))},
		{"manual", orNone(p.Manual)},
		{"file", cmp.Or(p.File, "built in")},
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

// fold breaks a text into lines that begin at a column.
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
