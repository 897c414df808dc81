package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/help"
)

func newVLANCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vlan COMMAND",
		Short: "Show and change leases of VLANs on the laboratory's switches",
		Long: `Vlan shows and changes leases of VLANs. The scripts of a reservation lease VLANs from
the daemon. The daemon releases them when the deactivation is verified. If the
deactivation is stuck, the daemon puts them into quarantine: a switch may still be
configured with them, so they are not leased again until a deactivation is verified, or
until you use "atctl vlan free".`,
		Args: help.Unknown,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newVLANPoolsCommand(a), newVLANListCommand(a), newVLANAllocCommand(a), newVLANReleaseCommand(a),
		newVLANQuarantineCommand(a), newVLANFreeCommand(a), newSectionCommand(a), newSectionsCommand(a))
	return cmd
}

func newVLANPoolsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "pools",
		Short: "Show the pools, and how many ids of each are free",
		Long: `Pools shows the pools of the inventory, one for each domain of switches, with the number
of ids in each state. OUTSIDE counts ids that are leased but no longer belong to the pool;
they stay leased until they are released.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.json {
				return a.printJSON(cmd.Context(), "vlan pools", nil)
			}
			t := newTable(os.Stdout, column{"DOMAIN", 0}, column{"IDS", 40}, column{"EXCEPT", 40}, column{"FREE", 0},
				column{"LEASED", 0}, column{"QUARANTINED", 0}, column{"OUTSIDE", 0})
			err := stream(cmd.Context(), a, "vlan pools", nil, func(p control.VLANPool) error {
				return t.row(p.Domain, p.Ranges, p.Exclude, strconv.Itoa(p.Free), strconv.Itoa(p.Leased),
					strconv.Itoa(p.Quarantined), strconv.Itoa(p.Outside))
			})
			return t.end(err)
		},
	}
}

func newVLANListCommand(a *app) *cobra.Command {
	var in control.VLANListIn
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the ids that are not free",
		Long:  `List shows the leased VLAN ids with holder, link and time, and the ids in quarantine with the reason.`,
		Args:  none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.json {
				return a.printJSON(cmd.Context(), "vlan list", in)
			}
			t := newTable(os.Stdout, column{"DOMAIN", 0}, column{"ID", 0}, column{"STATE", 0}, column{"HOLDER", 24},
				column{"LINK", 32}, column{"SINCE", 0}, column{"REASON", 0})
			var err error
			if t.times, err = a.clock(cmd.Context()); err != nil {
				return err
			}
			err = stream(cmd.Context(), a, "vlan list", in, func(l control.VLANLease) error {
				return t.row(l.Domain, strconv.Itoa(l.ID), l.State, l.Holder, l.Link, l.Since, l.Reason)
			})
			return t.end(err)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Domain, "domain", "", "only ids of `DOMAIN`")
	f.StringVar(&in.Holder, "holder", "", "only ids of the activation or other `HOLDER`")
	f.StringVar(&in.State, "state", "", "only `leased|quarantined`")
	return cmd
}

func newVLANAllocCommand(a *app) *cobra.Command {
	var holder string
	cmd := &cobra.Command{
		Use:   "alloc DOMAIN[/ID]:LINK...",
		Short: "Lease a VLAN for each link, or none at all",
		Long: `Alloc leases one VLAN id for each LINK, from the pool of its DOMAIN: the lowest free id,
or the given ID. It prints the ids in the order of the arguments. A link is any text that
distinguishes the links of the holder; leasing for the same link again returns the same
id. Either all ids are leased, or none.

In the script of an activation, the holder is the activation, which keeps the ids until
its deactivation is verified:

  set -- $(atctl vlan alloc ostrava:r1--r2 karvina/150:r2--r3)

