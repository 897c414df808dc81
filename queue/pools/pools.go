// Package pools decides which queues are served: by a file with a list of names, which
// commands and other programs change, and by patterns of the configuration.
//
// The file is a JSON array of texts: names of queues, or patterns as of [path.Match]. A text
// that begins with ! excludes what it matches, wherever it stands. If there is no file, all
// queues are served; an empty list serves none.
//
// The name is that of the file in the framework from which portals come, pools.json. A pool of
// processes, in package queue/broker, is something else.
//
// A [List] is a value. A [File] keeps what is in force: it reads the file again when it has
// changed, and goes on with the last list that could be read.
package pools

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"activationd/internal/fault"
)

// maxFile is the greatest size of the file.
const maxFile = 4 << 20

// A List is the content of the file. A nil List is that of a file that does not exist.
type List struct {
	name    string // of the file, for messages
	entries []entry
	broken  bool // it could not be read
}

type entry struct {
	text string
	line int
}

// pattern returns what the entry matches, and whether it excludes that.
func (e entry) pattern() (pattern string, excludes bool) { return strings.CutPrefix(e.text, "!") }

func (e entry) matches(name string) bool {
	pattern, _ := e.pattern()
	ok, err := path.Match(pattern, name)
	return ok && err == nil || pattern == name
}

// Read reads the file at that path. A file that does not exist gives a nil List.
func Read(file string) (*List, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not keep us
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.OfFile(err))
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", err, fault.Unavailable)
	case len(data) > maxFile:
		return nil, fmt.Errorf("%s: is larger than 4 MiB: %w", file, fault.Invalid)
	}
	return Parse(file, data)
}

// Parse reads the content of a file of that name.
func Parse(file string, data []byte) (*List, error) {
	list := &List{name: filepath.Base(file)}
	d := json.NewDecoder(bytes.NewReader(data))
	line := func() int { return 1 + bytes.Count(data[:d.InputOffset()], []byte{'\n'}) }
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%s:%d: %s: %w", file, line(), fmt.Sprintf(format, args...), fault.Invalid)
	}
	const want = `want a list of names of queues, such as ["a", "_model_b"]`
	first, err := d.Token()
	if err != nil || first != json.Delim('[') {
		return nil, wrong(want)
	}
	for d.More() {
		var text *string
		if err := d.Decode(&text); err != nil || text == nil {
			return nil, wrong(want)
		}
		e := entry{*text, line()}
		if err := checkPattern(*text); err != nil {
			return nil, wrong("%v", err)
		}
		list.entries = append(list.entries, e)
	}
	if _, err := d.Token(); err != nil {
		return nil, wrong("the list has no end: %v", err)
	}
	if rest := bytes.TrimSpace(data[d.InputOffset():]); len(rest) > 0 {
		return nil, wrong("more follows after the list")
	}
	return list, nil
}

// checkPattern checks an entry.
func checkPattern(text string) error {
	pattern, _ := entry{text: text}.pattern()
	if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
		return fmt.Errorf("%q is neither a name nor a pattern", text)
	}
	return nil
}

// Entries returns the list as it is in the file.
func (l *List) Entries() (texts []string) {
	if l == nil {
		return nil
	}
	for _, e := range l.entries {
		texts = append(texts, e.text)
	}
	return texts
}

// Allows reports whether the list lets a queue be served, and if not, why.
func (l *List) Allows(name string) (ok bool, why string) {
	if l == nil {
		return true, ""
	}
	for _, e := range l.entries {
		if _, excludes := e.pattern(); !e.matches(name) {
			continue
		} else if excludes {
			return false, fmt.Sprintf("denied by %s line %d", l.name, e.line)
		}
		ok = true
	}
	switch {
	case l.broken:
		why = l.name + " cannot be read"
	case !ok:
		why = "not in " + l.name
	}
	return ok, why
}

// Allow returns a list with that name or pattern. It does not change l.
func (l *List) Allow(pattern string) *List {
	if l == nil {
		return nil // all are served
	}
	l = l.without(func(e entry) bool { return e.text == "!"+pattern || covers(pattern, e, true) })
	if ok, _ := l.Allows(pattern); !ok {
		l.entries = append(l.entries, entry{text: pattern})
	}
	return l
}

// Deny returns a list that does not have that name or pattern. It does not change l. Without
// a file, all other queues are still served.
func (l *List) Deny(pattern string) *List {
	if l == nil {
		l = Only("*")
	}
	l = l.without(func(e entry) bool { return e.text == pattern || covers(pattern, e, false) })
	wide := slices.ContainsFunc(l.entries, func(e entry) bool {
		_, excludes := e.pattern()
		return !excludes && strings.ContainsAny(e.text, `*?[`)
	})
	ok, _ := l.Allows(pattern)
	if has := slices.ContainsFunc(l.entries, func(e entry) bool { return e.text == "!"+pattern }); !has && (ok || wide && isPattern(pattern)) {
		l.entries = append(l.entries, entry{text: "!" + pattern})
	}
	return l
}

// covers reports whether a pattern matches the plain name that an entry allows, or excludes.
func covers(pattern string, e entry, excluded bool) bool {
	name, excludes := e.pattern()
	return excludes == excluded && !isPattern(name) && entry{text: pattern}.matches(name)
}

func isPattern(text string) bool { return strings.ContainsAny(text, `*?[\`) }

// Only returns a list with these names and patterns, and no others.
func Only(patterns ...string) *List {
	l := new(List)
	for _, p := range patterns {
		l.entries = append(l.entries, entry{text: p})
	}
	return l
}

func (l *List) without(gone func(entry) bool) *List {
	return &List{name: l.name, entries: slices.DeleteFunc(slices.Clone(l.entries), gone)}
}

// Write replaces the file by a list. Its mode and its owner stay.
func (l *List) Write(file string) (err error) {
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target
	}
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(append([]string{}, l.Entries()...)); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".")
	if err != nil {
		return fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("%w: %w", err, fault.Unavailable)
		}
	}()
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(file); err == nil {
		mode = info.Mode().Perm()
		if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Getuid() == 0 {
			if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
				return err
			}
		}
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data.Bytes()); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Rules are all that decides whether a queue is served.
type Rules struct {
	List        *List
	Allow, Deny []string // patterns of the configuration; no Allow: all
}

// Allows reports whether a queue is served, and if not, why.
func (r Rules) Allows(name string) (ok bool, why string) {
	match := func(patterns []string) string {
		i := slices.IndexFunc(patterns, func(p string) bool { return entry{text: p}.matches(name) })
		if i < 0 {
			return ""
		}
		return patterns[i]
	}
	if p := match(r.Deny); p != "" {
		return false, fmt.Sprintf("denied by queues.deny (%s)", p)
	}
	if len(r.Allow) > 0 && match(r.Allow) == "" {
		return false, "not in queues.allow"
	}
	return r.List.Allows(name)
}
