package ops

import (
	"fmt"

	"activationd/event"
	"activationd/queue"
)

// queueActions are what has been requested of queues, by what a notice says.
var queueActions = map[string]string{
	queue.NoticeCreated: "queue create", queue.NoticeDeleted: "queue delete", queue.NoticePaused: "queue pause", queue.NoticeResumed: "queue resume",
	queue.NoticeRestarted: "queue restart", queue.NoticePurged: "queue purge", queue.NoticeRetried: "queue retry", queue.NoticeCancelled: "queue cancel",
}

// QueueEvent is the event that tells a notice of the queues.
func QueueEvent(n queue.Notice) event.Event {
	ev := event.Event{
		Topic: event.Topic("queue", n.Queue, n.What), What: "queue." + n.What, Kind: "queue", ID: n.Queue, Reason: n.Reason,
		Failed: n.What == queue.NoticeDead || n.What == queue.NoticePaused && n.Actor == nil,
	}
	if n.Message != 0 {
		ev.Reason = fmt.Sprintf("message %d", n.Message)
		if n.Reason != "" {
			ev.Reason += ": " + n.Reason
		}
	}
	if a := n.Actor; a != nil {
		ev.Actor, ev.Action = &event.Actor{Kind: a.Kind, Name: a.Name, Role: a.Role}, queueActions[n.What]
	}
	return ev
}
