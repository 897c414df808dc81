package lab

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A lease is a VLAN that is not free, as `atctl vlan list` prints it.
type lease struct {
	Domain string    `json:"domain"`
	ID     int       `json:"id"`
	State  string    `json:"state"` // leased or quarantined
	Holder string    `json:"holder"`
	Link   string    `json:"link"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

func (d *labDaemon) leases() []lease {
	d.t.Helper()
	return list[lease](d.t, d.atctl("--json", "vlan", "list"))
}

// of returns the leases of a holder.
func of(all []lease, holder string) (some []lease) {
	for _, l := range all {
		if l.Holder == holder {
			some = append(some, l)
		}
	}
	return some
}

// A link is a wire between two hosts, and the VLAN that implements it.
type link struct {
	a, b  string
	vlan  int
	since time.Time // when its VLAN was lent
}

// A wired is a reservation of hosts with wires between them.
type wired struct {
	*resv
	links []*link
}

// wire books a reservation; hosts are the two of the first wire, the two of the second,
// and so on.
func (d *labDaemon) wire(id string, settings string, hosts ...string) *wired {
	w := &wired{}
	var nodes, links []string
	for i := 0; i < len(hosts); i += 2 {
		l := &link{a: hosts[i], b: hosts[i+1]}
		w.links = append(w.links, l)
		nodes = append(nodes, l.a+": {kind: linux}", l.b+": {kind: linux}")
		links = append(links, fmt.Sprintf(`{endpoints: ["%s:eth1", "%s:eth1"]}`, l.a, l.b))
	}
	w.resv = d.book(id, fmt.Sprintf("{name: wires, topology: {nodes: {%s}, links: [%s]}}", strings.Join(nodes, ", "), strings.Join(links, ", ")), settings)
	return w
}

func resvs(ws []*wired) (all []*resv) {
	for _, w := range ws {
		all = append(all, w.resv)
	}
	return all
}

// switchOf returns the switch that a host is plugged into, and portOf the port.
func switchOf(host string) string {
	if strings.ContainsAny(host, "135") {
		return "sw1"
	}
	return "sw2"
}

func portOf(host string) string { return switchOf(host) + ":p" + host[1:] }

// crosses reports whether the wire uses the trunk.
func (l *link) crosses() bool { return switchOf(l.a) != switchOf(l.b) }

// tagsOf returns the tags that the switches have while these reservations are active,
// in the form of tags.
func tagsOf(ws ...*wired) []string {
	var all, trunk []string
	for _, w := range ws {
		for _, l := range w.links {
			all = append(all, fmt.Sprint(portOf(l.a), " ", l.vlan), fmt.Sprint(portOf(l.b), " ", l.vlan))
			if l.crosses() {
				trunk = append(trunk, fmt.Sprint(l.vlan))
			}
		}
	}
	slices.Sort(trunk)
	if trunk != nil {
		for _, sw := range []string{"sw1", "sw2"} {
			all = append(all, sw+":t0 "+strings.Join(trunk, " "))
		}
	}
	slices.Sort(all)
	return all
}

// lent asks the daemon which VLANs each link has. Each must have one that no other link
// has, and nothing else may have any.
func (d *labDaemon) lent(when string, ws ...*wired) {
	d.t.Helper()
	leases := d.leases()
	used, n := map[int]bool{}, 0
	for _, w := range ws {
		mine := of(leases, w.id)
		for _, l := range w.links {
			n++
			i := slices.IndexFunc(mine, func(m lease) bool {
				return strings.Contains(m.Link, l.a+":eth1") && strings.Contains(m.Link, l.b+":eth1")
			})
			if i < 0 || mine[i].State != "leased" || used[mine[i].ID] {
				d.t.Fatalf("%s: the link of %s and %s of %s has no VLAN, or somebody else's: %+v", when, l.a, l.b, w.id, leases)
			}
			l.vlan, l.since = mine[i].ID, mine[i].Since
			used[l.vlan] = true
		}
	}
	if len(leases) != n {
		d.t.Errorf("%s: %d VLANs are lent, want %d: %+v", when, len(leases), n, leases)
	}
}

// running checks that exactly these reservations have VLANs, and that the switches are
// configured for them.
func (d *labDaemon) running(when string, ws ...*wired) {
	d.t.Helper()
	d.lent(when, ws...)
	if got, want := d.tags(), tagsOf(ws...); !slices.Equal(got, want) {
		d.t.Errorf("%s: the switches have\n%q, want\n%q", when, got, want)
	}
}
