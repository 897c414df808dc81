// Package discover finds services in .env files: every file that says DAEMON=true declares one,
// whose environment it is. docs/services.md has the rules.
//
// [Scan] looks once, and gets the result of an earlier scan. A [Watcher] scans when
// something may have changed. Both return declarations that are complete except for their
// user; the caller looks it up, because it knows the machine's users.
//
// What is wrong with one file changes nothing: the service that the file declared before is
// found still. The services are compared with each other elsewhere, by [service.Validate].
package discover

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"activationd/activation/service"
	"activationd/internal/envfile"
	"activationd/internal/trust"
)

// settle is how long a file must be unchanged before it is read, and how long it must be gone
// before its service is: programs that replace a file often do so in several steps.
const settle = 200 * time.Millisecond

// An Entry says where to look for files.
type Entry struct {
	Pattern string // of absolute paths, as of [path/filepath.Match]
	User    string // runs the services whose file belongs to root; empty: these are rejected
	UID     int    // of User
	// Declare makes the declaration of a service of that name, with what holds for all that
	// are found here; nil: [service.New] does.
	Declare func(name string) (*service.Declaration, error)
}

// A Found is a service.
type Found struct {
	// Declaration has all but the user. EnvFile is the file.
	*service.Declaration
	UID      int      // the user who runs it: the file's owner, or the entry's user
	Warnings []string // of what other readers of the file would understand differently
}

// A Rejected is a file that should declare a service, but cannot be used as it is.
type Rejected struct {
	File string
	Name string // of the service: shop/web
	Err  error  // a sentence for the file's author, which names the file
	Kept bool   // the service that the file declared before is found still
	// Changing means that nothing is wrong, but that the file has just been changed. Perhaps
	// it declares a service.
	Changing bool
}

// A Result is what a scan has found, sorted by file.
type Result struct {
	Found    []Found
	Rejected []Rejected
	// Again is when the next scan should be, because a file has just changed; zero: no file
	// has.
	Again time.Time

	missing map[string]time.Time // files of Found that are gone, since when
	read    map[string]content   // what files have now
	good    map[string]content   // what those of Found had when they were last without a fault
}

// A content is what a file has, as long as its state stays the same.
type content struct {
	state    state
	vars     []envfile.Var
	warnings []envfile.Warning
	err      error     // why it cannot be read as variables
	service  bool      // it may be meant as a service even so
	trusted  time.Time // when the way to it was checked last, for the user uid
	uid      int
}

// A state changes whenever a file does: unlike the time of the last write, no program can set
// the time of the last change of any kind.
type state struct {
	inode  inode
	linked bool // it has more than one link
	size   int64
	ctim   unix.Timespec
}

// recheck is how long a file that does not change is trusted. Whoever could have put another
// in its place since then, would have changed its state.
const recheck = 30 * time.Second

