package control

// A ConflictLine is a conflict: something that a reservation cannot have in its slot.
type ConflictLine struct {
	Kind string   `json:"kind"`           // device | vlans | runs | paused
	Name string   `json:"name,omitempty"` // the device, or the domain of the VLANs
	Text string   `json:"text"`           // in words
	With []string `json:"with,omitempty"` // the ids of the first of those that have it
	More int      `json:"more,omitempty"` // how many others have it
	From Instant  `json:"from"`
	To   Instant  `json:"to"`
}
