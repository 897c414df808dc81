package topology

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"activationd/internal/document"
)

// Links whose other end is not a device. A dummy link has no other end.
var (
	joiningTypes = strings.Fields("veth veth-stitch brief")
	otherTypes   = map[string]string{
		"host":         "a link to the machine on which containerlab runs",
		"mgmt-net":     "a link to containerlab's management network",
		"macvlan":      "a link to an interface of the machine on which containerlab runs",
		"vxlan":        "a tunnel",
		"vxlan-stitch": "a tunnel",
	}
	// specialNodes are names of the short form that are not nodes.
	specialNodes = strings.Fields("host mgmt-net macvlan")
)

// A wire is one link of the file.
type wire struct {
	ends []End
	line int
}

// join reads the links, and merges those that are joined by bridges.
func (r *reader) join(topo *Topology, bridges, hosts map[string]definition) {
	var wires []wire
	if r.links != nil {
		taken := map[End]int{}
		for _, n := range r.List(r.links, "links") {
			if w, ok := r.wire(n, hosts, taken); ok {
				wires = append(wires, w)
			}
		}
	}
	// A LAN is identified by one of its bridges. br0|x is br0 under a second name.
	leader, named := map[string]string{}, map[string]string{}
	for _, b := range slices.Sorted(maps.Keys(bridges)) {
		name, _, _ := strings.Cut(b, "|")
		if named[name] == "" {
			named[name] = b
		}
		leader[b] = named[name]
	}
	for _, w := range wires {
		a, isA := leader[w.ends[0].Node]
		b, isB := leader[w.ends[1].Node]
		if isA && isB {
			for name, l := range leader {
				if l == b {
					leader[name] = a
				}
			}
		}
	}
	lans := map[string]*Link{}
	order := func(a, b string) int {
		return cmp.Or(cmp.Compare(bridges[a].line, bridges[b].line), cmp.Compare(a, b))
	}
	for _, name := range slices.SortedFunc(maps.Keys(bridges), order) {
		l := lans[leader[name]]
		if l == nil {
			l = &Link{Line: bridges[name].line}
			lans[leader[name]] = l
		}
		l.Bridges = append(l.Bridges, name)
	}
	first := map[*Link]int{} // the position of a LAN among the links: that of its first link
	var all []*Link
	for _, w := range wires {
		var lan *Link
		var ends []End
		for _, e := range w.ends {
			if l, ok := leader[e.Node]; ok {
				lan = lans[l]
			} else {
				ends = append(ends, e)
			}
		}
		if lan == nil {
			all = append(all, &Link{Ends: ends, Line: w.line})
			continue
		}
		if _, been := first[lan]; !been {
			first[lan] = len(all)
			all = append(all, lan)
		}
		lan.Ends = append(lan.Ends, ends...)
	}
	for _, l := range lans {
		if _, been := first[l]; !been {
			all = append(all, l)
		}
	}
	r.keep(topo, all)
}

// keep leaves out links that join nothing.
func (r *reader) keep(topo *Topology, all []*Link) {
	for _, l := range all {
		switch len(l.Ends) {
		case 0:
			r.notice(l.Line, "%s has no interface, and is ignored", l)
		case 1:
			r.notice(l.Line, "%s has only %s, which reaches no other interface: it is ignored, and the interface stays unplugged", l, l.Ends[0])
		default:
			topo.Links = append(topo.Links, *l)
		}
	}
}

// wire reads one link, in the short form (endpoints: ["a:b", "c:d"]) or the long one (type:
// veth, endpoints: [{node: a, interface: b}, ...]). Its faults are one message.
func (r *reader) wire(n *yaml.Node, hosts map[string]definition, taken map[End]int) (w wire, ok bool) {
	known := r.Found
	typ := ""
	if v := child(n, "type"); v != nil {
		typ = strings.TrimSpace(strings.ToLower(r.value(v, "links: type")))
	}
	if r.Found > known {
		return w, false
	}
	if why := otherTypes[typ]; why != "" {
		r.Fault(n, "links: type %s: is not supported: %s; a link joins devices", typ, why)
		return w, false
	}
	if typ == "dummy" {
		r.stub(n, hosts, taken)
		return w, false
	}
	var ends []*yaml.Node
	r.fields(n, "links", knownLink, ignoredLink, func(key string, v *yaml.Node) {
		switch {
		case key == "endpoints":
			ends = r.List(v, "links: endpoints")
		case typ != "" && !slices.Contains(joiningTypes, typ):
			types := slices.Concat(joiningTypes, []string{"dummy"}, slices.Sorted(maps.Keys(otherTypes)))
			hint := document.Nearest(typ, types)
			if hint == "" {
				hint = "veth"
			}
			r.Fault(v, "links: type %.80s: containerlab has no such type; did you mean %s?", typ, hint)
		}
	})
	if r.Found > known {
		return w, false
	}
	if len(ends) != 2 {
		r.Fault(n, "links: one has %d endpoints; it must have 2", len(ends))
		return w, false
	}
	w.line = max(n.Line, 1)
	for _, e := range ends {
		end := r.alone(e, hosts, taken)
		if r.Found > known {
			return w, false
		}
		w.ends = append(w.ends, end)
	}
	if w.ends[0] == w.ends[1] {
		r.Fault(n, "links: %s is joined to itself", w.ends[0])
		return w, false
	}
	for _, e := range w.ends {
		taken[e] = w.line
	}
	return w, true
}

