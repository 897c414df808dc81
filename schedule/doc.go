// Package schedule says when things are due: it reads the instants and the
// recurrences that people type, and it wakes its caller at an instant of the
// wall clock. It knows nothing of jobs, processes or records.
package schedule
