package test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"activationd/control"
	"activationd/internal/fault"
)

// TestOneSlotIsBookedOnce has 64 clients request the same slot at the same time, over the socket
// and several times: one gets it, and the refusals name it. The daemon is killed and
// started again in between, and knows it still.
func TestOneSlotIsBookedOnce(t *testing.T) {
	t.Parallel()
	const clients, slots = 64, 5
	d := newDaemon(t, "booking: {devices: ['r*'], activate: [/bin/true], deactivate: [/bin/true]}\n")
	d.Start()
	for n := range slots {
		in := control.BookAddIn{Devices: []string{"r1,r2"}, From: fmt.Sprintf("2099-12-%d 10:00", 10+n), For: "2h"}
		start := make(chan struct{})
		errs := make([]error, clients)
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				c := control.Client{Address: d.socket}
				defer func() { _ = c.Close() }()
				if _, _, err := control.Call[control.Nothing](t.Context(), &c, "clock", nil); err != nil { // it is connected
					errs[i] = err
					return
				}
				<-start
				own := in
				if i%2 == 1 {
					own.Devices = []string{"r2", "r3"} // one device is enough
				}
				_, _, errs[i] = control.Call[control.Booking](t.Context(), &c, "book add", own)
			})
		}
		close(start)
		all.Wait()
		booked := 0
		for _, err := range errs {
			switch {
			case err == nil:
				booked++
			case fault.Of(err) != fault.Conflict || !strings.Contains(err.Error(), "@book of "):
				t.Errorf("refused with %v", err)
			}
		}
		if booked != 1 {
			t.Errorf("%d clients have booked the slot", booked)
		}
		if n == slots/2 {
			d.Kill()
			d.Start()
		}
	}
	if list := d.must("book", "list", "--json"); strings.Count(list, "\n") != slots-1 {
		t.Errorf("the bookings are\n%s", list)
	}
	if o := d.atctl("book", "add", "--devices", "r2", "--from", "2099-12-10 11:59", "--for", "1h"); o.status != 4 {
		t.Errorf("a booked slot: %+v", o)
	}
}

// TestBookingRights: who may book, for whom, and who may change and end a booking.
func TestBookingRights(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needProgram(t, "setpriv")
	const mail, games = 8, 5
	config := "access: {operators: [mail], viewers: [games]}\n" +
		"booking: {role: ROLE, devices: ['r*'], variables: [IMAGE], quota: {devices: 2}, activate: [/bin/true], deactivate: [/bin/true]}\n"
	d := newDaemon(t, strings.ReplaceAll(config, "ROLE", "submitter"))
	d.write("one.clab.yml", triangle, 0o644)
	d.Start()
	slot := []string{"--from", "2099-12-21 10:00", "--for", "2h"}
	as := func(uid, want int, args ...string) string {
		t.Helper()
		o := d.atctlAs(uid, uid, args...)
		if o.status != want {
			t.Errorf("user %d: atctl %q: status %d, want %d\n%s%s", uid, args, o.status, want, o.out, o.err)
		}
		return strings.TrimSpace(o.out)
	}
	add := func(args ...string) []string { return append(append([]string{"book", "add"}, slot...), args...) }
	own := as(nobody, 0, add("--devices", "r1", "--env", "IMAGE=x")...)
	as(games, 5, add("--devices", "r2")...)
	as(nobody, 5, add("--devices", "r2", "--owner", "mail")...)
	as(nobody, 5, add("--devices", "r2", "--env", "LD_PRELOAD=/tmp/x.so")...)
	as(nobody, 5, add("--topology", d.dir+"/one.clab.yml")...)
	as(nobody, 5, add("--devices", "r2", "--over-quota")...)
	as(nobody, 4, add("--devices", "r2,r3")...)
	for1 := as(mail, 0, add("--devices", "r2", "--owner", "nobody")...)
	as(nobody, 4, add("--devices", "r3")...)
	as(nobody, 0, "book", "extend", for1, "--by", "1h") // it is nobody's, although an operator has booked it
	as(mail, 4, add("--devices", "r3", "--owner", "nobody")...)
	as(mail, 0, add("--devices", "r3", "--owner", "nobody", "--over-quota")...)
	mails := as(mail, 0, add("--devices", "r4")...)
	as(nobody, 5, "book", "end", mails)
	as(nobody, 5, "book", "extend", mails, "--by", "1h")
	as(nobody, 5, "book", "edit", mails, "--label", "x")
	as(games, 5, "book", "end", own)
	as(mail, 0, "book", "edit", own, "--label", "changed")
	as(mail, 0, add("--topology", d.dir+"/one.clab.yml", "--from", "2099-12-22 10:00")...)
	if list := as(games, 0, "book", "list", "--owner", "nobody", "--json"); strings.Count(list, "\n") != 2 || !strings.Contains(list, `"label":"changed"`) {
		t.Errorf("nobody's bookings are\n%s", list)
	}

	// Submitters may not book any more, but they may end what they have.
	d.configure(strings.ReplaceAll(config, "ROLE", "operator"))
	d.must("reload")
	as(nobody, 5, add("--devices", "r5")...)
	as(nobody, 5, "book", "extend", own, "--by", "1h")
	as(nobody, 0, "book", "end", own, for1)

	// Nothing can be booked any more. What is booked stays.
	d.configure("access: {operators: [mail]}\n")
	d.must("reload")
	as(mail, 4, add("--devices", "r5")...)
	d.InState(mails, "scheduled")
	if live := len(strings.Split(d.must("book", "list", "--json"), "\n")); live != 3 {
		t.Errorf("%d bookings are left", live)
	}
}
