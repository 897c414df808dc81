// Package topology reads topologies in containerlab's file format: which devices
// somebody wants, with which startup-config, and which of their interfaces are to reach
// each other. It is the only reader of that format: the daemon learns from it the names
// of the devices ([Devices]) and has the startup-configs put in that are files ([Fill]);
// the laboratory has the whole ([Parse]).
//
// What is about containers is ignored, with a notice. What would change the wiring and
// can't be done with real devices is refused by name. Which devices there are is not
// known here.
package topology

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"

	"activationd/internal/document"
	"activationd/internal/fault"
)

// A Topology is what somebody wants of the laboratory.
type Topology struct {
	Name  string
	Nodes []*Node // the devices, sorted by name: bridges are none
	Links []Link  // in the file's order
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

// An End is a node's interface.
type End struct{ Node, Interface string }

func (e End) String() string { return e.Node + ":" + e.Interface }

// A Link joins interfaces: those that a link of the file joins, or all that are on one
// bridge, or on bridges that are joined with each other.
type Link struct {
	Ends []End // two at least
	// Bridges are those that make it a LAN, in the file's order; or none.
	Bridges []string
	Line    int // of the link, or of the first bridge
}

func (l Link) String() string {
	if len(l.Bridges) > 0 {
		return "the LAN " + strings.Join(l.Bridges, ", ")
	}
	var ends []string
	for _, e := range l.Ends {
		ends = append(ends, e.String())
	}
	return "the link " + strings.Join(ends, " -- ")
}

// Read reads a topology's file. All that is wrong with it is in the error, each fault
// with its line; its kind is then [fault.Invalid], and [fault.Unavailable] when the file
// can't be read. A startup-config that is a file's name is read from the topology's
// directory.
func Read(file string) (*Topology, error) {
	data, err := readBounded(os.Open(file))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	dir, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	defer func() { _ = dir.Close() }() // only read from
	return Parse(file, data, func(name string) ([]byte, error) {
		// Not blocking: whoever opens a FIFO would wait for ever.
		return readBounded(dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0))
	})
}

func readBounded(f *os.File, err error) ([]byte, error) {
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	defer func() { _ = f.Close() }() // only read from
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > document.MaxFile {
		return nil, fmt.Errorf("is not a file of at most %d bytes: %w", document.MaxFile, fault.Invalid)
	}
	data, err := io.ReadAll(io.LimitReader(f, document.MaxFile))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	return data, nil
}

// Parse is Read of what was read already; read reads a startup-config that is a file.
func Parse(file string, data []byte, read func(name string) ([]byte, error)) (*Topology, error) {
	r := newReader(file)
	topo := &Topology{}
	if root := r.text(data); root != nil {
		r.document(root)
		topo.Name = r.name
		r.finish(topo, read)
	}
	if err := r.err(data); err != nil {
		return nil, err
	}
	topo.Notices = r.notices
	return topo, nil
}

// Devices returns the names of the nodes that are devices, sorted. An error is of kind
// [fault.Invalid] and has the line. Keys that are unknown are not looked at, nor are
// links: whoever gets the topology may read it in his own way. A startup-config that is
// still a file's name is an error, because nobody will find the file: see [Fill].
func Devices(text string) ([]string, error) {
	d, err := parseDraft([]byte(text))
	if err == nil {
		_, err = d.configs(func(string) ([]byte, error) { return nil, errNoDirectory })
	}
	if err != nil {
		return nil, err
	}
	return d.devices(), nil
}

// text parses JSON or YAML.
func (r *reader) text(data []byte) *yaml.Node {
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) && json.Valid(data) {
		r.Bound(len(data))
		return document.JSON(data, 1)
	}
	root := r.Root(data)
	// A template is mostly no YAML, or its {{ name }} is read as a mapping in a mapping.
	r.template = root == nil || bytes.Contains(data, []byte("{{")) && braces(root)
	return root
}

// braces reports whether a mapping is a key of another one.
func braces(n *yaml.Node) bool {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && c.Kind == yaml.MappingNode || braces(c) {
			return true
		}
	}
	return false
}
