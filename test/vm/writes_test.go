package vm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"activationd/activation"
	"activationd/store/bolt"
	"activationd/supervisor"
)

// A write is a write of the machine to its disk, or a flush.
type write struct {
	at    int64
	data  []byte
	flush bool
}

// The log of qemu's driver blklogwrites, which is that of the kernel's dm-log-writes:
// a sector that describes the log, then for each request a sector that describes it,
// followed by its data.
const (
	logMagic   = 0x6a736677736872
	logFlush   = 1
	logDiscard = 4
)

// readLog reads what was written to a disk.
func readLog(file string) ([]write, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if len(data) < 512 || binary.LittleEndian.Uint64(data) != logMagic {
		return nil, errors.New("it is no log of writes")
	}
	n, sector := binary.LittleEndian.Uint64(data[16:]), int64(binary.LittleEndian.Uint32(data[24:]))
	var all []write
	for at := sector; n > 0; n-- {
		if at+sector > int64(len(data)) {
			return nil, fmt.Errorf("it ends %d entries too soon", n)
		}
		entry := data[at:]
		to, count, flags := binary.LittleEndian.Uint64(entry), binary.LittleEndian.Uint64(entry[8:]), binary.LittleEndian.Uint64(entry[16:])
		at += sector
		size := int64(count) * sector
		w := write{at: int64(to) * sector, flush: flags&logFlush != 0}
		if flags&logDiscard != 0 {
			w.data = make([]byte, size)
		} else {
			w.data = data[at : at+size]
			at += size
		}
		all = append(all, w)
	}
	return all, nil
}

// instants passes to see the images that the disk may have if the power is cut. At each
// flush the earlier writes are there, and any part of the later ones.
func instants(base []byte, log []write, rnd *rand.Rand, see func(n int, image []byte)) (flushes int) {
	solid := slices.Clone(base)
	var since []write
	for _, w := range log {
		if len(w.data) > 0 {
			since = append(since, w)
		}
		if !w.flush {
			continue
		}
		flushes++
		image := slices.Clone(solid)
		for _, s := range since {
			if rnd.IntN(2) == 0 {
				copy(image[s.at:], s.data)
			}
		}
		see(flushes, image)
		for _, s := range since {
			copy(solid[s.at:], s.data)
		}
		since = since[:0]
	}
	see(flushes, solid)
	return flushes
}

// A whole history is recorded, with each write and each flush of the disk. Then the
// disk is made as it may have been between any two flushes: the state opens, and has
// everything that was acknowledged before. Some of these disks are booted again: the
// daemon completes what was begun, and runs nothing twice.
func TestPowerIsCutBetweenFlushes(t *testing.T) {
	needMachine(t)
	for _, program := range []string{"e2fsck", "debugfs"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed")
		}
	}
	rnd := random(t)
	jobs, looks, boots := 12, 40, 4
	if *all {
		jobs, looks, boots = 60, 1<<20, 20
	}
	file, log := disk(t), filepath.Join(t.TempDir(), "log")
	base, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m := boot(t,
		"-blockdev", "driver=file,node-name=f,filename="+file, "-blockdev", "driver=raw,node-name=r,file=f",
		"-blockdev", "driver=file,node-name=l,filename="+log, "-blockdev", "driver=blklogwrites,node-name=d,file=r,log=l,log-sector-size=512",
		"-device", "virtio-blk-pci,drive=d")
	m.do("mount -t ext4 /dev/vda /mnt")
	m.daemon("/mnt/s")
	m.atctl(recurs)
	m.tell(submits)
	for range jobs {
		if said, ok := m.until("ACK "); !ok {
			t.Fatalf("the machine went down:\n%s\n%s", strings.Join(said, "\n"), m.said())
		}
	}
	m.cut()
	writes, err := readLog(log)
	if err != nil {
		t.Fatalf("the log of writes: %v", err)
	}
	total := 0
	for _, w := range writes {
		if w.flush {
			total++
		}
	}
	if total < 2*jobs {
		t.Fatalf("%d flushes in %d writes: less than one for each thing that was acknowledged", total, len(writes))
	}
	dir := t.TempDir()
	var again []string
	looked := 0
	instants(base, writes, rnd, func(n int, image []byte) {
		if looks < total && rnd.IntN(total) >= looks && n < total {
			return
		}
		looked++
		name := filepath.Join(dir, "image")
		if err := os.WriteFile(name, image, 0o600); err != nil {
			t.Fatal(err)
		}
		if acked := look(t, n, name); acked > 0 && len(again) < boots && (rnd.IntN(min(looks, total)) < 3*boots || n == total) {
			keep := filepath.Join(dir, "disk"+strconv.Itoa(n))
			if err := os.WriteFile(keep, image, 0o600); err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(again, keep) { // the last instant is seen twice
				again = append(again, keep)
			}
		}
	})
	t.Logf("%d flushes in %d writes, %d images opened, %d booted", total, len(writes), looked, len(again))
	if t.Failed() {
		return
	}
	var drives []string
	for _, d := range again {
		drives = append(drives, drive(d)...)
	}
	m = boot(t, drives...)
	for i, d := range again {
		m.do(fmt.Sprintf("mount -t ext4 /dev/vd%c /mnt", 'a'+i))
		m.daemon("/mnt/s")
		m.settled("/mnt", nil)
		m.do("kill $(cat /tmp/pid); while kill -0 $(cat /tmp/pid) 2>/dev/null; do sleep 0.1; done; umount /mnt")
		if t.Failed() {
			t.Fatalf("on %s", filepath.Base(d))
		}
	}
}