Other users, such as an admin who needs a VLAN for a while, choose a name for --holder,
and release the ids with "atctl vlan release".`,
		Args: takes(1, 0, "DOMAIN:LINK for each link"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := control.VLANAllocIn{Holder: cmp.Or(holder, os.Getenv("ACTIVATION_ID"))}
			if in.Holder == "" {
				return usage(cmd, "alloc needs --holder, or ACTIVATION_ID")
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
	cmd.Flags().StringVar(&holder, "holder", "", "lease for the activation or other `HOLDER`; default: ACTIVATION_ID")
	return cmd
}

// addWant adds DOMAIN[/ID]:LINK to the request.
func addWant(in *control.VLANAllocIn, arg string) error {
	domain, link, ok := strings.Cut(arg, ":")
	domain, id, named := strings.Cut(domain, "/")
	if !ok || domain == "" || link == "" || named && id == "" {
		return fmt.Errorf("%.80q: must be DOMAIN:LINK or DOMAIN/ID:LINK: %w", arg, fault.Invalid)
	}
	in.Domain, in.Link, in.ID = append(in.Domain, domain), append(in.Link, link), append(in.ID, cmp.Or(id, "0"))
	return nil
}

func newVLANReleaseCommand(a *app) *cobra.Command {
	var in control.VLANReleaseIn
	cmd := &cobra.Command{
		Use:   "release {DOMAIN ID... | --holder HOLDER [--link LINK]}",
		Short: "End leases of VLANs",
		Long: `Release ends the leases of ids of a domain, or of all ids of a holder. It does not check the
switches: make sure first that none is configured with the ids. If the daemon knows of an
activation that may have configured switches with an id, release needs --force.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if in.Holder == "" && in.Link == "" {
				return takes(2, 0, "a domain and ids, or --holder")(cmd, args)
			}
			return none(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if in.Holder != "" || in.Link != "" {
				return a.do(cmd.Context(), "vlan release", in)
			}
			return a.forEachVLAN(cmd.Context(), "vlan release", args, func(domain string, id int) any {
				return control.VLANReleaseIn{Domain: domain, ID: id, Force: in.Force}
			})
		},
	}
	cmd.Flags().StringVar(&in.Holder, "holder", "", "release all ids of `HOLDER`")
	cmd.Flags().StringVar(&in.Link, "link", "", "release only the holder's id for `LINK`")
	cmd.Flags().BoolVar(&in.Force, "force", false, "release ids even if switches may be configured with them")
	return cmd
}

func newVLANQuarantineCommand(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "quarantine DOMAIN ID...",
		Short: "Keep ids from being leased",
		Long:  `Quarantine keeps free or leased ids from being leased again until "atctl vlan free".`,
		Args:  takes(2, 0, "a domain and ids"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return usage(cmd, "quarantine needs --reason")
			}
			return a.forEachVLAN(cmd.Context(), "vlan quarantine", args, func(domain string, id int) any {
				return control.VLANQuarantineIn{Domain: domain, ID: id, Reason: reason}
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "record `TEXT` as the reason; required")
	return cmd
}

func newVLANFreeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "free DOMAIN ID...",
		Short: "Remove ids from quarantine",
		Long: `Free removes ids from quarantine, so that they can be leased again. Make sure first that
no switch is configured with them.`,
		Args: takes(2, 0, "a domain and ids"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.forEachVLAN(cmd.Context(), "vlan free", args, func(domain string, id int) any {
				return control.VLANIn{Domain: domain, ID: id}
			})
		},
	}
}

// forEachVLAN does the same with several ids of a domain, and stops at the first failure.
func (a *app) forEachVLAN(ctx context.Context, operation string, args []string, in func(domain string, id int) any) error {
	var ids []int
	for _, arg := range args[1:] {
		id, err := strconv.Atoi(arg)
		if err != nil {
			return fmt.Errorf("%.40q is not a VLAN id: %w", arg, fault.Invalid)
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		if err := a.do(ctx, operation, in(args[0], id)); err != nil {
			return err
		}
	}
	return nil
}
