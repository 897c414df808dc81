package broker

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"activationd/supervisor"
)

// A journal says which messages stream listeners have in work. It is a file that is never
// synced: it has to survive the daemon and not the machine, without which no listener
// lives. Its lines are
//
//   - RUN QUEUE ID ATTEMPT   the message is given to the listener
//   - RUN                    what became of all that it had is in the store
//
// Of two lines about a message the later one counts. A message that has gone on since is
// recognised by the store, so nothing is written when a message is finished.
type journal struct {
	path  string
	file  *os.File
	size  int64
	bound int64 // the size from which on it is rewritten
	buf   []byte
}

// A given is a message that was given to a listener.
type given struct {
	run     supervisor.Key
	queue   uint64
	id      uint64
	attempt int
}

// journalBound is the least size from which on a journal is rewritten.
const journalBound = 1 << 20

// readJournal returns what the last lines of a journal say about each message. A last line
// that is not complete was never acted upon.
func readJournal(path string) (all []given, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	byMessage := make(map[uint64]given)
	r := bufio.NewReader(f)
	for n := 1; ; n++ {
		text, err := r.ReadString('\n')
		if err != nil {
			break // the end, perhaps in the middle of a line
		}
		words := strings.Fields(text)
		var g given
		var ok bool
		switch {
		case len(words) == 5 && words[0] == "+":
			_, scanErr := fmt.Sscan(strings.Join(words[2:], " "), &g.queue, &g.id, &g.attempt)
			g.run, ok = supervisor.ParseKey(words[1])
			if ok = ok && scanErr == nil; ok {
				byMessage[g.id] = g
			}
		case len(words) == 2 && words[0] == "-":
			var run supervisor.Key
			if run, ok = supervisor.ParseKey(words[1]); ok {
				for id, g := range byMessage {
					if g.run == run {
						delete(byMessage, id)
					}
				}
			}
		}
		if !ok {
			return nil, fmt.Errorf("%s:%d: not a line of the journal of deliveries: %q", path, n, strings.TrimSpace(text))
		}
	}
	for _, g := range byMessage {
		all = append(all, g)
	}
	return all, nil
}

// give notes that a message is about to be given to a listener; flush must be called
// before it is.
func (j *journal) give(g given) {
	j.buf = fmt.Appendf(j.buf, "+ %s %d %d %d\n", g.run, g.queue, g.id, g.attempt)
}

// end notes that the store has what became of all that a listener had.
func (j *journal) end(run supervisor.Key) { j.buf = fmt.Appendf(j.buf, "- %s\n", run) }

// flush writes what was noted. When the file is large, it is rewritten, with what is in
// work now.
func (j *journal) flush(inWork func(yield func(given) bool)) error {
	if len(j.buf) == 0 {
		return nil
	}
	if j.file == nil || j.size+int64(len(j.buf)) > max(j.bound, journalBound) {
		return j.rewrite(inWork)
	}
	n, err := j.file.Write(j.buf)
	j.size += int64(n)
	if err != nil {
		j.file = nil // a line may be there in part
		return fmt.Errorf("the journal of deliveries: %w", err)
	}
	j.buf = j.buf[:0]
	return nil
}

// rewrite writes a new journal and replaces the old one by it.
func (j *journal) rewrite(inWork func(yield func(given) bool)) error {
	f, err := os.OpenFile(j.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("the journal of deliveries: %w", err)
	}
	var data []byte
	for g := range inWork {
		data = fmt.Appendf(data, "+ %s %d %d %d\n", g.run, g.queue, g.id, g.attempt)
	}
	if _, err = f.Write(data); err == nil {
		err = os.Rename(j.path+".new", j.path)
	}
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("the journal of deliveries: %w", err)
	}
	if j.file != nil {
		_ = j.file.Close()
	}
	j.file, j.size, j.bound, j.buf = f, int64(len(data)), 4*int64(len(data)), j.buf[:0]
	return nil
}
