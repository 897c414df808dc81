package device

import "testing"

// TestOwnMark tests that a line that confirm left is known as such, also if characters of the
// word were lost, so that it does not count as an answer.
func TestOwnMark(t *testing.T) {
	s := &Session{prompt: "core# ", marker: "qp4cetbg"}
	for line, want := range map[string]bool{
		"core#qp4cetbg":      true,
		"core# qp4cetbg":     true,
		"core#qp4":           true, // the rest was not shown yet
		"core#qpcetbg":       true, // the 4 was lost
		"core#p4etb":         true,
		"x core#qp4cetbg":    true,
		"core#":              false,
		"core#qp4cetbgg":     true,
		"core#pq":            false,
		"core#show":          false,
		"interface Gi0/1":    false,
		"qpcetbg":            false, // no prompt before it
		"core#qp4x":          false,
		"description qpcetb": false,
	} {
		if got := s.ownMark(line); got != want {
			t.Errorf("ownMark(%q) = %t, want %t", line, got, want)
		}
	}
}
