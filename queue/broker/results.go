package broker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/store"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// resultFile is where a process writes the result of its message, if that is not its output: the
// file result in its configuration directory, which the wrapper keeps in the run's directory.
const resultFile = wrapper.ConfigDir + "/result"

// resultOf returns the result that the run of a message left. If it is too large to be stored, file is where
// it is; then the run's directory has to stay.
func (b *Broker) resultOf(k supervisor.Key) (result []byte, file string) {
	f, err := b.parts.Runs.Open(k, resultFile)
	if errors.Is(err, os.ErrNotExist) {
		return b.output(k, resultHead), ""
	}
	if err == nil {
		defer func() { _ = f.Close() }()
		result, err = io.ReadAll(io.LimitReader(f, queue.MaxResult+1))
	}
	if err != nil {
		b.parts.Log.Error("queues: cannot read a result", "run", k, "err", err)
		return nil, ""
	}
	if len(result) > queue.MaxResult {
		return nil, b.fileOf(k)
	}
	return result, ""
}

// fileOf is the path of a result in the directory of its run.
func (b *Broker) fileOf(k supervisor.Key) string {
	return filepath.Join(b.parts.Runs.RunDir(k), resultFile)
}

// OpenResult opens the file that has a result which is too large to be stored. The caller closes it. The error is
// of kind fault.NotFound if there is no such file, or not any more.
func (b *Broker) OpenResult(r *queue.Result) (*os.File, error) {
	k, ok := supervisor.ParseKey(filepath.Base(filepath.Dir(filepath.Dir(r.File))))
	if !ok || r.File != b.fileOf(k) {
		return nil, fmt.Errorf("the result of message %d is not in a file: %w", r.ID, fault.NotFound)
	}
	f, err := b.parts.Runs.Open(k, resultFile)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("the result of message %d is not kept any more: %w", r.ID, fault.NotFound)
	}
	return f, err
}

// keptUntil returns until when the directory of a run is kept for a result, by the store; zero: it is not.
func (b *Broker) keptUntil(tx store.Tx, k supervisor.Key) (until time.Time) {
	n, id, _ := parseMessageKey(k)
	if r, ok := queue.ResultOf(tx, n, id); ok && r.File == b.fileOf(k) {
		until = r.Until
	}
	return until
}

// dropResults removes the directories that were kept for results which are not kept any more: those of a queue, or, if
// n is 0, those whose time is over.
func (b *Broker) dropResults(now time.Time, n uint64) {
	for k, until := range b.kept {
		if of, _, _ := parseMessageKey(k); of == n || n == 0 && !until.After(now) {
			delete(b.kept, k)
			b.discard(k)
		}
	}
}
