package file

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"activationd/reservation"
	"activationd/topology"
)

// A named is a topology file. It is read once in each load, however many reservations name
// it.
type named struct {
	text  string // with the startup-configs
	nodes []string
	fault string // why it cannot be used
}

// A text is the content of a file.
type text struct {
	text  string
	fault string // why it cannot be read
}

// A topologyDir reads topologies, and the configurations that they name, from the directory
// of the reservations. It does not follow links that lead out of it.
type topologyDir struct {
	root       *os.Root
	check      func(path string) error
	mu         sync.Mutex
	texts      map[string]text
	topologies map[string]*named
}

func openTopologyDir(dir string, check func(path string) error) (*topologyDir, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	return &topologyDir{root: root, check: check, texts: map[string]text{}, topologies: map[string]*named{}}, nil
}

func (d *topologyDir) close()  { _ = d.root.Close() } // it was only read
func (d *topologyDir) forget() { clear(d.texts); clear(d.topologies) }

// names returns the names of all files that were requested, sorted.
func (d *topologyDir) names() []string { return slices.Sorted(maps.Keys(d.texts)) }

// get returns a topology.
func (d *topologyDir) get(name string) *named {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, ok := d.topologies[name]
	if !ok {
		t = &named{}
		d.topologies[name] = t
		f := d.file(name)
		if t.fault = f.fault; t.fault != "" {
			return t
		}
		filled, err := topology.Fill(f.text, d.configLocked(filepath.Dir(name)))
		if err == nil {
			t.text = filled
			t.nodes, err = topology.Devices(filled)
		}
		if err != nil {
			t.fault = plain(err)
		}
	}
	return t
}

// config returns a function that reads a startup-config, whose name is relative to dir.
func (d *topologyDir) config(dir string) func(name string) ([]byte, error) {
	read := d.configLocked(dir)
	return func(name string) ([]byte, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		return read(name)
	}
}

func (d *topologyDir) configLocked(dir string) func(name string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if !filepath.IsLocal(name) {
			return nil, errors.New("it is not the name of a file in the reservations' directory")
		}
		f := d.file(filepath.Join(dir, name))
		if f.fault != "" {
			return nil, errors.New(f.fault)
		}
		return []byte(f.text), nil
	}
}

// look reads a file for the fingerprint only.
func (d *topologyDir) look(name string) text {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.file(name)
}

// file reads a file once. The caller holds mu.
func (d *topologyDir) file(name string) text {
	t, ok := d.texts[name]
	if !ok {
		var err error
		if t.text, err = d.read(name); err != nil {
			t.fault = plain(err)
		}
		d.texts[name] = t
	}
	return t
}

func (d *topologyDir) read(name string) (string, error) {
	if d.root == nil {
		return "", errors.New("there are no files beside these reservations; put the topology itself here")
	}
	if err := d.check(filepath.Join(d.root.Name(), filepath.FromSlash(name))); err != nil {
		return "", err
	}
	f, err := d.root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("there is no such file in the reservations' directory")
	}
	if err != nil { // a link that leads out of the directory, for instance
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return "", err
	}
	data, _, err := readWhole(f, reservation.MaxTopology)
	return string(data), err
}
