package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
)

const (
	atSpool = "/var/spool/cron/atjobs"
	atdPID  = "/run/atd.pid"
)

const importAtHelp = `Import-at takes over what waits in atd's spool: each job with its time, its queue, its
script with environment and directory, and whom its output is mailed to. It runs as
its owner, as it would have.

It takes root, and atd must not run: systemctl disable --now atd. A file is removed
from the spool only when its job is on the daemon's disk, and the daemon knows each
file that it has taken. So it may be interrupted at any point, and repeated: no job is
lost, and none is there twice.

It prints a line for each job: its number in atd's spool and the new one. What it must
leave alone, it says on standard error, and exits with 4.`

func newImportAtCommand(a *app) *cobra.Command {
	var spool string
	cmd := &cobra.Command{
		Use:   "import-at",
		Short: "Take over the jobs in atd's spool",
		Long:  importAtHelp,
		Args:  none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runImportAt(cmd.Context(), a, spool)
		},
	}
	cmd.Flags().StringVar(&spool, "spool", atSpool, "the spool is `DIR`")
	return cmd
}

func runImportAt(ctx context.Context, a *app, spool string) error {
	unlock, err := lockOutAtd(spool)
	if err != nil {
		return err
	}
	defer unlock()
	root, err := os.OpenRoot(spool)
	if err != nil {
		return fmt.Errorf("atd's spool: %w: %w", err, openKind(err))
	}
	defer func() { _ = root.Close() }()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return fmt.Errorf("atd's spool: %w: %w", err, openKind(err))
	}
	var left []error
	for _, e := range entries {
		s, err := readSpoolFile(root, e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // another import has taken it, or atrm
		}
		if err == nil && s != nil {
			err = s.take(ctx, a, root)
		}
		if err != nil {
			left = append(left, fmt.Errorf("%s: %w", e.Name(), err))
			if errors.Is(err, fault.Unavailable) { // so will the others be
				break
			}
		}
	}
	return errors.Join(left...)
}

// openKind is the kind of fault of what could not be opened.
func openKind(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fault.Denied
	case errors.Is(err, fs.ErrNotExist):
		return fault.NotFound
	}
	return fault.Internal
}

// lockOutAtd sees to it that no atd runs on the spool that it would use, from
// here on until the function that it returns is called: it takes the lock of
// atd's own.
func lockOutAtd(spool string) (unlock func(), err error) {
	if !sameFile(spool, atSpool) {
		return func() {}, nil
	}
	f, err := os.OpenFile(atdPID, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("atd's lock: %w: %w", err, openKind(err))
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &lock); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("atd runs, and would run the same jobs: stop it first (systemctl disable --now atd); or another import does: wait for it: %w", fault.Conflict)
	}
	if info, err := f.Stat(); err == nil && info.Size() == 0 { // or else atd would take the file for a stale one
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return func() {
		_ = os.Remove(atdPID)
		_ = f.Close()
	}, nil
}

func sameFile(a, b string) bool {
	ours, err1 := os.Stat(a)
	theirs, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(ours, theirs)
}

// A spoolFile is a job in atd's spool.
type spoolFile struct {
	name   string
	number uint64
	lock   string // the name under which atd began to run it, and got no further; empty: none
	in     control.ImportAtIn
}

// maxSpoolScript is the longest script that fits into a request.
const maxSpoolScript = 3<<20 - 64<<10

