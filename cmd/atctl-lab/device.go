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
		Long: `Upload stores the plan of generate and the current configuration of each device on the
disk, and then sends the lines to all devices at the same time. Everything that erase needs
is on the disk before the first byte is sent. If another plan is stored already, upload
erases it first.`,
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
			p, platforms, err := lab.ReadPlan(a.config)
			if err == nil {
				err = inTime(p, platforms)
			}
			if err != nil {
				return err
			}
			defer a.line.Clear()
			return a.work().Upload(cmd.Context(), a.config, a.keep)
		},
	}
	a.configFlag(cmd, "config", "read the plan from `DIR`")
	a.keepFlag(cmd)
	a.activationFlag(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "send nothing; show what would be sent")
	return cmd
}

func newApplyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Do the work of generate, upload and verify",
		Long: `Apply leases VLANs, writes the configurations, sends them to the devices and checks that the
devices have them. It does the work of generate, upload and verify, and does it faster:
switches, for which several labs may be waiting, are configured and read back in one
session each.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := need(a.keep, "keep", "ACTIVATION_KEEP_DIR"); err != nil {
				return err
			}
			p, platforms, err := a.generate(cmd.Context())
			if err == nil {
				err = inTime(p, platforms)
			}
			if err != nil {
				return err
			}
			defer a.line.Clear()
			return a.work().Apply(cmd.Context(), a.config, a.keep)
		},
	}
	a.inputFlags(cmd)
	a.configFlag(cmd, "out", "write the plan into `DIR`")
	a.keepFlag(cmd)
	return cmd
}

// inTime returns an error if the slowest device cannot be configured before the deadline, or
// if undoing that would take longer than a deactivation may: then nothing is sent. Without a
// limit, and outside of scripts of the daemon, the variables are not set.
func inTime(p *lab.Plan, platforms map[string]*lab.Platform) error {
	deadline, undo := os.Getenv("ACTIVATION_DEADLINE"), os.Getenv("ACTIVATION_DEACTIVATE_TIMEOUT")
	end, err := time.Parse(time.RFC3339Nano, deadline)
	if needs, left := p.Duration(), time.Until(end); err == nil && needs > left {
		return fmt.Errorf("the slowest device needs at least %v at its pace, but the timeout ends in %v; raise the reservation's timeout: %w",
			needs.Round(time.Second), left.Round(time.Second), fault.Invalid)
	}
	limit, err := time.ParseDuration(undo)
	if needs := p.UndoDuration(platforms); err == nil && needs > limit {
		return fmt.Errorf("undoing it on the slowest device needs at least %v at its pace, but a deactivation is ended after %v; raise deactivate_timeout: %w",
			needs.Round(time.Second), limit, fault.Invalid)
	}
	return nil
}

// warnIfLate warns if an erase cannot be finished in time. The erase begins nevertheless:
// each line that it undoes is useful.
func (a *app) warnIfLate(deadline string) {
	end, err := time.Parse(time.RFC3339Nano, deadline)
	if err != nil {
		return
	}
	p, platforms, err := lab.ReadKept(a.keep)
	if err != nil {
		return // erase reports it
	}
	if needs, left := p.UndoDuration(platforms), time.Until(end); needs > left {
		fmt.Fprintf(os.Stderr, "atctl: the slowest device needs at least %v at its pace, but the timeout ends in %v; raise deactivate_timeout\n",
			needs.Round(time.Second), left.Round(time.Second))
	}
}

func newVerifyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that the devices have the configurations",
		Long: `Verify reads the configuration back from every device and compares it with the plan that
upload has stored, or else with the plan of --config. It does not rely on the OK of a
device.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, platforms, err := a.applied()
			if err != nil {
				return err
			}
			return a.work().Verify(cmd.Context(), p, platforms)
		},
	}
	a.configFlag(cmd, "config", "read the plan from `DIR`")
	a.keepFlag(cmd)
	a.activationFlag(cmd)
	return cmd
}

// applied reads the stored plan, or else the generated one.
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
		Short: "Undo the configurations on the devices, and check that",
		Long: `Erase undoes the plan that upload has stored, even if only a part of it was applied. It
checks that nothing of the plan is left on any device, and only then removes the stored
plan. Changes of the topology and the inventory since the upload do not matter. If no plan
is stored, there is nothing to do.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := need(a.keep, "keep", "ACTIVATION_KEEP_DIR"); err != nil {
				return err
			}
			if dry {
				return a.dryErase()
			}
			a.warnIfLate(os.Getenv("ACTIVATION_DEADLINE"))
			return a.work().Erase(cmd.Context(), a.keep)
		},
	}
	a.configFlag(cmd, "config", "write transcripts into `DIR`")
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
			a.printJSON(planLine{Device: d.Name, Platform: d.Platform, Connect: d.Access.Connect, Undo: d.Undo})
			continue
		}
		fmt.Printf("%s (%s, %s)\n", d.Name, d.Platform, d.Access.Connect)
		for _, l := range d.Undo {
			fmt.Println("  -", l)
		}
	}
	return nil
}
