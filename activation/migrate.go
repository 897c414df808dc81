package activation

import (
	"bytes"
	"context"
	"strings"

	"activationd/store"
)

// In layout 1 the store belonged to one host, and no key named it.
const (
	oldRunKey      = "r/" // + ID: open attempts
	oldActiveKey   = "l/" // + ID: reservations that are active
	oldRemovalKey  = "p/" // + RUN: run directories that must be removed
	oldQueueNumber = "n/line"
	oldFence       = "n/fence"
)

// Limits of one transaction of a migration.
const (
	migrateRecords = 40
	migrateBytes   = 256 << 10
)

// migrate brings a state of layout 1, or an empty one, to layout 2. It changes only the
// records of reservations that are active and of activations that run, however many
// records there are. A migration that was interrupted continues.
func migrate(ctx context.Context, db store.Store, host string, shared bool) error {
	for {
		var m migration
		err := db.Update(ctx, func(tx store.Tx) error {
			m = migration{Tx: tx, host: host}
			if err := m.step(); err != nil || m.records > 0 {
				return err
			}
			return m.finish(shared)
		})
		if err != nil || m.records == 0 {
			return err
		}
	}
}

// A migration is one transaction of migrate.
type migration struct {
	store.Tx
	host    string
	records int // the number of records that it has changed
	bytes   int
}

// full counts a record, and reports whether the transaction may change no more.
func (m *migration) full() bool {
	m.records++
	return m.records > migrateRecords || m.bytes > migrateBytes
}

// step adds the host to as many records as one transaction may change.
func (m *migration) step() error {
	boot := string(m.Get(strings.TrimSuffix(bootID, "/")))
	for _, index := range []struct {
		old, is string
		of      func(*Record) *Attempt
	}{{oldRunKey, runKey, (*Record).openAttempt}, {oldActiveKey, activeKey, (*Record).servedBy}} {
		for k := range m.Scan(index.old, "") {
			if m.full() {
				return nil
			}
			if err := m.name(k, strings.TrimPrefix(k, index.old), ofHost(index.is, m.host), boot, index.of); err != nil {
				return err
			}
		}
	}
	for k := range m.Scan(oldRemovalKey, "") {
		if m.full() {
			return nil
		}
		if err := m.move(k, ofHost(removalKey, m.host)+strings.TrimPrefix(k, oldRemovalKey)); err != nil {
			return err
		}
	}
	return nil
}

// name moves an entry of an index of layout 1 to layout 2, and sets the host in the
// attempt that the entry is about.
func (m *migration) name(old, id, prefix, boot string, of func(*Record) *Attempt) error {
	mark := bytes.Clone(m.Get(old))
	r, err := decode(id, m.Get(key(id)))
	if err == nil {
		if a := of(r); a != nil {
			a.Host, a.Boot = m.host, boot
			data, err := r.encode(nil)
			if err != nil {
				return err
			}
			m.bytes += len(data)
			if err := m.Put(key(id), data); err != nil {
				return err
			}
			for _, e := range r.index() {
				if e.key == prefix+id {
					mark = e.val
				}
			}
		}
	}
	if err := m.Delete(old); err != nil { // also for a record that cannot be read, which is left alone
		return err
	}
	return m.Put(prefix+id, mark)
}

func (m *migration) move(from, to string) error {
	val := m.Get(from)
	if val == nil {
		return nil
	}
	if err := m.Put(to, bytes.Clone(val)); err != nil {
		return err
	}
	return m.Delete(from)
}

// finish moves the numbers and marks the layout.
func (m *migration) finish(shared bool) error {
	for _, s := range States {
		if err := m.move(stateNumber+string(s), ofHost(stateNumber, m.host)+string(s)); err != nil {
			return err
		}
	}
	for _, k := range []string{clockMark, bootID, finishedBytes} {
		if err := m.move(strings.TrimSuffix(k, "/"), k+m.host); err != nil {
			return err
		}
	}
	for _, k := range []string{oldQueueNumber, oldFence} {
		if err := m.Raise(min(number(m, k), store.MaxNumber)); err != nil {
			return err
		}
		if err := m.Delete(k); err != nil {
			return err
		}
	}
	if !shared {
		if err := m.Put(hostName, []byte(m.host)); err != nil {
			return err
		}
	}
	return m.Put(layoutMark, []byte(layout))
}

// indexLater makes an index in a store of a version that had none, from the keys with a prefix.
// Made is set when it is whole. If it is interrupted, it begins again.
func indexLater(ctx context.Context, db store.Store, made, prefix string, of func(tx store.Tx, k string, v []byte) []entry) error {
	most := migrateRecords
	if ops, _ := store.Limits(db); ops == store.NoLimit {
		most = 10_000
	}
	for from := ""; ; {
		begin, done := from, false
		if err := db.Update(ctx, func(tx store.Tx) error {
			if from, done = begin, tx.Get(made) != nil; done {
				return nil
			}
			n := 0
			for k, v := range tx.Scan(prefix, begin) {
				if n == most {
					from = k
					return nil
				}
				n++
				for _, e := range of(tx, k, v) {
					if err := tx.Put(e.key, e.val); err != nil {
						return err
					}
				}
			}
			done = true
			return tx.Put(made, nil)
		}); err != nil || done {
			return err
		}
	}
}
