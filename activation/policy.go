package activation

// A policy says in which ways the core treats one kind of activation differently from
// others.
type policy struct {
	// It has a slot. It is active from the end of its activate phase until the slot ends,
	// and is activated again if something took it down.
	ends bool
	// Its deactivate phase undoes what its activate phase did. Both have a work directory.
	undoes bool
	// Its locks are devices, which are always exclusive.
	devices bool
	// A source announces it, and the source's defaults apply.
	announced bool
	// It is missed if it cannot start within Settings.MissedGrace.
	missedIfLate bool
	// It waits for locks and a slot no longer than Defaults.WaitLimit.
	waitLimit bool
	// Its processes have no capabilities beyond those of their user, even if the daemon
	// has.
	noCaps bool
	// It belongs to its owner. Others cannot change it without a right to all jobs, and see
	// little more than that it exists.
	private bool
	// It is an at job: it runs as atd would run it, its script cannot be edited, and its
	// start may be in the past.
	atd bool
	// It is an instance of a service. It does not end by itself, takes no slot, and is
	// started again when its process ends. See service.go.
	serves bool
}

var (
	jobs         = policy{missedIfLate: true, waitLimit: true, noCaps: true, private: true}
	atJobs       = policy{noCaps: true, private: true, atd: true}
	services     = policy{serves: true}
	reservations = policy{ends: true, undoes: true, devices: true, announced: true, waitLimit: true}
)

// policy returns the policy of a kind, for callers that know no more of an activation.
func (k Kind) policy() *policy {
	switch k {
	case Reservation:
		return &reservations
	case Service:
		return &services
	}
	return &jobs
}

func (j *NewJob) policy() *policy {
	if j.AtJob != nil {
		return &atJobs
	}
	return &jobs
}

func (r *Record) policy() *policy {
	if r.Kind == Job && r.AtJob != nil {
		return &atJobs
	}
	return r.Kind.policy()
}
