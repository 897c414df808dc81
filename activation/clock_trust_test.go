package activation

import (
	"strings"
	"testing"
	"time"
)

// Each row is a clock as it is read again and again: the uptime in seconds, the time of
// the wall clock in minutes after midnight, and whether the kernel says that it is
// synchronised. It was midnight at uptime 0.
func TestTrust(t *testing.T) {
	midnight := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	type read struct {
		up     float64
		wall   float64
		synced bool
	}
	tests := []struct {
		name  string
		reads []read
		doubt string // after each reading: d is in doubt, . is trusted
	}{
		{"time goes on", []read{{60, 1, false}, {3600, 60, false}, {36000, 600, false}}, "..."},
		{"it sleeps for hours, and the uptime with it", []read{{36000, 600, false}}, "."},
		{"a step of an hour", []read{{60, 61, false}, {120, 122, false}}, ".."},
		{"a step of more than an hour", []read{{60, 62, false}}, "d"},
		{"a step back of more than an hour", []read{{60, -60, false}}, "d"},
		{"a step that is synchronised", []read{{60, 6000, true}}, "."},
		{"synchronised after a while", []read{{60, 6000, false}, {65, 6000, false}, {70, 6000, true}, {75, 6000, false}}, "dd.."},
		{"ten minutes", []read{{60, 6000, false}, {659, 6010, false}, {660, 6010, false}, {720, 6011, false}}, "dd.."},
		{"back within ten minutes", []read{{60, 6000, false}, {90, 1.5, false}, {120, 2, false}}, "d.."},
		{"about back", []read{{60, 6000, false}, {90, 50, false}}, "d."},
		{"yet another step begins the ten minutes again", []read{{60, 6000, false}, {600, 9000, false}, {1199, 9010, false}, {1200, 9010, false}}, "ddd."},
		{"a small step more does not", []read{{60, 6000, false}, {600, 6020, false}, {661, 6021, false}}, "dd."},
		{"back by a part only", []read{{60, 6000, false}, {600, 120, false}, {661, 121, false}, {1201, 130, false}}, "ddd."},
		{"1970, and the time again", []read{{60, -29000000, false}, {120, 2, false}}, "d."},
		{"1970 for long, and the time again", []read{{60, -29000000, false}, {660, -28999990, false}, {720, 12, false}, {1319, 22, false}, {1320, 22, false}}, "d.dd."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := trust{}.next(mark{Wall: midnight}, func() bool { return false })
			var doubt strings.Builder
			for _, r := range tt.reads {
				k = k.next(mark{
					Wall: midnight.Add(time.Duration(r.wall * float64(minute))), Up: time.Duration(r.up * float64(time.Second)),
				}, func() bool { return r.synced })
				if k.doubt {
					doubt.WriteByte('d')
				} else {
					doubt.WriteByte('.')
				}
			}
			if doubt.String() != tt.doubt {
				t.Errorf("in doubt after each: %s, want %s", doubt.String(), tt.doubt)
			}
		})
	}
}

// Times that the clock passed over are undecided; times that come as it runs are not.
func TestMoment(t *testing.T) {
	noon := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	never := func() bool { return false }
	k := trust{}.next(mark{Wall: noon}, never)
	read := mark{Wall: noon.Add(3 * hour), Up: minute} // at 12:01 it was set to 15:00
	k = k.next(read, never)
	read = mark{Wall: read.Wall.Add(2 * minute), Up: read.Up + 2*minute}
	k = k.next(read, never)
	m := k.moment(read) // 15:02, or 12:03
	for _, tt := range []struct {
		name string
		at   time.Duration // after noon
		come bool
		late time.Duration
	}{
		{"before it was set", 0, true, 3 * minute},
		{"by the old clock, too", 3 * minute, true, 0},
		{"passed over", 3*minute + 1, false, 0},
		{"passed over, long before", 2 * hour, false, 0},
		{"passed over at last", 3*hour - 1, false, 0},
		{"to which it was set", 3 * hour, true, 2 * minute},
		{"as time goes on", 3*hour + minute, true, minute},
		{"still to come", 3*hour + 3*minute, false, 0},
	} {
		at := noon.Add(tt.at)
		if come := m.Come(at); come != tt.come {
			t.Errorf("%s: come = %v, want %v", tt.name, come, tt.come)
		} else if late := m.Late(at); come && late != tt.late {
			t.Errorf("%s: late by %v, want %v", tt.name, late, tt.late)
		}
	}
	read = mark{Wall: read.Wall.Add(8 * minute), Up: read.Up + 8*minute}
	m = k.next(read, never).moment(read)
	if at := noon.Add(hour); !m.Come(at) || m.Late(at) != 2*hour {
		t.Errorf("once the clock is trusted, a time that it passed over has come: %v, and is late by %v, want no more than when the clock was set", m.Come(at), m.Late(at))
	}
}