// readSpoolFile reads a file of atd's spool; nil is what is no job.
func readSpoolFile(root *os.Root, name string) (*spoolFile, error) {
	if strings.HasPrefix(name, "=") {
		return nil, startedByAtd(root, name)
	}
	if len(name) != 14 || !isLetter(name[0]) {
		return nil, nil
	}
	number, err1 := strconv.ParseUint(name[1:6], 16, 32)
	minutes, err2 := strconv.ParseInt(name[6:], 16, 64)
	if err1 != nil || err2 != nil {
		return nil, nil
	}
	named, err := root.Lstat(name) // os.Root follows what is no file
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, openKind(err))
	}
	if !named.Mode().IsRegular() {
		return nil, fmt.Errorf("is not a file; it is left alone: %w", fault.Conflict)
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, openKind(err))
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || !os.SameFile(named, info):
		return nil, fmt.Errorf("has just become another file; it is left alone: %w", fault.Conflict)
	case info.Mode()&0o100 == 0:
		return nil, fmt.Errorf("is not complete: at is writing it, or was killed; it is left alone: %w", fault.Conflict)
	case st.Nlink > 2:
		return nil, fmt.Errorf("has %d names; it is left alone: %w", st.Nlink, fault.Conflict)
	}
	script, err := io.ReadAll(io.LimitReader(f, maxSpoolScript+1))
	if err != nil {
		return nil, err
	}
	limit := maxSpoolScript
	if !utf8.Valid(script) { // it is sent as base64
		limit = limit / 4 * 3
	}
	if len(script) > limit {
		return nil, fmt.Errorf("has more than the %d bytes that the daemon can keep; it is left alone: run it by hand at its time, or have it read its data from a file: %w", limit, fault.Conflict)
	}
	s := &spoolFile{name: name, number: number}
	if err := s.head(script, int(st.Uid)); err != nil {
		return nil, err
	}
	if twin, err := root.Lstat("=" + name[1:]); err == nil && os.SameFile(twin, info) {
		s.lock = "=" + name[1:]
	}
	s.in.When, s.in.Queue = int(minutes*60), name[:1]
	s.in.Spool = fmt.Sprintf("%s.%d.%x", name, info.ModTime().UnixNano(), sha256.Sum256(script))
	setScript(&s.in.AtIn, script)
	return s, nil
}

// startedByAtd says what there is to know of a name that atd gives to what it
// runs. If the job has its old name, too, it did not begin to run.
func startedByAtd(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		return nil
	}
	return fmt.Errorf("was started by atd, which did not see its end; it is left alone: %w", fault.Conflict)
}

// head reads the lines that at puts before a script. Their uid must be the
// file's owner's, as atd has it.
func (s *spoolFile) head(script []byte, owner int) error {
	var mail, uid, gid int
	_, err := fmt.Sscanf(string(script[:min(len(script), 512)]), "#!/bin/sh\n# atrun uid=%d gid=%d\n# mail %s %d\n",
		&uid, &gid, &s.in.Mailto, &mail)
	switch {
	case err != nil:
		return fmt.Errorf("is not a job of at's: %w; it is left alone: %w", err, fault.Conflict)
	case uid != owner:
		return fmt.Errorf("belongs to uid %d and says that it is uid %d's; it is left alone: %w", owner, uid, fault.Conflict)
	case strings.HasPrefix(s.in.Mailto, "-"):
		return fmt.Errorf("has the mail name %q; it is left alone: %w", s.in.Mailto, fault.Conflict)
	case mail == 1:
		s.in.Mail = "always"
	case mail == -1:
		s.in.Mail = "never"
	}
	s.in.User = fmt.Sprintf("%d:%d", uid, gid)
	return nil
}

// take gives the job to the daemon, and then removes its file.
func (s *spoolFile) take(ctx context.Context, a *app, root *os.Root) error {
	out, err := call[control.AddOut](ctx, a, "import-at", s.in)
	if errors.Is(err, fault.Invalid) { // such as a time too far away
		return fmt.Errorf("%s; it is left alone: %w", fault.Text(err), fault.Conflict)
	}
	if err != nil {
		return err
	}
	for _, name := range []string{s.lock, s.name} { // in this order: what is left is recognized
		if name == "" {
			continue
		}
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("is job %s now, but is still in the spool: %w", out.ID, err)
		}
	}
	if a.json {
		_, err = fmt.Printf("{\"spool\":%d,\"id\":%q}\n", s.number, out.ID)
	} else {
		_, err = fmt.Printf("job %d is job %s\n", s.number, out.ID)
	}
	return err
}
