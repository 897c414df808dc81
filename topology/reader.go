package topology

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"activationd/internal/document"
	"activationd/internal/fault"
)

// Keys of containerlab 0.79 without a meaning here: they are about containers, or change
// nothing in the wiring or the configurations. Everything under such a key is ignored, too.
var (
	ignoredTop = strings.Fields("prefix mgmt settings debug")
	// username and password are given in the inventory; mgmt_ipv4 and mgmt_ipv6 are old names
	// of mgmt-ipv4 and mgmt-ipv6.
	ignoredNode = strings.Fields(`type startup-delay enforce-startup-config suppress-startup-config auto-remove
		restart-policy config image-pull-policy license position hostname entrypoint cmd exec binds volumes devices cap-add
		privileged cgroupns-mode cgroup-parent pid-mode tmpfs security-opts shm-size ports mgmt-ipv4 mgmt-ipv6 env env-files
		user labels runtime cpu cpu-set memory sysctls extras stages dns certificate healthcheck credentials aliases
		components link-apply-mode username password mgmt_ipv4 mgmt_ipv6`)
	ignoredLink = strings.Fields("mtu vars labels ipv4 ipv6")
	ignoredEnd  = strings.Fields("mac vars ipv4 ipv6")
)

// Keys with a meaning.
var (
	knownTop      = strings.Fields("name topology")
	knownTopology = strings.Fields("defaults kinds groups nodes links")
	knownNode     = strings.Fields("kind group startup-config image network-mode")
	knownLink     = strings.Fields("endpoints type")
	knownEnd      = strings.Fields("node interface")
)

// inContainer begins a network-mode that gives a node the interfaces of another node, as for
// the cards of one chassis.
const inContainer = "container:"

// Kinds that are not devices.
var (
	bridgeKinds = strings.Fields("bridge ovs-bridge")
	hostKind    = "host"
)

// A definition has the keys of a node, or of the kind, group or defaults from which it
// inherits. A missing key is "".
type definition struct {
	kind, group, image, network string
	config                      *yaml.Node // nil if it is missing
	node                        *yaml.Node // the whole definition
	line                        int
}

// A reader collects the parts of nodes.
type reader struct {
	document.Reader
	draft    bool // only nodes are read; other keys are not checked
	template bool // the file seems to be a Go template
	name     string
	defaults definition
	kinds    map[string]definition
	groups   map[string]definition
	nodes    map[string]definition
	links    *yaml.Node
	notices  []string
	left     int // how many bytes the insertion of names may still add to configurations
}

func newReader(file string) *reader {
	r := &reader{kinds: map[string]definition{}, groups: map[string]definition{}, nodes: map[string]definition{}, left: document.MaxFile}
	r.Faults.File = file
	return r
}

// err returns all faults, or says what the file is if it is not a topology.
func (r *reader) err(data []byte) error {
	err := r.Faults.Err()
	if err == nil {
		return nil
	}
	if line := templateLine(data); line > 0 && r.template {
		list := document.Reader{}
		list.Faults.File = r.Faults.File
		list.Add(line, "%s", aTemplate)
		return list.Faults.Err()
	}
	return err
}

const (
	aTemplate = "{{ begins a Go template, which containerlab fills in before it reads the file; this program does not. " +
		"Fill it in first (containerlab deploy --export-rendered FILE writes the result), and use that FILE"
	aVariable = "%s is an environment variable, which containerlab fills in; this program does not. Write the value itself"
)

// templateLine returns the first line with an action of a template, or 0.
func templateLine(data []byte) int {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if before, _, ok := bytes.Cut(line, []byte("{{")); ok && !bytes.HasPrefix(bytes.TrimSpace(before), []byte("#")) {
			return n
		}
	}
	return 0
}

// variable matches a variable in the forms of envsubst.
var variable = regexp.MustCompile(`\$\{[^}\n]*\}?|\$[A-Za-z_][A-Za-z0-9_]*`)

// fields reads a mapping. Keys that are neither known nor ignored are faults.
func (r *reader) fields(n *yaml.Node, where string, known, ignored []string, each func(key string, value *yaml.Node)) {
	r.mapping(n, ifElse(where == "", "the topology", where), func(k, v *yaml.Node) {
		in := where
		if in != "" {
			in += ": "
		}
		switch {
		case slices.Contains(known, k.Value):
			each(k.Value, v)
		case r.draft:
		case slices.Contains(ignored, k.Value):
			r.notice(k.Line, "%s%s: has no meaning here, and is ignored", in, k.Value)
		default:
			hint := document.Nearest(k.Value, slices.Concat(known, ignored))
			if hint != "" {
				hint = "; did you mean " + hint + "?"
			} else {
				hint = "; keys with a meaning here are " + strings.Join(known, ", ")
			}
			r.Fault(k, "%s%.80s: containerlab has no such key%s", in, k.Value, hint)
		}
	})
}

