package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDirect compares the path that adds a job before the runtime begins with the
// ordinary one, which --json=false leads to: requests, output and exit status are the same,
// for command lines that it understands or not, and for replies of all kinds.
func TestDirect(t *testing.T) {
	early := earlyProgram(t)
	const due = `,"due":"2099-12-21T10:00:00.123Z"`
	replies := []string{
		"200 OK id=17\n{\"id\":\"17\"" + due + "}\n.\n",
		"200 OK id=17\n{\"id\":\"17\"" + due + ",\"notices\":[\"there is no ehco\"]}\n.\n",
		"200 OK id=17\n{\"id\":\"18\"" + due + "}\n.\n",
		"200 notice: wait\n{\"id\":\"17\"" + due + "}\n.\n",
		"200 OK id=17\n{\"id\":\"17\"" + due + "}\n{\"id\":\"18\"" + due + "}\n.\n",
		"200 OK id=17\n{\"error\":{\"code\":503,\"text\":\"later\"}}\n.\n",
		"200 OK id=17\n.\n",
		"200 OK id=17\n{\"id\":\"17\"",
		"409 the job conflicts\n.\n",
		"hello\n",
		"",
	}
	lines := [][]string{
		{"--", "true"}, {"true", "--json"}, {"--in", "20d", "--", "echo", "a b", ""}, {"--in=5m", "--label=a=b", "ls", "--help"},
		{"--lock", "a", "--lock=b:shared", "--tag", "x,y", "--after", "7", "--", "-"}, {"-", "x"}, {"--", "--in"},
		{"--in", "1m", "--in", "2m", "true"}, {"--in"}, {"--in", ""}, {"--in=", "true"}, {}, {"--"}, {"-h"}, {"a b"}, {"--", ""},
		{"--at", "now", "true"}, {"--label", "\"quoted", "true"}, {"echo", "a\nb"}, {"echo", "\xff"}, {"--label", "\xff", "true"},
		{"--nothing", "true"}, {"-in", "5m", "true"}, {"---in", "5m", "true"}, {"--lab", "x", "true"}, {"--in", "--", "true"},
		{"--hold", "true"}, {"--priority", "5", "true"}, {"--retries", "x", "true"}, {"--at", "now", "--in", "5m", "true"},
	}
	words := []string{"--in", "--in=5m", "5m", "--", "-", "true", "--lock", "--lock=a", "--tag", "--timeout=1m", "--grace", "--missed=run",
		"--label", "x y", "--backoff=1s", "--after=3", "", "--hold", "a", "\"", "=", "--=", "--x", "\u00e9", "--umask=022", "--env=A=b"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		var line []string
		for range random.IntN(6) {
			line = append(line, words[random.IntN(len(words))])
		}
		lines = append(lines, line)
	}
	for i, line := range lines {
		reply := replies[0]
		if i >= 30 {
			reply = replies[random.IntN(len(replies))]
		}
		compareAdd(t, early, line, reply)
	}
	for _, reply := range replies {
		compareAdd(t, early, []string{"--in", "20d", "--", "true"}, reply)
	}
}

// compareAdd adds a job in both ways.
func compareAdd(t *testing.T, early string, line []string, reply string) {
	t.Helper()
	compare(t, early, invocation{reply: reply, args: append([]string{"atctl", "add"}, line...)},
		invocation{reply: reply, args: append([]string{"atctl", "add", "--json=false"}, line...)})
}

// TestDirectAt compares the direct path of at and batch with the ordinary one, which -- leads to.
func TestDirectAt(t *testing.T) {
	early := earlyProgram(t)
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte("echo \"file\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{
		{"now"}, {"now", "+", "20", "days"}, {"now", "+", "1", "minute"}, {"now", "+", "0", "weeks"}, {"now", "+", "9999", "weeks"},
		{"now", "+", "x", "days"}, {"now", "+"}, {"NOW"}, {"now + 5 minutes"}, {"12:00", "tomorrow"}, {},
	} {
		compareAt(t, early, invocation{reply: atReplies[0], stdin: "true\n"}, words)
	}
	compareAt(t, early, invocation{reply: atReplies[0], stdin: strings.Repeat("x\x00\xff", 300_000)}, []string{"now", "+", "2", "hours"})
	for _, env := range []string{"TZ=Europe/Prague", "TZ=CET-1CEST", "TZ=Nowhere", "TZ=UTC", "ODD=a 'b'\n\xff", "PWD=/tmp/..", "POSIXLY_CORRECT=1"} {
		compareAt(t, early, invocation{reply: atReplies[0], env: env, stdin: "true"}, []string{"now", "+", "20", "days"})
	}
	for _, reply := range atReplies {
		compareAt(t, early, invocation{reply: reply, options: []string{"-f", file}}, []string{"now", "+", "2", "hours"})
	}
	compareAt(t, early, invocation{reply: atReplies[0], options: []string{"-f", file + "2"}}, []string{"now"})
	compareAt(t, early, invocation{reply: atReplies[0], options: []string{"-f", filepath.Dir(file)}}, []string{"now"})
	compareAt(t, early, invocation{reply: atReplies[0], options: []string{"-f", "/dev/null"}}, []string{"now"})
	for _, reply := range atReplies {
		compare(t, early, invocation{reply: reply, args: []string{"batch"}, stdin: "true\n"},
			invocation{reply: reply, args: []string{"at", "-qb", "--", "now"}, stdin: "true\n"})
	}
}

