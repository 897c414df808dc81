package spawn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// A Client has what is privileged done by a spawner. What the daemon's own user may do, it does itself. It connects
// again when the spawner was restarted. There is one for each directory of runs.
type Client struct {
	socket string
	config supervisor.Config
	own    *supervisor.Direct

	mu        sync.Mutex
	conn      *os.File // nil: there is none
	contained bool     // Contain was called: it is repeated on each new connection
	guard     string
}

// patience is how long a call waits for a spawner that is being started again.
const patience = 30 * time.Second

const tryAgain = 20 * time.Millisecond

// A Place is where a spawner keeps what is root's.
type Place struct {
	Config string   // configuration directories
	Kept   []string // work directories
	Runs   []string // directories of runs, which are the daemon's
}

// Ask asks the spawner at a socket for its places.
func Ask(socket string) (p Place, err error) {
	c := &Client{socket: socket}
	defer c.drop(nil)
	r, fds, err := c.call(context.Background(), request(hello, ""), true)
	closeAll(fds)
	if err != nil {
		return p, err
	}
	p = Place{Config: r.str(), Kept: r.strs(), Runs: r.strs()}
	return p, r.end()
}

// NewClient returns a client for a supervisor with that configuration. It does not connect yet.
func NewClient(socket string, config supervisor.Config) (*Client, error) {
	own, err := supervisor.NewDirect(config)
	return &Client{socket: socket, config: config, own: own}, err
}

func (c *Client) request(m method) *writer { return request(m, c.config.RunsDir) }

// connect returns the connection, and makes one if there is none.
func (c *Client) connect(ctx context.Context) (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for until := time.Now().Add(patience); c.conn == nil; {
		conn, err := dial(c.socket)
		if err == nil && c.contained {
			if _, fds, e := exchange(ctx, conn, c.containRequest()); e != nil {
				closeAll(fds)
				err = errors.Join(e, conn.Close())
			}
		}
		switch {
		case err == nil:
			c.conn = conn
		case ctx.Err() != nil:
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), fault.Unavailable)
		case errors.Is(err, fault.Denied) || time.Now().After(until):
			return nil, fmt.Errorf("the spawner at %s: %w: %w", c.socket, err, fault.Unavailable)
		default:
			time.Sleep(tryAgain)
		}
	}
	return c.conn, nil
}

// drop closes a connection, or if it is nil, the one that there is.
func (c *Client) drop(conn *os.File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && (conn == nil || conn == c.conn) {
		_ = c.conn.Close()
		c.conn = nil
	}
}

func dial(socket string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
	var peer *unix.Ucred
	if err == nil {
		peer, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	}
	if err == nil && peer.Uid != 0 {
		err = fmt.Errorf("it is a process of user %d, not root's: %w", peer.Uid, fault.Denied)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), socket), nil
}

// Errors of an exchange.
var (
	errUnsent = errors.New("the spawner has ended")                                  // nothing was asked for
	errLost   = errors.New("the spawner has ended while it was asked for something") // nobody knows whether it was done
)

// exchange asks for something on a connection, and waits for the answer.
func exchange(ctx context.Context, conn *os.File, w *writer, fds ...int) (*reader, []int, error) {
	if len(w.b) > maxMessage || len(fds) >= maxFDs {
		return nil, nil, fmt.Errorf("a request of %d bytes and %d descriptors is too large for the spawner: %w", len(w.b), len(fds), fault.Invalid)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = unix.Close(pair[0]) }()
	giveUp := func() { _ = unix.Shutdown(pair[0], unix.SHUT_WR) }
	if ctx.Err() != nil {
		giveUp()
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) {
			for {
				err = unix.Sendmsg(int(fd), w.b, unix.UnixRights(append([]int{pair[1]}, fds...)...), nil, unix.MSG_NOSIGNAL)
				if !errors.Is(err, unix.EINTR) {
					break
				}
			}
		}), err)
	}
	_ = unix.Close(pair[1])
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errUnsent, err)
	}
	gaveUp := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { giveUp(); close(gaveUp) })
	defer func() {
		if !stop() {
			<-gaveUp // else it would shut down the next socket of that number
		}
	}()
	data, got, err := receive(pair[0])
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errLost, err)
	}
	r := &reader{b: data}
	if err := r.fault(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
		return r, got, err
	}
	return r, got, nil
}

