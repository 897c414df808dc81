package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// installAt installs atctl under the names of at, and returns their directory. It
// copies the file, as make install does: a file that the linker has just written
// starts 0.1 ms slower.
func (b *bench) installAt() (string, error) {
	dir, err := os.MkdirTemp(b.dir, "at")
	if err != nil {
		return "", err
	}
	program, err := os.ReadFile(filepath.Join(b.bin, "atctl"))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "atctl"), program, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"at", "atq"} {
		if err := os.Symlink("atctl", filepath.Join(dir, name)); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// atSubmissions measures at and atctl add beside Debian's at and beside the least that is as
// durable, from shell loops: with the commands that people type, and with at alone.
func atSubmissions(b *bench, t *table) error {
	bin, err := b.installAt()
	if err != nil {
		return err
	}
	d, err := b.start("at: {deny: /dev/null}\n")
	if err != nil {
		return err
	}
	defer d.end()
	script := filepath.Join(d.dir, "script")
	if err := os.WriteFile(script, []byte("true\n"), 0o600); err != nil {
		return err
	}
	least, err := b.leastDurable()
	if err != nil {
		return err
	}
	const piped = "echo true | at now + 20 days"
	fromFile := "at -f " + script + " now + 20 days"
	for _, form := range []struct {
		name, command, debian, least string
		goal                         float64 // beside Debian's
	}{
		{piped, "echo true | " + bin + "/at now + 20 days", piped, "echo true | " + least, 1.35},
		{"at -f FILE now + 20 days", bin + "/" + fromFile, fromFile, least, 1.35},
		{"atctl add --in 20d -- true", bin + "/atctl add --in 20d -- true", piped, least, 1.45},
	} {
		ours, err := shellLoop(d, form.command)
		if err != nil {
			return err
		}
		t.add(form.name+", in a shell loop", "ms", ours)
		if !b.peers {
			continue
		}
		theirs, err := shellLoop(d, strings.Replace(form.debian, "at ", "/usr/bin/at ", 1))
		t.peer("  Debian's for "+form.name, "ms", theirs, err).noted("nothing is fsynced")
		t.ratio("  ratio, "+form.name, ours, theirs).atMost(form.goal)
		if theirs, err = shellLoop(d, form.least); err != nil {
			return err
		}
		t.add("  a Go program that does one fdatasync of 4 KiB, as "+form.name, "ms", theirs)
		t.ratio("  ratio to it, "+form.name, ours, theirs).atMost(1.3)
	}
	return nil
}

// inLoop is how often a shell loop runs its command.
const inLoop = 100

// shellLoop returns how long a command takes in a shell loop, in milliseconds.
// What it queued with at(1) it removes again.
func shellLoop(d *daemon, command string) (float64, error) {
	cmd := exec.Command("sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do %s; i=$((i+1)); done", inLoop, command))
	cmd.Env = append(os.Environ(), "ACTIVATIOND_SOCKET="+d.client.Address)
	cmd.Dir = d.dir
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(begin)
	for l := range strings.Lines(string(out)) {
		if f := strings.Fields(l); len(f) > 1 && f[0] == "job" {
			_ = exec.Command("atrm", f[1]).Run()
		}
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %.200s", command, err, out)
	}
	return took.Seconds() * 1000 / inLoop, nil
}

// atqPending is how many jobs wait while atq is measured.
const atqPending = 100_000

// atqSpeed measures atq beside Debian's, whose spool is on a tmpfs.
func atqSpeed(b *bench, t *table) error {
	bin, err := b.installAt()
	if err != nil {
		return err
	}
	d, err := b.start("at: {deny: /dev/null}\n")
	if err != nil {
		return err
	}
	defer d.end()
	var script strings.Builder
	for _, kv := range os.Environ() {
		script.WriteString(kv + "; export X\n")
	}
	request := fmt.Sprintf("at\nwhen:%d\nbase64:yes\nscript:%s\n\n", time.Now().Add(20*24*time.Hour).Unix(),
		base64.StdEncoding.EncodeToString([]byte(script.String())))
	if _, _, err := d.pipeline(atqPending, request); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(bin, "atq"))
	cmd.Env = append(os.Environ(), "ACTIVATIOND_SOCKET="+d.client.Address)
	begin := time.Now()
	out, err := cmd.Output()
	ours := time.Since(begin).Seconds() * 1000
	if n := strings.Count(string(out), "\n"); err != nil || n != atqPending {
		return fmt.Errorf("atq: %d lines: %w", n, err)
	}
	t.add(fmt.Sprintf("atq, %d pending", atqPending), "ms", ours)
	if !b.peers {
		return nil
	}
	out, err = exec.Command("unshare", "-m", "sh", "-c", `set -e
mount -t tmpfs none /var/spool/cron/atjobs
cd /var/spool/cron/atjobs
awk -v n=$0 -v t=$(($(date +%s) / 60 + 28800)) 'BEGIN { for (i = 1; i <= n; i++) printf "a%05x%08x\n", i, t }' | xargs touch
begin=$(date +%s%N)
atq >/dev/null
echo $(($(date +%s%N) - begin))`, strconv.Itoa(atqPending)).Output()
	ns := 0.0
	if err == nil {
		ns, err = strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	}
	t.peer("  Debian's atq", "ms", ns/1e6, err).noted("its spool is on a tmpfs")
	t.ratio("  ratio", ours, ns/1e6).atMost(1)
	return nil
}