// Scan reads the files of all entries. If several entries match a file, the first counts. Last
// is the result of the scan before; the zero Result is right for the first.
//
// A file that changed less than 200 ms before now is not read yet: Scan returns what last has
// of it, and Again.
func Scan(entries []Entry, now time.Time, last Result) Result {
	s := scan{now: now, last: map[string]Found{}, missing: last.missing, known: last.read, good: last.good, inodes: map[inode]string{}}
	s.result.missing, s.result.read, s.result.good = map[string]time.Time{}, map[string]content{}, map[string]content{}
	for _, f := range last.Found {
		s.last[f.EnvFile] = f
	}
	entry := map[string]Entry{}
	for _, e := range entries {
		names, _ := filepath.Glob(e.Pattern) // the configuration's check has refused a bad pattern
		for f := range s.last {
			if ok, _ := filepath.Match(e.Pattern, f); ok {
				names = append(names, f) // perhaps its directory cannot be read now
			}
		}
		for _, name := range names {
			if _, ok := entry[name]; !ok {
				entry[name] = e
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(entry)) {
		s.file(name, entry[name])
	}
	return s.result
}

type inode struct{ dev, ino uint64 }

type scan struct {
	now     time.Time
	last    map[string]Found
	missing map[string]time.Time
	known   map[string]content // of the scan before, as the next
	good    map[string]content
	inodes  map[inode]string // the files that declare a service
	result  Result
}

var (
	errNoService = errors.New("declares no service")
	errChanging  = errors.New("is being changed")
)

// file adds to the result what one file declares.
func (s *scan) file(name string, e Entry) {
	f, err := s.read(name, e)
	old, known := s.last[name]
	switch {
	case err == nil:
		s.result.Found = append(s.result.Found, f)
		return
	case errors.Is(err, errNoService):
		return
	case errors.Is(err, errChanging):
		s.again(s.now.Add(settle))
		s.reject(name, fmt.Errorf("%s is being changed", name), true)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		if !known {
			return
		}
		since, ok := s.missing[name]
		if !ok {
			since = s.now
		}
		if gone := s.now.Sub(since); gone < 0 || gone >= settle {
			return
		}
		s.result.missing[name] = since
		s.again(since.Add(settle))
	default:
		s.reject(name, err, false)
	}
	if !known {
		return
	}
	// What holds for all services of the entry may have changed.
	if again, err := found(name, e, s.good[name], old.UID); err == nil {
		old = again
	}
	s.result.Found = append(s.result.Found, old)
	s.result.good[name] = s.good[name]
}

func (s *scan) reject(name string, err error, changing bool) {
	_, known := s.last[name]
	s.result.Rejected = append(s.result.Rejected, Rejected{name, serviceName(name), err, known, changing})
}

func (s *scan) again(at time.Time) {
	if s.result.Again.IsZero() || at.Before(s.result.Again) {
		s.result.Again = at
	}
}

func (s *scan) read(name string, e Entry) (Found, error) {
	c, owner, err := s.content(name)
	if err != nil {
		return Found{}, err
	}
	s.result.read[name] = c
	if c.err != nil {
		_, known := s.last[name]
		if !known && !c.service {
			c.err = errNoService // most files like this one are no affair of ours
		}
		return Found{}, c.err
	}
	f, err := found(name, e, c, owner)
	if err != nil {
		return Found{}, err
	}
	if f.UID == 0 {
		if e.User == "" {
			return Found{}, fmt.Errorf("%s belongs to root: give its entry of discover a user, or the file another owner", name)
		}
		f.UID = e.UID
	}
	if age := s.now.Sub(c.trusted); c.uid != f.UID || age < 0 || age >= recheck {
		if err := trusted(name, c.state, owner, f.UID); err != nil {
			return Found{}, err
		}
		c.trusted, c.uid = s.now, f.UID
		s.result.read[name] = c
	}
	if other, ok := s.inodes[c.state.inode]; ok {
		return Found{}, fmt.Errorf("%s is the same file as %s, which declares a service: let the pattern match only one of them", name, other)
	}
	s.inodes[c.state.inode] = name
	s.result.good[name] = c
	return f, nil
}

// found returns what a file with such a content declares.
func found(name string, e Entry, c content, uid int) (Found, error) {
	f := Found{UID: uid}
	var err error
	if f.Declaration, err = e.declare(serviceName(name)); err != nil {
		return Found{}, err
	}
	if err := f.declare(name, c.vars); err != nil {
		return Found{}, err
	}
	for _, w := range c.warnings {
		f.Warnings = append(f.Warnings, fmt.Sprintf("%s:%d: %s", name, w.Line, w.Text))
	}
	return f, nil
}

// content returns what is in a file, and its owner. It opens nothing but regular files: a
// device can do something as soon as it is opened, and a FIFO waits for its writer.
func (s *scan) content(name string) (c content, owner int, err error) {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return c, 0, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return c, 0, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		return c, 0, errNoService // of Python's virtual environments, some have such a name
	default:
		return c, 0, fmt.Errorf("%s is not a regular file", name)
	}
	// If the time of the last change is far in the future, the clock was set back.
	if age := s.now.Sub(time.Unix(st.Ctim.Unix())); age > -settle && age < settle {
		return c, 0, errChanging
	}
	now, owner := stateOf(&st), int(st.Uid)
	if c, ok := s.known[name]; ok && c.state == now {
		return c, owner, nil
	}
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		if inner, ok := errors.AsType[*fs.PathError](err); ok {
			inner.Path = name
		}
		return c, 0, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, envfile.MaxSize+1))
	if err != nil {
		return c, 0, fmt.Errorf("%s: %w", name, err)
	}
	if err := unix.Fstat(fd, &st); err != nil {
		return c, 0, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	if stateOf(&st) != now {
		return c, 0, errChanging
	}
	c = content{state: now, service: bytes.Contains(data, []byte("DAEMON")), uid: -1}
	c.vars, c.warnings, c.err = envfile.Parse(name, data)
	return c, owner, nil
}

