package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"activationd/control"
	"activationd/control/access"
	"activationd/control/line"
	"activationd/internal/fault"
)

// TestScript runs testdata/script/*.txtar: atctl, which executes atctl-lab, with a daemon
// that leases VLANs from 100 on, and none to "2@lab". While it leases some to "3@lab", it
// removes the directory "gone" of the script.
func TestScript(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin+"/", ".", "../atctl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			socket, err := serve(t, e.WorkDir)
			if err != nil {
				return err
			}
			e.Setenv("ACTIVATIOND_SOCKET", socket)
			e.Setenv("PATH", bin+string(os.PathListSeparator)+e.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": exitStatus},
	})
}

// exitStatus N CMD ARG... runs CMD, which must exit with N.
func exitStatus(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		got = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// serve answers like a daemon at the socket that it returns, until the test ends.
func serve(t *testing.T, work string) (string, error) {
	dir, err := os.MkdirTemp("", "atctl-lab") // the path of a socket must be short
	if err != nil {
		return "", err
	}
	var leases []control.VLANLease
	log := slog.New(slog.DiscardHandler)
	s := &line.Server{Log: log, Gate: &access.Gate{Log: log}, Registry: control.NewRegistry(
		control.Declare("vlan alloc", control.Submitter, "", func(_ context.Context, _ control.Caller, in control.VLANAllocIn) (r control.Reply[control.VLANLease], err error) {
			if in.Holder == "2@lab" {
				return r, fmt.Errorf("the pool d is 2 short; 1@lab has 100: %w", fault.Unavailable)
			}
			if in.Holder == "3@lab" {
				err = os.RemoveAll(filepath.Join(work, "gone"))
			}
			leases = nil
			for i, l := range in.Link {
				leases = append(leases, control.VLANLease{Domain: in.Domain[min(i, len(in.Domain)-1)], ID: 100 + i, State: "leased", Holder: in.Holder, Link: l})
			}
			r.Lines = leases
			return r, err
		}),
		control.Declare("vlan release", control.Admin, "", func(_ context.Context, _ control.Caller, in control.VLANReleaseIn) (r control.Reply[control.VLANLease], err error) {
			leases = slices.DeleteFunc(leases, func(l control.VLANLease) bool { return l.ID == in.ID })
			return r, nil
		}),
		control.Declare("vlan list", control.Viewer, "", func(context.Context, control.Caller, control.VLANListIn) (r control.Reply[control.VLANLease], err error) {
			r.Lines = leases
			return r, nil
		}),
	)}
	ln, err := net.Listen("unix", filepath.Join(dir, "ctl"))
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Serve(ctx, ln, access.UnixPeers(func(uint32, []uint32) control.Role { return control.Admin }))
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		_ = os.RemoveAll(dir)
	})
	return ln.Addr().String(), nil
}
