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

// atSubmissions measures at beside Debian's at, from a shell loop: with the command
// that people type, and with at alone.
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
	for _, form := range []struct{ name, command string }{
		{"echo true | at now + 20 days", "echo true | %s now + 20 days"},
		{"at -f FILE now + 20 days", "%s -f " + script + " now + 20 days"},
	} {
		ours, err := shellLoop(d, 100, fmt.Sprintf(form.command, bin+"/at"))
		if err != nil {
			return err
		}
		t.add(form.name+", in a shell loop", "ms", ours)
		if b.peers {
			theirs, err := shellLoop(d, 100, fmt.Sprintf(form.command, "/usr/bin/at"))
			t.peer("  Debian's "+form.name, "ms", theirs, err).noted("nothing is fsynced")
			t.ratio("  ratio, "+form.name, ours, theirs).atMost(1.6)
		}
	}
	return nil
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
