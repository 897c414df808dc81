package supervisor

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// TestDecide goes through every combination of what a run directory can show, and
// through what else may be known. What may have run is not taken for what did not: that
// is started again.
func TestDecide(t *testing.T) {
	tests := []struct {
		held, result, started, sameBoot bool
		want                            State
	}{
		{false, false, false, false, Lost}, // the note of the start may be gone with the power
		{false, false, false, true, Unborn},
		{false, false, true, false, Lost},
		{false, false, true, true, Lost},
		{false, true, false, false, Ended}, // disarmed, or could not be started
		{false, true, false, true, Ended},
		{false, true, true, false, Ended},
		{false, true, true, true, Ended},
		{true, false, false, false, Running}, // cannot be: no lock outlives a boot
		{true, false, false, true, Running},  // armed, or just born
		{true, false, true, false, Running},  // cannot be
		{true, false, true, true, Running},
		{true, true, false, false, Running}, // cannot be
		{true, true, false, true, Running},  // about to exit
		{true, true, true, false, Running},  // cannot be
		{true, true, true, true, Running},   // about to exit
	}
	seen := map[facts]bool{}
	for _, tt := range tests {
		f := facts{held: tt.held, result: tt.result, started: tt.started, sameBoot: tt.sameBoot}
		seen[f] = true
		if got := decide(f); got != tt.want {
			t.Errorf("decide(%+v) = %v, want %v", f, got, tt.want)
		}
	}
	if len(seen) != 16 {
		t.Errorf("%d combinations of 16 have a row", len(seen))
	}
	for f := range seen { // what is known beside the directory
		for _, more := range []struct {
			what string
			set  func(*facts)
			void State // what an unborn run is instead
			lost State
		}{
			{"its wrapper says that nothing ran", func(f *facts) { f.notStarted = true }, NotStarted, NotStarted},
			{"its wrapper says that it ran", func(f *facts) { f.unreported = true }, Lost, Lost},
			{"there was a wrapper", func(f *facts) { f.begun = true }, Void, Lost},
			{"its directory is gone", func(f *facts) { f.gone = true }, Lost, Lost},
		} {
			want, g := decide(f), f
			more.set(&g)
			switch want {
			case Unborn:
				want = more.void
			case Lost:
				want = more.lost
			}
			if got := decide(g); got != want {
				t.Errorf("decide(%+v), %s = %v, want %v", g, more.what, got, want)
			}
		}
	}
}

// A number that was used again is another's, and so is all that has it.
func TestMineIsProofAgainstReuse(t *testing.T) {
	const wrapperPID, scriptPID = 100, 101
	r := leftovers{Leftovers: Leftovers{Lock: wrapper.Lock{PID: wrapperPID, Born: 10 * time.Second}, Started: wrapper.Started{PID: scriptPID, Born: 10 * time.Second}}}
	p := func(pid, parent, group, session int, born time.Duration) wrapper.Process {
		return wrapper.Process{PID: pid, Parent: parent, Group: group, Session: session, State: 'S', Born: born}
	}
	system := p(1, 0, 1, 1, 0)
	tests := []struct {
		name   string
		all    []wrapper.Process
		marked []int
		want   []int
	}{
		{"nothing left", []wrapper.Process{system}, nil, nil},
		{"the script", []wrapper.Process{system, p(101, 1, 101, 100, 10*time.Second)}, nil, []int{101}},
		{"a member of the group", []wrapper.Process{system, p(150, 1, 101, 100, 11*time.Second)}, nil, []int{150}},
		{"another group of the session", []wrapper.Process{system, p(150, 1, 150, 100, 11*time.Second)}, nil, []int{150}},
		{"another session, marked", []wrapper.Process{system, p(150, 1, 150, 150, 11*time.Second)}, []int{150}, []int{150}},
		{"child of one that is marked", []wrapper.Process{system, p(160, 150, 160, 160, 12*time.Second), p(150, 1, 150, 150, 11*time.Second)}, []int{150}, []int{150, 160}},
		{"the script's number used again", []wrapper.Process{system, p(101, 1, 101, 50, 20*time.Second), p(151, 101, 101, 50, 21*time.Second)}, nil, nil},
		{"the wrapper's number used again", []wrapper.Process{system, p(100, 1, 100, 100, 20*time.Second), p(151, 100, 151, 100, 21*time.Second)}, nil, nil},
		{"both used again, one of ours marked", []wrapper.Process{system, p(100, 1, 100, 100, 20*time.Second), p(101, 1, 101, 101, 20*time.Second), p(150, 1, 150, 150, 11*time.Second)}, []int{150}, []int{150}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []int
			for _, p := range r.mine(tt.all, func(pid int) bool { return slices.Contains(tt.marked, pid) }) {
				got = append(got, p.PID)
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("mine = %v, want %v", got, tt.want)
			}
		})
	}
	none := leftovers{} // neither number known: the wrapper was killed at its birth
	if got := none.mine([]wrapper.Process{system, p(5, 1, 0, 0, 0)}, func(int) bool { return false }); len(got) != 0 {
		t.Errorf("mine without numbers = %v", got)
	}
}

