// Package schedule says when things are due. It reads the times and recurrences that people
// type, and wakes its caller at a time of the wall clock. It knows nothing of jobs, processes
// or records.
//
// The parsers of recurrences (cron.go, calendar.go) make a pattern of local times
// (pattern.go). civil.go applies it in a time zone, with the changes of the clocks. timer.go
// wakes at a time.
package schedule
