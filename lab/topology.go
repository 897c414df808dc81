package lab

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"

	"activationd/internal/fault"
)

// A Topology is what somebody wants of the laboratory, in containerlab's file format.
type Topology struct {
	Name  string
	Nodes []*Node // sorted by name
	Links []Link
	// Notices are what is in the file and has no meaning here, each with its line.
	Notices []string
}

// A Node is a device that somebody wants: of this name, or any of the kind.
type Node struct {
	Name, Kind, Image string
	// Config is its startup-config, whole; ConfigLine is the line on which it begins, or
	// 0 if its lines are not lines of the file.
	Config     string
	ConfigLine int
	Line       int
}

// A Link joins two nodes' interfaces.
type Link struct {
	A, B Port // Device is a node's name
	Line int
}

// What containerlab has and this has no use for. The first are ignored with a notice:
// they are about containers, or change nothing that is wired or configured. The
// others would change it, and are refused.
var (
	ignoredTop  = strings.Fields("prefix mgmt settings debug")
	ignoredNode = strings.Fields(`image exec binds volumes ports env env-files cmd entrypoint user labels position license
		memory cpu cpu-set shm-size cap-add devices security-opt sysctls ulimits healthcheck restart-policy auto-remove
		image-pull-policy runtime type mgmt-ipv4 mgmt-ipv6 network-mode publish dns certificate aliases stages wait-for
		startup-delay enforce-startup-config suppress-startup-config save extras components config tmpfs pid credentials`)
	ignoredLink = strings.Fields("mtu vars labels ipv4 ipv6")
	specialNode = strings.Fields("host mgmt-net macvlan vxlan vxlan-stitch dummy")
	bridgeKinds = strings.Fields("bridge ovs-bridge host ext-container k8s-kind")
)

// ReadTopology reads a topology's file. All that is wrong with it is in the error, as
// with [ReadInventory]. A startup-config that is a file's name is read from the
// topology's directory.
func ReadTopology(file string) (*Topology, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}
	dir, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // only read from
	return ParseTopology(file, data, func(name string) ([]byte, error) {
		// Not blocking: whoever opens a FIFO would wait for ever.
		f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // only read from
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
			return nil, fmt.Errorf("is not a file of at most %d bytes: %w", maxFile, fault.Invalid)
		}
		return io.ReadAll(io.LimitReader(f, maxFile))
	})
}

// attributes are those of a node, or of a kind, a group or the defaults that it
// inherits from.
type attributes struct {
	kind, group, image string
	config             *yaml.Node
	line               int
}

// inherit takes what a has not from b.
func (a attributes) inherit(b attributes) attributes {
	if a.kind == "" {
		a.kind = b.kind
	}
	if a.group == "" {
		a.group = b.group
	}
	if a.image == "" {
		a.image = b.image
	}
	if a.config == nil {
		a.config = b.config
	}
	return a
}

// A topologyReader collects what nodes are made of.
type topologyReader struct {
	reader
	*Topology
	defaults      attributes
	kinds, groups map[string]attributes
	nodes         map[string]attributes
	ends          map[Port]int // which interfaces have a link, and on which line
	read          func(name string) ([]byte, error)
}

// ParseTopology is ReadTopology of what was read already; read reads a startup-config
// that is a file.
func ParseTopology(file string, data []byte, read func(name string) ([]byte, error)) (*Topology, error) {
	r := &topologyReader{
		Topology: &Topology{}, kinds: map[string]attributes{}, groups: map[string]attributes{},
		nodes: map[string]attributes{}, ends: map[Port]int{}, read: read,
	}
	r.faults.File = file
	if root := r.root(data); root != nil {
		r.document(root)
	}
	if err := r.faults.Err(); err != nil {
		return nil, err
	}
	return r.Topology, nil
}

func (r *topologyReader) notice(n *yaml.Node, format string, args ...any) {
	r.Notices = append(r.Notices, fmt.Sprintf("line %d: ", n.Line)+fmt.Sprintf(format, args...))
}

// other handles a key that is none of ours.
func (r *topologyReader) other(k *yaml.Node, where string, ignored []string, known string) {
	if slices.Contains(ignored, k.Value) {
		r.notice(k, "%s%s: has no meaning here, and is ignored", where, k.Value)
		return
	}
	r.fault(k, "%s%.80s: is not supported; what is, is %s", where, k.Value, known)
}

func (r *topologyReader) document(root *yaml.Node) {
	var links *yaml.Node
	had := false
	r.mapping(root, "the topology", func(k, v *yaml.Node) {
		switch k.Value {
		case "name":
			r.Name = r.word(v, "name", checkName)
		case "topology":
			had = true
			links = r.body(v)
		default:
			r.other(k, "", ignoredTop, "name and topology")
		}
	})
	if !had {
		r.fault(root, "has no topology")
	}
	r.finish()
	if links != nil {
		for _, l := range r.list(links, "links") {
			r.link(l)
		}
	}
}

func (r *topologyReader) body(n *yaml.Node) (links *yaml.Node) {
	many := func(what string, v *yaml.Node, into map[string]attributes) {
		r.mapping(v, what, func(k, v *yaml.Node) {
			a := r.attributes(v, what+": "+k.Value+": ")
			a.line = k.Line
			into[k.Value] = a
		})
	}
	r.mapping(n, "topology", func(k, v *yaml.Node) {
		switch k.Value {
		case "defaults":
			r.defaults = r.attributes(v, "defaults: ")
		case "kinds":
			many("kinds", v, r.kinds)
		case "groups":
			many("groups", v, r.groups)
		case "nodes":
			many("nodes", v, r.nodes)
		case "links":
			links = v
		default:
			r.other(k, "topology: ", nil, "defaults, kinds, groups, nodes and links")
		}
	})
	return links
}

