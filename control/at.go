package control

// AtIn submits a job as at(1) does.
type AtIn struct {
	When   int      `arg:"when"`            // seconds since 1970; a time in the past means at once
	Queue  string   `arg:"queue"`           // the queue: a letter; none: a
	Mail   string   `arg:"mail"`            // when mail is sent: always | never; none: when there is output
	Mailto string   `arg:"mailto"`          // who gets the mail: a user, who must exist; none: the caller
	Script []string `arg:"script,required"` // the script, in pieces that are joined
	Base64 bool     `arg:"base64"`          // the pieces of the script are in base64
}

// AtqIn selects at jobs.
type AtqIn struct {
	ID    []string `arg:"id"`    // only these jobs; none: all
	Queue string   `arg:"queue"` // only jobs of this queue: a letter, or = for running jobs; none: all
}

// An AtLines has many at jobs, so that a long list takes few lines.
type AtLines struct {
	Jobs []AtLine `json:"jobs"`
}

// An AtLine is an at job that has not ended: its number, its time in seconds since 1970,
// its queue (= while it runs) and its owner.
type AtLine struct {
	ID    string `json:"id"`
	Start int64  `json:"start"`
	Queue string `json:"queue"`
	Owner string `json:"owner"`
}

// AtIDsIn names at jobs.
type AtIDsIn struct {
	ID []string `arg:"id,required"` // the ids of at jobs
}

// The results for a job that [AtIDsIn] names.
const (
	AtDone    = "done"
	AtRunning = "running" // it is being stopped
	AtMissing = "missing" // there is no such job, or it has ended
	AtDenied  = "denied"  // it belongs to another user
)

// An AtResult is the result for one job.
type AtResult struct {
	ID     string `json:"id"`
	What   string `json:"what"`
	Base64 string `json:"base64,omitempty"` // its script, if the operation returns it
}

// ImportAtIn submits a job that was found in the spool of atd.
type ImportAtIn struct {
	AtIn
	User  string `arg:"user,required"`  // the owner: UID:GID
	Spool string `arg:"spool,required"` // what identifies the file among all that ever existed
}
