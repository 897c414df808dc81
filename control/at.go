package control

// AtIn asks for a job as at(1) does.
type AtIn struct {
	When   int      `arg:"when"`   // seconds since 1970; what is past runs at once
	Queue  string   `arg:"queue"`  // a letter; none: a
	Mail   string   `arg:"mail"`   // always | never; none: when there is output
	Mailto string   `arg:"mailto"` // a user, who must exist; none: who submits
	Script []string `arg:"script,required"`
	Base64 bool     `arg:"base64"` // the script's pieces are in base64; they are put together
}

// AtqIn narrows a list of at's jobs.
type AtqIn struct {
	ID    []string `arg:"id"`    // none: all
	Queue string   `arg:"queue"` // a letter, or = for those that run; none: all
}

// An AtLines is some of at's jobs, so many that a long list takes few of them.
type AtLines struct {
	Jobs []AtLine `json:"jobs"`
}

// An AtLine is a job of at's that has not ended: its number, when it is due in
// seconds since 1970, its queue (= while it runs) and its owner.
type AtLine struct {
	ID    string `json:"id"`
	Start int64  `json:"start"`
	Queue string `json:"queue"`
	Owner string `json:"owner"`
}

// AtIDsIn names jobs of at's.
type AtIDsIn struct {
	ID []string `arg:"id,required"`
}

// What became of a job that [AtIDsIn] named.
const (
	AtDone    = "done"
	AtRunning = "running" // it is being stopped
	AtMissing = "missing" // there is none, or it has ended
	AtDenied  = "denied"  // it is somebody else's
)

// An AtResult tells what became of one job.
type AtResult struct {
	ID     string `json:"id"`
	What   string `json:"what"`
	Base64 string `json:"base64,omitempty"` // its script, if that was asked for
}

// ImportAtIn asks for a job as it was found in atd's spool.
type ImportAtIn struct {
	AtIn
	User  string `arg:"user,required"`  // UID:GID
	Spool string `arg:"spool,required"` // tells the file from all others that ever were
}
