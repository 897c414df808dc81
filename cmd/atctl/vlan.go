package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
)

func newVLANCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vlan COMMAND",
		Short: "VLANs of the laboratory's switches: who has which",
		Long: `Vlan shows and changes who has which VLANs. The daemon lends an activation the VLANs
that it asks for, takes them back when its deactivation is proved, and puts them into
quarantine when it is stuck: then a switch may still have them, and nobody gets them
until a later proof, or until somebody says "atctl vlan free".`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(cmd, fmt.Sprintf("there is no command vlan %q", args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newVLANPoolsCommand(a), newVLANListCommand(a), newVLANAllocCommand(a), newVLANReleaseCommand(a),
		newVLANQuarantineCommand(a), newVLANFreeCommand(a), newSectionCommand(a), newSectionsCommand(a))
	return cmd
}

func newVLANPoolsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "pools",
		Short: "Show the pools, and how much of each is free",
		Long: `Pools shows the inventory's pools, one for each domain of switches, and what has become
of their ids. OUTSIDE are ids that somebody has and that are not of the pool any more;
they are kept until they are given back.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.json {
				return a.printJSON(cmd.Context(), "vlan pools", nil)
			}
			t := newTable(os.Stdout, column{"DOMAIN", 0}, column{"IDS", 40}, column{"BUT", 40}, column{"FREE", 0},
				column{"LEASED", 0}, column{"QUARANTINED", 0}, column{"OUTSIDE", 0})
			err := stream(cmd.Context(), a, "vlan pools", nil, func(p control.VLANPool) error {
				return t.row(p.Domain, p.Ranges, p.Exclude, strconv.Itoa(p.Free), strconv.Itoa(p.Leased),
					strconv.Itoa(p.Quarantined), strconv.Itoa(p.Outside))
			})
			return errors.Join(err, t.flush())
		},
	}
}

func newVLANListCommand(a *app) *cobra.Command {
	var in control.VLANListIn
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the ids that are not free",
		Long:  `List shows who has which VLAN ids, what for and since when, and what is in quarantine and why.`,
		Args:  none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.json {
				return a.printJSON(cmd.Context(), "vlan list", in)
			}
			t := newTable(os.Stdout, column{"DOMAIN", 0}, column{"ID", 0}, column{"STATE", 0}, column{"HOLDER", 24},
				column{"LINK", 32}, column{"SINCE", 0}, column{"REASON", 0})
			now := time.Now()
			err := stream(cmd.Context(), a, "vlan list", in, func(l control.VLANLease) error {
				return t.row(l.Domain, strconv.Itoa(l.ID), l.State, l.Holder, l.Link, instant(l.Since, now), l.Reason)
			})
			return errors.Join(err, t.flush())
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Domain, "domain", "", "only those of `DOMAIN`")
	f.StringVar(&in.Holder, "holder", "", "only those of the activation or other `HOLDER`")
	f.StringVar(&in.State, "state", "", "only `leased|quarantined`")
	return cmd
}

func newVLANAllocCommand(a *app) *cobra.Command {
	var holder string
	cmd := &cobra.Command{
		Use:   "alloc DOMAIN[/ID]:LINK...",
		Short: "Get a VLAN for each link, or none at all",
		Long: `Alloc has the daemon lend one VLAN id for each LINK, out of the pool of its DOMAIN: the
lowest that is free, or the one that is asked for. It prints the ids, in the order of the
arguments. A link is any text that tells the holder's links apart; asking again for the
same one gives the same id. All are lent, or none.

In an activation's script the holder is the activation, which keeps them until its
deactivation is proved:

  set -- $(atctl vlan alloc ostrava:r1--r2 ostrava:r2--r3 karvina/150:r3--r4)

