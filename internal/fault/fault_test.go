package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"activationd/internal/fault"
)

func TestOf(t *testing.T) {
	err := fmt.Errorf("take: %w", fmt.Errorf("vlan 7 is held by r1: %w", fault.Conflict))
	if got := fault.Of(err); got != fault.Conflict {
		t.Errorf("Of(%v) = %v, want %v", err, got, fault.Conflict)
	}
	if !errors.Is(err, fault.Conflict) {
		t.Errorf("errors.Is(%v, Conflict) = false", err)
	}
	if got := fault.Of(io.EOF); got != fault.Internal {
		t.Errorf("Of(EOF) = %v, want %v", got, fault.Internal)
	}
}
