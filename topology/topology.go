// Package topology reads topologies in the file format of containerlab: the devices that a
// reservation wants, their startup-configs, and the interfaces that are linked. It is the only
// reader of the format. The daemon gets the names of the devices from it ([Devices]) and
// inserts startup-configs that are files ([Fill]); package lab reads everything ([Parse]).
//
// Keys that are about containers are ignored, with a notice. Keys that would change the wiring
// and are impossible with real devices are refused, each with the reason. This package does
// not know which devices exist.
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

// A Topology is what a reservation wants of the laboratory.
type Topology struct {
	Name  string
	Nodes []*Node // the devices, sorted by name; bridges are not among them
	Links []Link  // in the order of the file
	// Notices are about keys that are ignored, each with its line.
	Notices []string
}

// A Node is a device that a reservation wants: the one of this name, or any of the kind.
type Node struct {
	Name, Kind, Image string
	// Config is the text of its startup-config. ConfigLine is the line of the file on which
	// that begins, or 0 if the text is not in the file.
	Config     string
	ConfigLine int
	Line       int
}

// An End is an interface of a node.
type End struct{ Node, Interface string }

func (e End) String() string { return e.Node + ":" + e.Interface }

// A Link joins interfaces: those of one link of the file, or all that are on one bridge or on
// bridges that are linked.
type Link struct {
	Ends []End // two or more
	// Bridges are the bridges that make it a LAN, in the order of the file. A link without a
	// bridge has none.
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

// Read reads a topology file. If the file is invalid, the error has every fault with its line,
// and its kind is [fault.Invalid]. If the file cannot be read, the kind is
// that of [fault.OfFile]. Startup-configs that are names of files are read from the directory of
// the topology.
func Read(file string) (*Topology, error) {
	data, err := readBounded(os.Open(file))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	dir, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.OfFile(err))
	}
	defer func() { _ = dir.Close() }() // only read from
	return Parse(file, data, func(name string) ([]byte, error) {
		// Non-blocking, as opening a FIFO would wait forever.
		return readBounded(dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0))
	})
}

func readBounded(f *os.File, err error) ([]byte, error) {
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.OfFile(err))
	}
	defer func() { _ = f.Close() }() // only read from
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > document.MaxFile {
		return nil, fmt.Errorf("is not a file of at most %d bytes: %w", document.MaxFile, fault.Invalid)
	}
	data, err := io.ReadAll(io.LimitReader(f, document.MaxFile))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.OfFile(err))
	}
	return data, nil
}

// Parse is [Read] for a file that was read already. It calls read for a startup-config that is
// a file.
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
// [fault.Invalid] and has the line. Unknown keys and links are not checked, as the script that
// gets the topology may understand more of it. A startup-config that is still the name of a
// file is an error, because the file will not be found later: see [Fill].
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
	// A template is usually not valid YAML, or its {{ name }} is read as a mapping in a
	// mapping.
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
