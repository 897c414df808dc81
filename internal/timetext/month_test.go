package timetext

import (
	"testing"
	"time"
)

func TestMonth(t *testing.T) {
	if y, m, err := Month("2099-11"); y != 2099 || m != time.November || err != nil {
		t.Errorf("Month = %d, %v, %v", y, m, err)
	}
	for _, bad := range []string{"", "2099", "2099-1", "2099-13", "2099-00", "99-11", "2099-11-01", " 2099-11", "2099/11", "November 2099"} {
		if y, m, err := Month(bad); err == nil || err.Error() != `"`+bad+`" is not a month: write it like 2099-11` {
			t.Errorf("Month(%q) = %d, %v, %v", bad, y, m, err)
		}
	}
}
