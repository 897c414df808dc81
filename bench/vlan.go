package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"activationd/control"
	"activationd/store"
	"activationd/store/bolt"
	"activationd/vlanstore"
)

const (
	vlanCallers = 64
	vlanAtOnce  = 8
	vlanFor     = 3 * time.Second
)

// vlanFirst and vlanLast are the ids that all of these lease.
const vlanFirst, vlanLast = 1, 4000

// A lender leases ids to a holder, and releases all that the holder has. Both
// are durable when they return.
type lender struct {
	lend func(holder string) ([]int, error)
	back func(holder string) error
	end  func()
}

// vlans measures how fast ids are leased and released, all of it durable, by the
// daemon and by what people use without it.
func vlans(b *bench, t *table) error {
	ours := 0.0
	for _, m := range []struct {
		what string
		open func(*bench) (func() (*lender, error), func(), error)
		peer string
		goal float64
	}{
		{"VLANs: 8 leased and released, 64 callers: the daemon, over its socket", vlanDaemon, "", 5000},
		{"  the store alone", vlanEngine, "", 5000},
		{"  a file under flock, from threads", vlanFile, "a file under flock", 0},
		{"  PostgreSQL, an advisory lock", vlanPostgres, "PostgreSQL", 0},
	} {
		connect, end, err := m.open(b)
		rate := 0.0
		if err == nil {
			rate, err = vlanPairs(connect)
			end()
			if err != nil {
				return fmt.Errorf("%s: %w", m.what, err)
			}
		}
		r := t.peer(m.what, "pairs/s", rate, err)
		if m.goal > 0 {
			r.atLeast(m.goal)
		}
		switch {
		case ours == 0:
			ours = rate
		case m.peer != "":
			t.ratio("  ratio of the daemon to "+m.peer, ours, rate)
		}
		if !b.peers {
			break
		}
	}
	return nil
}

// vlanPairs has callers lease and release for a while. It is an error if two
// callers have the same id at the same time.
func vlanPairs(connect func() (*lender, error)) (float64, error) {
	var owners [vlanLast + 1]atomic.Int64
	var pairs atomic.Int64
	errs := make(chan error, vlanCallers)
	begin := make(chan struct{})
	var ready, wg sync.WaitGroup
	ready.Add(vlanCallers)
	var until time.Time
	for n := range vlanCallers {
		wg.Go(func() {
			l, err := connect()
			ready.Done()
			if err != nil {
				errs <- err
				return
			}
			defer l.end()
			<-begin
			for time.Now().Before(until) {
				if err := vlanPair(l, int64(n+1), owners[:]); err != nil {
					errs <- err
					return
				}
				pairs.Add(1)
			}
		})
	}
	ready.Wait()
	began := time.Now()
	until = began.Add(vlanFor)
	close(begin)
	wg.Wait()
	select {
	case err := <-errs:
		return 0, err
	default:
		return float64(pairs.Load()) / time.Since(began).Seconds(), nil
	}
}

func vlanPair(l *lender, n int64, owners []atomic.Int64) error {
	holder := fmt.Sprintf("%d@bench", n)
	ids, err := l.lend(holder)
	if err != nil {
		return err
	}
	if len(ids) != vlanAtOnce {
		return fmt.Errorf("%d ids are leased, want %d", len(ids), vlanAtOnce)
	}
	for _, id := range ids {
		if !owners[id].CompareAndSwap(0, n) {
			return fmt.Errorf("id %d is leased to both %d and %d", id, owners[id].Load(), n)
		}
	}
	for _, id := range ids {
		owners[id].Store(0)
	}
	return l.back(holder)
}

