package test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"activationd/control"
	"activationd/test/harness"
)

// queuesConfig has a listener with a process per message and one with a stream, for queues
// whose names begin with m and s.
const queuesConfig = `
listeners:
  - &message
    name: messages
    queues: ["m*"]
    command: [DIR/listener, message]
    instances: 2
    backoff: {first: 10ms, max: 40ms}
    grace: 100ms
    keep: 1h
    environment: {DID: DIR/shared/did, LOCKS: DIR/shared/locks}
  - {<<: *message, name: streams, queues: ["s*"], per: stream, command: [DIR/listener, stream], window: 4, instances: 1}
`

// newQueues makes a daemon with queues.
func newQueues(t *testing.T, config string) *daemon {
	t.Helper()
	d := newDaemon(t, config)
	d.listenerProgram()
	return d
}

// push pushes a message and returns its id.
func (d *daemon) push(name, body string, flags ...string) uint64 {
	d.t.Helper()
	return d.pushed(d.must(append([]string{"queue", "push", name, "--body", body}, flags...)...))
}

func (d *daemon) pushed(text string) uint64 {
	d.t.Helper()
	id, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil {
		d.t.Fatalf("atctl queue push printed %q, want a number alone", text)
	}
	return id
}

// begun waits until a listener works on a message of a queue.
func (d *daemon) begun(name string, id uint64) {
	d.t.Helper()
	d.await(fmt.Sprintf("message %d of %s begins", id, name), func() bool {
		return strings.Contains(d.read(d.shared("did/"+name)), fmt.Sprintf("begin %d ", id))
	})
}

// worked reports whether a listener has worked off a message.
func (d *daemon) worked(id uint64) bool {
	d.t.Helper()
	return slices.ContainsFunc(d.did()[id], func(l didLine) bool { return l.what == "end" && l.how == "ok" })
}

