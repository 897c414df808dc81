package test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"activationd/control"
	"activationd/queue"
	"activationd/store/bolt"
	"activationd/test/harness"
)

// queueTortureConfig has a listener of each sort. The program is testdata/listener.
const queueTortureConfig = `
queues: {max_messages: 1000000}
listeners:
  - &message
    name: messages
    queues: ["m*"]
    command: [DIR/listener, message]
    instances: 2
    attempts: 1000
    backoff: {first: 10ms, max: 40ms}
    grace: 100ms
    keep: 1h
    max_wait: 10s
    environment: {DID: DIR/shared/did, LOCKS: DIR/shared/locks}
  - {<<: *message, name: streams, queues: ["s*"], per: stream, command: [DIR/listener, stream], instances: 1}
  - {<<: *message, name: windows, queues: ["w*"], per: stream, command: [DIR/listener, stream], window: 8, replace: {messages: 50}}
  - {<<: *message, name: together, queues: ["t*"], per: stream, command: [DIR/listener, stream], window: 4, together: weighted}
  - {<<: *message, name: moved, queues: ["x*"]}
  - {<<: *message, name: dropped, queues: ["y*"], per: stream, command: [DIR/listener, stream]}
`

// What queues there are: how many of each listener.
var tortureQueues = []struct {
	prefix string
	n      int
}{{"m", 18}, {"s", 8}, {"w", 8}, {"t", 6}, {"x", 5}, {"y", 5}}

// TestTortureQueues kills the daemon, wrappers and listeners at random times while clients
// push messages into fifty queues, cancel some, and create and delete queues. Then it
// compares what the daemon says with what the listeners wrote down.
func TestTortureQueues(t *testing.T) {
	t.Parallel()
	n := *kills
	switch {
	case n == 0 && testing.Short():
		n = 5
	case n == 0:
		n = harness.Size(15, defaultKills)
	}
	t.Run("one store", func(t *testing.T) { tortureOfQueues(t, queueTortureConfig, n-n/3) })
	t.Run("a store beside", func(t *testing.T) {
		tortureOfQueues(t, strings.Replace(queueTortureConfig, "queues: {", "queues: {store: DIR/messages.db, ", 1), n/3)
	})
}

func tortureOfQueues(t *testing.T, config string, n int) {
	qt := newQueueTorture(t, config)
	qt.daemon.Start()
	for _, q := range tortureQueues {
		for i := range q.n {
			qt.must("queue", "create", q.prefix+strconv.Itoa(i))
		}
	}
	var load sync.WaitGroup
	end := sync.OnceFunc(func() {
		close(qt.enough)
		load.Wait()
	})
	defer end()
	for i := range 8 {
		load.Go(func() { qt.producer(i) })
	}
	for i := range 2 {
		load.Go(func() { qt.churn(i) })
	}
	load.Go(qt.killListeners)
	qt.killLoop(n)
	end()
	qt.settleQueues()
	qt.judgeQueues()
	qt.endQueues()
}

// listenerProgram builds testdata/listener, and makes the directories that it needs.
func (d *daemon) listenerProgram() string {
	d.t.Helper()
	path := d.dir + "/listener"
	cmd := exec.Command("go", "build", "-o", path, "./testdata/listener")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Fatalf("%v: %s", err, out)
	}
	for _, dir := range []string{"did", "locks"} {
		if err := os.MkdirAll(d.shared(dir), 0o777); err != nil {
			d.t.Fatal(err)
		}
	}
	return path
}

// A queueTorture is a torture of queues, and what was promised about messages.
type queueTorture struct {
	*torture
	mu      sync.Mutex
	pushes  map[string]*pushedMessage // by label
	unsure  int                       // pushes without an answer
	refused int                       // pushes that were refused
	vague   map[string]bool           // queue and key of replacing pushes without an answer
	removed map[uint64]time.Duration  // when messages were said to be replaced
	deleted map[string]int            // queues, by how
	killed  map[string]int            // wrappers and listeners
}

