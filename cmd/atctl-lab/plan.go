package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"activationd/internal/fault"
	"activationd/lab"
	"activationd/topology"
)

func newPlanCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what would be sent to which device, and how long it would take",
		Long: `Plan shows which node would be which device, the path of each link over the switches, the
exact lines for each device, the lines that undo them, and the least time that sending them
takes at the devices' pace. It does not use the daemon: the VLAN ids are the first of the
pools, while generate leases free ids.`,
		Args: none,
		RunE: func(*cobra.Command, []string) error {
			return a.guessPlan()
		},
	}
	a.inputFlags(cmd)
	return cmd
}

func newGenerateCommand(a *app) *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Lease VLANs and write the configurations of the devices",
		Long: `Generate reads the topology and the inventory, leases a VLAN id for each link from the
daemon (the same ids if it is repeated), and writes these files into the directory of --out:
manifest.json, and for each device DEVICE.conf, DEVICE.undo and DEVICE.checks.json. It
checks everything before it leases ids.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dry {
				return a.guessPlan()
			}
			_, _, err := a.generate(cmd.Context())
			return err
		},
	}
	a.inputFlags(cmd)
	a.configFlag(cmd, "out", "write the files into `DIR`")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "write nothing and lease nothing; the same as plan")
	return cmd
}

// guessPlan shows the plan with the first ids of the pools.
func (a *app) guessPlan() error {
	in, err := a.input()
	if err == nil {
		err = guess(in.Inventory, in.Links)
	}
	if err != nil {
		return err
	}
	p, err := lab.Generate(in)
	if err == nil {
		a.show(p)
	}
	return err
}

// generate leases VLANs last. Before, it makes and writes a plan with other ids as a trial.
// If the real plan fails nevertheless, it releases the VLANs.
func (a *app) generate(ctx context.Context) (*lab.Plan, map[string]*lab.Platform, error) {
	if err := need(a.activation, "activation", "ACTIVATION_ID", a.config, "out", "ACTIVATION_CONFIG_DIR"); err != nil {
		return nil, nil, err
	}
	in, err := a.input()
	if err != nil {
		return nil, nil, err
	}
	for i := range in.Links {
		in.Links[i].VLAN = i%4094 + 1
	}
	p, err := lab.Generate(in)
	if err == nil {
		err = tryOut(a.config, p, in.Platforms)
	}
	if err != nil {
		return nil, nil, err
	}
	if len(in.Links) > 0 {
		release, err := a.lease(ctx, in.Links)
		if err == nil {
			p, err = lab.Generate(in)
		}
		if err == nil {
			err = lab.WritePlan(a.config, p, in.Platforms)
		}
		if err != nil {
			return nil, nil, release(err)
		}
	} else if err := lab.WritePlan(a.config, p, in.Platforms); err != nil {
		return nil, nil, err
	}
	for _, n := range p.Notices {
		a.say("", n)
	}
	for _, m := range p.Mapping {
		if m.Node != m.Device {
			a.say(m.Device, "is the node "+m.Node)
		}
	}
	for _, l := range p.Links {
		a.say("", fmt.Sprintf("%s: VLAN %d of %s", l.Name, l.VLAN, l.Domain))
	}
	for _, d := range p.Devices {
		a.say(d.Name, fmt.Sprintf("%d lines to send, %v at least", len(d.Apply), d.Duration.Round(time.Millisecond)))
	}
	return p, in.Platforms, nil
}

// tryOut writes a plan into a temporary directory beside the real plan, and removes it.
func tryOut(dir string, p *lab.Plan, platforms map[string]*lab.Platform) error {
	tmp, err := os.MkdirTemp(dir, ".try-*")
	if err != nil {
		return fmt.Errorf("a plan cannot be written: %w: %w", err, fault.Unavailable)
	}
	err = lab.WritePlan(tmp, p, platforms)
	if gone := os.RemoveAll(tmp); err == nil && gone != nil {
		err = fmt.Errorf("%w: %w", gone, fault.Unavailable)
	}
	return err
}

// input reads everything that a plan needs, except the VLAN ids of its links.
func (a *app) input() (in lab.Input, err error) {
	in.Activation = a.activation
	if a.topology == "" && a.activation != "" { // a reservation without a topology
		a.say("", "there is no topology, so there is nothing to configure")
		in.Topology = &topology.Topology{}
		return in, nil
	}
	if err := need(a.topology, "topology", "ACTIVATION_TOPOLOGY", a.inventory, "inventory", "lab: {inventory: FILE} in the daemon's configuration"); err != nil {
		return in, err
	}
	if in.Inventory, err = lab.ReadInventory(a.inventory); err != nil {
		return in, err
	}
	if in.Topology, err = topology.Read(a.topology); err != nil {
		return in, err
	}
	devices := a.devices
	if len(devices) == 0 {
		devices = nil // all
	}
	if in.Platforms, err = in.Inventory.Platforms(); err != nil {
		return in, err
	}
	if in.Mapping, err = lab.Map(in.Inventory, in.Platforms, in.Topology, devices); err != nil {
		return in, err
	}
	in.Links, err = lab.Route(in.Inventory, in.Topology, in.Mapping)
	return in, err
}

// guess gives each link the lowest id of its pool that no other link has.
func guess(inv *lab.Inventory, links []lab.PlannedLink) error {
	next := map[string]int{}
	for i := range links {
		l := &links[i]
		for id := next[l.Domain] + 1; id <= 4094 && l.VLAN == 0; id++ {
			if inv.Pools[l.Domain].Has(id) {
				l.VLAN, next[l.Domain] = id, id
			}
		}
		if l.VLAN == 0 {
			return fmt.Errorf("the pool %s has too few VLANs for %s: %w", l.Domain, l.Name, fault.Unavailable)
		}
	}
	return nil
}

// show prints a plan.
func (a *app) show(p *lab.Plan) {
	if a.json {
		a.showJSON(p)
		return
	}
	for _, n := range p.Notices {
		fmt.Println("#", n)
	}
	for _, m := range p.Mapping {
		fmt.Printf("node %s is %s (%s)\n", m.Node, m.Device, m.Platform)
	}
	for _, l := range p.Links {
		fmt.Printf("link %s: VLAN %d of %s, by %s\n", l.Name, l.VLAN, l.Domain, way(l))
	}
	for _, d := range p.Devices {
		fmt.Printf("\n%s (%s, %s): %d lines, %v at least\n", d.Name, d.Platform, d.Access.Connect, len(d.Apply), d.Duration.Round(time.Millisecond))
		for _, l := range d.Apply {
			fmt.Println("  +", l)
		}
		for _, l := range d.Undo {
			fmt.Println("  -", l)
		}
	}
	fmt.Printf("\n%d lines to %d devices at once, %v at least\n", p.Lines(), len(p.Devices), p.Duration().Round(time.Millisecond))
}

// way lists the ports of a link on switches: between two ends in the order of the path, for
// more ends, which form a tree, the ends before the trunks.
func way(l lab.PlannedLink) string {
	ports := slices.Concat(l.AccessPorts, l.TrunkPorts)
	if len(l.AccessPorts) == 2 {
		ports = slices.Concat(l.AccessPorts[:1], l.TrunkPorts, l.AccessPorts[1:])
	}
	var texts []string
	for _, p := range ports {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, " ")
}

// planLine is a line of plan --json.
type planLine struct {
	Notice   string           `json:"notice,omitempty"`
	Node     *lab.Mapped      `json:"node,omitempty"`
	Link     *lab.PlannedLink `json:"link,omitempty"`
	Device   string           `json:"device,omitempty"`
	Platform string           `json:"platform,omitempty"`
	Connect  string           `json:"connect,omitempty"`
	Seconds  float64          `json:"seconds,omitempty"`
	Apply    []string         `json:"apply,omitempty"`
	Undo     []string         `json:"undo,omitempty"`
}

func (a *app) showJSON(p *lab.Plan) {
	for _, n := range p.Notices {
		a.printJSON(planLine{Notice: n})
	}
	for _, m := range p.Mapping {
		a.printJSON(planLine{Node: &m})
	}
	for _, l := range p.Links {
		a.printJSON(planLine{Link: &l})
	}
	for _, d := range p.Devices {
		a.printJSON(planLine{
			Device: d.Name, Platform: d.Platform, Connect: d.Access.Connect, Seconds: d.Duration.Seconds(), Apply: d.Apply, Undo: d.Undo,
		})
	}
}