// gateFIFO makes a FIFO for a message that waits.
func (d *daemon) gateFIFO(name string) string {
	d.t.Helper()
	path := d.shared(name)
	if err := syscall.Mkfifo(path, 0o666); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// queueOf returns a queue, or nil.
func (d *daemon) queueOf(name string) *control.Queue {
	d.t.Helper()
	_, list, err := control.Call[control.Queue](d.t.Context(), &d.Client, "queue list", control.QueueListIn{})
	if err != nil {
		d.t.Fatal(err)
	}
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// background runs atctl, and returns what waits for its end.
func (d *daemon) background(args ...string) (wait func() output) {
	d.t.Helper()
	done := make(chan output, 1)
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	cmd := exec.CommandContext(ctx, d.Bin+"/atctl", args...)
	cmd.Env = append(os.Environ(), "ACTIVATIOND_SOCKET="+d.socket)
	var out, err strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &err
	if fail := cmd.Start(); fail != nil {
		d.t.Fatal(fail)
	}
	go func() {
		_ = cmd.Wait()
		done <- output{out.String(), err.String(), cmd.ProcessState.ExitCode()}
	}()
	d.t.Cleanup(cancel)
	return func() output { return <-done }
}

// pushAndWait runs "atctl queue push --wait". On a terminal, it says when the daemon has the message.
func (d *daemon) pushAndWait(name, body string) (pushed <-chan struct{}, wait func() output) {
	d.t.Helper()
	shown, terminal := newTerminal(d.t)
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	d.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, d.Bin+"/atctl", "queue", "push", name, "--wait", "--body", body)
	cmd.Env = append(os.Environ(), "ACTIVATIOND_SOCKET="+d.socket)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, terminal
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	_ = terminal.Close()
	told, text := make(chan struct{}), make(chan string, 1)
	go func() {
		lines := bufio.NewReader(shown)
		first, _ := lines.ReadString('\n')
		close(told)
		rest, _ := io.ReadAll(lines) // ends with EIO, when nobody has the terminal open
		text <- first + string(rest)
	}()
	return told, func() output {
		_ = cmd.Wait()
		return output{out.String(), <-text, cmd.ProcessState.ExitCode()}
	}
}

// newTerminal returns a terminal, and what is shown on it.
func newTerminal(t *testing.T) (shown, terminal *os.File) {
	t.Helper()
	shown, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = shown.Close() })
	n, err := unix.IoctlGetInt(int(shown.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(shown.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return shown, terminal
}

// TestQueueBegins creates queues and pushes a message into each at once. The time from the
// creation to the beginning of the message is reported.
func TestQueueBegins(t *testing.T) {
	t.Parallel()
	d := newQueues(t, queuesConfig)
	d.Start()
	for _, sort := range []string{"m", "s"} {
		var took []time.Duration
		for i := range 20 {
			name := sort + strconv.Itoa(i)
			from := sinceBoot()
			if _, _, err := control.Call[control.Queue](t.Context(), &d.Client, "queue create", control.QueueCreateIn{Name: []string{name}}); err != nil {
				t.Fatal(err)
			}
			created := sinceBoot()
			_, out, err := control.Call[control.QueuePushOut](t.Context(), &d.Client, "queue push", control.QueuePushIn{Name: name, Body: []string{"first ok 0"}})
			if err != nil {
				t.Fatal(err)
			}
			if _, res, err := control.Call[control.QueueResult](t.Context(), &d.Client, "queue result", control.QueueResultIn{Name: name, ID: out[0].ID, Wait: true}); err != nil || res[0].Outcome != "done" {
				t.Fatalf("the first message of %s: %+v, %v", name, res, err)
			}
			lines := d.did()[out[0].ID]
			if len(lines) != 2 || lines[0].at < created {
				t.Fatalf("the listener of %s, created at %v, wrote %+v", name, created, lines)
			}
			took = append(took, lines[0].at-from)
		}
		slices.Sort(took)
		t.Logf("%s: from the request to create the queue to the beginning of its first message: %v, at most %v", sort, took[len(took)/2], took[len(took)-1])
	}
	if q := d.queueOf("s3"); q == nil || q.Processes != 1 {
		t.Errorf("a queue with a listener: %+v", q)
	}
	d.must("queue", "create", "other")
	if q := d.queueOf("other"); q == nil || q.Listener != "" || q.Reason == "" {
		t.Errorf("a queue without a listener does not say so: %+v", q)
	}
}

// TestQueueDelete deletes queues with messages in work and others that wait.
func TestQueueDelete(t *testing.T) {
	t.Parallel()
	for _, sort := range []string{"m", "s"} {
		t.Run(sort, func(t *testing.T) {
			t.Parallel()
			d := newQueues(t, queuesConfig)
			d.Start()
			one, other := sort+"1", sort+"-other"
			fill := func(gate string) (working, waiting uint64) {
				t.Helper()
				d.must("queue", "create", one)
				working = d.push(one, "working gate "+gate)
				d.begun(one, working)
				d.must("queue", "pause", one)
				return working, d.push(one, "waiting ok 0")
			}
			d.must("queue", "create", other)

			// It has messages: the caller must say what becomes of them.
			gate := d.gateFIFO("gate1")
			working, waiting := fill(gate)
			if o := d.atctl("queue", "delete", one); o.status != 4 || !strings.Contains(o.err, "discard") {
				t.Errorf("delete of a queue with messages: %+v", o)
			}

			// What is in work is finished, and the rest moves to another queue.
			gone := d.background("queue", "delete", "--keep-messages", other, one)
			d.await("the deletion begins", func() bool { q := d.queueOf(one); return q == nil || q.Deleting != nil })
			if o := d.atctl("queue", "push", one, "--body", "late ok 0"); o.status != 4 {
				t.Errorf("push into a queue that is being deleted: %+v", o)
			}
			d.await("what waited is done in the other queue", func() bool { return d.worked(waiting) })
			if d.queueOf(one) == nil || d.worked(working) {
				t.Error("a queue was deleted while a message of it was in work")
			}
			d.open(gate, "go")
			if o := gone(); o.status != 0 {
				t.Errorf("delete: %+v", o)
			}
			if !d.worked(working) || d.queueOf(one) != nil {
				t.Errorf("deleted: %v", d.did())
			}
			if o := d.atctl("queue", "push", one, "--body", "late ok 0"); o.status != 3 {
				t.Errorf("push into a queue that is deleted: %+v", o)
			}
			if lines := d.did()[waiting]; lines[0].queue != other {
				t.Errorf("the message that was moved: %+v", lines)
			}

			// What is in work is killed.
			gate = d.gateFIFO("gate2")
			working, waiting = fill(gate)
			if o := d.atctl("queue", "delete", "--now", "--discard", one); o.status != 0 {
				t.Errorf("delete --now: %+v", o)
			}
			if locked(d.shared("locks/" + strconv.FormatUint(working, 10))) {
				t.Error("after delete --now something still works on a message")
			}
			if d.worked(working) || len(d.did()[waiting]) > 0 {
				t.Errorf("after delete --now: %v", d.did())
			}
			d.must("queue", "delete", other)
			for _, r := range d.deliveries() {
				awaitGone(t, r.pid)
			}
			if sort == "s" && strings.Count(d.read(d.shared("did/"+one)), "over ") != 1 {
				t.Errorf("the listener of a deleted queue was to end by itself, once:\n%s", d.read(d.shared("did/"+one)))
			}
			d.noQueuesLeft()
			d.stop()
			d.verifyQueues()
		})
	}
}

// TestQueueDeleteRaces deletes a queue while several clients push into it. Each push is
// refused, or its message is worked off, in this queue or in the one that gets its messages.
func TestQueueDeleteRaces(t *testing.T) {
	t.Parallel()
	d := newQueues(t, queuesConfig)
	d.Start()
	d.must("queue", "create", "s-other")
	var all []uint64
	refused := make(map[int]int)
	for round := range harness.Size(6, 40) {
		name := []string{"m1", "s1"}[round%2]
		d.must("queue", "create", name)
		var mu sync.Mutex
		var load sync.WaitGroup
		pushed := make(chan bool, 10_000)
		for i := range 8 {
			load.Go(func() {
				c := &control.Client{Address: d.socket}
				defer func() { _ = c.Close() }()
				for n := 0; ; n++ {
					in := control.QueuePushIn{Name: name, Body: []string{fmt.Sprintf("r%d-%d-%d ok 0", round, i, n)}}
					_, out, err := control.Call[control.QueuePushOut](t.Context(), c, "queue push", in)
					mu.Lock()
					if err == nil {
						all = append(all, out[0].ID)
						mu.Unlock()
						pushed <- true
						continue
					}
					code := control.Code(err)
					refused[code]++
					mu.Unlock()
					if code != 404 && code != 409 {
						t.Errorf("push: %v", err)
					}
					if code != 409 {
						return
					}
				}
			})
		}
		for range 20 {
			<-pushed
		}
		d.must("queue", "delete", "--keep-messages", "s-other", name)
		load.Wait()
	}
	d.await("all messages are done", func() bool { q := d.queueOf("s-other"); return q.Ready+q.Work+q.Delayed == 0 })
	did := d.did()
	for _, id := range all {
		if n := len(did[id]); n != 2 {
			t.Errorf("message %d was acknowledged, and its listeners wrote %+v", id, did[id])
		}
	}
	moved := 0
	for _, lines := range did {
		if lines[0].queue == "s-other" {
			moved++
		}
	}
	t.Logf("%d messages, %d of them moved; refused by code: %v", len(all), moved, refused)
	if refused[409] == 0 && refused[404] == 0 {
		t.Error("no push was refused: this tried nothing")
	}
}

// TestPushWaits checks that a client that waits for the result of a message gets it, once,
// although the daemon is killed meanwhile.
func TestPushWaits(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"m1", "s1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newQueues(t, queuesConfig)
			d.Start()
			d.must("queue", "create", name)
			gate := d.gateFIFO("gate")
			pushed, result := d.pushAndWait(name, "waited gate "+gate)
			<-pushed // before that, it cannot know whether there is a message that it can wait for
			d.await("the message begins", func() bool { return strings.Contains(d.read(d.shared("did/"+name)), "begin ") })
			d.Kill()
			d.Start()
			d.Kill()
			d.open(gate, "go") // its process ends while there is no daemon, if it has one of its own
			d.Start()
			want := map[string]string{"m1": "worked\n", "s1": "done"}[name]
			if o := result(); o.status != 0 || o.out != want {
				t.Errorf("push --wait: %+v, want %q", o, want)
			}
			for id, lines := range d.did() {
				if len(lines) != 2 {
					t.Errorf("message %d was worked on more than once: %+v", id, lines)
				}
				if o := d.atctl("queue", "result", name, strconv.FormatUint(id, 10)); o.status != 0 || o.out != want {
					t.Errorf("result afterwards: %+v", o)
				}
			}
			dead := d.background("queue", "push", name, "--wait", "--body", "hopeless dead -")
			if o := dead(); o.status != 65 {
				t.Errorf("push --wait of a message that becomes a dead letter: %+v", o)
			}
		})
	}
}

