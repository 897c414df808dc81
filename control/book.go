package control

// BookingSource is the source of the reservations that are booked at the daemon itself.
const BookingSource = "book"

// BookAddIn books devices.
type BookAddIn struct {
	Devices   []string `arg:"devices"`    // may have several, separated by commas; none: the nodes of the topology
	From      string   `arg:"from"`       // when the slot begins, in the forms of at of add; none: now
	To        string   `arg:"to,either"`  // when the slot ends, in the same forms; a time of day is the first one after from
	For       string   `arg:"for,either"` // instead of to: how long the slot is, a duration
	Topology  string   `arg:"topology"`   // the text of a topology, in YAML or JSON
	Label     string   `arg:"label"`      // a text for lists
	Owner     string   `arg:"owner"`      // whose booking it is; none: the caller's
	Env       []string `arg:"env"`        // variables for the scripts: NAME=VALUE
	Key       string   `arg:"key"`        // the owner's unfinished booking with the same key, if there is one, is the reply
	OverQuota bool     `arg:"over-quota"` // book it although it exceeds the owner's quota
}

// BookExtendIn has a booking end later.
type BookExtendIn struct {
	ID        string `arg:"id,required"` // the id of the booking
	By        string `arg:"by,either"`   // by how long, a duration
	To        string `arg:"to,either"`   // instead of by: the new end, in the forms of at of add
	OverQuota bool   `arg:"over-quota"`  // extend it although it exceeds the owner's quota

	Version []string `arg:"version"` // refuse it unless this is still its version, or one of these
}

// BookEditIn changes a booking. What is not given stays; the length of the slot, if only from
// is given.
type BookEditIn struct {
	ID        string   `arg:"id,required"`    // the id of the booking
	From      string   `arg:"from,either"`    // the new beginning of the slot, in the forms of at of add
	To        string   `arg:"to,either"`      // the new end of the slot, in the same forms
	For       string   `arg:"for,either"`     // instead of to: how long the slot is, a duration
	Devices   []string `arg:"devices,either"` // the new devices, which replace all that it has
	Label     string   `arg:"label,either"`   // the new label
	Clear     []string `arg:"clear,either"`   // removes the label: label
	OverQuota bool     `arg:"over-quota"`     // change it although it exceeds the owner's quota
	Version   []string `arg:"version"`        // refuse it unless this is still its version, or one of these
}

// BookEndIn ends a booking.
type BookEndIn struct {
	ID      string   `arg:"id,required"` // the id of the booking
	Version []string `arg:"version"`     // refuse it unless this is still its version, or one of these
}

// BookListIn selects bookings.
type BookListIn struct {
	Owner string `arg:"owner"` // only bookings of this owner
	All   bool   `arg:"all"`   // also those that are over
}

// BookQuotaIn asks what an owner can book.
type BookQuotaIn struct {
	Owner string `arg:"owner"` // whose quota it is; none: the caller's
}

// A BookQuota is what an owner can book, and has booked. Limits that are 0 are none.
type BookQuota struct {
	Owner        string  `json:"owner"`
	HoursPerWeek float64 `json:"hours_per_week"`
	Devices      int     `json:"devices"`    // at once
	DaysAhead    int     `json:"days_ahead"` // from now to the start of a slot
	MaxHours     float64 `json:"max_hours"`  // of one slot

	Weeks      []BookedWeek `json:"weeks"`       // the present one, and later ones in which there are bookings
	DevicesNow int          `json:"devices_now"` // that the owner has booked for this moment

	Bookable  []string `json:"bookable"`            // the devices that can be booked: names, which may have wildcards
	Variables []string `json:"variables,omitempty"` // that a booking can set for its scripts
	Topology  bool     `json:"topology"`            // the caller can book with a topology
	Others    bool     `json:"others"`              // the caller can book for others, and exceed quotas
	Refused   string   `json:"refused,omitempty"`   // why the caller can book nothing for this owner
}

// A BookedWeek is how much of a calendar week is booked.
type BookedWeek struct {
	Begins Instant `json:"begins"` // on Monday
	Hours  float64 `json:"hours"`
}

// A Booking is a reservation that was booked at the daemon itself.
type Booking struct {
	ID      string   `json:"id"`
	Owner   string   `json:"owner"`
	State   string   `json:"state"`
	Status  string   `json:"status"`  // the state in a user's words, which lists show
	Outcome string   `json:"outcome"` // empty until finished
	Start   Instant  `json:"start"`
	End     Instant  `json:"end"`
	Devices []string `json:"devices"`
	Label   string   `json:"label"`
	Reason  string   `json:"reason,omitempty"`  // why it is in this state, in words
	Version string   `json:"version,omitempty"` // that of the activation; not in lists
	Known   bool     `json:"known,omitempty"`   // it was booked before, with the same key
	// Notices say what the client may not expect: that it cannot begin because of a pause.
	Notices []string `json:"notices,omitempty"`
}