func (r *topologyReader) attributes(n *yaml.Node, what string) (a attributes) {
	r.mapping(n, strings.TrimSuffix(what, ": "), func(k, v *yaml.Node) {
		switch k.Value {
		case "kind":
			a.kind = r.word(v, what+"kind", checkName)
		case "group":
			a.group = r.word(v, what+"group", checkName)
		case "startup-config":
			a.config = v
		case "image":
			a.image = r.text(v, what+"image") // tells an FRR from a host
		default:
			r.other(k, what, ignoredNode, "kind, group, image and startup-config")
		}
	})
	return a
}

// finish makes nodes of what was collected.
func (r *topologyReader) finish() {
	for _, name := range slices.Sorted(maps.Keys(r.nodes)) {
		a := r.nodes[name]
		at := &yaml.Node{Line: a.line}
		if err := checkName(name); err != nil {
			r.fault(at, "nodes: %v", err)
			continue
		}
		a = a.inherit(r.groups[a.group])
		if a.kind == "" {
			a.kind = r.defaults.kind
		}
		a = a.inherit(r.kinds[a.kind]).inherit(r.defaults)
		if slices.Contains(bridgeKinds, a.kind) {
			r.fault(at, "%s: kind %s: is not supported; a link joins two devices", name, a.kind)
		}
		node := &Node{Name: name, Kind: a.kind, Image: a.image, Line: a.line}
		if a.config != nil {
			r.config(node, a.config)
		}
		r.Nodes = append(r.Nodes, node)
	}
	if len(r.nodes) == 0 {
		r.add(1, "nodes: there are none")
	}
}

// config takes a startup-config: the text itself if it has several lines, or else a
// file's name.
func (r *topologyReader) config(node *Node, n *yaml.Node) {
	what := node.Name + ": startup-config"
	known := r.found
	text := r.text(n, what)
	if r.found > known {
		return
	}
	node.Config = text
	if v := r.visit(n); v.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		node.ConfigLine = n.Line + 1 // after the | or >
	}
	if !strings.Contains(text, "\n") {
		data, err := r.read(text)
		if err != nil {
			r.fault(n, "%s: %.200s cannot be read from the topology's directory (%v); put that file there, or the configuration itself here, under \"startup-config: |\"", what, text, err)
			return
		}
		node.Config, node.ConfigLine = string(data), 0
	}
	if strings.Contains(node.Config, "${") {
		r.notice(n, "%s: ${...} is sent as it is: variables of the environment mean nothing here", what)
	}
}

// link reads one in the short form (endpoints: ["a:b", "c:d"]) or in the long one
// (type: veth, endpoints: [{node: a, interface: b}, ...]).
func (r *topologyReader) link(n *yaml.Node) {
	var ends []Port
	typ := ""
	known := r.found
	r.mapping(n, "links", func(k, v *yaml.Node) {
		switch k.Value {
		case "type":
			typ = r.text(v, "links: type")
			if typ != "veth" {
				r.fault(v, "links: type %.80s: is not supported; what is, is veth", typ)
			}
		case "endpoints":
			for _, e := range r.list(v, "links: endpoints") {
				if p, ok := r.end(e); ok {
					ends = append(ends, p)
				}
			}
		default:
			r.other(k, "links: ", ignoredLink, "endpoints and type")
		}
	})
	if r.found > known {
		return
	}
	if len(ends) != 2 {
		r.fault(n, "links: one has %d endpoints; it must have 2", len(ends))
		return
	}
	for _, p := range ends {
		if line, ok := r.ends[p]; ok {
			r.fault(n, "links: %s has a link already, on line %d", p, line)
		}
		r.ends[p] = max(n.Line, 1)
	}
	r.Links = append(r.Links, Link{ends[0], ends[1], n.Line})
}

func (r *topologyReader) end(n *yaml.Node) (p Port, ok bool) {
	const what = "links: endpoints"
	known := r.found
	if r.visit(n).Kind == yaml.MappingNode {
		r.mapping(n, what, func(k, v *yaml.Node) {
			switch k.Value {
			case "node":
				p.Device = r.word(v, what+": node", checkName)
			case "interface":
				p.Name = r.word(v, what+": interface", checkPort)
			default:
				r.other(k, what+": ", append([]string{"mac"}, ignoredLink...), "node and interface")
			}
		})
	} else if text := r.text(n, what); r.found == known {
		name, _, _ := strings.Cut(text, ":")
		if _, node := r.nodes[name]; !node && slices.Contains(specialNode, name) {
			r.fault(n, "%s: %.80s: is not supported; a link joins two nodes", what, text)
			return p, false
		}
		var err error
		if p, err = parsePort(text); err != nil {
			r.fault(n, "%s: %v", what, err)
		}
	}
	if r.found > known {
		return p, false
	}
	if p.Device == "" || p.Name == "" {
		r.fault(n, "%s: must have a node and an interface", what)
		return p, false
	}
	if _, ok := r.nodes[p.Device]; !ok {
		r.fault(n, "%s: there is no node %s", what, p.Device)
		return p, false
	}
	return p, true
}