// TestQueueIsFull fills queues by number and by size.
func TestQueueIsFull(t *testing.T) {
	t.Parallel()
	d := newQueues(t, strings.Replace(queuesConfig, "listeners:", "queues: {max_messages: 12}\nlisteners:", 1)+`
  - {<<: *message, name: few, queues: [few], max_messages: 3}
  - {<<: *message, name: sizes, queues: [big], max_bytes: 1000}
  - {<<: *message, name: newest, queues: [newest], max_messages: 3, overflow: drop_oldest}
`)
	d.Start()
	names := []string{"few", "big", "newest", "m1"}
	d.must(append([]string{"queue", "create"}, names...)...)
	gate := d.gateFIFO("gate")
	working := d.push("few", "working gate "+gate)
	d.begun("few", working)
	for _, name := range names {
		d.must("queue", "pause", name)
	}
	refused := func(name, body string, words ...string) {
		t.Helper()
		o := d.atctl("queue", "push", name, "--body", body)
		if o.status != 6 {
			t.Errorf("push into %s, which is full: %+v", name, o)
		}
		for _, w := range words {
			if !strings.Contains(o.err, w) {
				t.Errorf("push into %s, which is full, says %q, want in it: %s", name, o.err, w)
			}
		}
	}

	// What is in work counts.
	d.push("few", "a ok 0")
	d.push("few", "b ok 0")
	refused("few", "c ok 0", "queue few has 3 of at most 3 messages")
	d.push("big", "big ok 0 "+strings.Repeat("x", 981))
	refused("big", "more ok 0 xxxxx", "queue big has 990 of at most 1000 bytes")
	var ids []uint64
	for i := range 5 {
		ids = append(ids, d.push("newest", fmt.Sprintf("n%d ok 0", i)))
	}
	if o := d.must("queue", "peek", "newest", "--json"); strings.Contains(o, fmt.Sprintf(`"id":%d,`, ids[1])) || !strings.Contains(o, fmt.Sprintf(`"id":%d,`, ids[2])) {
		t.Errorf("a queue that drops the oldest has %s, want the last 3 of %v", o, ids)
	}
	for i := range 5 { // 12 in all
		d.push("m1", fmt.Sprintf("m%d ok 0", i))
	}
	refused("m1", "one ok 0", "12 of at most 12 messages")

	// Nothing else suffers, and it goes on when there is room.
	job := d.add("--", "true")
	d.ended(job, "succeeded", 0)
	d.open(gate, "go")
	d.await("a message is done", func() bool { return d.queueOf("few").Work == 0 })
	d.push("few", "c ok 0")
	refused("few", "d ok 0", "queue few has 3 of at most 3 messages")
	for _, name := range names {
		d.must("queue", "resume", name)
	}
	d.await("all are done", func() bool {
		for _, name := range []string{"few", "newest", "m1"} {
			if q := d.queueOf(name); q.Ready+q.Work+q.Delayed > 0 {
				return false
			}
		}
		return true
	})
	d.push("few", "d ok 0")
	for _, id := range ids[:2] {
		if lines := d.did()[id]; len(lines) > 0 {
			t.Errorf("message %d was dropped, and worked on: %+v", id, lines)
		}
	}
	for _, id := range ids[2:] {
		if !d.worked(id) {
			t.Errorf("message %d was not dropped, and not worked on", id)
		}
	}
}