// vlanEngine leases by the package that keeps VLANs, from a store of its own.
func vlanEngine(b *bench) (func() (*lender, error), func(), error) {
	dir, err := os.MkdirTemp(b.dir, "v")
	if err != nil {
		return nil, nil, err
	}
	db, err := bolt.Open(filepath.Join(dir, "state.db"))
	if err != nil {
		return nil, nil, err
	}
	pools := vlanstore.Pools{"x": {Domain: "x", Ranges: []vlanstore.Range{{First: vlanFirst, Last: vlanLast}}}}
	var wants []vlanstore.Want
	for i := range vlanAtOnce {
		wants = append(wants, vlanstore.Want{Domain: "x", Link: fmt.Sprint("link ", i)})
	}
	l := &lender{
		lend: func(holder string) (ids []int, err error) {
			err = db.Update(context.Background(), func(tx store.Tx) error {
				ids = ids[:0]
				ls, err := vlanstore.Alloc(tx, pools, vlanstore.Limits{}, holder, "a bench", wants, time.Now())
				for _, l := range ls {
					ids = append(ids, l.ID)
				}
				return err
			})
			return ids, err
		},
		back: func(holder string) error {
			return db.Update(context.Background(), func(tx store.Tx) error {
				_, err := vlanstore.ReleaseAll(tx, holder)
				return err
			})
		},
		end: func() {},
	}
	return func() (*lender, error) { return l, nil }, func() { _ = db.Close() }, nil
}

// vlanDaemon leases from a daemon. Each caller has its own connection.
func vlanDaemon(b *bench) (func() (*lender, error), func(), error) {
	inventory := filepath.Join(b.dir, "inventory.yaml")
	text := fmt.Sprintf("pools: {x: {ranges: [%d-%d]}}\n", vlanFirst, vlanLast)
	if err := os.WriteFile(inventory, []byte(text), 0o600); err != nil {
		return nil, nil, err
	}
	d, err := b.start("lab: {inventory: " + inventory + "}\nlogging: {level: warn}\n")
	if err != nil {
		return nil, nil, err
	}
	var links []string
	for i := range vlanAtOnce {
		links = append(links, fmt.Sprint("link ", i))
	}
	return func() (*lender, error) {
		c := &control.Client{Network: "unix", Address: d.client.Address}
		return &lender{
			lend: func(holder string) (ids []int, err error) {
				_, ls, err := control.Call[control.VLANLease](context.Background(), c, "vlan alloc",
					control.VLANAllocIn{Holder: holder, Link: links, Domain: []string{"x"}})
				for _, l := range ls {
					ids = append(ids, l.ID)
				}
				return ids, err
			},
			back: func(holder string) error {
				_, _, err := control.Call[control.VLANLease](context.Background(), c, "vlan release", control.VLANReleaseIn{Holder: holder})
				return err
			},
			end: func() { _ = c.Close() },
		}, nil
	}, d.end, nil
}

// vlanFile leases from a file with a line for each leased id. It is replaced at each
// change, under the lock of another file. In a script each change would also cost a
// process.
func vlanFile(b *bench) (func() (*lender, error), func(), error) {
	dir, err := os.MkdirTemp(b.dir, "f")
	if err != nil {
		return nil, nil, err
	}
	name := filepath.Join(dir, "vlans")
	edit := func(lock *os.File, change func(leased map[int]string)) error {
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
			return err
		}
		defer func() { _ = syscall.Flock(int(lock.Fd()), syscall.LOCK_UN) }()
		data, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		leased := map[int]string{}
		for l := range strings.Lines(string(data)) {
			id, holder, _ := strings.Cut(strings.TrimSpace(l), " ")
			n, err := strconv.Atoi(id)
			if err != nil {
				return err
			}
			leased[n] = holder
		}
		change(leased)
		var out bytes.Buffer
		for id, holder := range leased {
			fmt.Fprintln(&out, id, holder)
		}
		return writeDurably(name, out.Bytes())
	}
	return func() (*lender, error) {
		lock, err := os.OpenFile(name+".lock", os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		return &lender{
			lend: func(holder string) (ids []int, err error) {
				err = edit(lock, func(leased map[int]string) {
					for id := vlanFirst; id <= vlanLast && len(ids) < vlanAtOnce; id++ {
						if leased[id] == "" {
							leased[id] = holder
							ids = append(ids, id)
						}
					}
				})
				return ids, err
			},
			back: func(holder string) error {
				return edit(lock, func(leased map[int]string) {
					for id, h := range leased {
						if h == holder {
							delete(leased, id)
						}
					}
				})
			},
			end: func() { _ = lock.Close() },
		}, nil
	}, func() {}, nil
}

