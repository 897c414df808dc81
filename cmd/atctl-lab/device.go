package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"activationd/internal/fault"
	"activationd/lab"
)

func newUploadCommand(a *app) *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "upload",
		Short: "Send the configurations to the devices",
		Long: `Upload keeps the plan that generate has made, and what each device was, on the disk, and
then sends the lines to all devices at once. What erase needs to know is there before
the first byte is sent. If another plan is kept already, it is taken off first.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := need(a.config, "config", "ACTIVATION_CONFIG_DIR"); err != nil {
				return err
			}
			if dry {
				p, _, err := lab.ReadPlan(a.config)
				if err == nil {
					a.show(p)
				}
				return err
			}
			if err := need(a.keep, "keep", "ACTIVATION_KEEP_DIR"); err != nil {
				return err
			}
			if err := a.inTime(os.Getenv("ACTIVATION_DEADLINE"), os.Getenv("ACTIVATION_DEACTIVATE_TIMEOUT")); err != nil {
				return err
			}
			return a.work().Upload(cmd.Context(), a.config, a.keep)
		},
	}
	a.configFlag(cmd, "config", "the plan is in `DIR`")
	a.keepFlag(cmd)
	a.activationFlag(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "send nothing; show what would be sent")
	return cmd
}

// inTime is an error if the slowest device needs longer than there is until the deadline,
// or longer to be made what it was than a deactivation may take: then it is better to begin
// with nothing. By hand, and where there is no limit, both are empty.
func (a *app) inTime(deadline, undo string) error {
	p, platforms, err := lab.ReadPlan(a.config)
	if err != nil {
		return err
	}
	end, err := time.Parse(time.RFC3339Nano, deadline)
	if needs, left := p.Duration(), time.Until(end); err == nil && needs > left {
		return fmt.Errorf("the slowest device needs at least %v by its pace, and the timeout ends it in %v; raise the reservation's timeout: %w",
			needs.Round(time.Second), left.Round(time.Second), fault.Invalid)
	}
	limit, err := time.ParseDuration(undo)
	if needs := p.Undoing(platforms); err == nil && needs > limit {
		return fmt.Errorf("taking it off the slowest device again needs at least %v by its pace, and a deactivation is ended after %v; raise deactivate_timeout: %w",
			needs.Round(time.Second), limit, fault.Invalid)
	}
	return nil
}

// hurry says at once that an erase cannot be done in time. It begins all the same: what
// is off is off.
func (a *app) hurry(deadline string) {
	end, err := time.Parse(time.RFC3339Nano, deadline)
	if err != nil {
		return
	}
	p, platforms, err := lab.ReadKept(a.keep)
	if err != nil {
		return // erase tells
	}
	if needs, left := p.Undoing(platforms), time.Until(end); needs > left {
		fmt.Fprintf(os.Stderr, "atctl: the slowest device needs at least %v by its pace, and the timeout ends this in %v; raise deactivate_timeout\n",
			needs.Round(time.Second), left.Round(time.Second))
	}
}

func newVerifyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read back from the devices whether it is there",
		Long: `Verify asks every device whether all that was applied is there: the plan that upload has
kept, or without one that in the directory. A device's OK is not believed.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, platforms, err := a.applied()
			if err != nil {
				return err
			}
			return a.work().Verify(cmd.Context(), p, platforms)
		},
	}
	a.configFlag(cmd, "config", "the plan is in `DIR`")
	a.keepFlag(cmd)
	a.activationFlag(cmd)
	return cmd
}

// applied reads the kept plan, or the generated one.
func (a *app) applied() (*lab.Plan, map[string]*lab.Platform, error) {
	if a.keep != "" {
		p, platforms, err := lab.ReadKept(a.keep)
		if err == nil || !errors.Is(err, fault.NotFound) {
			return p, platforms, err
		}
	}
	if err := need(a.config, "config", "ACTIVATION_CONFIG_DIR"); err != nil {
		return nil, nil, err
	}
	return lab.ReadPlan(a.config)
}

func newEraseCommand(a *app) *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "erase",
		Short: "Take off the devices what was applied, and prove it",
		Long: `Erase undoes what upload has kept, whole or in part, in whatever state it is, reads back
that every device is clean, and only then forgets it. The topology and the inventory
of today do not matter. With nothing kept there is nothing to do.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := need(a.keep, "keep", "ACTIVATION_KEEP_DIR"); err != nil {
				return err
			}
			if dry {
				return a.dryErase()
			}
			a.hurry(os.Getenv("ACTIVATION_DEADLINE"))
			return a.work().Erase(cmd.Context(), a.keep)
		},
	}
	a.configFlag(cmd, "config", "transcripts are written into `DIR`")
	a.keepFlag(cmd)
	a.activationFlag(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "send nothing; show what would be undone")
	return cmd
}

func (a *app) dryErase() error {
	p, _, err := lab.ReadKept(a.keep)
	if errors.Is(err, fault.NotFound) {
		a.say("", "nothing was applied")
		return nil
	}
	if err != nil {
		return err
	}
	for _, d := range p.Devices {
		if a.json {
			a.printJSON(planLine{Device: d.Name, Platform: d.Platform, Connect: d.Way.Connect, Undo: d.Undo})
			continue
		}
		fmt.Printf("%s (%s, %s)\n", d.Name, d.Platform, d.Way.Connect)
		for _, l := range d.Undo {
			fmt.Println("  -", l)
		}
	}
	return nil
}
