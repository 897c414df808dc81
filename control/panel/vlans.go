package panel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"activationd/control"
)

// vlansData is what the page of VLANs shows.
type vlansData struct {
	Lede  string
	Tabs  []link
	Chips []chip
	Pools []poolGrid
	Rows  []leaseRow
	Next  string
	Paged bool
}

// A leaseRow is an id that is not free.
type leaseRow struct {
	control.VLANLease
	Address string // of its holder
	Button  *button
}

// A poolGrid is a pool with a square for each of its ids.
type poolGrid struct {
	control.VLANPool
	Address                   string // of the page with this pool alone
	Height                    int
	Labels                    []gridLabel
	FreeSquares, Held, Closed string // the paths of the squares of ids that are free, leased, and quarantined
	Cut                       bool   // it has more ids than are drawn
}

// A gridLabel is the first number of a line of squares.
type gridLabel struct {
	Y  int
	ID int
}

// The grid of a pool: its columns, how large a square is with the gap after it, and where the
// squares begin.
const (
	gridColumns = 50
	gridStep    = 14
	gridSquare  = 11
	gridLeft    = 44
	gridIDs     = 4096
)

func (p *Panel) fillVLANs(v *view) error {
	ctx := v.r.Context()
	pools, err := get[control.VLANPool](ctx, p, v.Caller, "vlan pools", &control.Nothing{})
	if err != nil {
		return err
	}
	in := &control.VLANListIn{Domain: v.arg("domain"), Holder: v.arg("holder"), State: v.arg("state")}
	leases, err := get[control.VLANLease](ctx, p, v.Caller, "vlan list", in)
	if err != nil {
		return err
	}
	all := leases // of the pools that are drawn, whatever else is wanted
	if in.Holder != "" || in.State != "" {
		if all, err = get[control.VLANLease](ctx, p, v.Caller, "vlan list", &control.VLANListIn{Domain: in.Domain}); err != nil {
			return err
		}
	}
	after := v.arg("after")
	d := vlansData{Chips: v.chips("domain", "holder"), Paged: after != ""}
	d.Tabs = v.tabs("state", []string{"after"}, pair{"All", ""}, pair{"Leased", "leased"}, pair{"Quarantined", "quarantined"})
	free, held, closed := 0, 0, 0
	for _, pool := range pools {
		free, held, closed = free+pool.Free, held+pool.Leased, closed+pool.Quarantined
		if in.Domain != "" && in.Domain != pool.Domain {
			continue
		}
		g := grid(pool, all)
		g.Address = v.With("domain", pool.Domain, "after", "")
		d.Pools = append(d.Pools, g)
	}
	d.Lede = fmt.Sprintf("%s: %d free, %d leased, %d quarantined", plural(len(pools), "pool", "pools"), free, held, closed)
	for i := range leases {
		l := &leases[i]
		if after != "" {
			if after == place(l) {
				after = ""
			}
			continue
		}
		if len(d.Rows) == pageRows {
			d.Next = v.With("after", place(&leases[i-1]))
			break
		}
		row := leaseRow{VLANLease: *l}
		if l.Holder != "" {
			row.Address = v.panel.base + "/activations/" + segment(l.Holder)
		}
		if l.State == "quarantined" {
			row.Button = v.Button("vlan free", "domain", l.Domain, "id", strconv.Itoa(l.ID))
		}
		d.Rows = append(d.Rows, row)
	}
	v.Data = d
	return nil
}

// place names a lease in the address of the page after it.
func place(l *control.VLANLease) string { return l.Domain + "/" + strconv.Itoa(l.ID) }

// grid draws a pool.
func grid(pool control.VLANPool, leases []control.VLANLease) poolGrid {
	g := poolGrid{VLANPool: pool}
	states := make(map[int]string)
	for i := range leases {
		if leases[i].Domain == pool.Domain {
			states[leases[i].ID] = leases[i].State
		}
	}
	excluded := idsOf(pool.Exclude)
	var free, held, closed strings.Builder
	line, drawn := -1, 0
	for _, r := range idsOf(pool.Ranges) {
		for id := r[0]; id <= r[1]; id++ {
			if slices.ContainsFunc(excluded, func(x [2]int) bool { return x[0] <= id && id <= x[1] }) {
				continue
			}
			if drawn++; drawn > gridIDs {
				g.Cut = true
				break
			}
			first := id - id%gridColumns
			if len(g.Labels) == 0 || g.Labels[line].ID != first {
				line++
				g.Labels = append(g.Labels, gridLabel{Y: line*gridStep + gridSquare - 1, ID: first})
			}
			at := &free
			switch states[id] {
			case "leased":
				at = &held
			case "quarantined":
				at = &closed
			}
			fmt.Fprintf(at, "M%d %dh%dv%dh-%dz", gridLeft+id%gridColumns*gridStep, line*gridStep, gridSquare, gridSquare, gridSquare)
			if at == &closed {
				fmt.Fprintf(at, "l%d %dm0-%dl-%d %d", gridSquare, gridSquare, gridSquare, gridSquare, gridSquare)
			}
		}
	}
	g.FreeSquares, g.Held, g.Closed, g.Height = free.String(), held.String(), closed.String(), (line+1)*gridStep
	return g
}

// idsOf reads ranges of ids: "100-199,300".
func idsOf(text string) (all [][2]int) {
	for part := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(part, "-")
		from, err := strconv.Atoi(low)
		if err != nil {
			continue
		}
		to := from
		if isRange {
			if to, err = strconv.Atoi(high); err != nil {
				continue
			}
		}
		all = append(all, [2]int{from, to})
	}
	return all
}