func (r *reader) mapping(n *yaml.Node, what string, each func(key, value *yaml.Node)) {
	v := document.Deref(n)
	if r.draft && v.Kind != yaml.MappingNode && what != "the topology" && what != "topology" && what != "nodes" {
		return // other readers of the topology may know the key
	}
	r.Mapping(n, what, each)
}

func (r *reader) notice(line int, format string, args ...any) {
	r.notices = append(r.notices, fmt.Sprintf("line %d: ", max(line, 1))+fmt.Sprintf(format, args...))
}

// plain returns a scalar as it is written. An empty value is "".
func (r *reader) plain(n *yaml.Node, what string) string {
	if v := r.Visit(n); document.IsNull(v) || r.draft && v.Kind != yaml.ScalarNode {
		return ""
	}
	return r.Text(n, what)
}

// value returns plain text without variables that containerlab would fill in.
func (r *reader) value(n *yaml.Node, what string) string {
	s := r.plain(n, what)
	if why := r.placeholder(s); why != "" && !r.draft {
		r.Fault(n, "%s: %.80q: %s", what, s, why)
	}
	return s
}

// placeholder returns what is wrong with a text that has a placeholder instead of a value.
func (r *reader) placeholder(s string) string {
	if strings.Contains(s, "{{") {
		r.template = true
		return aTemplate
	}
	if v := variable.FindString(s); v != "" {
		return fmt.Sprintf(aVariable, v)
	}
	return ""
}

func (r *reader) document(root *yaml.Node) {
	var body, nodes *yaml.Node
	r.fields(root, "", knownTop, ignoredTop, func(key string, v *yaml.Node) {
		if key == "name" {
			r.labName(v)
			return
		}
		body = v
		r.fields(v, "topology", knownTopology, nil, func(key string, v *yaml.Node) {
			switch key {
			case "defaults":
				r.defaults = r.definition(v, "defaults")
			case "kinds":
				r.definitions(v, "kinds", r.kinds)
			case "groups":
				r.definitions(v, "groups", r.groups)
			case "nodes":
				nodes = v
				r.definitions(v, "nodes", r.nodes)
			case "links":
				r.links = v
			}
		})
	})
	switch {
	case body == nil:
		r.Fault(root, "has no topology")
	case nodes == nil:
		r.Fault(body, "has no nodes")
	case len(r.nodes) == 0 && r.Found == 0:
		r.Fault(nodes, "nodes: there are none")
	}
}

// labName reads the name of the lab, which may be any line of text: it is only shown, and part
// of file names.
func (r *reader) labName(n *yaml.Node) {
	r.name = r.plain(n, "name")
	if why := r.placeholder(r.name); why != "" && !r.draft {
		r.notice(n.Line, "name: %.80s is left as it is: %s", r.name, why)
	}
	if !r.draft && strings.Contains(r.name, "__git") {
		r.notice(n.Line, "name: %.80s is left as it is: this program does not know about Git", r.name)
	}
	if strings.ContainsFunc(r.name, func(c rune) bool { return c < ' ' || c == 0x7f }) || len(r.name) > 256 {
		r.Fault(n, "name: must be a line of at most 256 bytes")
	}
}

func (r *reader) definitions(n *yaml.Node, what string, into map[string]definition) {
	r.mapping(n, what, func(k, v *yaml.Node) {
		d := r.definition(v, what+": "+k.Value)
		d.line = max(k.Line, 1)
		into[k.Value] = d
	})
}

func (r *reader) definition(n *yaml.Node, what string) (d definition) {
	d.node = n
	r.fields(n, what, knownNode, ignoredNode, func(key string, v *yaml.Node) {
		in := what + ": " + key
		switch key {
		case "kind":
			d.kind = r.value(v, in)
		case "group":
			d.group = r.plain(v, in)
		case "startup-config":
			if r.plain(v, in) != "" {
				d.config = v
			}
		case "image": // the image distinguishes a router from a host
			d.image = r.plain(v, in)
			if why := r.placeholder(d.image); why != "" && !r.draft {
				r.notice(v.Line, "%s: %.120s is left as it is: %s", in, d.image, why)
			}
		case "network-mode":
			d.network = r.value(v, in)
			if _, container := strings.CutPrefix(d.network, inContainer); !r.draft && !container {
				r.notice(v.Line, "%s: has no meaning here, and is ignored", in)
			}
		}
	})
	return d
}

