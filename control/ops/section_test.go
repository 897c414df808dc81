package ops

import (
	"errors"
	"testing"
	"time"

	"activationd/internal/fault"
)

// TestSectionOfADay checks that atctl can add the time to end its command to --hold 24h.
func TestSectionOfADay(t *testing.T) {
	if d, err := bounded("hold", "24h0m10s", sectionHold, time.Millisecond); err != nil || d < 24*time.Hour {
		t.Errorf("a day and ten seconds: %v, %v", d, err)
	}
	if _, err := bounded("hold", "25h", sectionHold, time.Millisecond); !errors.Is(err, fault.Invalid) {
		t.Errorf("25 hours: %v, want invalid", err)
	}
}