// call asks for something, and if it is harmless to ask twice, asks the next spawner when one has ended.
func (c *Client) call(ctx context.Context, w *writer, again bool, fds ...int) (*reader, []int, error) {
	for {
		conn, err := c.connect(ctx)
		if err != nil {
			return &reader{err: err}, nil, err
		}
		r, got, err := exchange(ctx, conn, w, fds...)
		unsent, lost := errors.Is(err, errUnsent), errors.Is(err, errLost)
		if unsent || lost {
			c.drop(conn)
			if unsent || again {
				continue
			}
		}
		if r == nil {
			r = &reader{err: err}
		}
		return r, got, err
	}
}

// do is call for an answer without descriptors.
func (c *Client) do(ctx context.Context, w *writer, fds ...int) (*reader, error) {
	r, got, err := c.call(ctx, w, true, fds...)
	closeAll(got)
	return r, err
}

// one is call for an answer with one descriptor.
func (c *Client) one(w *writer, fds ...int) (*reader, int, error) {
	r, got, err := c.call(context.Background(), w, true, fds...)
	if err == nil && len(got) != 1 {
		err = errGarbled
	}
	if err != nil {
		closeAll(got)
		return r, -1, err
	}
	return r, got[0], nil
}

func (c *Client) containRequest() *writer {
	w := c.request(contain)
	w.str(c.guard)
	w.str(c.config.WorkdirsDir)
	return w
}

// Contain implements [supervisor.Privileged].
func (c *Client) Contain(guard string) (is supervisor.Containment, err error) {
	c.mu.Lock()
	c.guard = guard
	w := c.containRequest()
	c.mu.Unlock()
	r, err := c.do(context.Background(), w)
	if err != nil {
		return is, err
	}
	is = supervisor.Containment{Guard: r.str(), Why: r.str(), Cgroup: r.str()}
	c.mu.Lock()
	c.contained = true
	c.mu.Unlock()
	return is, r.end()
}

// runOf returns the run of a mark.
func (c *Client) runOf(mark string) (string, error) {
	runs, err := unix.Open(c.config.RunsDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(runs) }()
	stem, err := supervisor.MarkStem("", runs)
	if i := strings.LastIndex(mark, stem); err == nil && i > 0 {
		return mark[:i], nil
	}
	return "", fmt.Errorf("%q is no mark: %w", mark, errors.Join(err, fault.Invalid))
}

// Start implements [supervisor.Privileged]. The spawner opens the files of the run's directory itself.
func (c *Client) Start(mark string, files supervisor.WrapperFiles) (is supervisor.Child, err error) {
	run, err := c.runOf(mark)
	if err != nil {
		return is, err
	}
	w := c.request(start)
	w.str(run)
	for {
		r, fds, err := c.call(context.Background(), w, false, append([]int{files.Lock}, files.Passed...)...)
		switch {
		case err == nil && len(fds) == 1:
			return supervisor.Child{PID: r.small(), PidFD: fds[0]}, r.end()
		case err == nil:
			closeAll(fds)
			return is, errGarbled
		case !errors.Is(err, errLost):
			return is, err
		}
		ask := c.request(find)
		ask.str(run)
		if r, err = c.do(context.Background(), ask); err != nil {
			return is, err
		}
		switch r.int() {
		case untouched:
		case began:
			return c.begun(files)
		default:
			return is, fmt.Errorf("the spawner ended before it had started run %s: %w", run, fault.Unavailable)
		}
	}
}