// TestDirectIsEarly: these do not need Go's runtime, whose start takes 189 page faults. If they began it, all else
// would be the same.
func TestDirectIsEarly(t *testing.T) {
	early := earlyProgram(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "script")
	if err := os.WriteFile(file, []byte("true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const added = "200 OK id=17\n{\"id\":\"17\",\"due\":\"2099-12-21T10:00:00Z\"}\n.\n"
	for _, c := range []invocation{
		{args: []string{"atctl", "add", "--in", "20d", "--", "true"}, reply: added},
		{args: []string{"at", "now", "+", "2", "hours"}, stdin: "true\n", reply: atReplies[0]},
		{args: []string{"at", "-f", file, "now"}, reply: atReplies[0]},
		{args: []string{"batch"}, stdin: "true\n", reply: atReplies[0]},
	} {
		c.env = "TZ=UTC"
		if did, faults := c.observe(t, dir, early); faults > 120 || !strings.Contains(did, "status 0") {
			t.Errorf("%q: %d page faults, want at most 120\n%s", c.args, faults, did)
		}
	}
}

// TestDirectFIFO: the script of a job may come from a FIFO, whose writer must not lose it.
func TestDirectFIFO(t *testing.T) {
	early := earlyProgram(t)
	const script = "echo \"once\"\n"
	dir := t.TempDir()
	file, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.WriteFile(file, []byte(script), 0o600), syscall.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	for when, program := range map[string]string{"late": filepath.Join(plain, "atctl"), "early": early} {
		asked := func(name string) string {
			did := invocation{reply: atReplies[0], args: []string{"at", "-f", name, "now", "+", "20", "days"}}.run(t, dir, program)
			_, request, _ := strings.Cut(did, "script:")
			return request
		}
		wrote := make(chan error, 1)
		go func() { wrote <- os.WriteFile(fifo, []byte(script), 0o600) }()
		got := asked(fifo)
		if err := <-wrote; err != nil {
			t.Errorf("%s: the writer of the FIFO: %v", when, err)
		}
		if want := asked(file); got != want || want == "" {
			t.Errorf("%s: the script is %q, want %q", when, got, want)
		}
	}
}

var atReplies = []string{
	"200 OK id=17\n{\"id\":\"17\"}\n.\n", "200 OK id=17\n", "200 OK id=x\n.\n", "200 OK\n.\n", "200 OK id=17",
	"403 at.allow and at.deny do not name you\n.\n", "503 later\n.\n", "hello\n", "",
	"500 " + strings.Repeat("long ", 1000) + "\n.\n", "200 OK id=" + strings.Repeat("1", 300) + "\n.\n",
}

// compareAt adds a job in both ways.
func compareAt(t *testing.T, early string, c invocation, words []string) {
	t.Helper()
	ordinary := c
	c.args = append(append([]string{"at"}, c.options...), words...)
	ordinary.args = append(append(append([]string{"at"}, c.options...), "--"), words...)
	compare(t, early, c, ordinary)
}

// compare does both, in the same minute. The direct path is taken twice: before the runtime begins, and after that.
func compare(t *testing.T, early string, direct, ordinary invocation) {
	t.Helper()
	dir := t.TempDir()
	this := filepath.Join(plain, "atctl")
	for again := true; again; {
		begin := time.Now().Truncate(time.Minute)
		want, late, soon := ordinary.run(t, dir, this), direct.run(t, dir, this), direct.run(t, dir, early)
		again = (late != want || soon != want) && !time.Now().Truncate(time.Minute).Equal(begin)
		for when, got := range map[string]string{"late": late, "early": soon} {
			if got != want && !again {
				t.Errorf("%.1000q, %s\n%.1000s\nbut %q\n%.1000s", direct, when, got, ordinary.args, want)
			}
		}
	}
}

// earlyProgram makes an atctl with an entry of its own.
func earlyProgram(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("make", "-s", "-C", "../..", "atctl", "BIN="+dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(dir, "atctl")
}

// An invocation is one of atctl, at or batch.
type invocation struct {
	args, options     []string
	env, stdin, reply string
}

// run runs it with a daemon that gives one reply. It returns what they did.
func (c invocation) run(t *testing.T, dir, program string) string {
	t.Helper()
	did, _ := c.observe(t, dir, program)
	return did
}

// observe runs it, and also returns how many page faults it took.
func (c invocation) observe(t *testing.T, dir, program string) (did string, faults int64) {
	t.Helper()
	socket := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	request := make(chan string, 1)
	go func() { request <- answerOne(ln, c.reply) }()
	var stdout, stderr bytes.Buffer
	cmd := &exec.Cmd{Path: program, Args: c.args, Dir: os.TempDir(), Stdin: strings.NewReader(c.stdin), Stdout: &stdout, Stderr: &stderr,
		Env: append(os.Environ(), "ACTIVATIOND_SOCKET="+socket, "PWD="+os.TempDir(), c.env)}
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	_ = ln.Close()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		faults = usage.Minflt
	}
	return fmt.Sprintf("stdout %q\nstderr %q\nstatus %d\nrequest %q", stdout.String(), stderr.String(), cmd.ProcessState.ExitCode(), <-request), faults
}

// answerOne gives a reply to one request, which it returns.
func answerOne(ln net.Listener, reply string) string {
	conn, err := ln.Accept()
	if err != nil {
		return "none"
	}
	defer func() { _ = conn.Close() }()
	var text strings.Builder
	for in := bufio.NewReader(conn); ; {
		line, err := in.ReadString('\n')
		text.WriteString(line)
		if err != nil || line == "\n" {
			break
		}
	}
	_, _ = conn.Write([]byte(reply))
	return text.String()
}