Others, such as an admin who needs a VLAN for a while, name themselves with --holder, and
give them back with release.`,
		Args: wants(1, 0, "DOMAIN:LINK for each link"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := control.VLANAllocIn{Holder: cmp.Or(holder, os.Getenv("ACTIVATION_ID"))}
			if in.Holder == "" {
				return usage(cmd, "alloc wants --holder, or ACTIVATION_ID")
			}
			for _, arg := range args {
				if err := addWant(&in, arg); err != nil {
					return err
				}
			}
			if a.json {
				return a.printJSON(cmd.Context(), "vlan alloc", in)
			}
			return stream(cmd.Context(), a, "vlan alloc", in, func(l control.VLANLease) error {
				_, err := fmt.Println(l.ID)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&holder, "holder", "", "for the activation, or other `HOLDER`; default: ACTIVATION_ID")
	return cmd
}

// addWant adds DOMAIN[/ID]:LINK to what is asked for.
func addWant(in *control.VLANAllocIn, arg string) error {
	domain, link, ok := strings.Cut(arg, ":")
	domain, id, named := strings.Cut(domain, "/")
	if !ok || domain == "" || link == "" || named && id == "" {
		return fmt.Errorf("%.80q: want DOMAIN:LINK or DOMAIN/ID:LINK: %w", arg, fault.Invalid)
	}
	in.Domain, in.Link, in.ID = append(in.Domain, domain), append(in.Link, link), append(in.ID, cmp.Or(id, "0"))
	return nil
}

func newVLANReleaseCommand(a *app) *cobra.Command {
	var in control.VLANReleaseIn
	cmd := &cobra.Command{
		Use:   "release {DOMAIN ID... | --holder HOLDER [--link LINK]}",
		Short: "Take VLANs back from who has them",
		Long: `Release takes ids back, though no deactivation has proved that no switch has them any
more: you say so. It does that with ids of a domain, or with all that a holder has.
What an activation may have on the switches just now it takes with --force only.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if in.Holder == "" && in.Link == "" {
				return wants(2, 0, "a domain and ids, or --holder")(cmd, args)
			}
			return none(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if in.Holder != "" || in.Link != "" {
				return a.tell(cmd.Context(), "vlan release", in)
			}
			return a.eachVLAN(cmd.Context(), "vlan release", args, func(domain string, id int) any {
				return control.VLANReleaseIn{Domain: domain, ID: id, Force: in.Force}
			})
		},
	}
	cmd.Flags().StringVar(&in.Holder, "holder", "", "all that `HOLDER` has")
	cmd.Flags().StringVar(&in.Link, "link", "", "only what the holder has for `LINK`")
	cmd.Flags().BoolVar(&in.Force, "force", false, "also from an activation that may have it on the switches")
	return cmd
}

func newVLANQuarantineCommand(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "quarantine DOMAIN ID...",
		Short: "Let nobody have an id",
		Long:  `Quarantine keeps ids from being lent, whether they are free or lent, until "atctl vlan free".`,
		Args:  wants(2, 0, "a domain and ids"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return usage(cmd, "quarantine wants --reason")
			}
			return a.eachVLAN(cmd.Context(), "vlan quarantine", args, func(domain string, id int) any {
				return control.VLANQuarantineIn{Domain: domain, ID: id, Reason: reason}
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`TEXT` that says why; needed")
	return cmd
}

func newVLANFreeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "free DOMAIN ID...",
		Short: "Take ids out of quarantine",
		Long: `Free takes ids out of quarantine, so that they are lent again: when you have seen to it
that no switch has them any more.`,
		Args: wants(2, 0, "a domain and ids"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.eachVLAN(cmd.Context(), "vlan free", args, func(domain string, id int) any {
				return control.VLANIn{Domain: domain, ID: id}
			})
		},
	}
}

// eachVLAN does one thing with several ids of a domain, and ends at the first
// failure.
func (a *app) eachVLAN(ctx context.Context, operation string, args []string, in func(domain string, id int) any) error {
	var ids []int
	for _, arg := range args[1:] {
		id, err := strconv.Atoi(arg)
		if err != nil {
			return fmt.Errorf("%.40q is no VLAN id: %w", arg, fault.Invalid)
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		if err := a.tell(ctx, operation, in(args[0], id)); err != nil {
			return err
		}
	}
	return nil
}
