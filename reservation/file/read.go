package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"activationd/internal/diag"
	"activationd/internal/fault"
)

const (
	maxFile  = 64 << 20  // bytes of one file
	maxTotal = 256 << 20 // bytes of all files of a directory
)

// A page is a file that was read.
type page struct {
	path string // for errors
	name string // for Where of a reservation
	data []byte
}

// fault returns an error about the page as a whole.
func (p *page) fault(line int, format string, args ...any) error {
	l := diag.List{File: p.path}
	l.Add(line, format, args...)
	return l.Err()
}

// lineAt returns the number of the line with the byte at offset.
func (p *page) lineAt(offset int) int {
	return 1 + bytes.Count(p.data[:min(max(offset, 0), len(p.data))], []byte{'\n'})
}

// isDir reports whether the source, of which file is one, is a directory.
func (s *Source) isDir(file string) bool { return file != s.path }

// directory returns the directory of the topology files.
func (s *Source) directory() string {
	if fi, err := os.Stat(s.path); err == nil && fi.IsDir() {
		return s.path
	}
	return filepath.Dir(s.path)
}

// Files returns the names of the files that are read.
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
		if e.IsDir() || ignored(e.Name()) {
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

// read reads all files.
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
		f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // O_NONBLOCK: a FIFO must not block
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
			notices = append(notices, fmt.Sprintf("%s: any user may write to it (mode %#o), and so run commands", path, mode))
		}
		pages = append(pages, page{path, filepath.Base(path), data})
	}
	return pages, notices, nil
}

// ignored reports whether a file of that name in a directory is not read.
func ignored(name string) bool {
	stem, ext := strings.TrimSuffix(name, filepath.Ext(name)), filepath.Ext(name)
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") ||
		strings.HasSuffix(stem, ".clab") ||
		ext != ".yml" && ext != ".yaml" && ext != ".json" // backups (x.yml~, x.yml.swp, x.yml.bak), for instance
}

// readWhole reads and closes f, which must be a regular file that does not change in the
// meantime.
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
	data := make([]byte, before.Size()+1) // one more, to notice if the file has grown
	n, err := io.ReadFull(f, data)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, 0, fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	after, err := f.Stat()
	if err != nil || int64(n) != before.Size() || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		return nil, 0, fmt.Errorf("is being written at the moment; load it again: %w", fault.Unavailable)
	}
	return data[:n], after.Mode().Perm(), nil
}

// plain returns the text of an error without its kind.
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
