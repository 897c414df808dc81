package control

import "time"

// QueueListIn chooses queues.
type QueueListIn struct {
	Name []string `arg:"name"` // names, or patterns with *, ? and [a-z]; none: all
}

// QueuePurgeIn removes messages of a queue: the ready and the delayed ones, or dead letters.
type QueuePurgeIn struct {
	Name string   `arg:"name,required"`
	Dead bool     `arg:"dead"`
	ID   []string `arg:"id"` // with dead: only these
}

// QueueCreateIn creates queues.
type QueueCreateIn struct {
	Name    []string `arg:"name,required"`
	Ordered bool     `arg:"ordered"` // one message after the other: one that fails keeps those behind it waiting
}

// QueueDeleteIn deletes a queue.
type QueueDeleteIn struct {
	Name    string `arg:"name,required"`
	Now     bool   `arg:"now"`     // what is in work is stopped; otherwise it is finished first
	Discard bool   `arg:"discard"` // the messages and dead letters that it has are removed with it
	Keep    string `arg:"keep"`    // they are moved to this queue
}

// QueuePauseIn pauses or resumes a queue, or restarts its listener.
type QueuePauseIn struct {
	Name   []string `arg:"name,required"` // names, or patterns
	Reason string   `arg:"reason"`
}

// A Queue is a queue and what it has now.
type Queue struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	By      string    `json:"by,omitempty"` // who created it
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
	Name        string   `arg:"name,required"`
	Body        []string `arg:"body" bytes:"yes"` // pieces, which are joined
	Header      []string `arg:"header"`           // NAME=VALUE
	Priority    int      `arg:"priority"`         // 0 to 9; 9 is first
	Delay       string   `arg:"delay"`            // a duration
	At          string   `arg:"at"`               // a time
	Key         string   `arg:"key"`              // at most one message that is not over has it
	OnDuplicate string   `arg:"on-duplicate"`     // if another message has the key: refuse | ignore | replace
	UniqueFor   string   `arg:"unique-for"`       // the key is also kept for this time after the push
	Attempts    int      `arg:"attempts"`         // 0, and empty texts below: as the listener says
	Timeout     string   `arg:"timeout"`
	Keep        string   `arg:"keep"` // how long the result is kept
}

// QueuePushOut is a message that was pushed.
type QueuePushOut struct {
	ID        uint64   `json:"id"`
	Duplicate bool     `json:"duplicate,omitempty"` // nothing was pushed: the id is that of the message that has the key
	Replaced  uint64   `json:"replaced,omitempty"`  // the message that had the key
	Dropped   []uint64 `json:"dropped,omitempty"`   // messages that had to make room
}

// QueuePeekIn shows messages of a queue.
type QueuePeekIn struct {
	Name  string `arg:"name,required"`
	ID    uint64 `arg:"id"`    // only this one
	State string `arg:"state"` // ready (default) | delayed | work | dead | all
	After uint64 `arg:"after"` // only those after this one, in the same order
	Limit int    `arg:"limit"` // default: 20
	Body  string `arg:"body"`  // how many bytes of each body: a number, or all. Default: 200
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
	Name string `arg:"name,required"`
	ID   uint64 `arg:"id,required"`
}

// QueueResultIn asks for the result of a message.
type QueueResultIn struct {
	Name string `arg:"name,required"`
	ID   uint64 `arg:"id,required"`
	Wait bool   `arg:"wait"` // until the message is over
}

// A QueueResult is what became of a message.
type QueueResult struct {
	ID      uint64       `json:"id"`
	Queue   string       `json:"queue"`
	Outcome string       `json:"outcome"` // done | dead | cancelled | expired; empty: it is not over
	Body    string       `json:"body,omitempty"`
	Base64  string       `json:"base64,omitempty"` // instead of body, if that is not UTF-8
	File    string       `json:"file,omitempty"`   // where a large result is
	Last    *QueueEnding `json:"last,omitempty"`
}

// QueueDeadIn does something with dead letters.
type QueueDeadIn struct {
	Name string   `arg:"name,required"`
	ID   []string `arg:"id"` // these; none: all
}

// A QueueCount is a number of messages of a queue.
type QueueCount struct {
	Queue string `json:"queue"`
	Count int    `json:"count"`
}

// QueueAllowIn changes the list of the queues that are served.
type QueueAllowIn struct {
	Name []string `arg:"name,required"` // names, or patterns
	Only bool     `arg:"only"`          // of allow: these, and no others
}

// A QueueAllowed says whether a queue is served.
type QueueAllowed struct {
	Name    string `json:"name"`
	Exists  bool   `json:"exists"` // there is such a queue
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason,omitempty"` // why not
}
