package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// bootScript is the init of a systemd in namespaces of its own, whose /run,
// /tmp and /var are not the machine's: it cleans them when it boots.
const bootScript = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/share
mount --bind "$1" /mnt/share
for dir in /run /tmp /var/tmp /var/lib; do mount -t tmpfs tmpfs $dir; done
mkdir -p /run/share /run/systemd/system
mount --bind /mnt/share /run/share
cp /run/share/units/* /run/systemd/system
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
export container=bench
exec /lib/systemd/systemd --system --unit=basic.target --log-target=null
`

// systemdTimers measures n timers of a systemd that are due at one instant: how
// late each start is, in milliseconds, by what the script wrote itself.
func systemdTimers(dir string, n int, in time.Duration) ([]float64, error) {
	units := filepath.Join(dir, "units")
	if err := os.MkdirAll(units, 0o755); err != nil {
		return nil, err
	}
	due := time.Now().Add(in).Truncate(time.Second)
	for i := range n {
		for name, text := range map[string]string{
			"timer":   fmt.Sprintf("[Timer]\nOnCalendar=%s\nAccuracySec=1us\n", due.UTC().Format("2006-01-02 15:04:05 UTC")),
			"service": "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'date +%%s.%%N >> /run/share/marks'\n",
		} {
			if err := os.WriteFile(filepath.Join(units, fmt.Sprintf("bench-%d.%s", i, name)), []byte(text), 0o644); err != nil {
				return nil, err
			}
		}
	}
	boot := exec.Command("unshare", "--pid", "--mount", "--cgroup", "--fork", "--kill-child", "--mount-proc", "bash", "-c", bootScript, "boot", dir)
	boot.Stdout, boot.Stderr = io.Discard, os.Stderr
	if err := boot.Start(); err != nil {
		return nil, err
	}
	defer func() {
		_ = boot.Process.Kill() // and with an init all that it started
		_ = boot.Wait()
	}()
	pid, err := initOf(boot.Process.Pid)
	if err != nil {
		return nil, err
	}
	start := exec.Command("nsenter", "-t", pid, "-a", "bash", "-c", `until systemctl is-active -q basic.target; do sleep 0.1; done; cd /run/systemd/system; systemctl start bench-*.timer`)
	if out, err := start.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("systemctl start: %w: %s", err, out)
	}
	if left := time.Until(due); left < 0 {
		return nil, fmt.Errorf("systemd needed %v too long to start %d timers", -left, n)
	}
	return readMarks(filepath.Join(dir, "marks"), n, due)
}

// initOf waits for the child of unshare.
func initOf(parent int) (string, error) {
	for range 100 {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
		if err != nil {
			return "", err
		}
		if f := strings.Fields(string(children)); len(f) > 0 {
			exe, err := os.Readlink("/proc/" + f[0] + "/exe")
			if err == nil && strings.HasSuffix(exe, "/systemd") {
				return f[0], nil
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return "", fmt.Errorf("systemd did not boot in 10 s")
}

// timers measures many starts at one instant beside systemd's timers.
func timers(b *bench, t *table) error {
	const n = 200
	d, err := b.start("{}")
	if err != nil {
		return err
	}
	late, err := d.marks(n)
	d.end()
	if err != nil {
		return err
	}
	t.add(fmt.Sprintf("%d due at one instant, a script that writes a mark: first", n), "ms", late[0])
	t.add("  the last", "ms", late[n-1])
	if !b.peers {
		return nil
	}
	dir, err := os.MkdirTemp(b.dir, "systemd")
	if err != nil {
		return err
	}
	theirs, err := systemdTimers(dir, n, 12*time.Second)
	if err != nil {
		theirs = make([]float64, n)
	}
	t.peer("  systemd timers, AccuracySec=1us: first", "ms", theirs[0], err)
	t.peer("  the last of systemd's", "ms", theirs[n-1], err)
	return nil
}
