package control

// ReportIn asks what was used in some months. Without a month it is the present one.
type ReportIn struct {
	By    string `arg:"by"`    // what the lines are about: owner (the default), device or tag
	Month string `arg:"month"` // the month: 2026-11, this or last; none: this
	From  string `arg:"from"`  // the first month of several
	To    string `arg:"to"`    // the last one; none: the present one
	Owner string `arg:"owner"` // only what this owner used
	Sort  string `arg:"sort"`  // name (the default), slots, jobs, runs, failures, device-hours, booked-hours or job-hours, the most first
}

// A ReportLine is what an owner, a device or a tag used, or the total, which is the last line.
// The counts are of the slots and jobs that began in these months; hours are divided between
// months.
type ReportLine struct {
	By    string `json:"by"`
	Name  string `json:"name"`            // empty: what has no owner, device or tag
	Total bool   `json:"total,omitempty"` // what has several devices or tags counts once
	From  string `json:"from"`            // 2026-11
	To    string `json:"to"`

	Slots    int `json:"slots"`     // reservations
	Jobs     int `json:"jobs"`      // not in it, nor in Slots: NotBegun
	Runs     int `json:"runs"`      // of scripts, with each retry
	Failures int `json:"failures"`  // Failed, TimedOut, Missed and Lost
	NotBegun int `json:"not_begun"` // cancelled or withdrawn before they began

	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"`
	TimedOut  int `json:"timed_out"`
	Missed    int `json:"missed"`
	Lost      int `json:"lost"`
	Cancelled int `json:"cancelled"` // after they began

	DeviceHours float64 `json:"device_hours"` // from the first attempt to the end of the deactivation, times the devices
	BookedHours float64 `json:"booked_hours"` // of the slots, times the devices
	JobHours    float64 `json:"job_hours"`    // in which jobs ran
}
