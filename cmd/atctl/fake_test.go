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
	"strconv"
	"strings"
	"syscall"
	"time"

	"activationd/activation"
	"activationd/activation/recurring"
	"activationd/control"
	"activationd/control/access"
	"activationd/control/line"
	"activationd/control/ops"
	"activationd/event"
	"activationd/internal/fault"
	"activationd/store/bolt"
	"activationd/vlanstore"
)

// A fake answers like a daemon whose history is always the same, so that scripts can test
// how atctl handles every kind of reply. It records the requests for changes in the file
// "requests".
type fake struct {
	jobs map[string]control.Detail
	ids  []string
}

// fakeDaemon is the command fakedaemon of the scripts. It serves a fake at a Unix socket, or
// at a TCP port whose address it writes into a file, until SIGTERM.
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
	log := slog.New(slog.DiscardHandler)
	s := &line.Server{Registry: newFake(life).registry(), Log: log, Gate: &access.Gate{Log: log}}
	if tokens != "" {
		var t access.Tokens
		if err := t.Load(tokens); err != nil {
			return err
		}
		s.Gate.Token = t.Caller
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
	if tcp != "" { // renamed, so that the file is complete when it appears
		err := os.WriteFile(tcp+".new", []byte(ln.Addr().String()), 0o600)
		if err := errors.Join(err, os.Rename(tcp+".new", tcp)); err != nil {
			return err
		}
	}
	switch {
	case tokens != "": // without a token, a caller has no role
		return s.Serve(ctx, ln, func(net.Conn) (control.Caller, error) { return control.Caller{Via: "test", UID: -1, GID: -1}, nil })
	case tcp != "":
		return s.Serve(ctx, ln, access.TCPPeers{Role: control.Admin, UID: -1, GID: -1}.Authenticate)
	}
	return s.Serve(ctx, ln, access.UnixPeers(func(uint32, []uint32) control.Role { return control.Admin }))
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
		d.Status = control.Status(d.Kind, d.State, d.Outcome)
		if d.Planned.IsZero() {
			d.Planned, d.Created = day, day.Add(-time.Hour)
		}
		if d.Outcome == "" {
			d.Due.Time = d.Planned
		}
		if d.Kind == "reservation" || d.Outcome == "" {
			d.Start.Time = d.Planned
		}
		if len(d.Attempts) > 0 {
			last := d.Attempts[len(d.Attempts)-1]
			d.Started.Time, d.Exit, d.Signal = last.Started, last.Exit, last.Signal
		}
		if d.Outcome != "" {
			d.Ended.Time, d.End.Time, d.Start = day.Add(2*time.Second), day.Add(2*time.Second), d.Started
		}
		if !d.Started.IsZero() && !d.Ended.IsZero() {
			took := d.Ended.Sub(d.Started.Time).Seconds()
			d.Took = &took
		}
		f.jobs[d.ID] = d
		f.ids = append(f.ids, d.ID)
	}
	finished := func(id, outcome, label, reason string, attempts ...control.Attempt) {
		add(control.Detail{
			Activation: control.Activation{
				ID: id, State: "finished", Outcome: outcome, Label: label, Reason: reason,
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
			ID: "6", State: "scheduled", Planned: at("2099-01-01T09:00:00Z"),
			Kind: "job", Owner: "bob", Label: "evil \x1b[31mlabel\nof two lines", Reason: "due 2099-01-01 09:00",
		},
		Backoff:  "9s",
		Attempts: []control.Attempt{},
	})
	add(control.Detail{
		Activation: control.Activation{
			ID: "1042@ostrava", Kind: "reservation", Owner: "group7", State: "active",
			End: control.Instant{Time: at("2099-03-02T12:00:00+01:00")}, Label: "ospf-triangle", Reason: "until the slot's end",
		},
		Generation: 18, Source: "lab.yml", Devices: []string{"r1", "r2"}, Topology: "ospf-triangle.clab.yml",
		Created: day.Add(-time.Hour), Attempts: []control.Attempt{attempt},
	})
	add(control.Detail{
		Activation: control.Activation{
			ID: "1043@ostrava", Kind: "reservation", Owner: "group8", State: "waiting",
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
		return d, fmt.Errorf("there is no job %s: %w", id, fault.NotFound)
	}
	if ended, err := os.ReadFile("ended"); err == nil && slices.Contains(strings.Fields(string(ended)), id) { // since it was listed
		d.State, d.Outcome = "finished", "succeeded"
	}
	return d, nil
}

type (
	nothing = control.Nothing
	caller  = control.Caller
)

// fakeAt accepts a job and writes its script, without the environment, into a file.
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
		control.Declare("service list", control.Viewer, "", fakeServices),
		control.DeclareStream("why", control.Viewer, "", f.why),
		control.DeclareStream("audit", control.Viewer, "", f.audit),
		control.Declare("report", control.Viewer, "", fakeReport),
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
					err := noteRequest("backup")
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
		control.Declare("source put", control.Operator, "", func(ctx context.Context, c caller, in control.SourcePutIn) (r control.Reply[control.ReloadLine], err error) {
			if r, err = f.reload(ctx, c, control.ReloadIn{Force: in.Force, DryRun: in.DryRun}); err == nil {
				err = noteRequest("source put", in.Name, in.Reservations)
			}
			return r, err
		}),
		control.Declare("source show", control.Operator, "", func(context.Context, caller, control.SourceNameIn) (r control.Reply[control.SourceContent], err error) {
			r.Lines = []control.SourceContent{{Reservations: []json.RawMessage{json.RawMessage(`{"id":"1@x"}`)}}}
			return r, nil
		}),
		control.Declare("publish", control.Submitter, "",
			func(_ context.Context, _ caller, in control.PublishIn) (r control.Reply[control.PublishOut], err error) {
				if _, err := event.Publish(in.Topic, in.Text); err != nil {
					return r, err
				}
				r.Lines = append(r.Lines, control.PublishOut{Topic: in.Topic, Since: 90})
				return r, noteRequest("publish", in.Topic, in.Text)
			}),
		control.Declare("linkconf", control.Operator, "",
			func(_ context.Context, _ caller, in control.LinkconfIn) (r control.Reply[nothing], err error) {
				return r, noteRequest("linkconf", in.Resid, in.Topology)
			}),
		control.Declare("dellinkconf", control.Operator, "",
			func(_ context.Context, _ caller, in control.DellinkconfIn) (r control.Reply[nothing], err error) {
				if _, err := f.get(in.Delresid); err != nil {
					return r, err
				}
				return r, noteRequest("dellinkconf", in.Delresid)
			}),
		control.Declare("stop", control.Admin, "",
			func(_ context.Context, _ caller, in control.StopIn) (r control.Reply[nothing], err error) {
				return r, noteRequest("stop", "drain", fmt.Sprint(in.Drain))
			}),
		control.Declare("cancel", control.Submitter, "",
			func(_ context.Context, _ caller, in control.CancelIn) (r control.Reply[control.Activation], err error) {
				states := []string{"scheduled", "waiting", "active"}
				if in.ID == "6" {
					states = append(states, "finished") // it ends while it is cancelled
				}
				return f.turn("cancel", in.ID, in.Reason, states...)
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
	return control.NewRegistry(slices.Concat(all, fakeQueueOps(), engineOps())...)
}

// engineOps are the real operations on VLANs and recurrences, with a store of their own.
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
	for _, op := range ops.Registry(ops.Daemon{Engine: engine, Recurrences: recurring.New(engine), Identity: nobody, Sections: new(vlanstore.Sections)}).Ops() {
		if strings.HasPrefix(op.Name, "vlan ") || strings.HasPrefix(op.Name, "every ") || op.Name == "next" || op.Name == "clock" {
			all = append(all, *op)
		}
	}
	return all
}

// noteRequest appends a request to the file "requests".
func noteRequest(words ...string) error {
	w, err := os.OpenFile("requests", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
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
		return r, fmt.Errorf("%s: cannot %s: it is %s: %w", id, verb, d.State, fault.Conflict)
	}
	r.Lines = append(r.Lines, d.Activation)
	return r, noteRequest(verb, id, reason)
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
	data, err := json.Marshal(in)
	if err := errors.Join(err, os.WriteFile("listed", append(data, '\n'), 0o600)); err != nil {
		return r, err
	}
	for _, id := range f.ids {
		d := f.jobs[id]
		all := slices.Contains(in.State, "all")
		switch {
		case len(in.State) == 0 && in.Outcome == nil && !in.Failed && d.State == "finished",
			in.Outcome != nil && !slices.Contains(in.Outcome, d.Outcome),
			in.Failed && d.State != "stuck" && !slices.Contains([]string{"failed", "timed_out", "missed", "lost"}, d.Outcome),
			len(in.State) > 0 && !all && !slices.Contains(in.State, d.State),
			in.Owner != "" && in.Owner != d.Owner,
			in.Kind != "" && in.Kind != d.Kind,
			in.Label != "" && in.Label != d.Label,
			in.ID != "" && !strings.HasPrefix(d.ID, strings.TrimSuffix(in.ID, "*")),
			in.Limit > 0 && len(r.Lines) == in.Limit:
			continue
		}
		d.Can = in.Verb != ""
		r.Lines = append(r.Lines, d.Activation)
	}
	return r, nil
}

func (f *fake) why(_ context.Context, _ caller, in control.IDIn, send func(control.WhyLine) error) error {
	d, err := f.get(in.ID)
	if err != nil {
		return err
	}
	if d.Kind == "reservation" {
		err = send(control.WhyLine{Text: "reservation " + d.ID + " of " + d.Owner})
	}
	return errors.Join(err, send(control.WhyLine{Time: d.Planned, Text: "was due"}), send(control.WhyLine{Text: "now: " + d.Reason}))
}

// fakeReport reports small and large numbers, and nothing of months of the last century.
func fakeReport(_ context.Context, _ caller, in control.ReportIn) (r control.Reply[control.ReportLine], err error) {
	if err := noteRequest("report", in.By, in.Month, in.From, in.To, in.Owner, in.Sort); err != nil || strings.HasPrefix(in.Month, "19") {
		return r, err
	}
	for _, l := range []control.ReportLine{
		{Jobs: 12, Runs: 12, Failures: 1, Failed: 1, Succeeded: 11, JobHours: 0.25},
		{Name: "ada, \"the countess\" of Lovelace", Slots: 4, Jobs: 310, Runs: 325, Failures: 6, TimedOut: 4, Lost: 2, Succeeded: 300, Cancelled: 8, NotBegun: 3, DeviceHours: 16.07, BookedHours: 16, JobHours: 120.5},
		{Name: "group7", Slots: 20000, Runs: 1000041, Failures: 1, DeviceHours: 1600000.88, BookedHours: 1600000},
		{Total: true, Slots: 20004, Jobs: 322, Runs: 1000378, Failures: 8, DeviceHours: 1600016.95, BookedHours: 1600016, JobHours: 120.75},
	} {
		l.By, l.From, l.To = in.By, "2026-11", "2026-11"
		r.Lines = append(r.Lines, l)
	}
	return r, nil
}

func (f *fake) audit(_ context.Context, _ caller, in control.AuditIn, send func(control.Event) error) error {
	if err := noteRequest(append([]string{"audit", in.By, strings.Join(in.Action, ","), in.Since, in.Until, in.Match, strconv.Itoa(in.N)}, in.ID...)...); err != nil {
		return err
	}
	day, ada, olga := f.jobs["1"].Planned, &control.Actor{Kind: "uid", Name: "ada"}, &control.Actor{Kind: "token", Name: "olga"}
	for i, ev := range []control.Event{
		{ID: "6", Action: "add", Actor: ada, Label: "report"},
		{ID: "6", Action: "edit", Actor: olga, Label: "report", Reason: "by olga", Changes: []control.Change{
			{Field: "start", From: "2026-03-02T09:00:00Z", To: "2026-03-02T11:00:00Z"}, {Field: "priority", From: "0", To: "5"}, {Field: "input"},
			{Field: "env", To: "A changed"}, {Field: "tag", To: "night"}}},
		{ID: "6", Action: "hold", Actor: ada, Label: "report", Reason: "held by ada"},
		{ID: "6", Action: "cancel", Actor: ada, Label: "report", Reason: "cancelled by ada: not today"},
		{ID: "1042@ostrava", Action: "announce", Actor: &control.Actor{Kind: "source", Name: "lab.yml"}, Source: "lab.yml", Generation: 18},
		{ID: "1042@ostrava", Action: "remove", Actor: olga, Source: "lab.yml", Generation: 19, Reason: "its source no longer announces it"},
		{Action: "reload", Actor: olga, Generation: 19, Reason: "generation=19 added=0"},
	} {
		ev.Seq, ev.Time = uint64(i+1), day.Add(time.Duration(i)*time.Second)
		if err := send(ev); err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) log(ctx context.Context, _ caller, in control.LogIn, send func(control.LogOut) error) error {
	if _, err := f.get(in.ID); err != nil {
		return err
	}
	if in.ID == "6" {
		return fmt.Errorf("6 has no attempt yet: %w", fault.NotFound)
	}
	text := fmt.Sprintf("phase=%s attempt=%s\n", in.Phase, in.Attempt)
	err := errors.Join(send(control.LogOut{Text: text}), send(control.LogOut{Base64: "/wAK"}))
	if err == nil && in.Follow {
		<-ctx.Done() // the client hangs up
	}
	return err
}

// fakeServices has an instance in each state. The processes were started a while ago.
func fakeServices(context.Context, caller, control.ServiceIn) (r control.Reply[control.ServiceInstance], err error) {
	next := time.Date(2026, 3, 2, 10, 30, 0, 0, time.UTC)
	add := func(service string, n int, state, reason, user, command string, up time.Duration, failures int, next time.Time) {
		i := control.ServiceInstance{
			ID: strings.ReplaceAll(service, "/", "_") + "@" + strconv.Itoa(n), Service: service, Instance: n, State: state, Reason: reason,
			Since: next, Run: 3, User: user, Command: command, Failures: failures, Next: control.Instant{Time: next},
		}
		if up > 0 {
			i.PID, i.Started.Time = 4711+len(r.Lines), time.Now().Add(-up)
		}
		r.Lines = append(r.Lines, i)
	}
	var never time.Time
	web := "/usr/bin/python3 -m http.server --bind 127.0.0.1 "
	add("db", 1, "ready", "", "redis", "/usr/bin/redis-server --port 6379", 50*time.Hour, 0, never)
	add("mail/queue", 1, "backoff", "run 3 exited with status 1", "www-data", "php artisan queue:work", 0, 2, next)
	add("mail/queue", 2, "fatal", "run 3 was terminated by signal 9", "www-data", "php artisan queue:work", 0, 10, next)
	add("shop/web", 1, "ready", "", "www-data", web+"8001", 90*time.Minute, 0, never)
	add("shop/web", 2, "unready", "http http://127.0.0.1:8002/: status 503 Service Unavailable: the database does not answer (3 times in a row)", "www-data", web+"8002", 90*time.Minute, 0, never)
	add("shop/web", 3, "starting", "", "www-data", web+"8003", 5*time.Hour, 1, never) // long, so that it shows no seconds, which a slow machine adds
	add("shop/web", 4, "draining", "restarted by ada", "www-data", web+"8004", 90*time.Minute, 0, never)
	add("shop/web", 5, "stopping", "scaled from 5 to 4 by ada", "www-data", web+"8005", 90*time.Minute, 0, never)
	add("shop/worker", 1, "waiting", "waits for the service mail_queue, which is fatal", "www-data", "/srv/shop/bin/worker", 0, 0, never)
	add("spare", 1, "down", "stopped by ada", "root", "sleep 1000", 0, 0, never)
	return r, nil
}

func (f *fake) wait(ctx context.Context, _ caller, in control.IDIn, send func(control.WaitOut) error) error {
	d, err := f.get(in.ID)
	if err != nil {
		return err
	}
	if d.State != "finished" {
		if err := noteRequest("wait", in.ID); err != nil {
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
	day := f.jobs["1"].Planned
	for i, ev := range []control.Event{
		{What: "load", Reason: "generation 18"},
		{What: "state", Topic: "activation.1.waiting", ID: "1", State: "waiting", Actor: &control.Actor{Kind: "uid", Name: "ada", Role: "submitter"}},
		{What: "state", Topic: "activation.1042@ostrava.active", ID: "1042@ostrava", State: "active", Reason: "activated"},
		{What: "edited", ID: "6", Kind: "job", Owner: "bob", Label: "evil \x1b[31mlabel", State: "scheduled", Reason: "by olga", Action: "edit",
			Actor: &control.Actor{Kind: "token", Name: "olga"}, Changes: []control.Change{{Field: "start", From: "2026-03-02T09:00:00Z", To: "2099-01-01T09:00:00Z"}}},
		{What: "state", ID: "7", Kind: "job", Owner: "bob", Label: "nightly", State: "finished", Outcome: "failed", Reason: "exited with status 1", Failed: true},
		{What: event.Published, Topic: "build.42.done", Text: "3 \x1b[31mwarnings\nin all", Actor: &control.Actor{Kind: "token", Name: "ada"}},
	} {
		if ev.What == event.Published && in.Topic == nil {
			continue
		}
		ev.Seq, ev.Time = uint64(i+1), day.Add(time.Duration(i)*time.Second)
		if in.Since == "70" { // they are gone
			ev = control.Event{What: "gap", Seq: 90, Time: ev.Time, From: 71}
		}
		if in.Since == "700" { // there never were so many
			ev = control.Event{What: "gap", Time: ev.Time, Reset: true}
		}
		since, _ := strconv.ParseUint(in.Since, 10, 64)
		if ev.What != "gap" && (ev.Seq <= since || in.ID != "" && in.ID != ev.ID || in.Topic != nil && !slices.Contains(in.Topic, ev.Topic)) {
			continue
		}
		if err := send(ev); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

// A fakeStatus is the status of a daemon that may be older than what needs attention.
type fakeStatus struct {
	control.StatusOut
	Attention *[]control.Attention `json:"attention,omitempty"`
}

func (f *fake) status(context.Context, caller, nothing) (r control.Reply[fakeStatus], err error) {
	needs := []control.Attention{}
	if _, err := os.Stat("quiet"); err != nil {
		day := f.jobs["1"].Planned
		needs = append(needs,
			control.Attention{Kind: "clock", Text: "not trusted yet: the clock went back by 2h0m0s", Try: "timedatectl"},
			control.Attention{Kind: "stuck", ID: "7@ostrava", Label: "ospf", Since: day, Text: "deactivate attempt 3 exited with status 1", Try: "atctl retry 7@ostrava"},
			control.Attention{Kind: "source", Source: "db", Since: day, Text: "connection refused", Try: "atctl reload"},
			control.Attention{Kind: "rejected", ID: "9@ostrava", Source: "lab.yml", Since: day, Text: "lab.yml:12: end: is before start"},
			control.Attention{Kind: "rejected", Source: "lab.yml", Since: day, Text: "lab.yml:19: id: is missing"},
			control.Attention{Kind: "login", ID: "7@ostrava", Device: "sw1", Since: day, Text: "refused the password of admin", Try: "atctl retry --device sw1"},
			control.Attention{Kind: "quarantined", ID: "7@ostrava", Domain: "ostrava", VLAN: 102, Since: day, Text: "not verified", Try: "atctl vlan free ostrava 102"},
			control.Attention{Kind: "failed", ID: "2", Label: "check", Since: day, Text: "failed: exit 3\x1b[31m", Try: "atctl why 2"},
			control.Attention{Kind: "failed", More: 12, Try: "atctl list --failed --since 24h"},
		)
	}
	var attention *[]control.Attention
	if _, err := os.Stat("old"); err != nil { // otherwise the daemon knows nothing of attention
		attention = &needs
	}
	_, err = os.Stat("loading")
	loading := err == nil
	if loading {
		if err := noteRequest("status"); err != nil {
			return r, err
		}
	}
	r.Lines = append(r.Lines, fakeStatus{Attention: attention, StatusOut: control.StatusOut{
		Loading: loading,
		Clock:   control.Clock{Now: time.Now(), Zone: "Europe/Prague", Offset: "+01:00"},
		Version: "v1.2.3", PID: 99, Started: f.jobs["1"].Planned, Guard: "subreaper", GuardWhy: "no cgroup v2 to write to",
		StateDir: "/var/lib/activationd", RuntimeDir: "/run/activationd", User: "root", Generation: 18,
		Next: f.jobs["6"].Planned, Running: 2, States: map[string]int{"scheduled": 1, "active": 1, "waiting": 1},
		Sources: []control.SourceStatus{{Name: "lab.yml", Live: 2, Rejected: 1, Over: 3, Read: f.jobs["1"].Planned, Error: "line 3: no such thing"}, {Name: "db"}},
	}})
	return r, nil
}

func (f *fake) reload(_ context.Context, _ caller, in control.ReloadIn) (r control.Reply[control.ReloadLine], err error) {
	mode, err := os.ReadFile("reload") // the result of the reload
	if err != nil {
		return r, err
	}
	r.Summary = "generation=19 added=1 changed=0 removed=0 rejected=0 over=0"
	switch strings.TrimSpace(string(mode)) {
	case "rejected":
		r.Summary = "generation=19 added=1 changed=0 removed=0 rejected=1 over=1"
		r.Lines = []control.ReloadLine{
			{What: "source", Source: "lab.yml", Text: "rejected=1 over=1"},
			{What: "rejected", ID: "9@ostrava", Source: "lab.yml", Text: "lab.yml:12: end: is before start\nline 14: grase: unknown key; did you mean grace?"},
			{What: "over", ID: "8@ostrava", Source: "lab.yml", Text: "lab.yml:3: its slot ended at 2020-12-01 13:00:00 CET, before it was read"},
			{What: "conflict", ID: "3@ostrava", Text: "1@ostrava has r1 from 2099-12-21 10:00:00 CET to 2099-12-21 12:00:00 CET, and 2 more have it later"},
			{What: "notice", Source: "lab.yml", Text: "look here"},
		}
	case "failed":
		r.Lines = []control.ReloadLine{{What: "failed", Source: "db", Text: "connection refused"}}
	case "refused":
		r.Lines = []control.ReloadLine{{What: "failed", Source: "portal", Text: "would remove 9 of 10"}}
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
