package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/control/line"
	"activationd/control/ops"
	"activationd/internal/fault"
	"activationd/store/bolt"
	"activationd/vlanstore"
)

// A fake answers like a daemon whose history is always the same, so that what
// atctl makes of every kind of answer can be tested. What it is told to do it
// prints, as it got it.
type fake struct {
	jobs map[string]control.Detail
	ids  []string
}

// fakeDaemon is the command that scripts call fakedaemon: it serves a fake at
// a Unix socket, or a TCP port whose address it writes into a file, until
// SIGTERM.
func fakeDaemon() {
	socket := flag.String("socket", "", "")
	tcp := flag.String("tcp", "", "file for the address")
	cert := flag.String("tls", "", "prefix of .crt, .key and .ca files")
	tokens := flag.String("tokens", "", "file")
	life := flag.String("life", "", "file for the number of starts")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := serveFake(ctx, *socket, *tcp, *cert, *tokens, *life)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fakedaemon:", err)
		os.Exit(1)
	}
}

func serveFake(ctx context.Context, socket, tcp, cert, tokens, life string) error {
	s := &line.Server{Registry: newFake(life).registry(), Log: slog.New(slog.DiscardHandler)}
	if tokens != "" {
		var t line.Tokens
		if err := t.Load(tokens); err != nil {
			return err
		}
		s.Token = t.Caller
	}
	network, address := "unix", socket
	if tcp != "" {
		network, address = "tcp", "127.0.0.1:0"
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	if cert != "" {
		if ln, err = tlsListener(ln, cert); err != nil {
			return err
		}
	}
	if tcp != "" { // renamed into place, so that who sees it sees all of it
		err := os.WriteFile(tcp+".new", []byte(ln.Addr().String()), 0o600)
		if err := errors.Join(err, os.Rename(tcp+".new", tcp)); err != nil {
			return err
		}
	}
	switch {
	case tokens != "": // who has no token is nobody
		return s.Serve(ctx, ln, func(net.Conn) (control.Caller, error) { return control.Caller{Via: "test", UID: -1, GID: -1}, nil })
	case tcp != "":
		return s.Serve(ctx, ln, line.TCPPeers{Role: control.Admin, UID: -1, GID: -1}.Authenticate)
	}
	return s.Serve(ctx, ln, line.UnixPeers(func(uint32) control.Role { return control.Admin }))
}

func newFake(life string) *fake {
	at := func(s string) time.Time {
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			panic(err)
		}
		return t
	}
	day := at("2026-03-02T10:00:00.25+01:00")
	exit := func(n int) *int { return &n }
	attempt := control.Attempt{
		Phase: "activate", N: 1, PID: 4711, Started: day, Ended: day.Add(1500 * time.Millisecond),
		Exit: exit(0), Reason: "exited", Contained: "cgroup",
		Rusage: control.Rusage{User: 0.25, System: 0.05, MaxRSS: 2048},
	}
	f := &fake{jobs: make(map[string]control.Detail)}
	add := func(d control.Detail) {
		if d.Kind == "" {
			d.Kind, d.Owner = "job", "alice"
		}
		if d.Due.IsZero() {
			d.Due, d.Start, d.Created = day, day, day.Add(-time.Hour)
		}
		f.jobs[d.ID] = d
		f.ids = append(f.ids, d.ID)
	}
	finished := func(id, outcome, label, reason string, attempts ...control.Attempt) {
		add(control.Detail{
			Activation: control.Activation{
				ID: id, State: "finished", Outcome: outcome, End: control.Instant{Time: day.Add(2 * time.Second)}, Label: label, Reason: reason,
			},
			Activate: []string{"/bin/report", "--all", "two words"}, Dir: "/srv", Timeout: "1m0s", Grace: "10s",
			Attempts: append([]control.Attempt{}, attempts...),
		})
	}
	finished("1", "succeeded", "report", "", attempt)
	failed := attempt
	failed.Exit = exit(3)
	finished("2", "failed", "check", "exit 3", failed)
	hung := attempt
	hung.Exit, hung.Signal, hung.Reason, hung.Leftovers = nil, "KILL", "timeout", 2
	finished("3", "timed_out", "hang", "ran longer than 1m0s", hung)
	finished("4", "cancelled", "never", "cancelled by alice: not today")
	killed := attempt
	killed.Exit, killed.Signal = nil, "SEGV"
	finished("5", "failed", "crash", "killed by SEGV", killed)
	add(control.Detail{
		Activation: control.Activation{
			ID: "6", State: "scheduled", Due: at("2099-01-01T09:00:00Z"), Start: at("2099-01-01T09:00:00Z"),
			Kind: "job", Owner: "bob", Label: "evil \x1b[31mlabel\nof two lines", Reason: "due 2099-01-01 09:00",
		},
		Backoff:  "9s",
		Attempts: []control.Attempt{},
	})
	add(control.Detail{
		Activation: control.Activation{
			ID: "1042@ostrava", Kind: "reservation", Owner: "group7", State: "active", Due: day, Start: day,
			End: control.Instant{Time: at("2099-03-02T12:00:00+01:00")}, Label: "ospf-triangle", Reason: "until the slot's end",
		},
		Generation: 18, Source: "lab.yml", Devices: []string{"r1", "r2"}, Topology: "ospf-triangle.clab.yml",
		Created: day.Add(-time.Hour), Attempts: []control.Attempt{attempt},
	})
	add(control.Detail{
		Activation: control.Activation{
			ID: "1043@ostrava", Kind: "reservation", Owner: "group8", State: "waiting", Due: day, Start: day,
			End: control.Instant{Time: at("2099-03-02T12:00:00+01:00")}, Reason: "waits for lock r1",
		},
		WaitsFor: []string{"lock r1, held by 1042@ostrava", "lock r2, held by 1042@ostrava"}, Created: day,
		Attempts: []control.Attempt{},
	})
	if life != "" {
		f.live(life)
	}
	return f
}

