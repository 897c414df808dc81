package activation

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/store/once"
)

// A standard input of more than inlineStdin bytes is stored in parts, under its own keys.
// So records stay small, and a transaction with them fits into a store with limits.
//
//	b/ID/NUMBER  a part of the job's standard input
const (
	stdinKey      = "b/"
	inlineStdin   = 64 << 10
	stdinPartSize = 256 << 10
)

// stdinParts returns the entries of a job's standard input; none if it is in the record.
func stdinParts(id string, stdin []byte) (parts []entry) {
	if len(stdin) <= inlineStdin {
		return nil
	}
	for len(stdin) > 0 {
		part := stdin[:min(len(stdin), stdinPartSize)]
		stdin = stdin[len(part):]
		parts = append(parts, entry{fmt.Sprintf("%s%s/%04d", stdinKey, id, len(parts)), part})
	}
	return parts
}

// withoutStdin returns r as it is stored: without a standard input that is stored in
// parts. It sets the input's size.
func (r *Record) withoutStdin() *Record {
	r.StdinSize = partedStdin(r.Stdin)
	if r.StdinSize == 0 {
		return r
	}
	c := *r
	c.Stdin = nil
	return &c
}

// partedStdin returns the size of a standard input that is stored in parts, and 0 for a
// shorter one.
func partedStdin(stdin []byte) int {
	if len(stdin) > inlineStdin {
		return len(stdin)
	}
	return 0
}

// readStdin fills in a standard input that is stored in parts.
func (t *Txn) readStdin(r *Record) error {
	if r.StdinSize == 0 {
		return nil
	}
	for _, part := range t.Scan(stdinKey+r.ID+"/", "") {
		r.Stdin = append(r.Stdin, part...)
	}
	if len(r.Stdin) != r.StdinSize {
		return fmt.Errorf("record of %s: its standard input has %d bytes instead of %d: the state is damaged: %w", r.ID, len(r.Stdin), r.StdinSize, fault.Invalid)
	}
	return nil
}

// missingStdin returns the parts of r's standard input that are not in the store.
func (t *Txn) missingStdin(r *Record) (missing []entry) {
	for _, part := range stdinParts(r.ID, r.Stdin) {
		if !bytes.Equal(t.Get(part.key), part.val) {
			missing = append(missing, part)
		}
	}
	return missing
}

// saveStdin writes r's standard input, if it is stored in parts and has changed.
func (t *Txn) saveStdin(old, r *Record) error {
	size := partedStdin(r.Stdin)
	if old != nil && old.StdinSize == size && bytes.Equal(old.Stdin, r.Stdin) {
		return nil
	}
	for _, part := range t.missingStdin(r) {
		if err := t.Put(part.key, part.val); err != nil {
			return err
		}
	}
	if old == nil {
		return nil
	}
	return t.dropStdin(r.ID, len(stdinParts(r.ID, r.Stdin)))
}

// dropStdin removes the parts of a standard input from a number on.
func (t *Txn) dropStdin(id string, from int) error {
	prefix := stdinKey + id + "/"
	for k := range t.Scan(prefix, fmt.Sprintf("%s%04d", prefix, from)) {
		if err := t.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// storeStdin writes a large standard input of a new job before its record, in
// transactions of its own, if the store has limits. It returns the job's id; empty: none
// was needed. Parts without a record are removed when a daemon starts.
func (e *Engine) storeStdin(ctx context.Context, j *NewJob) (id string, err error) {
	if _, most := store.Limits(e.parts.DB); most == store.NoLimit || len(j.Stdin) <= inlineStdin || e.Draining() {
		return "", nil
	}
	ctx = once.Without(ctx)
	err = e.Update(ctx, func(t *Txn) error {
		if id = ""; j.Check(t.Now) != nil {
			return nil //nolint:nilerr // Add reports it later
		}
		n, err := count(t, jobNumber)
		id = strconv.FormatUint(n, 10)
		return err
	})
	if err != nil || id == "" {
		return "", err
	}
	for _, part := range stdinParts(id, j.Stdin) {
		if err := e.Update(ctx, func(t *Txn) error { return t.Put(part.key, part.val) }); err != nil {
			return "", err
		}
	}
	return id, nil
}

// removeOrphans removes standard inputs of jobs whose record was never written.
func (e *Engine) removeOrphans(ctx context.Context) error {
	var ids []string
	err := e.View(ctx, func(t *Txn) error {
		ids = nil
		for from := stdinKey; ; {
			more := false
			for k := range t.Scan(stdinKey, from) {
				id, _, _ := strings.Cut(strings.TrimPrefix(k, stdinKey), "/")
				from, more = stdinKey+id+"0", true // after the last key that begins with the id and a slash
				if t.Get(key(id)) == nil {
					ids = append(ids, id)
				}
				break
			}
			if !more {
				return nil
			}
		}
	})
	for _, id := range ids {
		if err == nil {
			err = e.Update(ctx, func(t *Txn) error {
				if t.Get(key(id)) != nil {
					return nil
				}
				return t.dropStdin(id, 0)
			})
		}
	}
	return err
}
