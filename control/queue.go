package control

import "time"

// QueueListIn chooses queues.
type QueueListIn struct {
	Name []string `arg:"name"` // the names of queues, or patterns with *, ? and [a-z]; none: all
}

// QueueNameIn names a queue.
type QueueNameIn struct {
	Name string `arg:"name,required"` // the name of the queue
}

// QueuePurgeIn removes messages of a queue: the ready and the delayed ones, or dead letters.
type QueuePurgeIn struct {
	Name string   `arg:"name,required"` // the name of the queue
	Dead bool     `arg:"dead"`          // remove dead letters instead of ready and delayed messages
	ID   []string `arg:"id"`            // with dead: only these messages
}

// QueueCreateIn creates queues.
type QueueCreateIn struct {
	Name    []string `arg:"name,required"` // the names of the queues
	Ordered bool     `arg:"ordered"`       // one message after the other: one that fails keeps those behind it waiting
}

// QueueDeleteIn deletes a queue.
type QueueDeleteIn struct {
	Name    string `arg:"name,required"` // the name of the queue
	Now     bool   `arg:"now"`           // stop what is in work; otherwise that is finished first
	Discard bool   `arg:"discard"`       // remove the messages and dead letters that it has
	Keep    string `arg:"keep"`          // the messages and dead letters that it has are moved to this queue
}

// QueuePauseIn pauses queues.
type QueuePauseIn struct {
	Name   []string `arg:"name,required"` // the names of queues, or patterns with *, ? and [a-z]
	Reason string   `arg:"reason"`        // why, for people
	Until  string   `arg:"until"`         // a time, or a duration from now; none: until it is resumed
}

// QueueResumeIn resumes queues, or restarts their listeners.
type QueueResumeIn struct {
	Name   []string `arg:"name,required"` // the names of queues, or patterns with *, ? and [a-z]
	Reason string   `arg:"reason"`        // accepted as before, but it is not used
}

// A Queue is a queue and what it has now.
type Queue struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	By      string    `json:"by,omitempty"`   // who created it
	Auto    bool      `json:"auto,omitempty"` // a push with create has created it
	Builtin bool      `json:"builtin,omitempty"`
	Ordered bool      `json:"ordered,omitempty"`

	Ready   int64   `json:"ready"`   // can be handed out now
	Delayed int64   `json:"delayed"` // their time has not come
	Work    int64   `json:"work"`    // a listener has them
	Dead    int64   `json:"dead"`    // dead letters
	Bytes   int64   `json:"bytes"`   // of bodies and headers
	Oldest  Instant `json:"oldest"`  // when the oldest ready one was pushed, or null

	Listener  string        `json:"listener"` // that serves it, as the configuration names it; empty: none
	Per       string        `json:"per,omitempty"`
	Instances int           `json:"instances,omitempty"` // how many processes it can have
	Processes int           `json:"processes"`           // that run now
	Shared    bool          `json:"shared,omitempty"`    // these processes serve other queues, too
	ByHand    []QueueByHand `json:"by_hand,omitempty"`   // listeners that somebody has started
	Reason    string        `json:"reason,omitempty"`    // why there is no listener, or why its processes cannot be started
	Paused    *QueueAct     `json:"paused,omitempty"`
	Deleting  *QueueAct     `json:"deleting,omitempty"`
	Status    string        `json:"status"` // what serves it, in words: 2/4 message

	Total QueueTotal `json:"total"`
}

// A QueueByHand is a listener that somebody has started.
type QueueByHand struct {
	User  string    `json:"user"`
	PID   int       `json:"pid,omitempty"`
	Since time.Time `json:"since"`
	Work  int       `json:"work"` // messages that it has
}

// A QueueAct is who did something with a queue, and why.
type QueueAct struct {
	By     string    `json:"by,omitempty"` // empty: the daemon
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
	MoveTo string    `json:"move_to,omitempty"` // of a deletion: the queue that gets the messages
	Until  time.Time `json:"until,omitzero"`    // of a pause: when it ends; none: when it is resumed
	Fault  bool      `json:"fault,omitempty"`   // the listener itself does not work
}

// A QueueTotal counts messages since the queue was created.
type QueueTotal struct {
	Pushed    uint64 `json:"pushed"`
	Done      uint64 `json:"done"`
	Dead      uint64 `json:"dead"`
	Again     uint64 `json:"again"` // attempts that were not the last one
	Cancelled uint64 `json:"cancelled"`
	Dropped   uint64 `json:"dropped"` // removed: purged, replaced, dropped because the queue was full, or moved to another queue
	Expired   uint64 `json:"expired"`
}

// QueuePushIn is a message for a queue.
type QueuePushIn struct {
	Name        string   `arg:"name,required"`    // the name of the queue
	Body        []string `arg:"body" bytes:"yes"` // the body, in pieces that are joined
	Header      []string `arg:"header"`           // headers: NAME=VALUE
	Priority    int      `arg:"priority"`         // 0 to 9; 9 is first
	Delay       string   `arg:"delay"`            // how long the message is not handed out, a duration
	At          string   `arg:"at"`               // instead of delay: when it can be handed out, a time
	Key         string   `arg:"key"`              // at most one message that is not over has it
	OnDuplicate string   `arg:"on-duplicate"`     // if another message has the key: refuse | ignore | replace
	UniqueFor   string   `arg:"unique-for"`       // how long the key is also kept after the push, a duration
	Attempts    int      `arg:"attempts"`         // how many attempts it has at most; none: as the listener says
	Timeout     string   `arg:"timeout"`          // how long an attempt may take, a duration; none: as the listener says
	Keep        string   `arg:"keep"`             // how long the result is kept, a duration; none: as the listener says
	Create      bool     `arg:"create"`           // create the queue if there is none; below operator, only if queues.allow has it
	Wait        string   `arg:"wait"`             // reply with the result when the message is over, but at the latest after this duration, and after 1h; the result is kept for 1h, unless keep is given
}

