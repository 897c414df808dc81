package test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestMorning looks ahead at the next day of a laboratory: 40 reservations of three sources,
// with two conflicts, a device that is paused, a booking that is refused and one that is
// moved. Each question about it is answered by one command.
func TestMorning(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, `
sources:
  - {files: DIR/groups.yaml}
  - {files: DIR/courses.yaml, priority: 10}
reservations: {activate: [/bin/true], deactivate: [/bin/true]}
booking: {devices: ["r*"], quota: {hours_per_week: 12h}}
`)
	begin := time.Now().Add(24 * time.Hour).Truncate(time.Hour)
	hour := func(h int) time.Time { return begin.Add(time.Duration(h) * time.Hour) }
	on := func(id string, from, to int, device string) resv { return resv{id, hour(from), hour(to), device, ""} }

	// 24 reservations of groups: the last one wants r1 while another one has it, and one
	// wants a device that is broken, now.
	var groups []resv
	for i := range 22 {
		groups = append(groups, on(fmt.Sprintf("%d@groups", 1+i), i%4*2, i%4*2+2, fmt.Sprintf("r%d", i)))
	}
	groups = append(groups, on("23@groups", 1, 3, "r0"))
	d.write("groups.yaml", yaml(groups...), 0o644)
	d.Start()
	d.must("pause", "device", "r30", "--until", hour(8).Format(time.RFC3339), "--reason", "its fan is broken")
	d.write("groups.yaml", yaml(append(groups, resv{"24@groups", time.Now(), hour(0), "r30", ""})...), 0o644)
	// 14 of courses, which were announced later: one wants what a group has, and gets it.
	var courses []resv
	for i := range 13 {
		courses = append(courses, on(fmt.Sprintf("%d@courses", 1+i), 0, 8, fmt.Sprintf("r%d", 40+i)))
	}
	courses = append(courses, on("14@courses", 5, 8, "r2"))
	d.write("courses.yaml", yaml(courses...), 0o644)
	d.must("reload")
	book := func(from, to int, device string) []string {
		return []string{"book", "add", "--devices", device, "--from", hour(from).Format(time.RFC3339), "--to", hour(to).Format(time.RFC3339), "--owner", "ada"}
	}
	first := strings.TrimSpace(d.must(book(0, 2, "r1")...))
	moved := strings.TrimSpace(d.must(book(0, 2, "r31,r32")...))
	span := []string{"--from", hour(0).Format(time.RFC3339), "--to", hour(8).Format(time.RFC3339)}

	d.InState("24@groups", "waiting")
	d.answers(t, []question{
		{asks: "does anything need me?", cmd: []string{"status", "--check"}, status: 4},
		{asks: "what needs me?", cmd: []string{"status"}, has: []string{"23@groups", "3@groups"}},
		{asks: "who will not get what they want?", cmd: []string{"list", "--state", "conflicting"}, rows: 4, has: []string{"23@groups", "3@groups", "24@groups"}},
		{asks: "why not?", cmd: []string{"why", "23@groups"}, has: []string{"1@groups", "r0"}},
		{asks: "and the other one?", cmd: []string{"why", "3@groups"}, has: []string{"14@courses", "r2"}},
		{asks: "who loses by the course?", cmd: []string{"why", "14@courses"}, has: []string{"3@groups"}},
		{asks: "what is out of order?", cmd: []string{"pause"}, has: []string{"r30", "its fan is broken"}},
		{asks: "why does it not begin?", cmd: []string{"why", "24@groups"}, has: []string{"r30", "its fan is broken", "atctl resume device r30"}},
		{asks: "who has r2?", cmd: append([]string{"calendar", "--device", "r2"}, span...), rows: 3, has: []string{"3@groups", "14@courses"}},
		{asks: "when can I have r0 and r1?", cmd: append([]string{"free", "--for", "2h", "--devices", "r0,r1"}, span...), has: []string{"r0"}},
		{asks: "may I have r1 at three?", cmd: book(3, 4, "r1"), status: 4},
		{asks: "and more hours than are left?", cmd: book(8, 17, "r33"), status: 4},
		{asks: "can it be moved?", cmd: []string{"book", "edit", moved, "--from", hour(3).Format(time.RFC3339)}},
		{asks: "what is booked?", cmd: []string{"book", "list"}, rows: 3, has: []string{first, moved, "ada"}},
		{asks: "and on what?", cmd: append([]string{"calendar", "--device", "r32"}, span...), rows: 2, has: []string{moved}},
		{asks: "would a reload change anything?", cmd: []string{"reload", "--dry-run"}, has: []string{"added=0 changed=0 removed=0", "conflicting=3"}},
		{asks: "who paused it?", cmd: []string{"audit", "--action", "pause"}, has: []string{"r30"}},
		{asks: "who moved the booking?", cmd: []string{"audit", moved}, has: []string{"book add", "book edit"}},
	})

	// The fan is repaired, and the course is given up.
	d.must("resume", "device", "r30")
	d.write("courses.yaml", yaml(courses[:13]...), 0o644)
	d.must("reload", "--force")
	d.InState("24@groups", "active")
	d.answers(t, []question{
		{asks: "who still does not get it?", cmd: []string{"list", "--state", "conflicting"}, rows: 2, has: []string{"23@groups"}},
		{asks: "how much was used?", cmd: []string{"report", "--by", "device"}, has: []string{"r30"}},
	})
}
