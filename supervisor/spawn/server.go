package spawn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/internal/trust"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// A Server does what is privileged for the daemon that its rules name.
type Server struct {
	rules  *Rules
	atwrap string
	log    *slog.Logger
	daemon identity
	boot   string
	slots  chan struct{} // one for each call that is being answered

	mu       sync.Mutex
	places   map[string]*place // by the directory of runs
	children map[int]*child    // wrappers that are not reaped, by process id
}

// A place is a directory of runs, with how they are contained.
type place struct {
	runs   string
	stem   string // what follows the name of a run in its mark
	kept   string // its work directories; empty: there are none
	cgroup string
	direct *supervisor.Direct
}

// A child is a wrapper that this process started.
type child struct {
	place, run string
	reaped     chan struct{} // closed when somebody has its status
}

// atOnce bounds the calls that are answered at once.
const atOnce = 64

// NewServer checks the rules against the system, and makes the directories that are root's.
func NewServer(rules *Rules, atwrap string, log *slog.Logger) (*Server, error) {
	s := &Server{rules: rules, atwrap: atwrap, log: log, slots: make(chan struct{}, atOnce), places: map[string]*place{}, children: map[int]*child{}}
	var err error
	if s.daemon, err = rules.daemonID(); err != nil {
		return nil, err
	}
	if s.daemon.uid == 0 {
		return nil, fmt.Errorf("daemon: a daemon of root's needs no spawner: %w", fault.Invalid)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	s.boot = strings.TrimSpace(string(boot))
	if err := trust.Check(atwrap); err != nil {
		return nil, fmt.Errorf("the wrapper's program must be root's alone: %w: %w", err, fault.Invalid)
	}
	for _, dir := range append([]string{rules.Config}, rules.Kept...) {
		if err := s.makeRootDir(dir); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// makeRootDir makes a directory that the daemon can list, and other users can only enter. Nobody but root may be able
// to change what is in it, or the way to it.
func (s *Server) makeRootDir(dir string) error {
	if up := filepath.Dir(dir); up != "/" {
		if _, err := os.Stat(up); errors.Is(err, os.ErrNotExist) {
			if err := s.makeRootDir(up); err != nil {
				return err
			}
			if err := os.Chmod(up, 0o755); err != nil {
				return err
			}
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := trust.Check(dir); err != nil {
		return fmt.Errorf("configuration and work directories must be where only root changes anything: %w: %w", err, fault.Invalid)
	}
	return errors.Join(os.Chown(dir, 0, s.daemon.gid), os.Chmod(dir, 0o751))
}

// Serve answers whoever connects to a listening socket, if it is the daemon's user. It returns when the socket fails.
func (s *Server) Serve(socket int) error {
	for {
		fd, _, err := unix.Accept4(socket, unix.SOCK_CLOEXEC)
		switch {
		case err == nil:
			go s.connection(fd)
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
			s.log.Error("a connection waits", "err", err)
			time.Sleep(time.Second)
		default:
			return os.NewSyscallError("accept", err)
		}
	}
}

// connection answers the calls of one connection, until its first message that is not one.
func (s *Server) connection(fd int) {
	defer func() { _ = unix.Close(fd) }()
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || int(peer.Uid) != s.daemon.uid {
		s.log.Warn("a connection of another user is refused", "peer", peer, "err", err)
		return
	}
	for {
		data, fds, err := receive(fd)
		if err == nil && (len(fds) == 0 || len(data) < 2 || data[0] != version || !s.daemons(fds[0])) {
			closeAll(fds)
			err = errGarbled
		}
		if err != nil {
			if errors.Is(err, errGarbled) {
				s.log.Warn("a connection is closed", "pid", peer.Pid, "err", err)
			}
			return
		}
		s.slots <- struct{}{}
		go func() {
			defer func() { <-s.slots }()
			defer closeAll(fds)
			c := call{s: s, method: method(data[1]), args: reader{b: data[2:]}, reply: fds[0], fds: fds[1:]}
			defer func() { closeAll(c.out) }()
			fault := c.answer()
			w := writer{}
			w.fault(fault)
			w.b = append(w.b, c.value.b...)
			var oob []byte
			if len(c.out) > 0 {
				oob = unix.UnixRights(c.out...)
			}
			// Who does not wait for the answer does not get it.
			_ = unix.Sendmsg(c.reply, w.b, oob, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		}()
	}
}

// daemons reports whether the other end of a socket for an answer is the daemon's, too. Else the answer, which has the
// credentials of root, could be a message to any other program's socket.
func (s *Server) daemons(reply int) bool {
	kind, err := unix.GetsockoptInt(reply, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET {
		return false
	}
	peer, err := unix.GetsockoptUcred(reply, unix.SOL_SOCKET, unix.SO_PEERCRED)
	return err == nil && int(peer.Uid) == s.daemon.uid
}

// A call is one request, and what is answered.
type call struct {
	s      *Server
	method method
	args   reader
	reply  int
	fds    []int

	value writer
	out   []int
}

// needs returns an error unless the whole message was read and so many descriptors came with it.
func (c *call) needs(fds int) error {
	if err := c.args.end(); err != nil {
		return err
	}
	if len(c.fds) != fds {
		return errGarbled
	}
	return nil
}

// answer does what is asked for.
func (c *call) answer() error {
	at := c.args.str()
	switch c.method {
	case hello:
		if err := c.needs(0); err != nil {
			return err
		}
		c.value.str(c.s.rules.Config)
		c.value.strs(c.s.rules.Kept)
		c.value.strs(c.s.rules.Runs)
		return nil
	case contain:
		guard, kept := c.args.str(), c.args.str()
		if err := c.needs(0); err != nil {
			return err
		}
		return c.contain(at, guard, kept)
	case missing:
		w := readCommand(&c.args)
		if err := c.needs(0); err != nil {
			return err
		}
		return c.missing(w)
	}
	c.s.mu.Lock()
	p := c.s.places[at]
	c.s.mu.Unlock()
	if p == nil {
		return fmt.Errorf("%q is no directory of runs that was contained: %w", at, fault.Invalid)
	}
	return c.in(p)
}

// in answers a call that is about a place.
func (c *call) in(p *place) error {
	switch c.method {
	case start:
		run := c.args.str()
		if err := c.args.end(); err != nil {
			return err
		}
		return c.start(p, run)
	case find:
		run := c.args.str()
		if err := c.needs(0); err != nil {
			return err
		}
		return c.find(p, run)
	case reap:
		if err := c.needs(1); err != nil {
			return err
		}
		c.value.int(int64(c.s.reap(p, c.fds[0])))
		return nil
	case kept:
		skip, n := c.args.small(), c.args.small()
		if err := c.needs(1); err != nil {
			return err
		}
		return c.kept(p, skip, n)
	case sendSignal:
		sig := syscall.Signal(c.args.small())
		if err := c.needs(1); err != nil {
			return err
		}
		return c.signal(p, sig)
	case killCgroup:
		run := c.args.str()
		if err := c.needs(0); err != nil {
			return err
		}
		return p.direct.KillCgroup(run)
	case clearLeftovers:
		run, done, also := c.args.str(), c.args.bool(), c.args.ints()
		if err := c.needs(0); err != nil {
			return err
		}
		return c.clear(p, run, done, also)
	case closePlace:
		if err := c.needs(0); err != nil {
			return err
		}
		p.direct.Close() // its runs stay known
		return nil
	case command:
		if err := c.needs(1); err != nil {
			return err
		}
		return c.command(p)
	}
	return c.files(p)
}

// files answers a call that is about files.
func (c *call) files(p *place) error {
	switch c.method {
	case listen:
		address, uid, gid, replace := c.args.str(), c.args.small(), c.args.small(), c.args.bool()
		if err := c.needs(0); err != nil {
			return err
		}
		return c.listen(p, address, uid, gid, replace)
	case removeSocket:
		address := c.args.str()
		if err := c.needs(0); err != nil {
			return err
		}
		return c.s.removeSocket(p, address)
	case makeWorkdir:
		id, uid, gid := c.args.str(), c.args.small(), c.args.small()
		if err := c.needs(0); err != nil {
			return err
		}
		if p.kept == "" {
			return fmt.Errorf("the spawner's rules name no such place for work directories: %w", fault.Denied)
		}
		is, err := c.s.permitted(uid, gid, nil)
		if err != nil {
			return err
		}
		return p.direct.MakeWorkdir(id, is.uid, is.gid)
	case openFile:
		run, name := c.args.str(), c.args.str()
		if err := c.needs(0); err != nil {
			return err
		}
		fd, err := c.s.open(p, run, name)
		if err == nil {
			c.out = []int{fd}
		}
		return err
	case listFiles:
		run := c.args.str()
		if err := c.needs(0); err != nil {
			return err
		}
		return c.list(p, run)
	case size:
		run := c.args.str()
		if err := c.needs(0); err != nil {
			return err
		}
		dir, _, err := c.s.run(p, run)
		if err == nil {
			c.value.int(supervisor.SizeAt(dir))
			_ = unix.Close(dir)
		}
		return err
	case remove:
		in, name := supervisor.Place(c.args.str()), c.args.str()
		if err := c.needs(0); err != nil {
			return err
		}
		ctx, cancel := c.whileAwaited()
		defer cancel()
		return c.s.remove(ctx, p, in, name)
	}
	return fmt.Errorf("there is no method %d: %w", c.method, fault.Invalid)
}

// contain answers [supervisor.Privileged.Contain] for a directory of runs.
func (c *call) contain(runs, guard, kept string) error {
	s := c.s
	if !slices.Contains(s.rules.Runs, runs) {
		return fmt.Errorf("the spawner's rules do not name the directory of runs %s: %w", runs, fault.Denied)
	}
	if !slices.Contains(s.rules.Kept, kept) { // work directories elsewhere are the daemon's own
		kept = ""
	}
	dir, err := s.runsDir(runs)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	stem, err := supervisor.MarkStem("", dir)
	if err != nil {
		return err
	}
	direct, err := supervisor.NewDirect(supervisor.Config{Atwrap: s.atwrap, RunsDir: runs, ConfigRoot: s.rules.Config, WorkdirsDir: kept, Log: s.log})
	if err != nil {
		return err
	}
	is, err := direct.Contain(guard)
	c.value.str(is.Guard)
	c.value.str(is.Why)
	c.value.str(is.Cgroup)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.places[runs] = &place{runs: runs, stem: stem, kept: kept, cgroup: is.Cgroup, direct: direct}
	s.mu.Unlock()
	return nil
}

// whileAwaited returns a context that is done when nobody waits for the answer any more.
func (c *call) whileAwaited() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	gone := func(wait int) bool {
		poll := []unix.PollFd{{Fd: int32(c.reply), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(poll, wait)
		return err == nil && n > 0
	}
	if gone(0) {
		cancel()
		return ctx, cancel
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if gone(lookAfter) {
				cancel()
			}
		}
	}()
	return ctx, func() {
		cancel()
		<-ended // before the descriptor is closed
	}
}

// lookAfter is how often it is looked whether a call is still awaited, in milliseconds.
const lookAfter = 50

// permitted returns the user as whom something is done, with the group and the groups that were asked for. A uid of
// -1 is the daemon's user; a gid of -1 is the user's own group.
func (s *Server) permitted(uid, gid int, groups []int) (identity, error) {
	if uid < 0 {
		uid = s.daemon.uid
	}
	id, err := lookUp(uid)
	if err == nil {
		err = s.rules.permits(id, s.daemon.uid)
	}
	if err != nil {
		return id, err
	}
	if gid >= 0 {
		if !slices.Contains(id.groups, gid) {
			return id, fmt.Errorf("user %d is not in group %d: %w", uid, gid, fault.Denied)
		}
		id.gid = gid
	}
	for _, g := range groups {
		if !slices.Contains(id.groups, g) {
			return id, fmt.Errorf("user %d is not in group %d: %w", uid, g, fault.Denied)
		}
	}
	return id, nil
}

// check makes a specification one that the wrapper may have, or returns an error.
func (s *Server) check(p *place, run string, spec *wrapper.Spec) error {
	if name := (supervisor.Key{ID: spec.ID, Phase: spec.Phase, N: spec.Attempt}).String(); name != run {
		return fmt.Errorf("the specification in %s is that of run %s: %w", run, name, fault.Denied)
	}
	id, err := s.permitted(spec.UID, spec.GID, spec.Groups)
	if err != nil {
		return err
	}
	if spec.UID < 0 { // the wrapper is root's: that would be root
		spec.Groups = id.groups
	}
	spec.UID, spec.GID = id.uid, id.gid
	switch {
	case !strings.HasPrefix(spec.Mark, run+p.stem):
		return fmt.Errorf("%q is no mark of run %s: %w", spec.Mark, run, fault.Denied)
	case spec.ConfigRoot != s.rules.Config:
		return fmt.Errorf("configuration directories are in %s, not in %q: %w", s.rules.Config, spec.ConfigRoot, fault.Denied)
	case spec.Cgroup != "" && spec.Cgroup != p.cgroup:
		return fmt.Errorf("the runs' cgroups are in %q, not in %q: %w", p.cgroup, spec.Cgroup, fault.Denied)
	case spec.Nice < 0:
		return fmt.Errorf("a run that the spawner starts cannot have a niceness below 0: %w", fault.Denied)
	case spec.Boot != s.boot:
		return fmt.Errorf("the specification is of another boot: %w", fault.Denied)
	}
	for _, l := range spec.Limits {
		if l.Name == "nice" || l.Name == "rtprio" {
			return fmt.Errorf("a run that the spawner starts cannot have a limit %s: %w", l.Name, fault.Denied)
		}
	}
	if score, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil && strings.HasPrefix(string(score), "-") {
		spec.OOMReset = true
	}
	return nil
}

// command answers [supervisor.Privileged.Command].
func (c *call) command(p *place) error {
	text, err := readSpec(c.fds[0])
	if err != nil {
		return err
	}
	spec, err := wrapper.ParseSpec(text)
	if err != nil {
		return fmt.Errorf("%w: %w", err, fault.Invalid)
	}
	id, err := c.s.permitted(spec.UID, spec.GID, spec.Groups)
	if err != nil {
		return err
	}
	if spec.UID < 0 {
		spec.Groups = id.groups
	}
	spec.UID, spec.GID = id.uid, id.gid
	ctx, cancel := c.whileAwaited()
	defer cancel()
	return p.direct.Command(ctx, spec)
}

func (c *call) missing(w wrapper.Command) error {
	id, err := c.s.permitted(w.UID, w.GID, w.Groups)
	if err != nil {
		c.value.str(fault.Text(err))
		return nil // it is what keeps the command from being started
	}
	w.UID, w.GID = id.uid, id.gid
	c.value.str(w.Missing())
	return nil
}

// addressed returns an error unless the rules name an address.
func (s *Server) addressed(address string) error {
	if err := supervisor.CheckAddress(address); err != nil {
		return err
	}
	for _, pattern := range s.rules.Listen {
		if ok, err := path.Match(pattern, address); ok && err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s: the spawner's rules do not let it listen there: %w", address, fault.Denied)
}

// removeSocket answers [supervisor.Privileged.RemoveSocket]. The file is removed as its owner, who may be a user whom
// the rules do not name. So it must be where the rules say: if somebody but root can change the way to it, no link is
// followed on that way, and the directory is reached by a descriptor.
func (s *Server) removeSocket(p *place, address string) error {
	if err := s.addressed(address); err != nil {
		return err
	}
	in, name := filepath.Split(address)
	if in == "" || trust.Check(in) == nil {
		return p.direct.RemoveSocket(address)
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	dir, err := unix.Openat2(unix.AT_FDCWD, in, &how)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: remove it yourself: the way to it: %w: %w", address, err, fault.Denied)
	}
	defer func() { _ = unix.Close(dir) }()
	return p.direct.RemoveSocket("/proc/self/fd/" + strconv.Itoa(dir) + "/" + name)
}

func (c *call) listen(p *place, address string, uid, gid int, replace bool) error {
	if err := c.s.addressed(address); err != nil {
		return err
	}
	id, err := c.s.permitted(uid, gid, nil)
	if err != nil {
		return err
	}
	fd, err := p.direct.Listen(address, id.uid, id.gid, replace)
	if err == nil {
		c.out = []int{fd}
	}
	return err
}