// Waits reports whether the reply comes when the message is over.
func (in *QueuePushIn) Waits() bool { return in.Wait != "" }

// QueuePushOut is a message that was pushed.
type QueuePushOut struct {
	ID        uint64   `json:"id"`
	Duplicate bool     `json:"duplicate,omitempty"` // nothing was pushed: the id is that of the message that has the key
	Replaced  uint64   `json:"replaced,omitempty"`  // the message that had the key
	Dropped   []uint64 `json:"dropped,omitempty"`   // messages that had to make room

	Result *QueueResult `json:"result,omitempty"` // with wait: what has become of the message so far
}

// Pending reports whether the client wanted to wait until the message is over, and it is not.
func (out *QueuePushOut) Pending() bool { return out.Result != nil && out.Result.Outcome == "" }

// QueuePeekIn shows messages of a queue.
type QueuePeekIn struct {
	Name  string `arg:"name,required"` // the name of the queue
	ID    uint64 `arg:"id"`            // only this message
	State string `arg:"state"`         // only messages in this state: ready (default) | delayed | work | dead | all
	After string `arg:"after"`         // only messages after the one of this id, in the same order; ID/PRIORITY if it may be gone
	Limit int    `arg:"limit"`         // how many messages at most; default: 20
	Body  string `arg:"body"`          // how many bytes of each body: a number, or all. Default: 200
}

// A QueueMessage is a message.
type QueueMessage struct {
	ID        uint64            `json:"id"`
	Queue     string            `json:"queue"`
	State     string            `json:"state"` // ready | delayed | work | dead
	Priority  int               `json:"priority"`
	Pushed    time.Time         `json:"pushed"`
	By        string            `json:"by,omitempty"`
	NotBefore Instant           `json:"not_before"` // of a delayed one: when it is ready
	Key       string            `json:"key,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"`
	Size      int               `json:"size"` // of the body
	Body      string            `json:"body,omitempty"`
	Base64    string            `json:"base64,omitempty"` // instead of body, if that is not UTF-8
	Cut       bool              `json:"cut,omitempty"`    // the body goes on
	Hidden    bool              `json:"hidden,omitempty"` // headers and body are another's, and were left out

	Attempts  int          `json:"attempts"` // that counted
	Work      *QueueWork   `json:"work,omitempty"`
	Last      *QueueEnding `json:"last,omitempty"` // how the last attempt ended
	DeadSince Instant      `json:"dead_since"`
}

// A QueueWork says which listener has a message.
type QueueWork struct {
	Attempt  int       `json:"attempt"`
	Since    time.Time `json:"since"`
	Listener string    `json:"listener"`
	Progress string    `json:"progress,omitempty"` // what the listener last reported
}

// A QueueEnding is how an attempt ended.
type QueueEnding struct {
	Attempt  int       `json:"attempt"`
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended"`
	Exit     *int      `json:"exit"` // null: it did not exit by itself
	Signal   string    `json:"signal,omitempty"`
	Outcome  string    `json:"outcome"`
	Reason   string    `json:"reason,omitempty"`
	Output   string    `json:"output,omitempty"` // its last lines
	Listener string    `json:"listener,omitempty"`
}

// QueueMessageIn names a message.
type QueueMessageIn struct {
	Name string `arg:"name,required"` // the name of the queue
	ID   uint64 `arg:"id,required"`   // the number of the message
}

// QueueResultIn asks for the result of a message.
type QueueResultIn struct {
	Name string `arg:"name,required"` // the name of the queue
	ID   uint64 `arg:"id,required"`   // the number of the message
	Wait bool   `arg:"wait"`          // wait until the message is over
}

// A QueueResult is what became of a message.
type QueueResult struct {
	ID      uint64       `json:"id"`
	Queue   string       `json:"queue"`
	Outcome string       `json:"outcome"` // done | dead | cancelled | expired | unknown (it is over, and no result is kept); empty: it is not over
	Body    string       `json:"body,omitempty"`
	Base64  string       `json:"base64,omitempty"` // instead of body, if that is not UTF-8
	File    string       `json:"file,omitempty"`   // where a large result is
	Last    *QueueEnding `json:"last,omitempty"`
}

// QueueDeadIn does something with dead letters.
type QueueDeadIn struct {
	Name string   `arg:"name,required"` // the name of the queue
	ID   []string `arg:"id"`            // only these messages; none: all
}

// A QueueCount is a number of messages of a queue.
type QueueCount struct {
	Queue string `json:"queue"`
	Count int    `json:"count"`
}

// QueueAllowIn changes the list of the queues that are served.
type QueueAllowIn struct {
	Name []string `arg:"name,required"` // the names of queues, or patterns with *, ? and [a-z]
	Only bool     `arg:"only"`          // of queue allow: these, and no others
}

// A QueueAllowed says whether a queue is served.
type QueueAllowed struct {
	Name    string `json:"name"`
	Exists  bool   `json:"exists"` // there is such a queue
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason,omitempty"` // why not
}
