package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"activationd/internal/diag"
	"activationd/internal/fault"
	"activationd/reservation"
	"activationd/topology"
)

const (
	maxFile  = 64 << 20  // bytes of one file
	maxTotal = 256 << 20 // bytes of all files of a directory
)

// A page is one file as it was read.
type page struct {
	path string // as errors call it
	name string // as a reservation's Where calls it
	data []byte
}

// fault is an error about the page as a whole.
func (p *page) fault(line int, format string, args ...any) error {
	l := diag.List{File: p.path}
	l.Add(line, format, args...)
	return l.Err()
}

// lineAt is the number of the line with the byte at offset.
func (p *page) lineAt(offset int) int {
	return 1 + bytes.Count(p.data[:min(max(offset, 0), len(p.data))], []byte{'\n'})
}

// isDir reports whether the source is a directory, by a file of it.
func (s *Source) isDir(file string) bool { return file != s.path }

// directory is where the source's topologies lie.
func (s *Source) directory() string {
	if fi, err := os.Stat(s.path); err == nil && fi.IsDir() {
		return s.path
	}
	return filepath.Dir(s.path)
}

// Files returns what is read: the file, or all files of the directory.
func (s *Source) Files() ([]string, error) {
	fi, err := os.Stat(s.path)
	if err != nil {
		return nil, unreadable(s.path, err)
	}
	if !fi.IsDir() {
		return []string{s.path}, nil
	}
	entries, err := os.ReadDir(s.path) // sorted
	if err != nil {
		return nil, unreadable(s.path, err)
	}
	var paths []string
	for _, e := range entries {
		if e.IsDir() || passedOver(e.Name()) {
			continue
		}
		path := filepath.Join(s.path, e.Name())
		if e.Type()&fs.ModeSymlink != 0 {
			if fi, err := os.Stat(path); err == nil && fi.IsDir() {
				continue
			}
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// read reads all of that.
func (s *Source) read(ctx context.Context) ([]page, []string, error) {
	paths, err := s.Files()
	if err != nil {
		return nil, nil, err
	}
	var pages []page
	var notices []string
	total := 0
	for _, path := range paths {
		if err := ctx.Err(); err != nil {
			return nil, nil, fmt.Errorf("%s: %w: %w", s.path, err, fault.Unavailable)
		}
		if err := s.check(path); err != nil {
			return nil, nil, err
		}
		f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not keep us
		if err != nil {
			return nil, nil, unreadable(path, err)
		}
		data, mode, err := readWhole(f, maxFile)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		if total += len(data); total > maxTotal {
			return nil, nil, fmt.Errorf("%s: its files have more than %d MiB: %w", s.path, maxTotal>>20, fault.Invalid)
		}
		if mode&0o002 != 0 {
			notices = append(notices, fmt.Sprintf("%s: anybody may write to it (mode %#o), and so have commands run", path, mode))
		}
		pages = append(pages, page{path, filepath.Base(path), data})
	}
	return pages, notices, nil
}

// passedOver reports whether a directory's file of that name is none of ours.
func passedOver(name string) bool {
	stem, ext := strings.TrimSuffix(name, filepath.Ext(name)), filepath.Ext(name)
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") ||
		strings.HasSuffix(stem, ".clab") ||
		ext != ".yml" && ext != ".yaml" && ext != ".json" // backups (x.yml~, x.yml.swp, x.yml.bak) among them
}

// readWhole reads and closes f, which must be a regular file that does not
// change meanwhile.
func readWhole(f *os.File, limit int64) ([]byte, fs.FileMode, error) {
	defer func() { _ = f.Close() }() // only read from
	before, err := f.Stat()
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("%w: %w", err, fault.Unavailable)
	case !before.Mode().IsRegular():
		return nil, 0, fmt.Errorf("is not a regular file: %w", fault.Invalid)
	case before.Size() > limit:
		return nil, 0, fmt.Errorf("has %d bytes, more than %d: %w", before.Size(), limit, fault.Invalid)
	}
	data := make([]byte, before.Size()+1) // one more, to see the end
	n, err := io.ReadFull(f, data)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, 0, fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	after, err := f.Stat()
	if err != nil || int64(n) != before.Size() || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		return nil, 0, fmt.Errorf("is being written just now; load it again: %w", fault.Unavailable)
	}
	return data[:n], after.Mode().Perm(), nil
}

// plain is the error's text without its kind.
func plain(err error) string {
	return strings.TrimSuffix(err.Error(), ": "+string(fault.Of(err)))
}

func unreadable(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: there is no such file or directory: %w", path, fault.Unavailable)
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("%s: %w: %w", path, err, fault.Unavailable)
}

// A named is a topology's file, read once a load however many reservations
// name it.
type named struct {
	text  string // with its startup-configs
	nodes []string
	fault string // why it cannot be used
}

// A text is a file as it was read.
type text struct {
	text  string
	fault string // why it cannot be read
}

// A beside reads topologies, and the configurations that these name, from a
// directory and from nowhere else, whatever links lie in it.
type beside struct {
	root       *os.Root
	check      func(path string) error
	mu         sync.Mutex
	texts      map[string]text
	topologies map[string]*named
}

func openBeside(dir string, check func(path string) error) (*beside, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	return &beside{root: root, check: check, texts: map[string]text{}, topologies: map[string]*named{}}, nil
}

func (b *beside) close()  { _ = b.root.Close() } // a directory that was only read
func (b *beside) forget() { clear(b.texts); clear(b.topologies) }

// names are the names of all files that were asked for, sorted.
func (b *beside) names() []string { return slices.Sorted(maps.Keys(b.texts)) }

// get returns a topology.
func (b *beside) get(name string) *named {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok := b.topologies[name]
	if !ok {
		t = &named{}
		b.topologies[name] = t
		f := b.file(name)
		if t.fault = f.fault; t.fault != "" {
			return t
		}
		filled, err := topology.Fill(f.text, b.configLocked(filepath.Dir(name)))
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

// config returns what reads a startup-config that is named relative to dir.
func (b *beside) config(dir string) func(name string) ([]byte, error) {
	read := b.configLocked(dir)
	return func(name string) ([]byte, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return read(name)
	}
}

func (b *beside) configLocked(dir string) func(name string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if !filepath.IsLocal(name) {
			return nil, errors.New("it is not the name of a file in there")
		}
		f := b.file(filepath.Join(dir, name))
		if f.fault != "" {
			return nil, errors.New(f.fault)
		}
		return []byte(f.text), nil
	}
}

// look reads a file for its stamp only.
func (b *beside) look(name string) text {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.file(name)
}

// file reads a file once. The caller holds mu.
func (b *beside) file(name string) text {
	t, ok := b.texts[name]
	if !ok {
		var err error
		if t.text, err = b.read(name); err != nil {
			t.fault = plain(err)
		}
		b.texts[name] = t
	}
	return t
}

func (b *beside) read(name string) (string, error) {
	if err := b.check(filepath.Join(b.root.Name(), filepath.FromSlash(name))); err != nil {
		return "", err
	}
	f, err := b.root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("there is no such file in the reservations' directory")
	}
	if err != nil { // a link that leads out is one of these
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return "", err
	}
	data, _, err := readWhole(f, reservation.MaxTopology)
	return string(data), err
}
