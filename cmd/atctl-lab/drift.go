package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"activationd/lab"
)

func newDriftCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drift",
		Short: "Compare the switches with their expected state",
		Long: `Drift reads the ports of every switch of the inventory, and the leased VLANs from the
daemon. It prints each port that differs from its expected state: a port that is wired to a
device and lacks the VLAN of its link, or has a VLAN that is not leased; a trunk that
carries a wrong VLAN, or lacks one. It changes nothing, and exits with 4 if any port
differs. Ports that an activation is configuring at the same time may be reported, too.`,
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
			taken, err := a.leases(cmd.Context())
			if err != nil {
				return err
			}
			var leases []lab.Lease
			for _, l := range taken {
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