// begun returns the wrapper that a spawner has started before it ended. Of one that has ended, too, there is no pidfd:
// the end of a pipe stands for it, at which everything has come.
func (c *Client) begun(files supervisor.WrapperFiles) (is supervisor.Child, err error) {
	buf := make([]byte, 4096)
	n, err := unix.Pread(files.Lock, buf, 0)
	if err != nil {
		return is, err
	}
	l, err := wrapper.ParseLock(string(buf[:n]))
	if err != nil {
		return is, err
	}
	is.PID = l.PID
	if is.PidFD, err = unix.PidfdOpen(l.PID, 0); err == nil {
		if p, ok := wrapper.Stat(l.PID); ok && p.Same(l.Born) {
			return is, nil
		}
		_ = unix.Close(is.PidFD)
	} else if !errors.Is(err, unix.ESRCH) {
		return is, err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return is, err
	}
	is.PidFD = pipe[0]
	return is, unix.Close(pipe[1])
}

// Pidfd implements [supervisor.Privileged]. Every user may have one of every process.
func (c *Client) Pidfd(pid int) (int, error) { return unix.PidfdOpen(pid, 0) }

// Reap implements [supervisor.Privileged].
func (c *Client) Reap(pidfd int) (status int) {
	r, err := c.do(context.Background(), c.request(reap), pidfd)
	if status = r.small(); err != nil || r.end() != nil {
		return -1
	}
	return status
}

// Kept implements [supervisor.Privileged].
func (c *Client) Kept(pidfd, skip, n int) ([]int, error) {
	w := c.request(kept)
	w.int(int64(skip))
	w.int(int64(n))
	_, fds, err := c.call(context.Background(), w, true, pidfd)
	if err == nil && len(fds) != n {
		err = errGarbled
	}
	if err != nil {
		closeAll(fds)
		return nil, err
	}
	return fds, nil
}

// Listen implements [supervisor.Privileged].
func (c *Client) Listen(address string, uid, gid int, replace bool) (int, error) {
	if !strings.HasPrefix(address, "/") || uid < 0 || uid == os.Geteuid() {
		fd, err := c.own.Listen(address, uid, gid, replace)
		if err == nil || !errors.Is(err, fault.Denied) {
			return fd, err
		}
	}
	w := c.request(listen)
	w.str(address)
	w.int(int64(uid))
	w.int(int64(gid))
	w.bool(replace)
	_, fd, err := c.one(w)
	return fd, err
}

// RemoveSocket implements [supervisor.Privileged].
func (c *Client) RemoveSocket(path string) error {
	err := c.own.RemoveSocket(path)
	if !errors.Is(err, fault.Denied) && !errors.Is(err, os.ErrPermission) {
		return err
	}
	w := c.request(removeSocket)
	w.str(path)
	_, err = c.do(context.Background(), w)
	return err
}

// Signal implements [supervisor.Privileged].
func (c *Client) Signal(pidfd int, sig syscall.Signal) error {
	w := c.request(sendSignal)
	w.int(int64(sig))
	_, err := c.do(context.Background(), w, pidfd)
	return err
}

// KillCgroup implements [supervisor.Privileged].
func (c *Client) KillCgroup(run string) error {
	w := c.request(killCgroup)
	w.str(run)
	_, err := c.do(context.Background(), w)
	return err
}

// ClearLeftovers implements [supervisor.Privileged].
func (c *Client) ClearLeftovers(l supervisor.Leftovers) (done supervisor.Cleared, err error) {
	w := c.request(clearLeftovers)
	w.str(l.Run)
	w.bool(l.FilesDone)
	w.ints(l.Also)
	r, err := c.do(context.Background(), w)
	done.Killed = r.small()
	for range r.length() {
		done.Hung = append(done.Hung, wrapper.Hung{PID: r.small(), Born: time.Duration(r.int())})
	}
	if err == nil {
		err = r.end()
	}
	return done, err
}

// Missing implements [supervisor.Privileged].
func (c *Client) Missing(cmd wrapper.Command) string {
	if cmd.UID < 0 || cmd.UID == os.Geteuid() {
		return c.own.Missing(cmd)
	}
	w := c.request(missing)
	writeCommand(w, cmd)
	r, err := c.do(context.Background(), w)
	if err != nil {
		return "" // nothing is known to
	}
	return r.str()
}