// TestNamesakeIsNotSignalled: a process that has the number of one that is gone, and was
// born at another time, gets no signal.
func TestNamesakeIsNotSignalled(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, ok := wrapper.Stat(cmd.Process.Pid)
	if !ok {
		t.Fatal("the process is not there")
	}
	other := p
	other.Born++
	if signal(other, unix.SIGTERM) {
		t.Error("the namesake got a signal")
	}
	if !signal(p, unix.SIGKILL) {
		t.Error("the process itself got none")
	}
	_ = cmd.Wait() // killed
	if st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || st.Signal() != unix.SIGKILL {
		t.Errorf("it ended with %v, want killed", cmd.ProcessState)
	}
}

// Marks by which processes of other runs would be killed are refused.
func TestStemIsTheRuns(t *testing.T) {
	p, err := newDirect(Config{RunsDir: t.TempDir(), ConfigRoot: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, stem := range []string{"", "1.activate", "1.activate.10-"} {
		// OtherBoot: should it be accepted, nothing is killed.
		if c, err := p.ClearLeftovers(Leftovers{Run: "1.activate.1", MarkStem: stem, OtherBoot: true}); !errors.Is(err, fault.Invalid) {
			t.Errorf("ClearLeftovers with %q = %+v, %v, want invalid", stem, c, err)
		}
	}
}

// A directory that has just been replaced by a link is not counted.
func TestCountFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(dir+"/victim", 0o700), os.WriteFile(dir+"/victim/file", make([]byte, 1<<16), 0o600), os.Symlink("victim", dir+"/link")); err != nil {
		t.Fatal(err)
	}
	for name, counted := range map[string]bool{"victim": true, "link": false} {
		c := counter{files: sizeFiles}
		c.dir(unix.AT_FDCWD, filepath.Join(dir, name), sizeDepth)
		if (c.bytes > 0) != counted {
			t.Errorf("%s has %d bytes", name, c.bytes)
		}
	}
}

func TestOwnCgroup(t *testing.T) {
	const pure = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
	const hybrid = "31 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n32 31 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n33 31 0:29 / /sys/fs/cgroup/unified rw shared:11 - cgroup2 cgroup2 rw\n"
	const part = "30 23 0:26 /system.slice/a.service /mnt/my\\040cgroup rw - cgroup2 cgroup2 rw\n"
	tests := []struct{ name, self, mounts, want string }{
		{"pure", "0::/system.slice/activationd.service\n", pure, "/sys/fs/cgroup/system.slice/activationd.service"},
		{"hybrid", "8:pids:/x\n0::/\n", hybrid, "/sys/fs/cgroup/unified"},
		{"none", "8:pids:/\n", hybrid, ""},
		{"not mounted", "0::/\n", "31 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n", ""},
		{"part is mounted", "0::/system.slice/a.service/daemon\n", part, "/mnt/my cgroup/daemon"},
		{"another part is mounted", "0::/user.slice\n", part, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ownCgroup(tt.self, tt.mounts)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("ownCgroup = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// A program that is not the wrapper is refused at the daemon's start.
func TestNewRefuses(t *testing.T) {
	for _, program := range []string{"/bin/true", filepath.Join(t.TempDir(), "none")} {
		if s, err := New(Config{Atwrap: program, RunsDir: t.TempDir(), ConfigRoot: t.TempDir()}); err == nil {
			s.Close()
			t.Errorf("New with wrapper %s = nil", program)
		}
	}
}
