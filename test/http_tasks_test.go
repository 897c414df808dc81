package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestHTTPTasks runs the commands of docs/http.md, in their order, on a daemon. Where the page
// shows a reply after commands, the last reply has the same fields, of the same types.
func TestHTTPTasks(t *testing.T) {
	t.Parallel()
	needRoot(t) // the daemon runs jobs as root
	needProgram(t, "curl")
	page, err := os.ReadFile("../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Common tasks\n")
	section, _, _ = strings.Cut(section, "\n## ")
	d := newDaemon(t, `listen_http: [{address: '127.0.0.1:0', role: admin, user: root}]
lab: {inventory: DIR/inventory.yaml}
booking: {devices: ['r*'], activate: ['true'], deactivate: ['true']}
`)
	d.write("inventory.yaml", "devices:\n  r1: {platform: frr, connect: telnet://127.0.0.1:1}\n", 0o644)
	d.Start()
	env := append(os.Environ(), "API=http://"+d.tcp()+"/api/v1")
	tried := 0
	var last []byte
	for _, block := range regexp.MustCompile("(?s)```(sh|json)\n(.*?)```").FindAllStringSubmatch(section, -1) {
		if block[1] == "json" {
			var want, got any
			if err := json.Unmarshal([]byte(block[2]), &want); err != nil {
				t.Errorf("%v in %s", err, block[2])
			}
			if err := json.Unmarshal(last, &got); err != nil {
				t.Errorf("%v in %s", err, last)
			}
			if err := alike("the reply", want, got); err != nil {
				t.Errorf("%v: it is %s", err, last)
			}
			continue
		}
		for command := range strings.Lines(block[2]) {
			if strings.HasPrefix(command, "API=") {
				continue
			}
			tried++
			if strings.HasPrefix(command, "curl -fN ") {
				followed(t, env, command)
				continue
			}
			var errors bytes.Buffer
			cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
			cmd.Env, cmd.Stderr = env, &errors
			if last, err = cmd.Output(); err != nil {
				t.Errorf("%s: %v %s%s", command, err, last, errors.Bytes())
			}
		}
	}
	if tried < 15 {
		t.Errorf("only %d commands were tried", tried)
	}
	d.ended("2", "cancelled", 125)
}

// followed runs a command that follows something, until it has printed a line of JSON.
func followed(t *testing.T, env []string, command string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec "+command)
	cmd.Env = env
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(out)
	for in.Scan() && !strings.HasPrefix(in.Text(), "{") {
	}
	if !json.Valid(in.Bytes()) {
		t.Errorf("%s printed %q", command, in.Text())
	}
	cancel()
	_ = cmd.Wait() // it was killed
}

// alike returns an error if got lacks something that want has, or has it as another type.
func alike(where string, want, got any) error {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is no object", where)
		}
		for name, value := range want {
			if _, ok := got[name]; !ok {
				return fmt.Errorf("%s has no %s", where, name)
			}
			if err := alike(where+"."+name, value, got[name]); err != nil {
				return err
			}
		}
		return nil
	case []any:
		got, ok := got.([]any)
		if !ok || len(want) > 0 && len(got) == 0 {
			return fmt.Errorf("%s is no list, or empty", where)
		}
		if len(want) > 0 {
			return alike(where+"[0]", want[0], got[0])
		}
		return nil
	}
	if g, w := fmt.Sprintf("%T", got), fmt.Sprintf("%T", want); g != w {
		return fmt.Errorf("%s is %s, want %s", where, g, w)
	}
	return nil
}