// live counts a start in file.
func (f *fake) live(file string) {
	w, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(w, "start")
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		panic(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	if strings.Count(string(data), "\n") > 1 {
		d := f.jobs["6"]
		d.State, d.Outcome = "finished", "succeeded"
		f.jobs["6"] = d
	}
}

func (f *fake) get(id string) (control.Detail, error) {
	d, ok := f.jobs[id]
	if !ok {
		return d, fmt.Errorf("there is no job or reservation %q: %w", id, fault.NotFound)
	}
	return d, nil
}

type (
	nothing = control.Nothing
	caller  = control.Caller
)

// fakeAt takes a job and writes its script, without the environment, into a file.
func fakeAt(_ context.Context, _ caller, in control.AtIn) (r control.Reply[control.AddOut], err error) {
	script, err := base64.StdEncoding.DecodeString(strings.Join(in.Script, ""))
	if err != nil {
		return r, err
	}
	if in.Mailto == "nosuch" {
		return r, fmt.Errorf("there is no user nosuch to send mail to: %w", fault.NotFound)
	}
	if in.Queue == "z" {
		return r, fmt.Errorf("at.allow and at.deny do not let this user use at: %w", fault.Denied)
	}
	r.Summary = "id=7"
	_, body, _ := strings.Cut(string(script), "\n}\n")
	text := fmt.Sprintf("queue=%s mail=%s mailto=%s\n%s", in.Queue, in.Mail, in.Mailto, body)
	return r, os.WriteFile("at-job", []byte(text), 0o600)
}

func (f *fake) registry() *control.Registry {
	all := []control.Op{
		control.Declare("add", control.Submitter, "", f.add),
		control.Declare("at", control.Submitter, "", fakeAt),
		control.Declare("atq", control.Submitter, "", func(_ context.Context, _ caller, _ control.AtqIn) (r control.Reply[control.AtLines], err error) {
			if _, err := os.Stat("not-allowed"); err == nil {
				return r, fmt.Errorf("at.allow and at.deny do not let this user use at: %w", fault.Denied)
			}
			return r, nil
		}),
		control.Declare("list", control.Viewer, "", f.list),
		control.Declare("show", control.Viewer, "",
			func(_ context.Context, _ caller, in control.IDIn) (r control.Reply[control.Detail], err error) {
				d, err := f.get(in.ID)
				if err == nil {
					r.Lines = append(r.Lines, d)
				}
				return r, err
			}),
		control.DeclareStream("why", control.Viewer, "", f.why),
		control.DeclareStream("log", control.Viewer, "", f.log),
		control.DeclareStream("wait", control.Viewer, "", f.wait),
		control.DeclareStream("events", control.Viewer, "", f.events),
		control.DeclareStream("backup", control.Admin, "",
			func(ctx context.Context, _ caller, _ nothing, send func(control.BackupOut) error) error {
				for _, piece := range []string{"pretend ", "it is bbolt\n"} {
					if err := send(control.BackupOut{Base64: base64.StdEncoding.EncodeToString([]byte(piece))}); err != nil {
						return err
					}
				}
				if _, err := os.Stat("disk-hangs"); err == nil {
					err := told("backup")
					<-ctx.Done()
					return err
				}
				if _, err := os.Stat("disk-fails"); err == nil {
					return fmt.Errorf("the disk is on fire: %w", fault.Unavailable)
				}
				return nil
			}),
		control.Declare("status", control.Viewer, "", f.status),
		control.Declare("reload", control.Operator, "", f.reload),
		control.Declare("linkconf", control.Operator, "",
			func(_ context.Context, _ caller, in control.LinkconfIn) (r control.Reply[nothing], err error) {
				return r, told("linkconf", in.Resid, in.Topology)
			}),
		control.Declare("dellinkconf", control.Operator, "",
			func(_ context.Context, _ caller, in control.DellinkconfIn) (r control.Reply[nothing], err error) {
				if _, err := f.get(in.Delresid); err != nil {
					return r, err
				}
				return r, told("dellinkconf", in.Delresid)
			}),
		control.Declare("stop", control.Admin, "",
			func(_ context.Context, _ caller, in control.StopIn) (r control.Reply[nothing], err error) {
				return r, told("stop", "drain", fmt.Sprint(in.Drain))
			}),
		control.Declare("cancel", control.Submitter, "",
			func(_ context.Context, _ caller, in control.CancelIn) (r control.Reply[control.Activation], err error) {
				return f.turn("cancel", in.ID, in.Reason, "scheduled", "waiting", "active")
			}),
	}
	for verb, states := range map[string][]string{
		"hold": {"scheduled"}, "release": {"held"}, "run": {"scheduled", "held"}, "retry": {"stuck"}, "forgive": {"stuck"},
	} {
		all = append(all, control.Declare(verb, control.Operator, "",
			func(_ context.Context, _ caller, in control.IDIn) (control.Reply[control.Activation], error) {
				return f.turn(verb, in.ID, "", states...)
			}))
	}
	return control.NewRegistry(append(all, engineOps()...)...)
}

// engineOps are the real ones on VLANs and recurrences, on a store of their own.
func engineOps() (all []control.Op) {
	dir, err := os.MkdirTemp(".", "vlans-")
	if err != nil {
		panic(err)
	}
	db, err := bolt.Open(dir + "/state.db")
	if err != nil {
		panic(err)
	}
	pool := func(domain string, first, last int) vlanstore.Pool {
		return vlanstore.Pool{Domain: domain, Ranges: []vlanstore.Range{{First: first, Last: last}}, Exclude: []vlanstore.Range{{First: last, Last: last}}}
	}
	engine := activation.New(activation.Parts{DB: db, Log: slog.New(slog.DiscardHandler)}, activation.Settings{
		Pools: vlanstore.Pools{"ostrava": pool("ostrava", 100, 104), "praha": pool("praha", 7, 9)},
	})
	nobody := func(control.Caller) (*activation.Identity, error) { return nil, nil }
	for _, op := range ops.Registry(ops.Daemon{Engine: engine, Identity: nobody, Sections: new(vlanstore.Sections)}).Ops() {
		if strings.HasPrefix(op.Name, "vlan ") || strings.HasPrefix(op.Name, "every ") || op.Name == "next" {
			all = append(all, *op)
		}
	}
	return all
}

// told notes what the fake was told in the file "told", and returns a note's
// failure.
func told(words ...string) error {
	w, err := os.OpenFile("told", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%q\n", words)
	return errors.Join(err, w.Close())
}

func (f *fake) turn(verb, id, reason string, from ...string) (r control.Reply[control.Activation], err error) {
	d, err := f.get(id)
	if err != nil {
		return r, err
	}
	if !slices.Contains(from, d.State) {
		return r, fmt.Errorf("%s: cannot %s what is %s: %w", id, verb, d.State, fault.Conflict)
	}
	r.Lines = append(r.Lines, d.Activation)
	return r, told(verb, id, reason)
}

func (f *fake) add(_ context.Context, _ caller, in control.AddIn) (r control.Reply[control.AddOut], err error) {
	due := time.Date(2099, 1, 1, 9, 0, 0, 0, time.UTC)
	if in.At != "" && in.At != "now" {
		if due, err = time.Parse(time.RFC3339, in.At); err != nil {
			return r, fmt.Errorf("at: %q is no time; say \"2026-11-21 10:00\": %w", in.At, fault.Invalid)
		}
	}
	if in.In != "" {
		if _, err := time.ParseDuration(in.In); err != nil {
			return r, fmt.Errorf("in: %q is no duration; say 90s, 5m or 1h30m: %w", in.In, fault.Invalid)
		}
	}
	if in.Label == "broken" {
		return r, errors.New("a fault whose text stays in the log")
	}
	in.Dir = filepath.Base(in.Dir)
	r.Lines = append(r.Lines, control.AddOut{ID: "7", Due: due})
	data, err := json.Marshal(in)
	return r, errors.Join(err, os.WriteFile("added", append(data, '\n'), 0o600))
}

func (f *fake) list(_ context.Context, _ caller, in control.ListIn) (r control.Reply[control.Activation], err error) {
	for _, id := range f.ids {
		d := f.jobs[id]
		all := slices.Contains(in.State, "all")
		switch {
		case len(in.State) == 0 && d.State == "finished",
			len(in.State) > 0 && !all && !slices.Contains(in.State, d.State),
			in.Owner != "" && in.Owner != d.Owner,
			in.Kind != "" && in.Kind != d.Kind,
			in.Label != "" && in.Label != d.Label,
			in.Limit > 0 && len(r.Lines) == in.Limit:
			continue
		}
		r.Lines = append(r.Lines, d.Activation)
	}
	return r, nil
}

func (f *fake) why(_ context.Context, _ caller, in control.IDIn, send func(control.WhyLine) error) error {
	d, err := f.get(in.ID)
	if err != nil {
		return err
	}
	return errors.Join(send(control.WhyLine{Time: d.Due, Text: "was due"}), send(control.WhyLine{Text: "now: " + d.Reason}))
}

func (f *fake) log(ctx context.Context, _ caller, in control.LogIn, send func(control.LogOut) error) error {
	if _, err := f.get(in.ID); err != nil {
		return err
	}
	if in.ID == "6" {
		return fmt.Errorf("6 has no attempt yet: %w", fault.NotFound)
	}
	text := fmt.Sprintf("phase=%s attempt=%d\n", in.Phase, in.Attempt)
	err := errors.Join(send(control.LogOut{Text: text}), send(control.LogOut{Base64: "/wAK"}))
	if err == nil && in.Follow {
		<-ctx.Done() // its client hangs up
	}
	return err
}

func (f *fake) wait(ctx context.Context, _ caller, in control.IDIn, send func(control.WaitOut) error) error {
	d, err := f.get(in.ID)
	if err != nil {
		return err
	}
	if d.State != "finished" {
		if err := told("wait", in.ID); err != nil {
			return err
		}
		<-ctx.Done()
		return fmt.Errorf("the daemon stops: %w", fault.Unavailable)
	}
	return send(control.WaitOut{
		Activation: d.Activation,
		Exit:       map[string]int{"2": 3, "3": 124, "4": 125, "5": 139}[in.ID],
	})
}

func (f *fake) events(ctx context.Context, _ caller, in control.EventsIn, send func(control.Event) error) error {
	day := f.jobs["1"].Due
	for i, ev := range []control.Event{
		{What: "load", Reason: "generation 18"},
		{What: "state", ID: "1", State: "waiting"},
		{What: "state", ID: "1042@ostrava", State: "active", Reason: "activated"},
	} {
		ev.Seq, ev.Time = uint64(i+1), day.Add(time.Duration(i)*time.Second)
		if ev.Seq <= in.Since || in.ID != "" && in.ID != ev.ID {
			continue
		}
		if err := send(ev); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

func (f *fake) status(context.Context, caller, nothing) (r control.Reply[control.StatusOut], err error) {
	r.Lines = append(r.Lines, control.StatusOut{
		Version: "v1.2.3", PID: 99, Started: f.jobs["1"].Due, Guard: "subreaper", GuardWhy: "no cgroup v2 to write to",
		StateDir: "/var/lib/activationd", RuntimeDir: "/run/activationd", User: "root", Generation: 18,
		Next: f.jobs["6"].Due, Running: 2, States: map[string]int{"scheduled": 1, "active": 1, "waiting": 1},
		Sources: []control.SourceStatus{{Name: "lab.yml", Live: 2, Read: f.jobs["1"].Due, Error: "line 3: no such thing"}},
	})
	return r, nil
}

func (f *fake) reload(_ context.Context, _ caller, in control.ReloadIn) (r control.Reply[control.ReloadLine], err error) {
	mode, err := os.ReadFile("reload") // what is to happen
	if err != nil {
		return r, err
	}
	r.Summary = "generation=19 added=1 changed=0 removed=0 rejected=0"
	switch strings.TrimSpace(string(mode)) {
	case "rejected":
		r.Summary = "generation=19 added=1 changed=0 removed=0 rejected=1"
		r.Lines = []control.ReloadLine{
			{What: "notice", Source: "lab.yml", Text: "lab.yml:3: is in the past"},
			{What: "rejected", ID: "9@ostrava", Source: "lab.yml", Text: "lab.yml:12: end: is before start"},
		}
	case "failed":
		r.Lines = []control.ReloadLine{{What: "failed", Source: "db", Text: "connection refused"}}
	case "guarded":
		if !in.Force {
			return r, fmt.Errorf("would remove 9 of 10; say force:yes to do it: %w", fault.Conflict)
		}
	}
	if in.DryRun {
		r.Lines = append(r.Lines, control.ReloadLine{What: "added", ID: "10@ostrava"})
	}
	return r, nil
}
