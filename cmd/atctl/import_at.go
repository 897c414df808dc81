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
	"activationd/internal/direct"
	"activationd/internal/fault"
)

const (
	atSpool = "/var/spool/cron/atjobs"
	atdPID  = "/run/atd.pid"
)

const importAtHelp = `Import-at imports the jobs that wait in the spool of atd: each with its time, its queue,
its script with environment and directory, and the recipient of its mail. A job runs as
its owner, as it would have under atd.

You must be root, and atd must not run: systemctl disable --now atd. Import-at removes a
file from the spool only when its job is on the daemon's disk, and the daemon remembers
each imported file. So you may interrupt import-at at any point, and repeat it: no job is
lost, and none is imported twice.

It prints a line for each job: its number in the spool and its new number. It reports
files that it cannot import on standard error, and then exits with 4.`

func newImportAtCommand(a *app) *cobra.Command {
	var spool string
	cmd := &cobra.Command{
		Use:   "import-at",
		Short: "Import the jobs in the spool of atd",
		Long:  importAtHelp,
		Args:  none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runImportAt(cmd.Context(), a, spool)
		},
	}
	cmd.Flags().StringVar(&spool, "spool", atSpool, "import from the spool `DIR`")
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
		return fmt.Errorf("the spool of atd: %w: %w", err, openKind(err))
	}
	defer func() { _ = root.Close() }()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return fmt.Errorf("the spool of atd: %w: %w", err, openKind(err))
	}
	var left []error
	for _, e := range entries {
		s, err := readSpoolFile(root, e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // another import or atrm has removed it
		}
		if err == nil && s != nil {
			err = s.take(ctx, a, root)
		}
		if err != nil {
			left = append(left, fmt.Errorf("%s: %w", e.Name(), err))
			if errors.Is(err, fault.Unavailable) { // the other files would fail, too
				break
			}
		}
	}
	return errors.Join(left...)
}

// openKind returns the kind of fault for a failure to open a file.
func openKind(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fault.Denied
	case errors.Is(err, fs.ErrNotExist):
		return fault.NotFound
	}
	return fault.Internal
}

// lockOutAtd prevents atd from using the spool until unlock is called: it takes the lock of
// atd.
func lockOutAtd(spool string) (unlock func(), err error) {
	if !sameFile(spool, atSpool) {
		return func() {}, nil
	}
	f, err := os.OpenFile(atdPID, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("the lock of atd: %w: %w", err, openKind(err))
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &lock); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("atd is running and would run the same jobs, so stop it first (systemctl disable --now atd); or another import is running, so wait for it: %w", fault.Conflict)
	}
	if info, err := f.Stat(); err == nil && info.Size() == 0 { // atd would consider an empty file stale
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
	lock   string // the second name of a file that atd was about to run but did not; empty: none
	in     control.ImportAtIn
}

// maxSpoolScript is the longest script that fits into a request.
const maxSpoolScript = 3<<20 - 64<<10

// readSpoolFile reads a file of the spool. It returns nil if the file is not a job.
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
	named, err := root.Lstat(name) // os.Root follows symbolic links
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, openKind(err))
	}
	if !named.Mode().IsRegular() {
		return nil, fmt.Errorf("is not a regular file; not imported: %w", fault.Conflict)
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
		return nil, fmt.Errorf("has just been replaced by another file; not imported: %w", fault.Conflict)
	case info.Mode()&0o100 == 0:
		return nil, fmt.Errorf("is not complete: at is writing it, or was killed; not imported: %w", fault.Conflict)
	case st.Nlink > 2:
		return nil, fmt.Errorf("has %d hard links; not imported: %w", st.Nlink, fault.Conflict)
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
		return nil, fmt.Errorf("has more than the %d bytes that the daemon can store; not imported: run it by hand at its time, or have it read its data from a file: %w", limit, fault.Conflict)
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
	s.in.Script, s.in.Base64 = direct.Pieces(script), true
	return s, nil
}

// startedByAtd returns an error for a file with a name that atd gives to running jobs. If
// the file still has its old name, too, the job did not begin to run, and there is no error.
func startedByAtd(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		return nil
	}
	return fmt.Errorf("was started by atd, which did not record its end; not imported: %w", fault.Conflict)
}

// head reads the lines that at writes before a script. As for atd, their uid must be that of
// the owner of the file.
func (s *spoolFile) head(script []byte, owner int) error {
	var mail, uid, gid int
	_, err := fmt.Sscanf(string(script[:min(len(script), 512)]), "#!/bin/sh\n# atrun uid=%d gid=%d\n# mail %s %d\n",
		&uid, &gid, &s.in.Mailto, &mail)
	switch {
	case err != nil:
		return fmt.Errorf("is not an at job: %w; not imported: %w", err, fault.Conflict)
	case uid != owner:
		return fmt.Errorf("belongs to uid %d, but says that it belongs to uid %d; not imported: %w", owner, uid, fault.Conflict)
	case strings.HasPrefix(s.in.Mailto, "-"):
		return fmt.Errorf("has the mail recipient %q; not imported: %w", s.in.Mailto, fault.Conflict)
	case mail == 1:
		s.in.Mail = "always"
	case mail == -1:
		s.in.Mail = "never"
	}
	s.in.User = fmt.Sprintf("%d:%d", uid, gid)
	return nil
}

// take adds the job to the daemon, and then removes its file.
func (s *spoolFile) take(ctx context.Context, a *app, root *os.Root) error {
	out, err := call[control.AddOut](ctx, a, "import-at", s.in)
	if errors.Is(err, fault.Invalid) { // a time too far away, for instance
		return fmt.Errorf("%s; not imported: %w", fault.Text(err), fault.Conflict)
	}
	if err != nil {
		return err
	}
	for _, name := range []string{s.lock, s.name} { // in this order: the file can still be recognized between them
		if name == "" {
			continue
		}
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("was imported as job %s, but is still in the spool: %w", out.ID, err)
		}
	}
	if a.json {
		_, err = fmt.Printf("{\"spool\":%d,\"id\":%q}\n", s.number, out.ID)
	} else {
		_, err = fmt.Printf("job %d is job %s\n", s.number, out.ID)
	}
	return err
}
