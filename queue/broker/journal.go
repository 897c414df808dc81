package broker

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"activationd/supervisor"
)

// A journal says which messages stream listeners have in work. It is a file that is never
// synced: it has to survive the daemon and not the machine, without which no listener
// lives. Its lines are
//
//	given      + RUN QUEUE ID ATTEMPT   the message is given to the listener
//	sent       = RUN                    all that was given to it so far was sent
//	read       ~ RUN                    its answers so far are recorded, and removed from its output
//	stopped    ! RUN ID                 it is stopped because of that message; 0: because of none
//	ended      - RUN                    what became of all that it had is in the store
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
	sent    bool // it is known that it was
	read    bool // if it was answered by then, the answer is not in the output any more
	line    int
}

// A noted is what a journal says.
type noted struct {
	given   []given
	lines   int
	sent    map[supervisor.Key]int // the last line that says so
	read    map[supervisor.Key]int // likewise
	ended   map[supervisor.Key]int
	stopped map[supervisor.Key]uint64 // because of which message; 0: because of none
	invalid int                       // lines that are none of a journal's
}

// journalBound is the least size from which on a journal is rewritten.
const journalBound = 1 << 20

// readJournal returns what the last lines of a journal say about each message. A last line
// that is not complete was never acted upon. When a machine has gone down, the file may have
// anything in it; but then no listener lives.
func readJournal(path string) (all noted, err error) {
	all.sent, all.read, all.ended, all.stopped = make(map[supervisor.Key]int), make(map[supervisor.Key]int), make(map[supervisor.Key]int), make(map[supervisor.Key]uint64)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return all, err
	}
	defer func() { _ = f.Close() }()
	byMessage := make(map[uint64]given)
	for r := bufio.NewReader(f); ; {
		text, err := r.ReadString('\n')
		if err != nil {
			break // the end, perhaps in the middle of a line
		}
		if !all.line(strings.Fields(text), byMessage) {
			all.invalid++
		}
	}
	for _, g := range byMessage {
		g.read = g.line < all.read[g.run]
		if g.sent = g.line < all.sent[g.run]; g.line > all.ended[g.run] {
			all.given = append(all.given, g)
		}
	}
	return all, nil
}

// line takes a line. It is false if that is not valid.
func (a *noted) line(words []string, byMessage map[uint64]given) bool {
	a.lines++
	if len(words) < 2 {
		return false
	}
	run, ok := supervisor.ParseKey(words[1])
	if !ok {
		return false
	}
	switch mark := words[0]; {
	case mark == "+" && len(words) == 5:
		g := given{run: run, line: a.lines}
		if _, err := fmt.Sscan(strings.Join(words[2:], " "), &g.queue, &g.id, &g.attempt); err != nil {
			return false
		}
		byMessage[g.id] = g
	case mark == "=" && len(words) == 2:
		a.sent[run] = a.lines
	case mark == "~" && len(words) == 2:
		a.read[run] = a.lines
	case mark == "!" && len(words) == 3:
		id, err := strconv.ParseUint(words[2], 10, 64)
		a.stopped[run] = id
		return err == nil
	case mark == "-" && len(words) == 2:
		a.ended[run] = a.lines
		delete(a.stopped, run)
	default:
		return false
	}
	return true
}

// give notes that a message is about to be given to a listener; flush must be called
// before it is.
func (j *journal) give(g given) {
	j.buf = fmt.Appendf(j.buf, "+ %s %d %d %d\n", g.run, g.queue, g.id, g.attempt)
}

// end notes that the store has what became of all that a listener had.
func (j *journal) end(run supervisor.Key) { j.buf = fmt.Appendf(j.buf, "- %s\n", run) }

// sent notes that all that was given to a listener so far was sent.
func (j *journal) sent(run supervisor.Key) { j.buf = fmt.Appendf(j.buf, "= %s\n", run) }

// read notes that the answers of a listener so far are recorded, and removed from its output.
func (j *journal) read(run supervisor.Key) { j.buf = fmt.Appendf(j.buf, "~ %s\n", run) }

// stopped notes that a listener is stopped, and because of which message.
func (j *journal) stopped(run supervisor.Key, id uint64) {
	j.buf = fmt.Appendf(j.buf, "! %s %d\n", run, id)
}

// flush writes what was noted. When the file is large, it is rewritten, with what now notes.
func (j *journal) flush(now func(*journal)) error {
	if len(j.buf) == 0 {
		return nil
	}
	if j.file == nil || j.size+int64(len(j.buf)) > max(j.bound, journalBound) {
		return j.rewrite(now)
	}
	n, err := j.file.Write(j.buf)
	j.size += int64(n)
	if err != nil {
		_ = j.file.Close()
		j.file = nil // a line may be there in part
		return fmt.Errorf("the journal of deliveries: %w", err)
	}
	j.buf = j.buf[:0]
	return nil
}

// rewrite writes a new journal and replaces the old one by it.
func (j *journal) rewrite(now func(*journal)) error {
	f, err := os.OpenFile(j.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("the journal of deliveries: %w", err)
	}
	next := journal{}
	now(&next)
	if _, err = f.Write(next.buf); err == nil {
		err = os.Rename(j.path+".new", j.path)
	}
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("the journal of deliveries: %w", err)
	}
	if j.file != nil {
		_ = j.file.Close()
	}
	size := int64(len(next.buf))
	j.file, j.size, j.bound, j.buf = f, size, 4*size, j.buf[:0]
	return nil
}