// A pushedMessage is one that was pushed, or perhaps.
type pushedMessage struct {
	label, queue, kind string
	key                string
	id                 uint64        // 0: the push was not answered
	cancelled          time.Duration // when the cancel was acknowledged
}

func newQueueTorture(t *testing.T, config string) *queueTorture {
	t.Helper()
	random := harness.Random(t)
	d := newDaemon(t, config)
	d.listenerProgram()
	tt := tortureOf(d, random)
	tt.between = time.Second // messages get somewhere meanwhile
	return &queueTorture{
		torture: tt, pushes: make(map[string]*pushedMessage), vague: make(map[string]bool),
		removed: make(map[uint64]time.Duration), deleted: make(map[string]int), killed: make(map[string]int),
	}
}

// sinceBoot is the time of listeners' lines.
func sinceBoot() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // cannot fail
	return time.Duration(now.Nano())
}

// producer pushes messages until the load ends.
func (qt *queueTorture) producer(i int) {
	random := rand.New(rand.NewPCG(qt.seed, uint64(i)+1))
	c := &control.Client{Address: qt.socket}
	defer func() { _ = c.Close() }()
	for n := 0; !qt.over(); n++ {
		sort := tortureQueues[random.IntN(len(tortureQueues))]
		p := &pushedMessage{label: fmt.Sprintf("p%d-%d", i, n), queue: sort.prefix + strconv.Itoa(random.IntN(sort.n))}
		in := qt.randomMessage(random, p)
		qt.push(c, p, in)
		if p.kind == "cancel" && p.id != 0 {
			qt.idle(time.Duration(random.IntN(60)) * time.Millisecond)
			qt.cancel(c, p)
		}
		qt.idle(time.Duration(random.IntN(80)) * time.Millisecond)
	}
}

// randomMessage chooses what a message is to do.
func (qt *queueTorture) randomMessage(random *rand.Rand, p *pushedMessage) control.QueuePushIn {
	in := control.QueuePushIn{Name: p.queue, Priority: random.IntN(10)}
	stream := !strings.HasPrefix(p.queue, "m") && !strings.HasPrefix(p.queue, "x")
	arg, key := "-", ""
	switch k := random.IntN(40); {
	case p.queue[0] == 'x' || p.queue[0] == 'y' || k < 14:
		p.kind, arg = "ok", strconv.Itoa(random.IntN(12))
	case k < 18:
		p.kind, arg = "until", "3"
	case k < 20:
		p.kind, arg = "later", "2"
	case k < 21:
		p.kind = "dead"
	case k < 22:
		p.kind, in.Attempts = "hopeless", 2
	case k < 25:
		p.kind = "cancel"
	case k < 26:
		p.kind, in.Attempts, in.Timeout = "timeout", 2, "100ms"
	case k < 31:
		delay := random.IntN(400)
		p.kind, in.Delay = "delayed", fmt.Sprintf("%dms", delay)
		arg = strconv.FormatInt(time.Now().Add(time.Duration(delay)*time.Millisecond).UnixNano(), 10)
	case k < 35:
		p.kind, arg = "key", "5"
		in.OnDuplicate = []string{"refuse", "ignore", "replace"}[random.IntN(3)]
		key = strconv.Itoa(random.IntN(3))
	case stream && k < 36:
		p.kind = "quit"
	case stream && k < 37:
		p.kind = "junk"
	case stream && k < 39:
		p.kind = []string{"twice", "late"}[random.IntN(2)]
	default:
		p.kind = "tree"
		if stream {
			p.kind = "ok"
		}
	}
	does := p.kind
	switch p.kind {
	case "cancel", "timeout":
		does = "stay"
	case "key":
		does = "ok"
	}
	body := strings.Join([]string{p.label, does, arg}, " ")
	if key != "" {
		p.key, in.Key = key, key
		body += " key=" + key
	}
	if random.IntN(30) == 0 { // stored in parts, and given to streams as a file
		body += " " + strings.Repeat("x", 100<<10)
	}
	in.Body = []string{body}
	return in
}

