package control

import "time"

// CalendarIn asks who has which device when.
type CalendarIn struct {
	Device []string `arg:"device"` // only these devices; may have several, separated by commas
	Owner  string   `arg:"owner"`  // only reservations of this owner
	From   string   `arg:"from"`   // from this time on; none: now
	To     string   `arg:"to"`     // until this time; none: a day later
	All    bool     `arg:"all"`    // finished reservations, too
	Idle   bool     `arg:"idle"`   // with a line for each device, of the inventory or of reservations at any time, that no line is about
}

// A CalendarLine says that a reservation has a device, or is to have it, or has had it. There
// is one for each device of a reservation, or one without a device. A line of a device without
// an id says that no other line is about that device.
type CalendarLine struct {
	Device string    `json:"device"`
	From   time.Time `json:"from,omitzero"` // when its preparation begins; the device is taken from then on
	Start  time.Time `json:"start,omitzero"`
	End    time.Time `json:"end,omitzero"`
	To     time.Time `json:"to,omitzero"` // until when the device is taken: the end, or later if it is not over then; of what is finished, when it ended

	ID      string   `json:"id"`
	Owner   string   `json:"owner,omitempty"`
	Label   string   `json:"label,omitempty"`
	Source  string   `json:"source,omitempty"`
	State   string   `json:"state,omitempty"`
	Status  string   `json:"status,omitempty"`  // the state in a user's words, which lists show
	Reason  string   `json:"reason,omitempty"`  // why it is in this state, in words
	Devices []string `json:"devices,omitempty"` // all that the reservation has
	Kinds   []string `json:"kinds,omitempty"`   // of the device, if idle is set and the inventory knows it: its platform first

	Conflicts []ConflictLine `json:"conflicts,omitempty"` // what it cannot have, of this device or anything else

	Created  time.Time `json:"created,omitzero"`
	Changed  time.Time `json:"changed,omitzero"`
	Revision uint64    `json:"revision,omitempty"` // rises with each change
}

// FreeIn asks when devices are free.
type FreeIn struct {
	For     string   `arg:"for,required"`   // for how long the devices are needed, a duration
	Devices []string `arg:"devices,either"` // all of these devices; may have several, separated by commas
	Kind    []string `arg:"kind,either"`    // so many devices of a kind: frr:3
	From    string   `arg:"from"`           // from this time on; none: now
	To      string   `arg:"to"`             // until this time; none: four weeks later
	Limit   int      `arg:"limit"`          // how many slots at most; 0: ten
}

// FreeOut is a slot in which devices are free.
type FreeOut struct {
	From    time.Time `json:"from,omitzero"`
	To      time.Time `json:"to,omitzero"`    // as long after From as was asked for
	Until   time.Time `json:"until,omitzero"` // until when they are free
	Devices []string  `json:"devices,omitempty"`
	// Text is set in lines after the slots: why a device is not available until somebody intervenes.
	Text string `json:"text,omitempty"`
}