// writeDurably replaces a file.
func writeDurably(name string, data []byte) error {
	f, err := os.Create(name + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// vlanPostgres leases from a server of PostgreSQL as it is installed, with a table
// of ids and one lock for all callers.
func vlanPostgres(b *bench) (func() (*lender, error), func(), error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is sound
	if len(found) == 0 {
		return nil, nil, errors.New("PostgreSQL is not installed; make bench installs it")
	}
	programs := found[len(found)-1]
	dir, err := os.MkdirTemp("", "activationd-pg-") // another user's, and short for a socket
	if err != nil {
		return nil, nil, err
	}
	attr, err := asPostgres(dir)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	initdb := exec.Command(programs+"/initdb", "-D", dir+"/data", "-U", "bench", "-A", "trust", "--locale=C")
	initdb.Dir, initdb.SysProcAttr = dir, attr
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("initdb: %w: %.200s", err, out), os.RemoveAll(dir))
	}
	server := exec.Command(programs+"/postgres", "-D", dir+"/data", "-k", dir, "-c", "listen_addresses=")
	server.Dir, server.SysProcAttr = dir, attr
	if err := server.Start(); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	c, err := pgx.ParseConfig("host=" + dir + " user=bench dbname=postgres")
	if err != nil {
		return nil, nil, err
	}
	db := sql.OpenDB(stdlib.GetConnector(*c))
	db.SetMaxIdleConns(vlanCallers)
	end := func() {
		_ = db.Close()
		_ = server.Process.Signal(syscall.SIGINT)
		_ = server.Wait() // asked to end
		_ = os.RemoveAll(dir)
	}
	for range 600 { // it needs a moment
		if err = db.Ping(); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err == nil {
		_, err = db.Exec(fmt.Sprintf(`CREATE TABLE vlan AS SELECT id, NULL::text AS holder FROM generate_series(%d, %d) AS id;
			ALTER TABLE vlan ADD PRIMARY KEY (id); CREATE INDEX ON vlan (holder); ANALYZE vlan`, vlanFirst, vlanLast))
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	l := &lender{
		lend: func(holder string) (ids []int, err error) { return pgLend(db, holder) },
		back: func(holder string) error {
			_, err := db.Exec(`UPDATE vlan SET holder = NULL WHERE holder = $1`, holder)
			return err
		},
		end: func() {},
	}
	return func() (*lender, error) { return l, nil }, end, nil
}

// pgLend leases the lowest free ids, in a transaction under the lock.
func pgLend(db *sql.DB, holder string) (ids []int, err error) {
	tx, err := db.Begin()
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if _, err := tx.Exec(`SELECT pg_advisory_xact_lock(1)`); err != nil {
		return nil, err
	}
	if ids, err = pgTake(tx, holder); err != nil {
		return nil, err
	}
	return ids, tx.Commit()
}

func pgTake(tx *sql.Tx, holder string) (ids []int, err error) {
	rows, err := tx.Query(`UPDATE vlan SET holder = $1 WHERE id IN
		(SELECT id FROM vlan WHERE holder IS NULL ORDER BY id LIMIT $2) RETURNING id`, holder, vlanAtOnce)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id int
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// asPostgres gives dir to the user postgres if this is root, because a server
// refuses to run as root. It returns what makes a process that user's.
func asPostgres(dir string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2, os.Chown(dir, int(uid), int(gid))); err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}
