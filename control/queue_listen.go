package control

// QueueListenIn starts a listener: its messages are the lines of the reply. It answers with
// [QueueAnswerIn], over another connection. When the connection of this request ends, the
// messages that it has not answered return to their queues, and these attempts count.
type QueueListenIn struct {
	Name    []string `arg:"name,required"` // the names of the queues
	Window  int      `arg:"window"`        // how many messages it has at once at most; default: 1
	Session string   `arg:"session"`       // the session of the connection before, if that ended with the daemon: it keeps its messages for a minute
}

// A QueueDelivery is a message for a listener that somebody has started. The first line has only
// the fields Session, Command and Per.
type QueueDelivery struct {
	Session string   `json:"session,omitempty"`
	Command []string `json:"command,omitempty"` // of the listener that the configuration has for the first queue; empty: there is none
	Per     string   `json:"per,omitempty"`     // what that is started for: message | stream

	// Recall is the number of a message that has reached its timeout or is cancelled: the
	// listener is to end its work on it, and to answer.
	Recall uint64 `json:"recall,omitempty"`

	ID       uint64            `json:"id,omitempty"`
	Attempt  int               `json:"attempt,omitempty"`
	Queue    string            `json:"queue,omitempty"`
	Priority int               `json:"priority,omitempty"`
	Headers  map[string]string `json:"headers,omitempty"`
	Body     string            `json:"body,omitempty"`
	Base64   string            `json:"base64,omitempty"` // instead of body, if that is not UTF-8
	Env      []string          `json:"env,omitempty"`    // variables for a process that gets the message: QUEUE, MESSAGE_ID and so on
	Again    bool              `json:"again,omitempty"`  // the listener had it before the daemon was restarted
}

// QueueAnswerIn is the answer of such a listener about a message. The end of its process is exit
// or signal; other listeners say done or error.
type QueueAnswerIn struct {
	Session string   `arg:"session,required"`   // the session, which the first line of queue listen has
	ID      uint64   `arg:"id,required"`        // the number of the message
	Attempt int      `arg:"attempt,required"`   // the number of the attempt
	Done    bool     `arg:"done"`               // the message is done
	Exit    string   `arg:"exit"`               // the exit status of its process; docs/queues.md says what it means
	Signal  string   `arg:"signal"`             // the signal that ended its process: KILL, or 9
	Error   string   `arg:"error"`              // why the attempt has failed
	Again   string   `arg:"again"`              // the pause before the next attempt, a duration, or dead: there is none
	Result  []string `arg:"result" bytes:"yes"` // the result, in pieces that are joined
	Output  []string `arg:"output" bytes:"yes"` // the end of the output, for dead letters, in pieces that are joined
}

// A QueueAnswered is the reply to an answer.
type QueueAnswered struct {
	ID       uint64 `json:"id"`
	Accepted bool   `json:"accepted"` // otherwise the message was not this listener's any more, and nothing has changed
}