// TestQueuesOnAFullDisk fills the disk with the state while messages are in work.
func TestQueuesOnAFullDisk(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, store := range []string{"", "queues: {store: DIR/state/messages.db}\n"} {
		t.Run(fmt.Sprintf("own store %t", store != ""), func(t *testing.T) {
			t.Parallel()
			d := newQueues(t, store+queuesConfig)
			d.smallDisk("8m")
			d.Start()
			names := []string{"m1", "s1"}
			var working, kept []uint64
			var gates []string
			for _, name := range names {
				d.must("queue", "create", name)
				gate := d.gateFIFO("gate-" + name)
				gates = append(gates, gate)
				working = append(working, d.push(name, "working gate "+gate))
				d.begun(name, working[len(working)-1])
			}
			d.must("queue", "create", "idle")
			kept = append(kept, d.push("idle", "kept ok 0"))
			filler := d.fill()
			refused := ""
			for i := range 200 {
				o := d.atctl("queue", "push", "idle", "--body", fmt.Sprintf("full-%d ok %s", i, strings.Repeat("0", 60<<10)))
				if o.status == 0 {
					kept = append(kept, d.pushed(o.out))
					continue
				}
				if o.status != 6 || !strings.Contains(o.err, "space") {
					t.Fatalf("push on a full disk: %+v", o)
				}
				refused = o.err
				break
			}
			t.Logf("%d pushed, then refused with: %s", len(kept), strings.TrimSpace(refused))
			if refused == "" {
				t.Error("no push was refused")
			}
			for _, gate := range gates { // they end while there is no space
				d.open(gate, "go")
			}
			if q := d.queueOf("idle"); q == nil || q.Ready != int64(len(kept)) {
				t.Errorf("on a full disk, the queue is %+v, want %d messages", q, len(kept))
			}
			if needs := d.status().Attention; len(needs) == 0 || needs[0].Kind != control.NeedsDisk {
				t.Errorf("on a full disk status says that %+v needs attention, want the disk first", needs)
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			for i, name := range names {
				if o := d.atctl("queue", "result", "--wait", name, strconv.FormatUint(working[i], 10)); o.status != 0 {
					t.Errorf("the end of a message on a full disk: %+v", o)
				}
				if n := len(d.did()[working[i]]); n != 2 {
					t.Errorf("message %d of %s was worked on more than once: %+v", working[i], name, d.did()[working[i]])
				}
				d.push(name, "afterwards ok 0")
			}
			d.Kill()
			d.Start()
			if q := d.queueOf("idle"); q == nil || q.Ready != int64(len(kept)) {
				t.Errorf("after a kill the queue is %+v, want the %d messages that were acknowledged", q, len(kept))
			}
			for _, name := range names {
				d.await(name+" is empty", func() bool { q := d.queueOf(name); return q.Ready+q.Work+q.Delayed == 0 })
				d.must("queue", "delete", name)
			}
			d.must("queue", "delete", "--discard", "idle")
			d.noQueuesLeft()
		})
	}
}

// TestTortureManyQueues creates and deletes a thousand queues while messages flow, some at a
// time.
func TestTortureManyQueues(t *testing.T) {
	t.Parallel()
	n := harness.Size(60, 1000)
	if *kills >= defaultKills {
		n = 1000
	}
	d := newQueues(t, queuesConfig)
	d.Start()
	d.must("queue", "create", "m-rest", "s-rest")
	random := harness.Random(t)
	seed := random.Uint64()
	pid := d.Newest().Cmd.Process.Pid
	open := func() int {
		names, err := readNames(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	settle := func() (files, kib int) {
		d.await("all messages are done", func() bool {
			for _, name := range []string{"m-rest", "s-rest"} {
				if q := d.queueOf(name); q.Ready+q.Work+q.Delayed > 0 {
					return false
				}
			}
			return true
		})
		d.await("only the listener of a queue that is there lives", func() bool { return len(d.deliveries()) <= 1 && len(d.deliveryDirs()) <= 2 })
		return open(), residentKiB(t, pid, "RssAnon")
	}
	var all sync.Map
	turn := func(from, to int) {
		var load sync.WaitGroup
		for worker := range 4 {
			load.Go(func() {
				c := &control.Client{Address: d.socket}
				defer func() { _ = c.Close() }()
				for i := from + worker; i < to; i += 4 {
					queueComesAndGoes(t, c, &all, seed, i)
				}
			})
		}
		load.Wait()
	}
	warm := n / 5
	turn(0, warm)
	files, kib := settle()
	turn(warm, n)
	filesAfter, kibAfter := settle()
	t.Logf("after %d queues the daemon has %d descriptors and %d KiB, after %d %d and %d KiB", warm, files, kib, n, filesAfter, kibAfter)
	d.await("the daemon has no more descriptors than before", func() bool { return open() <= files }) // those of clients that have just gone are closed a moment later
	// Up to 8 MiB are allocated before garbage is collected, and the first measurement may be just after that.
	if most := kib + kib/10 + 12<<10; kibAfter > most {
		t.Errorf("the daemon has %d KiB after %d queues, and %d after %d", kib, warm, kibAfter, n)
	}
	did, messages := d.did(), 0
	all.Range(func(id, _ any) bool {
		messages++
		if n := len(did[id.(uint64)]); n != 2 {
			t.Errorf("message %d was acknowledged, and its listeners wrote %+v", id, did[id.(uint64)])
		}
		return true
	})
	t.Logf("%d messages", messages)
	d.must("queue", "delete", "m-rest")
	d.must("queue", "delete", "s-rest")
	d.noQueuesLeft()
	d.stop()
	d.verifyQueues()
}

// queueComesAndGoes creates a queue, pushes some messages, and deletes the queue.
func queueComesAndGoes(t *testing.T, c *control.Client, all *sync.Map, seed uint64, i int) {
	sort := []string{"m", "s"}[(seed+uint64(i))%2]
	name := sort + strconv.Itoa(i)
	do := func(verb string, in any) error {
		_, _, err := control.Call[control.Nothing](t.Context(), c, verb, in)
		return err
	}
	if err := do("queue create", control.QueueCreateIn{Name: []string{name}}); err != nil {
		t.Error(err)
		return
	}
	for n := range 1 + (seed>>8+uint64(i))%4 {
		_, out, err := control.Call[control.QueuePushOut](t.Context(), c, "queue push", control.QueuePushIn{Name: name, Body: []string{fmt.Sprintf("q%d-%d ok %d", i, n, n*3)}})
		if err != nil {
			t.Error(err)
			return
		}
		all.Store(out[0].ID, true)
	}
	if err := do("queue delete", control.QueueDeleteIn{Name: name, Keep: sort + "-rest"}); err != nil {
		t.Error(err)
	}
}

// TestQueueStoreBeside checks that a store of queues of their own is used, and that each
// event of queues is there once, although the daemon is killed between the two stores.
func TestQueueStoreBeside(t *testing.T) {
	t.Parallel()
	d := newQueues(t, "queues: {store: DIR/messages.db}\n"+queuesConfig)
	tt := tortureOf(d, harness.Random(t))
	d.Start()
	acknowledged := make(map[string]bool) // event and queue
	var load sync.WaitGroup
	for i := range 3 {
		load.Go(func() {
			c := &control.Client{Address: d.socket}
			defer func() { _ = c.Close() }()
			for n := 0; !tt.over(); n++ {
				name := fmt.Sprintf("q%d-%d", i, n)
				if _, ok := call[control.Queue](tt, c, "queue create", control.QueueCreateIn{Name: []string{name}}, 409); !ok {
					continue
				}
				_, ok := call[control.QueueCount](tt, c, "queue delete", control.QueueDeleteIn{Name: name}, 404, 409)
				tt.mu.Lock()
				acknowledged["queue.created "+name] = true
				if ok {
					acknowledged["queue.deleted "+name] = true
				}
				tt.mu.Unlock()
			}
		})
	}
	tt.killLoop(harness.Size(12, 60))
	close(tt.enough)
	load.Wait()
	if _, err := os.Stat(filepath.Join(d.dir, "messages.db")); err != nil {
		t.Error(err)
	}
	seen := make(map[string]int)
	last := "last"
	d.must("queue", "create", last)
	err := control.Stream(t.Context(), &d.Client, "events", control.EventsIn{Topic: []string{"queue.#"}, Since: harness.AllEvents}, func(e control.Event) error {
		seen[e.What+" "+e.ID]++
		if e.ID == last {
			return errFound
		}
		return nil
	})
	for what, n := range seen {
		if n != 1 {
			t.Errorf("%d events: %s", n, what)
		}
	}
	for what := range acknowledged {
		if seen[what] == 0 {
			t.Errorf("no event: %s", what)
		}
	}
	t.Logf("%d events, %d of them of acknowledged requests; %v", len(seen), len(acknowledged), err)

	// The queues are lost. Those that are created afterwards have events, too.
	d.stop()
	if err := os.Remove(d.dir + "/messages.db"); err != nil {
		t.Fatal(err)
	}
	d.Start()
	if q := d.queueOf(last); q != nil {
		t.Errorf("there is a queue in an empty store: %+v", q)
	}
	d.must("queue", "create", "newer")
	err = control.Stream(t.Context(), &d.Client, "events", control.EventsIn{Topic: []string{"queue.#"}, Since: harness.AllEvents}, func(e control.Event) error {
		if e.ID == "newer" {
			return errFound
		}
		return nil
	})
	if !errors.Is(err, errFound) {
		t.Error(err)
	}
}

// TestBackupOfQueues restores queues that have a store of their own.
func TestBackupOfQueues(t *testing.T) {
	t.Parallel()
	d := newQueues(t, "queues: {store: DIR/messages.db}\n"+queuesConfig)
	d.Start()
	d.must("queue", "create", "idle")
	id := d.push("idle", "kept ok 0")
	job := d.add("--in", "1h", "--", "true")
	if o := d.atctl("backup", d.dir+"/backup.db"); o.status != 0 || !strings.Contains(o.err, "messages.db") {
		t.Errorf("a backup without the queues does not say so: %+v", o)
	}
	if o := d.atctl("backup", "--queues", d.dir+"/queues.db"); o.status != 0 || o.err != "" {
		t.Errorf("backup --queues: %+v", o)
	}
	d.push("idle", "later ok 0")
	d.stop()
	for from, to := range map[string]string{"backup.db": d.state + "/state.db", "queues.db": d.dir + "/messages.db"} {
		if err := os.Rename(d.dir+"/"+from, to); err != nil {
			t.Fatal(err)
		}
	}
	d.Start()
	if a := d.show(job); a.State != "scheduled" {
		t.Errorf("a job that was in the backup is %s", a.State)
	}
	if q := d.queueOf("idle"); q == nil || q.Ready != 1 {
		t.Fatalf("the queue is %+v, want one message", q)
	}
	if o := d.must("queue", "peek", "idle", "--json"); !strings.Contains(o, fmt.Sprintf(`"id":%d,`, id)) {
		t.Errorf("the queue has %s, want message %d", o, id)
	}
	d.stop()
	d.verifyQueues()
}

// TestBackupWithQueues checks that the state has the queues if they have no store of their own.
func TestBackupWithQueues(t *testing.T) {
	t.Parallel()
	d := newQueues(t, queuesConfig)
	d.Start()
	d.must("queue", "create", "idle")
	d.push("idle", "kept ok 0")
	if o := d.atctl("backup", "--queues", d.dir+"/queues.db"); o.status != 2 {
		t.Errorf("backup --queues: %+v", o)
	}
	if o := d.atctl("backup", d.dir+"/backup.db"); o.status != 0 || o.err != "" {
		t.Errorf("backup: %+v", o)
	}
	d.stop()
	if err := os.Rename(d.dir+"/backup.db", d.state+"/state.db"); err != nil {
		t.Fatal(err)
	}
	d.Start()
	if q := d.queueOf("idle"); q == nil || q.Ready != 1 {
		t.Errorf("the queue is %+v, want one message", q)
	}
}

// TestQueuesInStatus checks what status says of queues.
func TestQueuesInStatus(t *testing.T) {
	t.Parallel()
	d := newQueues(t, queuesConfig)
	d.Start()
	d.must("queue", "create", "m1", "idle")
	if got := d.must("status"); !strings.Contains(got, "queues      2, with 0 messages ready, 0 delayed, 0 in work, 0 dead\n") {
		t.Errorf("atctl status of empty queues says\n%s", got)
	}
	d.push("m1", "a dead -")
	gate := d.gateFIFO("gate")
	d.begun("m1", d.push("m1", "b gate "+gate))
	d.push("idle", "c ok 0")
	d.push("idle", "d ok 0", "--delay", "1h")
	d.await("there is a dead letter", func() bool { return d.queueOf("m1").Dead == 1 })
	if q := d.status().Queues; q == nil || *q != (control.QueuesStatus{Queues: 2, Ready: 1, Delayed: 1, Work: 1, Dead: 1}) {
		t.Errorf("status counts %+v", q)
	}
}