func writeCommand(w *writer, c wrapper.Command) {
	for _, s := range []string{c.Name, c.Path, c.Dir, c.Home} {
		w.str(s)
	}
	w.int(int64(c.UID))
	w.int(int64(c.GID))
	w.ints(c.Groups)
}

func readCommand(r *reader) wrapper.Command {
	return wrapper.Command{Name: r.str(), Path: r.str(), Dir: r.str(), Home: r.str(), UID: r.small(), GID: r.small(), Groups: r.ints()}
}

// Command implements [supervisor.Privileged].
func (c *Client) Command(ctx context.Context, spec *wrapper.Spec) error {
	if spec.UID < 0 {
		return c.own.Command(ctx, spec)
	}
	fd, err := unix.MemfdCreate("specification", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "specification")
	defer func() { _ = f.Close() }()
	if _, err := f.Write(spec.Encode()); err != nil {
		return err
	}
	_, fds, err := c.call(ctx, c.request(command), false, fd)
	closeAll(fds)
	if errors.Is(err, errLost) {
		err = fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	return err
}

// MakeWorkdir implements [supervisor.Privileged].
func (c *Client) MakeWorkdir(id string, uid, gid int) error {
	if uid < 0 || uid == os.Geteuid() {
		if err := c.own.MakeWorkdir(id, -1, -1); !errors.Is(err, os.ErrPermission) {
			return err
		}
	}
	w := c.request(makeWorkdir)
	w.str(id)
	w.int(int64(uid))
	w.int(int64(gid))
	_, err := c.do(context.Background(), w)
	return err
}

// Open implements [supervisor.Privileged].
func (c *Client) Open(run, name string) (*os.File, error) {
	f, err := c.own.Open(run, name)
	if !errors.Is(err, os.ErrPermission) && !(strings.HasPrefix(name, wrapper.ConfigDir+"/") && errors.Is(err, os.ErrNotExist)) {
		return f, err
	}
	w := c.request(openFile)
	w.str(run)
	w.str(name)
	_, fd, err := c.one(w)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), run+"/"+name), nil
}

// Files implements [supervisor.Privileged].
func (c *Client) Files(run string) (files []supervisor.File, err error) {
	w := c.request(listFiles)
	w.str(run)
	r, err := c.do(context.Background(), w)
	if err != nil {
		return nil, err
	}
	for range r.length() {
		files = append(files, supervisor.File{Name: r.str(), Size: r.int(), Time: time.Unix(0, r.int())})
	}
	return files, r.end()
}

// Size implements [supervisor.Privileged].
func (c *Client) Size(run string) int64 {
	w := c.request(size)
	w.str(run)
	r, err := c.do(context.Background(), w)
	if err != nil {
		return c.own.Size(run)
	}
	return r.int()
}

// Remove implements [supervisor.Privileged].
func (c *Client) Remove(ctx context.Context, place supervisor.Place, name string) error {
	if dir := map[supervisor.Place]string{supervisor.RunDirs: c.config.RunsDir, supervisor.Workdirs: c.config.WorkdirsDir}[place]; dir != "" {
		var st unix.Stat_t
		err := unix.Lstat(dir+"/"+name, &st)
		if errors.Is(err, unix.ENOENT) || err == nil && int(st.Uid) == os.Geteuid() {
			if err := c.own.Remove(ctx, place, name); !errors.Is(err, os.ErrPermission) {
				return err
			}
		}
	}
	w := c.request(remove)
	w.str(string(place))
	w.str(name)
	_, err := c.do(ctx, w)
	return err
}

// Close implements [supervisor.Privileged]. It does not wait for a spawner that is not there.
func (c *Client) Close() {
	c.mu.Lock()
	conn := c.conn
	c.contained = false
	c.mu.Unlock()
	if conn != nil {
		_, fds, _ := exchange(context.Background(), conn, c.request(closePlace)) // the next spawner sweeps when it contains
		closeAll(fds)
	}
	c.drop(nil)
}