// push pushes a message, and notes what was promised.
func (qt *queueTorture) push(c *control.Client, p *pushedMessage, in control.QueuePushIn) {
	allowed := []int{503}
	switch {
	case p.key != "":
		allowed = append(allowed, 409)
	case p.queue[0] == 'x' || p.queue[0] == 'y':
		allowed = append(allowed, 404, 409)
	}
	qt.mu.Lock()
	qt.pushes[p.label] = p
	qt.mu.Unlock()
	out, code := request[control.QueuePushOut](qt.torture, c, "queue push", in, allowed...)
	qt.mu.Lock()
	defer qt.mu.Unlock()
	switch {
	case code == 0:
		qt.unsure++
		if in.OnDuplicate == "replace" {
			qt.vague[p.queue+" "+p.key] = true
		}
	case code != 200:
		qt.refused++
		delete(qt.pushes, p.label)
	case out[0].Duplicate:
		delete(qt.pushes, p.label)
	default:
		p.id = out[0].ID
		if r := out[0].Replaced; r != 0 {
			qt.removed[r] = sinceBoot()
		}
	}
}

// cancel cancels a message, until there is an answer or the load ends. Then nothing of the
// message runs any more.
func (qt *queueTorture) cancel(c *control.Client, p *pushedMessage) {
	for {
		_, code := request[control.Nothing](qt.torture, c, "queue cancel", control.QueueMessageIn{Name: p.queue, ID: p.id}, 404, 503)
		if code == 200 || code == 404 { // an earlier request had no answer
			qt.mu.Lock()
			p.cancelled = sinceBoot()
			qt.mu.Unlock()
			if locked(qt.shared("locks/" + strconv.FormatUint(p.id, 10))) {
				qt.t.Errorf("message %d was cancelled, and something still works on it", p.id)
			}
			return
		}
		if qt.over() {
			return
		}
		qt.idle(10 * time.Millisecond)
	}
}

// churn deletes queues and creates them again until the load ends. What was in the first
// half of them is never lost.
func (qt *queueTorture) churn(i int) {
	random := rand.New(rand.NewPCG(qt.seed, uint64(i)+1000))
	c := &control.Client{Address: qt.socket}
	defer func() { _ = c.Close() }()
	for !qt.over() {
		name := "xy"[i:i+1] + strconv.Itoa(random.IntN(5))
		in := control.QueueDeleteIn{Name: name}
		how := "when empty"
		switch k := random.IntN(4); {
		case i == 0 && k > 0:
			in.Keep, how = "m"+strconv.Itoa(random.IntN(18)), "moved"
		case i == 1 && k == 3:
			in.Discard, in.Now, how = true, true, "now"
		case i == 1:
			in.Discard, how = true, "discarded"
		}
		if _, code := request[control.QueueCount](qt.torture, c, "queue delete", in, 404, 409, 503); code == 200 {
			qt.mu.Lock()
			qt.deleted[how]++
			qt.mu.Unlock()
		}
		qt.idle(time.Duration(random.IntN(60)) * time.Millisecond)
		_, _ = call[control.Queue](qt.torture, c, "queue create", control.QueueCreateIn{Name: []string{name}}, 409)
		qt.idle(time.Duration(random.IntN(200)) * time.Millisecond)
	}
}

// killListeners kills wrappers, their listeners and both until the load ends: one after each answer
// of the daemon. After the death of a wrapper, the next daemon looks at all processes of the
// machine, and would never come to an end with more and more of them.
func (qt *queueTorture) killListeners() {
	random := rand.New(rand.NewPCG(qt.seed, 2000))
	c := &control.Client{Address: qt.socket}
	defer func() { _ = c.Close() }()
	for !qt.over() {
		qt.idle(time.Duration(random.IntN(200)) * time.Millisecond)
		_, answered := call[control.Queue](qt.torture, c, "queue list", control.QueueListIn{})
		runs := qt.deliveries()
		if len(runs) == 0 || !answered {
			continue
		}
		r := runs[random.IntN(len(runs))]
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", r.pid, r.pid))
		how := []string{"wrapper", "listener", "listener and wrapper", "wrapper and listener"}[random.IntN(4)]
		for victim := range strings.FieldsSeq(strings.ReplaceAll(how, " and ", " ")) {
			pids := []int{r.pid}
			if victim == "listener" {
				pids = nil
				for child := range strings.FieldsSeq(string(children)) {
					pid, _ := strconv.Atoi(child)
					pids = append(pids, pid)
				}
			}
			for _, pid := range pids {
				killPID(qt.t, pid)
			}
		}
		qt.mu.Lock()
		qt.killed[how]++
		qt.mu.Unlock()
	}
}

