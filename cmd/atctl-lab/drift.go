package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"activationd/lab"
)

func newDriftCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drift",
		Short: "Compare the switches with what should be there",
		Long: `Drift asks every switch of the inventory what its ports have, and the daemon which VLANs
are lent, and prints each port that is not as it should be: one that is wired to a device,
and has not the VLAN of its link, or one though nobody has it; a trunk that carries what it
should not, or not what it should. It changes nothing, and exits with 4 if there are any.
What an activation is about to configure just now is seen, too.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := need(a.inventory, "inventory", "ACTIVATION_INVENTORY"); err != nil {
				return err
			}
			inv, err := lab.ReadInventory(a.inventory)
			if err != nil {
				return err
			}
			platforms, err := inv.Platforms()
			if err != nil {
				return err
			}
			lent, err := a.leases(cmd.Context())
			if err != nil {
				return err
			}
			var leases []lab.Lease
			for _, l := range lent {
				leases = append(leases, lab.Lease{Domain: l.Domain, Link: l.Link, Holder: l.Holder, ID: l.ID, Doubtful: l.State != "leased"})
			}
			drifts, err := a.work().Drift(cmd.Context(), inv, platforms, leases)
			for _, d := range drifts {
				if a.json {
					a.printJSON(d)
					continue
				}
				fmt.Printf("%s: should have %s, but %s\n", d.Port, d.Want, d.Is)
			}
			if err == nil && len(drifts) > 0 {
				return errDrift
			}
			return err
		},
	}
	a.inventoryFlag(cmd)
	return cmd
}
