package sql

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

const password = "s3cr3t-pw!"

// A testServer is a real server for this test only, on a Unix socket in a directory of its own.
type testServer struct {
	driver string
	socket string
	dsn    func(addr string) string // of a TCP address, or of the socket if it is ""
	db     *sql.DB                  // as a user with all rights
	stop   func()
}

// runAs returns a directory for a server that refuses to run as root, and the attributes to
// start it with.
func runAs(t *testing.T, name string) (dir string, attr *syscall.SysProcAttr) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sql") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	attr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		return dir, attr
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Skipf("there is no user %s to run the server as: %v", name, err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2, os.Chown(dir, uid, gid)); err != nil {
		t.Fatal(err)
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return dir, attr
}

// find looks for an installed program, or skips the test.
func find(t *testing.T, name string, patterns ...string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, p := range patterns {
		if found, _ := filepath.Glob(p); len(found) > 0 { // the patterns are valid
			return found[len(found)-1]
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// serve starts a server, waits until it reports that it is ready, and stops it at the end of
// the test, or before.
func serve(t *testing.T, cmd *exec.Cmd, ready string, stopWith os.Signal) (stop func()) {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	up, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var said strings.Builder
		told := false
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			_, _ = fmt.Fprintln(&said, lines.Text())
			if !told && strings.Contains(lines.Text(), ready) {
				told = true
				close(up)
			}
		}
		err := cmd.Wait()
		if !told {
			err = fmt.Errorf("it ended before it was ready: %w\n%s", err, said.String())
		}
		ended <- err
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(stopWith) // it may have ended
		select {
		case <-ended:
		case <-time.After(10 * time.Minute):
			_ = cmd.Process.Kill()
			t.Errorf("%s did not stop and was killed", cmd.Path)
			<-ended
		}
	}
	t.Cleanup(stop)
	select {
	case <-up:
	case err := <-ended:
		stopped = true
		t.Fatal(err)
	case <-time.After(10 * time.Minute):
		t.Fatalf("%s was not ready", cmd.Path)
	}
	return stop
}

func run(t *testing.T, attr *syscall.SysProcAttr, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.SysProcAttr = dir, attr
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func startPostgres(t *testing.T) *testServer {
	t.Helper()
	const installed = "/usr/lib/postgresql/*/bin/"
	initdb, postgres := find(t, "initdb", installed+"initdb"), find(t, "postgres", installed+"postgres")
	dir, attr := runAs(t, "postgres")
	data, pw := filepath.Join(dir, "data"), filepath.Join(dir, "pw")
	if err := os.WriteFile(pw, []byte(password+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, attr, dir, initdb, "-D", data, "-U", "lab", "-A", "scram-sha-256", "--pwfile", pw, "-E", "UTF8", "--locale=C", "--no-sync")
	cmd := exec.Command(postgres, "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "timezone=America/New_York")
	cmd.Dir, cmd.SysProcAttr = dir, attr
	stop := serve(t, cmd, "ready to accept connections", syscall.SIGINT)
	dsn := func(addr string) string {
		host, port := dir, "5432"
		if addr != "" {
			host, port, _ = net.SplitHostPort(addr)
		}
		return fmt.Sprintf("host=%s port=%s user=lab password='%s' dbname=postgres sslmode=disable", host, port, password)
	}
	c, err := pgx.ParseConfig(dsn(""))
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(stdlib.GetConnector(*c))
	t.Cleanup(func() { _ = db.Close() })
	return &testServer{"postgres", filepath.Join(dir, ".s.PGSQL.5432"), dsn, db, stop}
}

func startMariaDB(t *testing.T) *testServer {
	t.Helper()
	install, mariadbd := find(t, "mariadb-install-db"), find(t, "mariadbd", "/usr/sbin/mariadbd")
	dir, attr := runAs(t, "mysql")
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "s")
	run(t, attr, dir, install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	cmd := exec.Command(mariadbd, "--no-defaults", "--datadir="+data, "--socket="+socket, "--skip-networking",
		"--pid-file="+filepath.Join(dir, "pid"), "--innodb-flush-log-at-trx-commit=0", "--default-time-zone=-05:00", "--sql-mode=")
	cmd.Dir, cmd.SysProcAttr = dir, attr
	stop := serve(t, cmd, "ready for connections", syscall.SIGTERM)
	dsn := func(addr string) string {
		where := "unix(" + socket + ")"
		if addr != "" {
			where = "tcp(" + addr + ")"
		}
		return "lab:" + password + "@" + where + "/virtlab"
	}
	c, err := mysql.ParseDSN("root@unix(" + socket + ")/")
	if err != nil {
		t.Fatal(err)
	}
	c.MultiStatements = true
	connector, err := mysql.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	root := sql.OpenDB(connector)
	s := &testServer{"mysql", socket, dsn, root, stop}
	s.exec(t, "CREATE DATABASE virtlab; CREATE USER lab IDENTIFIED BY '"+password+"'; GRANT ALL ON virtlab.* TO lab")
	if err := root.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err = mysql.ParseDSN(dsn("")); err != nil {
		t.Fatal(err)
	}
	if connector, err = mysql.NewConnector(c); err != nil {
		t.Fatal(err)
	}
	s.db = sql.OpenDB(connector)
	t.Cleanup(func() { _ = s.db.Close() })
	return s
}

func (s *testServer) exec(t *testing.T, query string) {
	t.Helper()
	if _, err := s.db.ExecContext(t.Context(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// cut forwards connections to the server, and breaks each after that many bytes from the
// server; 0 means never. It counts these bytes.
func (s *testServer) cut(t *testing.T, after int64) (addr string, said *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	said = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("unix", s.socket)
			if err != nil {
				_ = c.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(up, c)
				_ = up.Close()
			}()
			var from io.Reader = up
			if after > 0 {
				from = io.LimitReader(up, after)
			}
			n, _ := io.Copy(c, from)
			said.Add(n)
			_ = c.Close()
			_ = up.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String(), said
}
