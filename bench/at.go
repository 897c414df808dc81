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

// installAt installs atctl and the names under which it is at, and returns their
// directory. Its pages are those of a file that was copied, as make install
// leaves it: one that the linker has just written starts 0.1 ms slower.
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

// atSubmissions measures at beside Debian's at, from a shell loop: with what
// people write, and with at alone.
func atSubmissions(b *bench) ([]row, error) {
	bin, err := b.installAt()
	if err != nil {
		return nil, err
	}
	d, err := b.start("at: {deny: /dev/null}\n")
	if err != nil {
		return nil, err
	}
	defer d.end()
	script := filepath.Join(d.dir, "script")
	if err := os.WriteFile(script, []byte("true\n"), 0o600); err != nil {
		return nil, err
	}
	var rows []row
	for _, form := range []struct{ name, command, goal string }{
		{"echo true | at now + 20 days", "echo true | %s now + 20 days", "1.6 x"},
		{"at -f FILE now + 20 days", "%s -f " + script + " now + 20 days", ""},
	} {
		ours := row{what: form.name + ", in a shell loop", unit: "ms"}
		theirs := row{what: "  by Debian's at", unit: "ms", note: "nothing is fsynced"}
		ratio := row{what: "  ratio", unit: "x"}
		for range 3 * b.runs { // short ones, in turn: what else the machine does comes and goes
			o, err := shellLoop(d, 100, fmt.Sprintf(form.command, bin+"/at"))
			if err != nil {
				return nil, err
			}
			t, err := shellLoop(d, 100, fmt.Sprintf(form.command, "/usr/bin/at"))
			if err != nil {
				return append(rows, ours, row{what: "  by Debian's at", note: err.Error()}), nil
			}
			ours.figures, theirs.figures, ratio.figures = append(ours.figures, o), append(theirs.figures, t), append(ratio.figures, o/t)
		}
		if form.goal != "" {
			ratio = ratio.than(form.goal, median(ratio.figures) <= 1.6)
		}
		rows = append(rows, ours, theirs, ratio)
	}
	return rows, nil
}

// atqPending is how many jobs wait while atq is measured.
const atqPending = 100_000

// atqSpeed measures atq beside Debian's, which has its spool on a tmpfs.
func atqSpeed(b *bench) ([]row, error) {
	bin, err := b.installAt()
	if err != nil {
		return nil, err
	}
	d, err := b.start("at: {deny: /dev/null}\n")
	if err != nil {
		return nil, err
	}
	defer d.end()
	var script strings.Builder
	for _, kv := range os.Environ() {
		script.WriteString(kv + "; export X\n")
	}
	request := fmt.Sprintf("at\nwhen:%d\nbase64:yes\nscript:%s\n\n", time.Now().Add(20*24*time.Hour).Unix(),
		base64.StdEncoding.EncodeToString([]byte(script.String())))
	if _, _, err := d.pipeline(atqPending, request); err != nil {
		return nil, err
	}
	ours := row{what: fmt.Sprintf("atq, %d pending", atqPending), unit: "ms"}
	theirs := row{what: "  Debian's atq", unit: "ms", note: "its spool is on a tmpfs"}
	for range b.runs {
		cmd := exec.Command(filepath.Join(bin, "atq"))
		cmd.Env = append(os.Environ(), "ACTIVATIOND_SOCKET="+d.client.Address)
		begin := time.Now()
		out, err := cmd.Output()
		ours.figures = append(ours.figures, time.Since(begin).Seconds()*1000)
		if n := strings.Count(string(out), "\n"); err != nil || n != atqPending {
			return nil, fmt.Errorf("atq: %d lines: %w", n, err)
		}
	}
	out, err := exec.Command("unshare", "-m", "sh", "-c", `set -e
mount -t tmpfs none /var/spool/cron/atjobs
cd /var/spool/cron/atjobs
awk -v n=$0 -v t=$(($(date +%s) / 60 + 28800)) 'BEGIN { for (i = 1; i <= n; i++) printf "a%05x%08x\n", i, t }' | xargs touch
i=0
while [ $i -lt $1 ]; do
	begin=$(date +%s%N)
	atq >/dev/null
	echo $(($(date +%s%N) - begin))
	i=$((i + 1))
done`, strconv.Itoa(atqPending), strconv.Itoa(b.runs)).Output()
	if err != nil {
		return []row{ours, {what: "  Debian's atq", note: err.Error()}}, nil
	}
	ratio := row{what: "  ratio", unit: "x"}
	for i, f := range strings.Fields(string(out)) {
		ns, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return nil, err
		}
		theirs.figures = append(theirs.figures, ns/1e6)
		ratio.figures = append(ratio.figures, ours.figures[i]/(ns/1e6))
	}
	return []row{ours, theirs, ratio.than("1 x", median(ratio.figures) < 1)}, nil
}