func stateOf(st *unix.Stat_t) state {
	return state{inode{st.Dev, st.Ino}, st.Nlink > 1, st.Size, st.Ctim}
}

// trusted returns an error if anybody but root and the user who runs the service could change
// the file, or put another in its place: whoever can do that, can run programs as that user.
func trusted(name string, read state, owner, uid int) error {
	if err := trust.Check(name, uid); err != nil {
		return err
	}
	if owner == 0 && trust.Check(name) != nil {
		// The user may have put a link there, to a file that only root can read.
		if path, err := filepath.EvalSymlinks(name); err != nil || path != name || read.linked {
			return fmt.Errorf("%s belongs to root, and a link leads to it which root may not have made: write the path without links, or give the file another owner", name)
		}
	}
	var now unix.Stat_t
	if err := unix.Stat(name, &now); err != nil || stateOf(&now) != read {
		return errChanging
	}
	return nil
}

func (e *Entry) declare(name string) (*service.Declaration, error) {
	if e.Declare == nil {
		return service.New(name), nil
	}
	return e.Declare(name)
}

// serviceName returns the names of the last two directories, PROJECT/SERVICE.
func serviceName(file string) string {
	dir := filepath.Dir(file)
	return strings.TrimPrefix(filepath.Join(filepath.Base(filepath.Dir(dir)), filepath.Base(dir)), "/")
}

// declare makes the declaration from a file's variables.
func (f *Found) declare(name string, vars []envfile.Var) error {
	d := f.Declaration
	d.EnvFile, d.Dir, d.FileEnv = name, filepath.Dir(name), map[string]string{}
	given := map[string]envfile.Var{}
	for _, v := range vars {
		switch v.Name {
		case "DAEMON", "COMMAND", "INSTANCES":
			given[v.Name] = v
		default:
			d.FileEnv[v.Name] = v.Value
			delete(d.Env, v.Name) // which has defaults
		}
	}
	daemon, command, instances := given["DAEMON"], given["COMMAND"], given["INSTANCES"]
	switch daemon.Value {
	case "true":
	case "", "false":
		return errNoService
	default:
		return fmt.Errorf("%s:%d: DAEMON: want true or false, have %q", name, daemon.Line, daemon.Value)
	}
	if d.Positions == nil {
		d.Positions = map[string]service.Position{}
	}
	for key, v := range map[string]envfile.Var{"": daemon, "command": command, "instances": instances} {
		d.Positions[key] = service.Position{File: name, Line: v.Line}
	}
	if strings.TrimSpace(command.Value) == "" {
		return fmt.Errorf(`%s:%d: COMMAND is missing: want a command for /bin/sh, such as COMMAND="bin/worker --queue mail"`, name, max(daemon.Line, command.Line))
	}
	d.Command = []string{"/bin/sh", "-c", service.Named(command.Value, d.Shown)}
	if instances.Line > 0 {
		n, err := strconv.Atoi(instances.Value)
		if err != nil {
			return fmt.Errorf("%s:%d: INSTANCES: want a number, have %q", name, instances.Line, instances.Value)
		}
		d.Instances = n
	}
	var errs []error
	for _, f := range d.Faults() {
		errs = append(errs, f)
	}
	return errors.Join(errs...)
}