func (qt *queueTorture) queues() []control.Queue {
	qt.t.Helper()
	_, list, err := control.Call[control.Queue](qt.t.Context(), &qt.Client, "queue list", control.QueueListIn{})
	if err != nil {
		qt.t.Fatal(err)
	}
	return list
}

// settleQueues waits until all messages have their ends.
func (qt *queueTorture) settleQueues() {
	qt.t.Helper()
	for _, p := range qt.pushes {
		if p.kind == "cancel" && p.id != 0 && p.cancelled == 0 {
			qt.cancel(&qt.Client, p)
		}
	}
	// Those whose push had no answer are cancelled, too.
	for _, q := range qt.queues() {
		if q.Ready+q.Delayed+q.Work == 0 {
			continue
		}
		_, list, err := control.Call[control.QueueMessage](qt.t.Context(), &qt.Client, "queue peek", control.QueuePeekIn{Name: q.Name, State: "all", Limit: 100_000})
		if err != nil {
			qt.t.Fatal(err)
		}
		for _, m := range list {
			if strings.Contains(m.Body, " stay ") && m.Key == "" && m.State != "dead" {
				label, _, _ := strings.Cut(m.Body, " ")
				if p := qt.pushes[label]; p != nil && p.kind == "cancel" {
					_, _ = request[control.Nothing](qt.torture, &qt.Client, "queue cancel", control.QueueMessageIn{Name: q.Name, ID: m.ID}, 404, 409)
				}
			}
		}
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		var open []string
		for _, q := range qt.queues() {
			if q.Ready+q.Delayed+q.Work > 0 || q.Deleting != nil {
				open = append(open, fmt.Sprintf("%s: %d ready, %d delayed, %d in work (%s)", q.Name, q.Ready, q.Delayed, q.Work, q.Status))
			}
			if q.Paused != nil {
				qt.t.Fatalf("queue %s is paused: %+v", q.Name, *q.Paused)
			}
		}
		if len(open) == 0 {
			return
		}
		if time.Now().After(deadline) {
			qt.t.Fatalf("these queues do not become empty:\n%s", strings.Join(open, "\n"))
		}
	}
}

// A didLine is a line that a listener wrote.
type didLine struct {
	what    string
	id      uint64
	attempt int
	pid     int
	at      time.Duration
	label   string
	how     string
	queue   string
}

// did reads what listeners wrote, by message and in the order of time.
func (d *daemon) did() map[uint64][]didLine {
	d.t.Helper()
	all := make(map[uint64][]didLine)
	for _, name := range d.names("shared/did") {
		for text := range strings.Lines(d.read(d.shared("did/" + name))) {
			l := didLine{queue: name}
			if _, err := fmt.Sscan(text+" -", &l.what, &l.id, &l.attempt, &l.pid, &l.at, &l.label, &l.how); err != nil {
				d.t.Fatalf("a listener of %s wrote %q: %v", name, text, err)
			}
			if l.what == "wrong" {
				d.t.Errorf("a listener saw: %s", strings.TrimSpace(text))
				continue
			}
			if l.what != "over" {
				all[l.id] = append(all[l.id], l)
			}
		}
	}
	for _, lines := range all {
		slices.SortStableFunc(lines, func(a, b didLine) int { return int(a.at - b.at) })
	}
	return all
}