// look checks one image, and returns how many submissions had been acknowledged by then.
func look(t *testing.T, n int, image string) (acked int) {
	t.Helper()
	out, err := exec.Command("e2fsck", "-f", "-y", image).CombinedOutput() // which replays the journal
	if exit := new(exec.ExitError); err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1) {
		t.Fatalf("at flush %d: e2fsck: %v\n%s", n, err, out)
	}
	read := func(name string) []byte {
		to := filepath.Join(t.TempDir(), "file")
		if out, err := exec.Command("debugfs", "-R", "dump -p "+name+" "+to, image).CombinedOutput(); err != nil {
			t.Fatalf("debugfs: %v\n%s", err, out)
		}
		data, err := os.ReadFile(to)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return data
	}
	acks := bytes.Fields(read("/acks"))
	marks := bytes.Fields(read("/marks"))
	state := filepath.Join(t.TempDir(), "state.db")
	data := read("/s/state.db")
	if data == nil {
		if len(acks) > 0 {
			t.Errorf("at flush %d: %d were acknowledged, and there is no state", n, len(acks))
		}
		return 0
	}
	if err := os.WriteFile(state, data, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(state)
	if err != nil {
		t.Errorf("at flush %d: %v", n, err)
		return 0
	}
	attempts := map[string]int{}
	e := activation.New(activation.Parts{DB: db, Runs: noRuns{}, Log: slog.New(slog.DiscardHandler)}, activation.Settings{})
	err = e.List(context.Background(), activation.Filter{Finished: true}, func(v activation.View) error {
		attempts[v.ID] = len(v.Attempts)
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Errorf("at flush %d: %v", n, err)
	}
	for _, id := range acks {
		if _, ok := attempts[string(id)]; !ok && len(bytes.Trim(id, "\x00")) > 0 {
			t.Errorf("at flush %d: %s was acknowledged, and is not known", n, id)
		}
	}
	for _, mark := range marks {
		id, attempt, ok := strings.Cut(string(mark), ".")
		if k, err := strconv.Atoi(attempt); ok && err == nil && k > attempts[id] {
			t.Errorf("at flush %d: attempt %d of %s ran, and %d are known", n, k, id, attempts[id])
		}
	}
	return len(acks)
}

// noRuns knows of no run that has started.
type noRuns struct{ activation.Runs }

func (noRuns) Started(supervisor.Key) (int, time.Time, bool) { return 0, time.Time{}, false }
