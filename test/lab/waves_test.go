package lab

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestWaves has ten reservations overlap in time, in waves, on two switches with a
// trunk. Frames pass inside each lab and none pass between labs. On the trunk, each
// VLAN is seen only while it is leased to the lab of the sender. In the end the
// switches' configuration is what it was, byte for byte.
func TestWaves(t *testing.T) {
	t.Parallel()
	l := newLab(t, 6)
	was := l.configuration()
	wire := l.capture()
	d := l.newDaemon(l.do("lab_inventory"))

	var all []*wired
	for i, hosts := range [][2]string{
		{"h1", "h2"}, {"h3", "h4"}, {"h5", "h6"}, // over the trunk
		{"h1", "h3"}, {"h2", "h4"}, // each on one switch
		{"h1", "h6"}, {"h3", "h5"},
		{"h1", "h4"}, {"h2", "h3"}, {"h5", "h6"},
	} {
		all = append(all, d.wire(fmt.Sprintf("%d@waves", i+1), "", hosts[:]...))
	}
	d.announce()
	l.look("before the first slot")

	var active []*wired
	for n, wave := range []struct{ end, begin []*wired }{
		{nil, all[0:3]},
		{all[0:2], all[3:5]}, // the third goes on
		{all[2:4], all[5:7]},
		{all[4:7], all[7:10]},
		{all[7:10], nil},
	} {
		when := fmt.Sprintf("in wave %d", n+1)
		d.change(resvs(wave.end), resvs(wave.begin))
		for _, w := range wave.end {
			if a := d.InState(w.id, "finished", "stuck"); a.Outcome != "succeeded" {
				t.Fatalf("%s: %s is %s, %s (%s)\n%s", when, w.id, a.State, a.Outcome, a.Reason, d.logs(w.id))
			}
		}
		active = slices.DeleteFunc(active, func(w *wired) bool { return slices.Contains(wave.end, w) })
		active = append(active, wave.begin...)
		var groups [][]string
		for _, w := range active {
			if a := d.InState(w.id, "active", "finished", "stuck"); a.State != "active" {
				t.Fatalf("%s: %s is %s, %s (%s)\n%s", when, w.id, a.State, a.Outcome, a.Reason, d.logs(w.id))
			}
			groups = append(groups, []string{w.links[0].a, w.links[0].b})
		}
		d.running(when, active...)
		l.look(when, groups...)
		d.running(when+", after a look", active...)
	}
	l.unchanged("after the last slot", was)
	d.judge(wire.stop(), all)
}

// A span is when a link had its VLAN: from the lease's time to the end of the
// attempt that took it off the switches.
type span struct {
	*link
	of     string
	until  time.Time
	frames int
}

// judge compares the frames on the trunk with the leases at that time.
func (d *labDaemon) judge(frames []frame, ws []*wired) {
	d.t.Helper()
	host := map[string]string{} // by its address
	for _, h := range d.hosts {
		link, err := d.in(h, "ip", "-br", "link", "show", "eth1").Output()
		f := strings.Fields(string(link))
		if err != nil || len(f) < 3 {
			d.t.Fatalf("%s has no eth1: %v\n%s", h, err, link)
		}
		host[f[2]] = h
	}
	var spans []*span
	for _, w := range ws {
		a := d.show(w.id)
		end := a.Attempts[len(a.Attempts)-1].Ended
		for _, l := range w.links {
			spans = append(spans, &span{l, w.id, end, 0})
		}
	}
	strange := 0
	for _, f := range frames {
		i := slices.IndexFunc(spans, func(s *span) bool {
			from := host[f.from]
			return s.vlan == f.vlan && s.crosses() && (s.a == from || s.b == from) && f.at.After(s.since) && f.at.Before(s.until)
		})
		if i >= 0 {
			spans[i].frames++
			continue
		}
		if strange++; strange < 20 {
			d.t.Errorf("on the trunk was a frame of %s (%s) in VLAN %d at %v, whose it was not", f.from, host[f.from], f.vlan, f.at)
		}
	}
	for _, s := range spans {
		if s.crosses() && s.frames == 0 {
			d.t.Errorf("no frame of %s in VLAN %d was seen on the trunk", s.of, s.vlan)
		}
	}
	d.t.Logf("%d frames on the trunk, %d of them not where they belong", len(frames), strange)
}
