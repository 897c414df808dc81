package panel

import (
	"net/url"
	"testing"
)

// What people are asked and told names the thing that it is about.
func TestPhrases(t *testing.T) {
	for _, tt := range []struct {
		op   string
		args url.Values
		want string
	}{
		{"run", url.Values{"id": {"7@x"}}, "Run 7@x now?"}, // it takes devices from others
		{"cancel", url.Values{"id": {"1", "2"}}, "Cancel 2 things?"},
		{"pause", url.Values{"what": {"daemon"}, "name": {""}}, "Pause the daemon?"},
		{"pause", url.Values{"what": {"device"}, "name": {"r1"}}, "Pause r1?"},
		{"vlan free", url.Values{"domain": {"dc1"}, "id": {"204"}}, "Is VLAN 204 of dc1 removed from all switches?"},
	} {
		known := verbs[tt.op]
		if got := known.phrase(known.ask, tt.args); got != tt.want {
			t.Errorf("%s %v asks %q, want %q", tt.op, tt.args, got, tt.want)
		}
	}
}