// resolve returns a node with everything that it inherits, as types.Topology of containerlab
// does. What a node does not say comes from its group, its kind or the defaults, in this
// order. The group is that of the node, of its kind or of the defaults. The kind is that of
// the node, of the group that the node itself names, of the group of the defaults, or of the
// defaults.
func (r *reader) resolve(d definition) definition {
	d.kind = first(d.kind, r.groups[d.group].kind, r.groups[r.defaults.group].kind, r.defaults.kind)
	kind := r.kinds[d.kind]
	d.group = first(d.group, kind.group, r.defaults.group)
	group := r.groups[d.group]
	d.image = first(d.image, group.image, kind.image, r.defaults.image)
	d.network = first(d.network, group.network, kind.network, r.defaults.network)
	d.config = first(d.config, group.config, kind.config, r.defaults.config)
	d.kind = strings.ToLower(d.kind)
	return d
}

// owner returns the node whose interfaces a node uses: usually itself.
func (r *reader) owner(name string) (string, error) {
	at := name
	for range len(r.nodes) {
		next, shared := strings.CutPrefix(r.resolve(r.nodes[at]).network, inContainer)
		if _, ok := r.nodes[next]; !shared || !ok {
			return at, nil
		}
		at = next
	}
	return name, fmt.Errorf("the nodes refer to each other, and none has interfaces of its own")
}

// first returns the first value that is not zero.
func first[T comparable](all ...T) (none T) {
	for _, one := range all {
		if one != none {
			return one
		}
	}
	return none
}

// finish makes devices and links of the collected nodes.
func (r *reader) finish(topo *Topology, read func(name string) ([]byte, error)) {
	hosts, bridges := map[string]definition{}, map[string]definition{}
	for _, name := range slices.Sorted(maps.Keys(r.nodes)) {
		d := r.resolve(r.nodes[name])
		at := &yaml.Node{Line: d.line}
		inside, shared := strings.CutPrefix(d.network, inContainer)
		owner, err := r.owner(name)
		switch {
		case slices.Contains(bridgeKinds, d.kind) && shared:
			r.Fault(at, "nodes: %s: network-mode: is a bridge inside of %s, which no switch can be", name, inside)
			bridges[name] = d // links to it are valid
		case slices.Contains(bridgeKinds, d.kind):
			bridges[name] = d
		case d.kind == hostKind:
			hosts[name] = d
			r.notice(d.line, "nodes: %s: kind host is the machine on which containerlab runs, and is ignored", name)
		case err != nil:
			r.Fault(at, "nodes: %s: network-mode: %v", name, err)
		case owner != name:
			r.notice(d.line, "nodes: %s: network-mode: is a part of %s: links to it are links to %s, and the rest of it is ignored", name, owner, owner)
		default:
			if shared {
				r.notice(d.line, "nodes: %s: network-mode: there is no node %s; it is ignored", name, inside)
			}
			if err := document.CheckName(name); err != nil {
				if why := r.placeholder(name); why != "" {
					err = errors.New(why)
				}
				r.Fault(at, "nodes: %.80s: %v", name, err)
			}
			node := &Node{Name: name, Kind: d.kind, Image: d.image, Line: d.line}
			if c := r.config(name, d); c != nil {
				text, err := c.text(read)
				if err == nil {
					text, err = r.named(name, text)
				}
				if err != nil {
					r.Fault(d.config, "nodes: %s: %v", name, err)
				}
				node.Config, node.ConfigLine = text, c.line
				r.literal(name, d.config, text)
			}
			topo.Nodes = append(topo.Nodes, node)
		}
	}
	r.join(topo, bridges, hosts)
}

// names returns what containerlab inserts for a node. The long name of a lab is that of its
// directory.
func (r *reader) names(node string) *strings.Replacer {
	return strings.NewReplacer("__clabNodeName__", node, "__clabLabName__", "clab-"+r.name)
}

// named returns a configuration with the names that containerlab inserts.
func (r *reader) named(node, text string) (string, error) {
	full := r.names(node).Replace(text)
	if full != text {
		if r.left -= len(full); r.left < 0 {
			return text, fmt.Errorf("startup-config: __clabNodeName__ and __clabLabName__ make the configurations larger than %d bytes", document.MaxFile)
		}
	}
	return full, nil
}

// literal adds a notice for placeholders in a configuration that are not filled in.
func (r *reader) literal(name string, n *yaml.Node, text string) {
	what := ""
	switch {
	case strings.Contains(text, "${"):
		what = "${...} is sent as it is: environment variables are not filled in here"
	case strings.Contains(text, "{{"):
		what = "{{...}} is sent as it is: templates are not filled in here"
	case strings.Contains(text, "__clabDir__"), strings.Contains(text, "__clabNodeDir__"):
		what = "__clabDir__ and __clabNodeDir__ are sent as they are: these directories do not exist here"
	}
	if what != "" {
		r.notice(n.Line, "nodes: %s: startup-config: %s", name, what)
	}
}

// invalid returns an error with its line.
func invalid(line int, format string, args ...any) error {
	return fmt.Errorf("%w: %w", &document.Error{Line: max(line, 1), Text: fmt.Sprintf(format, args...)}, fault.Invalid)
}