// stub reads a link with one end.
func (r *reader) stub(n *yaml.Node, hosts map[string]definition, taken map[End]int) {
	known := r.Found
	var at *yaml.Node
	r.fields(n, "links", []string{"type", "endpoint"}, ignoredLink, func(key string, v *yaml.Node) {
		if key == "endpoint" {
			at = v
		}
	})
	if at == nil || document.Deref(at).Kind != yaml.MappingNode {
		if r.Found == known {
			r.Fault(n, "links: type dummy: must have an end, as in \"endpoint: {node: r1, interface: eth1}\"")
		}
		return
	}
	e := r.alone(at, hosts, taken)
	if r.Found > known {
		return
	}
	taken[e] = max(n.Line, 1)
	r.notice(n.Line, "links: type dummy: %s reaches no other interface: it is ignored, and the interface stays unplugged", e)
}

// alone reads an end that must not be in another link.
func (r *reader) alone(n *yaml.Node, hosts map[string]definition, taken map[End]int) End {
	known := r.Found
	e, err := r.end(n, hosts)
	if err == nil && r.Found == known && taken[e] > 0 {
		err = fmt.Errorf("links: %s has a link already, on line %d", e, taken[e])
	}
	if err != nil {
		r.Fault(n, "%v", err)
	}
	return e
}

// end reads one end. Ends that containerlab supports, but not this program, are errors.
func (r *reader) end(n *yaml.Node, hosts map[string]definition) (e End, err error) {
	known := r.Found
	if document.Deref(n).Kind == yaml.MappingNode {
		e = r.long(n)
	} else {
		text := r.plain(n, "links: endpoints")
		var ok bool
		e.Node, e.Interface, ok = strings.Cut(text, ":")
		if special := strings.TrimSpace(strings.ToLower(e.Node)); slices.Contains(specialNodes, special) {
			return e, fmt.Errorf("links: endpoints: %.80s: is not supported: %s; a link joins devices", text, otherTypes[special])
		}
		if why := r.placeholder(text); why != "" {
			return e, fmt.Errorf("links: endpoints: %.80q: %s", text, why)
		}
		if !ok && r.Found == known {
			return e, fmt.Errorf("links: endpoints: %.80q: must be a node and its interface, as in r1:eth1", text)
		}
	}
	if r.Found > known {
		return e, nil
	}
	if _, ok := hosts[e.Node]; ok || e.Node == "host" || e.Node == "mgmt-net" {
		return e, fmt.Errorf("links: endpoints: %s: is not supported: %s; a link joins devices", e, otherTypes[ifElse(e.Node == "mgmt-net", "mgmt-net", "host")])
	}
	if _, ok := r.nodes[e.Node]; ok {
		e.Node, _ = r.owner(e.Node) // its error is reported at the node
	}
	d, ok := r.nodes[e.Node]
	switch {
	case e.Node == "" || e.Interface == "":
		return e, fmt.Errorf("links: endpoints: must have a node and an interface")
	case !ok:
		return e, fmt.Errorf("links: endpoints: there is no node %.80s", e.Node)
	}
	switch d = r.resolve(d); {
	case slices.Contains(bridgeKinds, d.kind):
		return e, nil // the name of a bridge's port has no meaning
	case d.network == "host":
		return e, fmt.Errorf("links: endpoints: %s: is not supported: with network-mode: host its interfaces are those of the machine on which containerlab runs", e)
	}
	if err := document.CheckPort(e.Interface); err != nil {
		return e, fmt.Errorf("links: endpoints: %w", err)
	}
	return e, nil
}

// long reads {node: a, interface: b}.
func (r *reader) long(n *yaml.Node) (e End) {
	r.fields(n, "links: endpoints", knownEnd, ignoredEnd, func(key string, v *yaml.Node) {
		switch key {
		case "node":
			e.Node = r.value(v, "links: endpoints: node")
		case "interface":
			e.Interface = r.value(v, "links: endpoints: interface")
		}
	})
	return e
}

func ifElse[T any](cond bool, yes, no T) T {
	if cond {
		return yes
	}
	return no
}

// child returns the value of a key of a mapping, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if n = document.Deref(n); n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := document.Deref(n.Content[i]); k.Kind == yaml.ScalarNode && k.Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
