package vm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A job marks each of its attempts, and waits until the mark is on the disk. Only then
// a submission counts as acknowledged here when it is written down likewise: so what
// the disk has of both holds at each instant.
const (
	submits = env + `
while :; do
	id=$(atctl add --retries 3 --backoff 1s -- sh -c 'echo $ACTIVATION_ID.$ACTIVATION_ATTEMPT >>/mnt/marks; sync /mnt/marks') || continue
	echo $id >>/mnt/acks
	sync /mnt/acks
	echo "ACK $id"
done`
	recurs = `every add tick --every 1s --overlap parallel -- sh -c 'echo $ACTIVATION_OCCURRENCE >>/mnt/ticks; sync /mnt/ticks'`
)

// settled waits until everything that was submitted has ended. It checks that nothing
// that was acknowledged is missing, that nothing ran twice, and that each occurrence
// came once.
func (m *machine) settled(disk string, acked []string) {
	m.t.Helper()
	m.do(env + "atctl every hold tick >/dev/null 2>&1 || true")
	m.await(env+"atctl list --json", "")
	known := strings.Fields(m.do(env + `atctl list --all --json | sed -n 's/^{"id":"\([0-9]*\)".*/\1/p'`))
	for _, id := range append(m.linesOf(disk+"/acks"), acked...) {
		if !slices.Contains(known, id) {
			m.t.Errorf("%s was acknowledged, and is not known any more", id)
		}
	}
	for _, file := range []string{"/marks", "/ticks"} {
		marks := m.linesOf(disk + file)
		slices.Sort(marks)
		if once := slices.Compact(slices.Clone(marks)); len(once) != len(marks) {
			m.t.Errorf("ran twice, of %s: %q", file, marks)
		}
	}
	if out := m.do(env + "atctl list --all --json"); strings.Contains(out, `"outcome":"failed"`) {
		m.t.Errorf("something failed:\n%s", out)
	}
}

// The power is cut repeatedly at random times, while jobs are submitted and run, and
// something recurs.
func TestPowerIsCut(t *testing.T) {
	needMachine(t)
	rnd := random(t)
	file := disk(t)
	cuts := 2
	if *all {
		cuts = 25
	}
	var acked []string
	for n := range cuts {
		m := boot(t, drive(file)...)
		m.do("mount -t ext4 /dev/vda /mnt")
		m.daemon("/mnt/s")
		if n == 0 {
			m.atctl(recurs)
		}
		m.tell(submits)
		enough := 1 + rnd.IntN(12)
		for range enough {
			said, ok := m.until("ACK ")
			if !ok {
				t.Fatalf("the machine went down by itself:\n%s\n%s", strings.Join(said, "\n"), m.said())
			}
			acked = append(acked, strings.TrimPrefix(said[len(said)-1], "ACK "))
		}
		time.Sleep(time.Duration(rnd.IntN(1000)) * time.Millisecond) // into whatever it does then
		m.cut()
	}
	m := boot(t, drive(file)...)
	m.do("mount -t ext4 /dev/vda /mnt")
	m.daemon("/mnt/s")
	m.settled("/mnt", acked)
	t.Logf("%d cuts, %d acknowledged: %s", cuts, len(acked), fmt.Sprint(acked))
}
