package wrapper

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestTakeNotification(t *testing.T) {
	const old, now = 1795257600, 1795257700
	at := func(sec int64) time.Time { return time.Unix(sec, 0) }
	began := Notified{Ready: at(old), Status: "up"}
	reloads, stops := began, began
	reloads.Reloading, stops.Stopping = at(old), at(old)
	with := func(n Notified, edit func(*Notified)) Notified { edit(&n); return n }
	tests := []struct {
		name    string
		before  Notified
		message string
		after   Notified
	}{
		{"ready", Notified{}, "READY=1", Notified{Ready: at(now)}},
		{"ready with a line end", Notified{}, "READY=1\n", Notified{Ready: at(now)}},
		{"ready again", began, "READY=1", began},
		{"not ready", Notified{}, "READY=0\nREADY\nREADY=\nREADY=11\nready=1\nXREADY=1", Notified{}},
		{"the same status", began, "STATUS=up", began},
		{"another status", began, "STATUS=a=b c", with(began, func(n *Notified) { n.Status = "a=b c" })},
		{"no status", began, "STATUS=", with(began, func(n *Notified) { n.Status = "" })},
		{"several lines", Notified{}, "STATUS=up\nREADY=1\nMAINPID=7\n\nX", Notified{Ready: at(now), Status: "up"}},
		{"reloading", began, "RELOADING=1\nMONOTONIC_USEC=5", with(began, func(n *Notified) { n.Reloading = at(now) })},
		{"reloading still", reloads, "RELOADING=1", reloads},
		{"reloaded", reloads, "READY=1", with(began, func(n *Notified) { n.Ready = at(now) })},
		{"stopping", began, "STOPPING=1", with(began, func(n *Notified) { n.Stopping = at(now) })},
		{"nothing comes after stopping", stops, "READY=1\nRELOADING=1\nSTOPPING=1", stops},
		{"but a status", stops, "STATUS=bye", with(stops, func(n *Notified) { n.Status = "bye" })},
		{"more time", Notified{}, "EXTEND_TIMEOUT_USEC=5000000", Notified{Extended: at(now + 5)}},
		{"more time than there is", Notified{}, "EXTEND_TIMEOUT_USEC=18446744073709551615", Notified{Extended: at(now + 86400)}},
		{"no time", Notified{}, "EXTEND_TIMEOUT_USEC=0\nEXTEND_TIMEOUT_USEC=-1\nEXTEND_TIMEOUT_USEC=1s\nEXTEND_TIMEOUT_USEC=", Notified{}},
		{"not for us", began, "FDSTORE=1\nFDNAME=x\nWATCHDOG=1\nBARRIER=1\nERRNO=2\nX_Y=1\n=\n\x00", began},
		{"it hangs", began, "WATCHDOG=trigger", with(began, func(n *Notified) { n.Trigger = at(now) })},
		{"nothing", began, "", began},
		{"a terminal's commands", Notified{}, "STATUS=\x1b[31m\ta\u0085\xff\xc3(b", Notified{Status: " [31m a ??(b"}},
		{"a long status", Notified{}, "STATUS=" + strings.Repeat("x", 1023) + "\u00e9y", Notified{Status: strings.Repeat("x", 1023)}},
		{"a long status of characters", Notified{}, "STATUS=" + strings.Repeat("\u00e9", 600), Notified{Status: strings.Repeat("\u00e9", 512)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.before
			changed := got.take([]byte(tt.message), at(now), false)
			if !reflect.DeepEqual(got, tt.after) || changed != !reflect.DeepEqual(tt.before, tt.after) {
				t.Errorf("after %q: %+v, changed %v; want %+v", tt.message, got, changed, tt.after)
			}
		})
	}
}

// WATCHDOG=1 is noted each time, if it is wanted.
func TestTakeWatchdog(t *testing.T) {
	var n Notified
	for sec := range int64(3) {
		now := time.Unix(1795257600+sec, 0)
		if !n.take([]byte("WATCHDOG=1"), now, true) || n != (Notified{Watchdog: now}) {
			t.Errorf("after WATCHDOG=1 at %v: %+v", now, n)
		}
	}
}

// Whatever is sent, what is written is read again and can be shown.
func FuzzNotify(f *testing.F) {
	f.Add("READY=1\nSTATUS=\xff\x00\u2028\"\\\nEXTEND_TIMEOUT_USEC=1")
	f.Add("WATCHDOG=1\nWATCHDOG=trigger")
	f.Add("STATUS=" + strings.Repeat("\xf0\x9f\x98", 400))
	f.Fuzz(func(t *testing.T, message string) {
		var n Notified
		n.take([]byte(message), time.Unix(1795257600, 7), true)
		if !utf8.ValidString(n.Status) || len(n.Status) > maxStatus || strings.ContainsFunc(n.Status, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("%q has the status %q", message, n.Status)
		}
		got, err := ParseNotify(string(n.encode()))
		if err != nil || !reflect.DeepEqual(got, n) {
			t.Errorf("%q is taken as %+v, and read as %+v, %v", message, n, got, err)
		}
	})
}

// However much time a script asks for while it is asked to end, it is killed at last.
func TestExtendIsBounded(t *testing.T) {
	const limit, latest = 10 * time.Second, 10*time.Second + MaxExtend
	for until, want := range map[time.Duration]time.Duration{
		5 * time.Second: limit, 20 * time.Second: 20 * time.Second, latest: latest, 24 * time.Hour: latest,
	} {
		if got := extend(limit, latest, until); got != want {
			t.Errorf("asked for time until %v: %v, want %v", until, got, want)
		}
	}
}
