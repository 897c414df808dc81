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

func TestText(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("vlan 7: %w", fault.Conflict), "vlan 7"},
		{fmt.Errorf("add: %w", fmt.Errorf("vlan 7: %w", fault.Conflict)), "add: vlan 7"},
		{errors.Join(fmt.Errorf("a: %w", fault.Invalid), fmt.Errorf("b: %w", fault.NotFound)), "a\nb"},
		{errors.New("disk on fire"), "disk on fire"},
		{fault.Invalid, "invalid"},
	} {
		if got := fault.Text(tt.err); got != tt.want {
			t.Errorf("Text(%q) = %q, want %q", tt.err, got, tt.want)
		}
	}
}
