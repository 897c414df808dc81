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
		Long: `Plan shows which node would be which device, which way each link would take over the
switches, the exact lines for each device and those that undo them, and the least time
that they take by the devices' pace. It asks nobody: the VLAN ids are the first of the
pools, while generate gets those that are free.`,
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
		Short: "Get VLANs and write the devices' configurations",
		Long: `Generate reads the topology and the inventory, has the daemon lend the activation a VLAN
id for each link (the same ones when it asks again), and writes into the directory for
each device DEVICE.conf, DEVICE.undo and DEVICE.checks.json, and manifest.json. What is
wrong is found before anything is lent.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dry {
				return a.guessPlan()
			}
			return a.generate(cmd.Context())
		},
	}
	a.inputFlags(cmd)
	a.configFlag(cmd, "out", "write the files into `DIR`")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "write nothing and ask nobody; the same as plan")
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

// generate has VLANs lent last. By then there is a plan with other ids, and it could be
// written; if the real one can't, what was lent for it is given back.
func (a *app) generate(ctx context.Context) error {
	if err := need(a.activation, "activation", "ACTIVATION_ID", a.config, "out", "ACTIVATION_CONFIG_DIR"); err != nil {
		return err
	}
	in, err := a.input()
	if err != nil {
		return err
	}
	for i := range in.Links {
		in.Links[i].VLAN = i%4094 + 1
	}
	p, err := lab.Generate(in)
	if err == nil {
		err = tryOut(a.config, p, in.Platforms)
	}
	if err != nil {
		return err
	}
	if len(in.Links) > 0 {
		giveBack, err := a.lend(ctx, in.Links)
		if err == nil {
			p, err = lab.Generate(in)
		}
		if err == nil {
			err = lab.WritePlan(a.config, p, in.Platforms)
		}
		if err != nil {
			return giveBack(err)
		}
	} else if err := lab.WritePlan(a.config, p, in.Platforms); err != nil {
		return err
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
	return nil
}

// tryOut writes a plan into a directory of its own where the real one is to be, and
// removes it.
func tryOut(dir string, p *lab.Plan, platforms map[string]*lab.Platform) error {
	tmp, err := os.MkdirTemp(dir, ".try-*")
	if err != nil {
		return fmt.Errorf("a plan can't be written: %w: %w", err, fault.Unavailable)
	}
	err = lab.WritePlan(tmp, p, platforms)
	if gone := os.RemoveAll(tmp); err == nil && gone != nil {
		err = fmt.Errorf("%w: %w", gone, fault.Unavailable)
	}
	return err
}

// input reads all that a plan is made of, but for the ids of its links.
func (a *app) input() (in lab.Input, err error) {
	in.Activation = a.activation
	if a.topology == "" && a.activation != "" { // a reservation without one
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
		fmt.Printf("\n%s (%s, %s): %d lines, %v at least\n", d.Name, d.Platform, d.Way.Connect, len(d.Apply), d.Duration.Round(time.Millisecond))
		for _, l := range d.Apply {
			fmt.Println("  +", l)
		}
		for _, l := range d.Undo {
			fmt.Println("  -", l)
		}
	}
	fmt.Printf("\n%d lines to %d devices at once, %v at least\n", p.Lines(), len(p.Devices), p.Duration().Round(time.Millisecond))
}

// way lists a link's ports on switches: the ends of two in the order in which they come,
// those of more, which have a tree, before their trunks.
func way(l lab.PlannedLink) string {
	ports := slices.Concat(l.Access, l.Trunks)
	if len(l.Access) == 2 {
		ports = slices.Concat(l.Access[:1], l.Trunks, l.Access[1:])
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
			Device: d.Name, Platform: d.Platform, Connect: d.Way.Connect, Seconds: d.Duration.Seconds(), Apply: d.Apply, Undo: d.Undo,
		})
	}
}