// judgeQueues compares what was promised, what the daemon says and what listeners wrote.
func (qt *queueTorture) judgeQueues() {
	qt.t.Helper()
	did := qt.did()
	byLabel := make(map[string]uint64)
	begun, repeated := 0, 0
	for id, lines := range did {
		n, r := qt.judgeLines(id, lines)
		begun, repeated = begun+n, repeated+r
		label := lines[0].label
		if other, twice := byLabel[label]; twice {
			qt.t.Errorf("messages %d and %d are both %s, which was pushed once", id, other, label)
		}
		byLabel[label] = id
		switch p := qt.pushes[label]; {
		case p == nil:
			qt.t.Errorf("message %d (%s) was worked on, and its push was refused", id, label)
		case p.id == 0:
			p.id = id // it was pushed, and the answer did not come through
		case p.id != id:
			qt.t.Errorf("%s is message %d, and was worked on as message %d", label, p.id, id)
		}
	}
	kinds := make(map[string]int)
	acknowledged := 0
	for _, label := range slices.Sorted(maps.Keys(qt.pushes)) {
		p := qt.pushes[label]
		if p.id == 0 {
			continue // nothing shows that it was pushed
		}
		acknowledged++
		kinds[p.kind]++
		qt.judgeMessage(p, did[p.id])
	}
	for _, q := range qt.queues() {
		if t := q.Total; t.Pushed != t.Done+t.Cancelled+t.Dropped+t.Expired+uint64(q.Dead) {
			qt.t.Errorf("the numbers of queue %s do not add up: %+v, %d dead", q.Name, t, q.Dead)
		}
	}
	qt.t.Logf("%d messages (%v), begun %d times, %d of them with the same number again; %d pushes had no answer, %d were refused; queues deleted: %v; killed besides: %v",
		acknowledged, kinds, begun, repeated, qt.unsure, qt.refused, qt.deleted, qt.killed)
	if acknowledged == 0 || begun == 0 {
		qt.t.Error("this tried too little")
	}
}

// judgeLines checks what listeners wrote about one message. It returns how often the message
// was begun, and how often with the number of an earlier attempt.
func (qt *queueTorture) judgeLines(id uint64, lines []didLine) (begun, repeated int) {
	attempt, pid, open := 0, 0, false
	for _, l := range lines {
		switch {
		case l.label != lines[0].label:
			qt.t.Errorf("message %d is %s and %s", id, l.label, lines[0].label)
		case l.what == "end" && (!open || l.pid != pid || l.attempt != attempt):
			qt.t.Errorf("message %d: %+v, without its beginning", id, l)
		case l.what == "end":
			open = false
		case l.attempt < attempt:
			qt.t.Errorf("message %d: attempt %d begins after attempt %d", id, l.attempt, attempt)
		default:
			// A stream that is ended because of one message returns its others, which costs
			// them no attempt.
			if begun++; l.attempt == attempt {
				if repeated++; strings.ContainsAny(l.queue[:1], "msx") {
					qt.t.Errorf("message %d of queue %s: attempt %d begins twice", id, l.queue, attempt)
				}
			}
			attempt, pid, open = l.attempt, l.pid, true
		}
	}
	return begun, repeated
}

