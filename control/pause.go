package control

import "time"

// PauseIn pauses something, or changes its pause.
type PauseIn struct {
	What   string `arg:"what,required"` // what is paused: daemon | source | queue | device
	Name   string `arg:"name"`          // the name of the source, the queue or the device
	Until  string `arg:"until"`         // a time, or a duration from now; none: until it is resumed
	Reason string `arg:"reason"`        // why, for people
}

// ResumeIn ends a pause.
type ResumeIn struct {
	What string `arg:"what,required"` // what is resumed: daemon | source | queue | device
	Name string `arg:"name"`          // the name of the source, the queue or the device
}

// A Pause says that nothing begins that it concerns.
type Pause struct {
	What    string    `json:"what"` // daemon | source | queue | device
	Name    string    `json:"name,omitempty"`
	Since   time.Time `json:"since"`
	Until   Instant   `json:"until"` // null: until it is resumed
	By      string    `json:"by,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Waiting int       `json:"waiting"` // activations that wait for its end, or ready messages of the queue
	Notice  string    `json:"notice,omitempty"`
}
