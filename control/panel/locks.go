package panel

import (
	"slices"
	"strings"

	"activationd/control"
)

// locksData is what the page of locks shows.
type locksData struct {
	Lede  string
	Tabs  []link
	Match string
	Keep  []pair
	Roots []*lockNode
	All   int
	More  int // nodes that are not shown
}

// A lockNode is an activation, with those that wait for it.
type lockNode struct {
	ID      string
	Address string
	Holds   []string // locks
	Waits   []string // requests: lab, gpu=2/2, lab:shared
	For     []string // those before it, besides the one that it is shown below
	Waiting []*lockNode
	before  []string // all those
}

// lockNodes is how many activations the page shows.
const lockNodes = 300

func (p *Panel) fillLocks(v *view) error {
	all, err := get[control.Lock](v.r.Context(), p, v.Caller, "locks", &control.Nothing{})
	if err != nil {
		return err
	}
	d := locksData{Match: v.arg("match"), Keep: v.keep("match")}
	d.Tabs = v.tabs("show", nil, pair{"All", ""}, pair{"Only where somebody waits", "waits"})
	nodes, order := lockGraph(all)
	waiting := 0
	for _, n := range order {
		n.Address = v.panel.base + "/activations/" + segment(n.ID)
		if len(n.Waits) > 0 {
			waiting++
		}
	}
	d.Roots, d.All = lockTree(nodes, order), len(order)
	d.Lede = plural(len(order)-waiting, "activation holds locks", "activations hold locks") + "; " + plural(waiting, "other waits", "others wait")
	if waiting == 0 {
		d.Lede = plural(len(order), "activation holds locks", "activations hold locks") + "; nobody waits"
	}
	d.Roots = slices.DeleteFunc(d.Roots, func(n *lockNode) bool {
		return v.arg("show") == "waits" && len(n.Waiting) == 0 && len(n.Waits) == 0 || !n.mentions(d.Match)
	})
	left := lockNodes
	for i, n := range d.Roots {
		if left -= n.size(); left < 0 && i > 0 {
			for _, rest := range d.Roots[i:] {
				d.More += rest.size()
			}
			d.Roots = d.Roots[:i]
			break
		}
	}
	v.Data = d
	return nil
}

// lockGraph returns the activations that hold locks or wait for some, by their ids and in the order
// of the reply.
func lockGraph(all []control.Lock) (nodes map[string]*lockNode, order []*lockNode) {
	nodes = make(map[string]*lockNode)
	for i := range all {
		l := &all[i]
		n := nodes[l.ID]
		if n == nil {
			n = &lockNode{ID: l.ID}
			nodes[l.ID], order = n, append(order, n)
		}
		if l.What == "holds" {
			n.Holds = append(n.Holds, l.Want)
			continue
		}
		n.Waits = append(n.Waits, l.Want)
		for _, id := range l.For {
			if !slices.Contains(n.before, id) && id != l.ID {
				n.before = append(n.before, id)
			}
		}
	}
	return nodes, order
}

// lockTree puts each activation that waits below one that it waits for, and returns the others.
func lockTree(nodes map[string]*lockNode, order []*lockNode) (roots []*lockNode) {
	above := make(map[*lockNode]*lockNode)
	below := func(n, other *lockNode) bool { // it would be its own ancestor
		for at := other; at != nil; at = above[at] {
			if at == n {
				return true
			}
		}
		return false
	}
	for _, n := range order {
		for _, id := range n.before {
			if other := nodes[id]; other != nil && above[n] == nil && !below(n, other) {
				above[n], other.Waiting = other, append(other.Waiting, n)
				continue
			}
			n.For = append(n.For, id)
		}
		if above[n] == nil {
			roots = append(roots, n)
		}
	}
	return roots
}

func (n *lockNode) size() int {
	sum := 1
	for _, w := range n.Waiting {
		sum += w.size()
	}
	return sum
}

// mentions reports whether a text is in the id or in a lock of a node or of one below it.
func (n *lockNode) mentions(text string) bool {
	return contains(text, n.ID, strings.Join(n.Holds, " "), strings.Join(n.Waits, " ")) ||
		slices.ContainsFunc(n.Waiting, func(w *lockNode) bool { return w.mentions(text) })
}