// judgeMessage checks that a message has the end that it must have.
func (qt *queueTorture) judgeMessage(p *pushedMessage, lines []didLine) {
	begun, attempt, ok := 0, 0, false
	var lastBegin time.Duration
	for _, l := range lines {
		if l.what == "begin" {
			begun, attempt, lastBegin = begun+1, l.attempt, l.at
		}
		ok = ok || l.what == "end" && l.how == "ok"
	}
	if at, replaced := qt.removed[p.id]; replaced {
		if lastBegin > at {
			qt.t.Errorf("message %d was replaced, and begun afterwards", p.id)
		}
		return
	}
	switch p.queue[0] {
	case 'y':
		return // may have been discarded
	case 'x': // its results went with the queue
		if !ok {
			qt.t.Errorf("message %d (%s of %s) was acknowledged, and is lost: %+v", p.id, p.label, p.queue, lines)
		}
		return
	}
	want := "done"
	switch p.kind {
	case "dead", "hopeless", "timeout":
		want = "dead"
	case "cancel":
		want = "cancelled"
	}
	ctx, cancel := context.WithTimeout(qt.t.Context(), patience)
	defer cancel()
	_, out, err := control.Call[control.QueueResult](ctx, &qt.Client, "queue result", control.QueueResultIn{Name: p.queue, ID: p.id})
	if reply, isReply := errors.AsType[*control.ReplyError](err); isReply && reply.Code == 404 && p.key != "" && qt.vague[p.queue+" "+p.key] {
		return // a push that had no answer has replaced it
	}
	if err != nil {
		qt.t.Errorf("message %d (%s of %s, %s) was acknowledged: %v; %+v", p.id, p.label, p.queue, p.kind, err, lines)
		return
	}
	r := out[0]
	if r.Outcome != want || r.Last == nil {
		qt.t.Errorf("message %d (%s of %s, %s) ended as %q (%+v), want %s", p.id, p.label, p.queue, p.kind, r.Outcome, r.Last, want)
		return
	}
	switch {
	case want == "done" && (!ok || attempt != r.Last.Attempt):
		qt.t.Errorf("message %d (%s of %s, %s) is done after attempt %d, and its listeners wrote %+v", p.id, p.label, p.queue, p.kind, r.Last.Attempt, lines)
	case want != "cancelled" && attempt > r.Last.Attempt:
		qt.t.Errorf("message %d has had %d attempts, and attempt %d was begun", p.id, r.Last.Attempt, attempt)
	case want == "cancelled" && p.cancelled != 0 && lastBegin > p.cancelled:
		qt.t.Errorf("message %d was cancelled, and begun afterwards", p.id)
	case p.kind == "hopeless" && (begun > 2 || r.Last.Attempt != 2):
		qt.t.Errorf("message %d has two attempts: %+v; %+v", p.id, r.Last, lines)
	}
}

// endQueues deletes all queues. Nothing of them is left.
func (qt *queueTorture) endQueues() {
	qt.t.Helper()
	for _, q := range qt.queues() {
		qt.must("queue", "delete", "--discard", q.Name)
	}
	qt.noQueuesLeft()
	qt.stop()
	qt.verifyQueues()
}

// noQueuesLeft waits until the processes of deleted queues have ended, and checks that no
// file of theirs is left.
func (d *daemon) noQueuesLeft() {
	d.t.Helper()
	for _, r := range d.deliveries() {
		awaitGone(d.t, r.pid)
	}
	d.await("the directories of listeners are gone", func() bool { return len(d.deliveryDirs()) == 0 })
	d.nothingLeft()
}

// deliveryDirs returns what is left of listeners: directories of runs, their locks, and bodies.
func (d *daemon) deliveryDirs() (all []string) {
	for _, pattern := range []string{"runs/*", "runs/.locks/*", "bodies/*"} {
		dir := d.runtime
		if strings.HasPrefix(pattern, "bodies") {
			dir = d.state
		}
		paths, err := filepath.Glob(dir + "/queues/" + pattern)
		if err != nil {
			d.t.Fatal(err)
		}
		all = append(all, slices.DeleteFunc(paths, func(path string) bool { return filepath.Base(path) == ".locks" })...)
	}
	return all
}

// verifyQueues checks the store of a daemon that has ended.
func (d *daemon) verifyQueues() {
	d.t.Helper()
	paths, err := filepath.Glob(d.dir + "/messages.db")
	if err != nil {
		d.t.Fatal(err)
	}
	for _, path := range append(paths, d.state+"/state.db") {
		db, err := bolt.Open(path)
		if err != nil {
			d.t.Fatal(err)
		}
		err = db.View(d.t.Context(), queue.Verify)
		if err := errors.Join(err, db.Close()); err != nil {
			d.t.Errorf("%s: %v", path, err)
		}
	}
}
