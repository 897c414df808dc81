package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/completion"
	"activationd/internal/connection"
	"activationd/internal/display"
)

const (
	// completionTime bounds a completion: the shell waits for it. What has arrived by then is
	// used.
	completionTime = time.Second
	// programTime bounds that of another program of atctl's, which waits for nothing but the daemon, and for that no
	// longer than completionTime. On a busy machine its start alone can take a second.
	programTime = 10 * time.Second
	// looksAt is how many activations or other records a completion looks at, the newest
	// first, and offers is how many of them it offers at most: bash asks before it prints more
	// than 100.
	looksAt = 1000
	offers  = 100
)

// values says how the values of flags are completed.
func (a *app) values() completion.Values {
	outcomes := []string{"succeeded", "failed", "timed_out", "cancelled", "missed", "lost"}
	holders := func(l control.VLANLease) []string { return []string{l.Holder} }
	return completion.Values{
		"FILE": completion.Files, "PATH": completion.Files, "DIR": completion.Dirs,
		"DURATION": completion.Nothing, "TIME": completion.Nothing, "N": completion.Nothing, "NUMBER": completion.Nothing,
		"TEXT": completion.Nothing, "REGEXP": completion.Nothing, "MODE": completion.Nothing, "HOST:PORT": completion.Nothing,

		"WHEN": completion.Words("now", "tomorrow"),
		"ZONE": completeZones,
		"STATE": completion.Words(append([]string{"scheduled\tits time has not come", "held\tuntil it is released", "waiting\tfor locks or other jobs",
			"running\ta job", "activating\ta job that runs, or a reservation that is being activated", "active\ta reservation in its slot",
			"deactivating", "stuck\tneeds an operator", "conflicting\ta reservation that cannot have what it wants", "finished", "rejected\ta reservation that is wrong", "over\ta reservation that came too late"}, outcomes...)...),
		"OUTCOME":         completion.Words(outcomes...),
		"KIND":            completion.Words("job", "reservation", "service"),
		"--sort WHAT":     completion.Words("planned", "started", "ended", "due", "took", "id", "owner", "state"),
		"FIELD":           completion.Words(clearable...),
		"--cron EXPR":     completion.Words("@hourly", "@daily", "@weekly", "@monthly", "@yearly", "@reboot"),
		"--calendar EXPR": completion.Words("minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "semiannually", "yearly"),

		"ID":                  a.completeIDs(0, control.ListIn{State: []string{"all"}}),
		"--after ID":          a.completeAfter,
		"USER":                completion.Nothing,
		"OWNER":               fromReplies(a, "list", everything, func(act control.Activation) []string { return []string{act.Owner} }),
		"TAG":                 completion.List(fromReplies(a, "list", everything, func(act control.Activation) []string { return act.Tags })),
		"ACTION":              completion.List(completion.Words(actions...)),
		"--by NAME":           fromReplies(a, "audit", control.AuditIn{N: looksAt}, func(ev control.Event) []string { return []string{ev.Actor.Name} }),
		"NUMBER|TIME":         completion.Words("0\tall stored events", "today", "yesterday"),
		"DEVICE":              completion.List(fromReplies(a, "login list", nil, func(l control.Login) []string { return []string{l.Device} })),
		"-1|-2":               completion.Words("-1\tthe last run that has ended", "-2\tthe run before it"),
		"--attempt N|all":     a.completeAttempts,
		"--every NAME":        a.completeRecurrences(1),
		"MONTH":               completion.Words("this", "last"),
		"--by WHAT":           completion.Words("owner", "device", "tag"),
		"COLUMN":              completion.Words("name", "slots", "jobs", "runs", "failures", "device-hours", "booked-hours", "job-hours"),
		"--lock NAME":         fromReplies(a, "locks", control.Nothing{}, lockNames),
		"--device NAME":       completion.List(fromReplies(a, "locks", control.Nothing{}, lockNames)),
		"NAMES":               completion.List(fromReplies(a, "calendar", control.CalendarIn{Idle: true}, func(l control.CalendarLine) []string { return []string{l.Device} })),
		"KIND:N":              completion.Nothing,
		"--name NAME":         fromReplies(a, "vlan sections", nil, func(v control.SectionVisit) []string { return []string{v.Name} }),
		"QUEUE":               fromReplies(a, "queue list", control.QueueListIn{}, func(q control.Queue) []string { return []string{q.Name} }),
		"KEY":                 completion.Nothing,
		"MESSAGE":             completion.Nothing,
		"N|all":               completion.Words("all"),
		"--header NAME=VALUE": completion.Nothing,
		"GROUP":               fromReplies(a, "service list", nil, func(i control.ServiceInstance) []string { return i.Groups }),
		"DOMAIN":              a.completeDomains,
		"HOLDER":              fromReplies(a, "vlan list", nil, holders),
		"--link LINK":         fromReplies(a, "vlan list", nil, func(l control.VLANLease) []string { return []string{l.Link} }),
		"NAME=VALUE":          completeVariables,
	}
}

// actions are those of acts.
var actions = []string{
	"add", "edit", "cancel", "hold", "release", "run", "retry", "forgive", "announce", "change", "remove", "reload", "stop", "linkconf", "dellinkconf",
	"every add", "every edit", "every change", "every hold", "every release", "every run", "every remove", "vlan alloc", "vlan release", "vlan quarantine", "vlan free",
	"login retry", "pause", "resume", "service start", "service stop", "service restart", "service scale",
	"book add", "book extend", "book edit", "book end",
	"queue create", "queue delete", "queue pause", "queue resume", "queue restart", "queue purge", "queue retry", "queue cancel", "queue allow", "queue deny",
}

// arguments says how the arguments of commands are completed.
func (a *app) arguments() completion.Arguments {
	in := func(states ...string) control.ListIn { return control.ListIn{State: states} }
	unfinished, all := control.ListIn{}, in("all")
	begun := in("activating", "active", "deactivating", "stuck")
	return completion.Arguments{
		"add":         completeCommand(0, nil),
		"show":        a.completeIDs(0, all),
		"why":         a.completeIDs(1, all),
		"log":         a.completeIDs(0, begun, in("finished")),
		"files":       a.completeIDs(1, begun, in("finished")),
		"wait":        a.completeIDs(1, unfinished),
		"edit":        completeCommand(1, a.completeIDs(1, control.ListIn{State: []string{"scheduled", "held", "waiting"}, Kind: "job"})),
		"progress":    completion.Nothing,
		"cancel":      a.completeIDs(0, unfinished),
		"hold":        a.completeIDs(0, in("scheduled")),
		"release":     a.completeIDs(0, in("held")),
		"run":         a.completeIDs(0, in("scheduled", "held")),
		"retry":       a.completeIDs(0, control.ListIn{Failed: true}, control.ListIn{Outcome: []string{"cancelled"}}),
		"forgive":     a.completeIDs(0, in("stuck"), in("activating", "deactivating")),
		"next":        a.completeRecurrences(1),
		"linkconf":    a.completeLinkconf,
		"dellinkconf": a.completeIDs(1, control.ListIn{Kind: "reservation"}),

		"import-cron": completion.Files,

		"every add":     completeCommand(1, completion.Nothing),
		"every edit":    completeCommand(1, a.completeRecurrences(1)),
		"every show":    a.completeRecurrences(1),
		"every remove":  a.completeRecurrences(0),
		"every hold":    a.completeRecurrences(0),
		"every release": a.completeRecurrences(0),
		"every run":     a.completeRecurrences(1),

		"book add":    completion.Nothing,
		"book extend": a.completeBookings(1),
		"book edit":   a.completeBookings(1),
		"book end":    a.completeBookings(0),

		"queue create":  completion.Nothing,
		"queue delete":  a.completeQueues(1),
		"queue list":    a.completeQueues(0),
		"queue push":    a.completeQueues(1),
		"queue peek":    a.completeMessages(1, "all"),
		"queue result":  a.completeMessages(1, "all"),
		"queue cancel":  a.completeMessages(0, "all"),
		"queue purge":   a.completeQueues(1),
		"queue dead":    a.completeDead,
		"queue allow":   a.completeQueues(0),
		"queue deny":    a.completeQueues(0),
		"queue allowed": a.completeQueues(0),
		"queue listen":  a.completeQueues(0),
		"queue restart": a.completeQueues(0),
		"queue pause":   a.completeQueues(0),
		"queue resume":  a.completeQueues(0),

		"service list":    a.completeServices,
		"service status":  a.completeServices,
		"service start":   a.completeServices,
		"service stop":    a.completeServices,
		"service restart": a.completeServices,
		"service scale":   a.completeScale,
		"service log":     a.completeServices,
		"service reload":  a.completeServices,
		"service env":     a.completeServices,
		"service new":     completion.Nothing,

		"source put":  a.completeSource,
		"source show": a.completeSource,

		"audit": a.completeIDs(0, all),
		"events": completion.Words("activation.#\tall about jobs and reservations", "activation.*.finished", "activation.*.stuck",
			"activation.*.attempt.#", "load.#\tall about loads of reservations"),
		"publish": completion.Nothing,
		"pause":   a.completePause,
		"resume":  a.completeResume,
		"backup":  completion.Files,

		"check":           completion.Files,
		"lab":             completeBy(labName),
		"top":             completeBy(topName),
		"vlan alloc":      a.completeDomains,
		"vlan release":    a.completeVLANs("leased"),
		"vlan quarantine": a.completeVLANs("leased"),
		"vlan free":       a.completeVLANs("quarantined"),
		"vlan section":    completeCommand(0, nil),
	}
}

// pausable are the words for what can be paused.
var pausable = []string{"daemon", "source", "queue", "device"}

// completePause completes what can be paused.
func (a *app) completePause(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return completion.Matching(pausable, typed), completion.None
	}
	complete := completion.Nothing
	switch args[0] {
	case "queue":
		complete = a.completeQueues(0)
	case "device":
		complete = fromReplies(a, "locks", control.Nothing{}, lockNames)
	case "source":
		complete = a.completeSource
	}
	return complete(cmd, args[1:], typed)
}

// completeSource completes the name of a source, and then that of a file.
func (a *app) completeSource(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	switch verb := cmd.Name(); {
	case verb == "put" && len(args) == 1:
		return completion.Files(cmd, args, typed)
	case (verb == "put" || verb == "show") && len(args) > 0:
		return nil, completion.None
	}
	return fromReplies(a, "status", control.Nothing{}, func(s control.StatusOut) (names []string) {
		for _, src := range s.Sources {
			names = append(names, src.Name)
		}
		return names
	})(cmd, args, typed)
}

// completeResume completes what is paused.
func (a *app) completeResume(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return fromReplies(a, "pauses", control.Nothing{}, func(p control.Pause) []string {
		switch {
		case len(args) == 0:
			return []string{p.What}
		case args[0] == p.What:
			return []string{p.Name}
		}
		return nil
	})(cmd, args, typed)
}

// completeQueues completes up to most names of queues; 0: any number.
func (a *app) completeQueues(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, completion.None
		}
		var names []string
		replies(cmd, a, "queue list", control.QueueListIn{}, func(q control.Queue) bool {
			if strings.HasPrefix(q.Name, typed) && !slices.Contains(args, q.Name) {
				names = append(names, q.Name+"\t"+printable(q.Status))
			}
			return len(names) < offers
		})
		return names, completion.None
	}
}

// completeMessages completes the name of a queue, and then up to most numbers of its messages;
// 0: any number.
func (a *app) completeMessages(most int, state string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return a.completeQueues(1)(cmd, args, typed)
		}
		if most > 0 && len(args) > most {
			return nil, completion.None
		}
		var found []string
		replies(cmd, a, "queue peek", control.QueuePeekIn{Name: args[0], State: state, Limit: looksAt}, func(m control.QueueMessage) bool {
			if id := strconv.FormatUint(m.ID, 10); strings.HasPrefix(id, typed) && !slices.Contains(args[1:], id) {
				found = append(found, id+"\t"+m.State)
			}
			return len(found) < offers
		})
		return found, completion.None
	}
}

// completeDead completes a queue, what to do with its dead letters, and numbers of these.
func (a *app) completeDead(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return completion.Matching(deadVerbs, typed), completion.None
	}
	if len(args) > 1 {
		args = slices.Delete(slices.Clone(args), 1, 2)
	}
	return a.completeMessages(0, "dead")(cmd, args, typed)
}

// completeBookings completes up to most ids of bookings; 0: any number.
func (a *app) completeBookings(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, completion.None
		}
		return fromReplies(a, "book list", control.BookListIn{}, func(b control.Booking) []string {
			if slices.Contains(args, b.ID) {
				return nil
			}
			return []string{b.ID}
		})(cmd, args, typed)
	}
}

// completeServices completes names of services, and instances.
func (a *app) completeServices(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return fromReplies(a, "service list", nil, func(i control.ServiceInstance) []string {
		return slices.DeleteFunc([]string{i.Service, i.ID}, func(name string) bool { return slices.Contains(args, name) })
	})(cmd, args, typed)
}

// completeScale completes the name of a service, and then the word for the declared number.
func (a *app) completeScale(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return fromReplies(a, "service list", nil, func(i control.ServiceInstance) []string { return []string{i.Service} })(cmd, args, typed)
	case 1:
		return completion.Matching([]string{"declared"}, typed), completion.None
	}
	return nil, completion.None
}

// completeLinkconf completes a reservation, and then the name of a file.
func (a *app) completeLinkconf(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.completeIDs(1, control.ListIn{Kind: "reservation"})(cmd, args, typed)
	}
	return completion.Files(cmd, args, typed)
}

// everything selects the newest activations, finished ones included.
var everything = control.ListIn{State: []string{"all"}, Limit: looksAt}

// replies calls fn with the lines of the daemon's reply, until fn returns false. If the
// daemon does not answer in time, or fails, there are fewer lines or none, and replies
// returns false.
func replies[Out any](cmd *cobra.Command, a *app, name string, in any, fn func(Out) bool) bool {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	err := stream(ctx, a, name, in, func(out Out) error {
		if !fn(out) {
			return errEnough
		}
		return nil
	})
	return err == nil || errors.Is(err, errEnough)
}

// fromReplies completes what of finds in the lines of a reply.
func fromReplies[Out any](a *app, name string, in any, of func(Out) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		var found []string
		replies(cmd, a, name, in, func(out Out) bool {
			for _, word := range of(out) {
				if word != "" && strings.HasPrefix(word, typed) && !slices.Contains(found, word) {
					found = append(found, word)
				}
			}
			return len(found) < offers
		})
		slices.Sort(found)
		return found, completion.None
	}
}

// completeIDs completes up to most ids of activations (0: any number) that the queries
// select: those of the first one come first.
func (a *app) completeIDs(most int, queries ...control.ListIn) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, completion.None
		}
		var found []string
		for _, in := range queries {
			in.ID, in.Limit = typed+"*", offers+len(args)
			answered := replies(cmd, a, "list", in, func(act control.Activation) bool {
				if strings.HasPrefix(act.ID, typed) && !slices.Contains(args, act.ID) {
					found = append(found, printable(act.ID)+"\t"+about(act))
				}
				return len(found) < offers
			})
			if !answered {
				break // the time is over
			}
		}
		return found, completion.None
	}
}

// about describes an activation.
func about(act control.Activation) string {
	what := act.Label
	if what == "" {
		what = act.Command
	}
	if what == "" {
		return display.State(&act)
	}
	return printable(what) + ", " + display.State(&act)
}

// completeAfter completes an id, and after a colon the outcome.
func (a *app) completeAfter(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	if id, outcome, ok := strings.Cut(typed, ":"); ok {
		var words []string
		for _, w := range completion.Matching([]string{"success", "failure", "any"}, outcome) {
			words = append(words, id+":"+w)
		}
		return words, completion.None
	}
	return a.completeIDs(0, control.ListIn{})(cmd, nil, typed)
}

// completeRecurrences completes up to most names of recurrences; 0: any number.
func (a *app) completeRecurrences(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		var names []string
		if most > 0 && len(args) >= most {
			return nil, completion.None
		}
		replies(cmd, a, "every list", control.EveryListIn{}, func(r control.Recurrence) bool {
			if strings.HasPrefix(r.Name, typed) && !slices.Contains(args, r.Name) {
				names = append(names, r.Name+"\t"+printable(r.When))
			}
			return true
		})
		return names, completion.None
	}
}

// completeAttempts completes all, or the number of an attempt of the activation that args
// name.
func (a *app) completeAttempts(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	found := completion.Matching([]string{"all"}, typed)
	if len(args) == 0 {
		return found, completion.None
	}
	replies(cmd, a, "show", control.IDIn{ID: args[0]}, func(d control.Detail) bool {
		for _, at := range d.Attempts {
			if n := strconv.Itoa(at.N); strings.HasPrefix(n, typed) {
				found = append(found, n+"\t"+at.Phase+": "+display.EndedBy(&at))
			}
		}
		return true
	})
	return found, completion.None
}

// completeCommand has the shell complete the rest of the line as a command of its own. The
// first own arguments are completed by first.
func completeCommand(own int, first cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) < own {
			return first(cmd, args, typed)
		}
		return []string{strconv.Itoa(len(args) - own + 1)}, completion.Command
	}
}

// lockNames returns the name of a lock without its units.
func lockNames(l control.Lock) []string {
	name, _, _ := strings.Cut(l.Want, "=")
	name, _, _ = strings.Cut(name, ":")
	return []string{name}
}

func (a *app) completeDomains(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return fromReplies(a, "vlan pools", nil, func(p control.VLANPool) []string { return []string{p.Domain} })(cmd, args, typed)
}

// completeVLANs completes a domain, and then ids of the domain in one of states.
func (a *app) completeVLANs(states string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return a.completeDomains(cmd, args, typed)
		}
		var ids []string
		replies(cmd, a, "vlan list", control.VLANListIn{Domain: args[0], State: states}, func(l control.VLANLease) bool {
			if id := strconv.Itoa(l.ID); strings.HasPrefix(id, typed) && !slices.Contains(args[1:], id) {
				ids = append(ids, id+"\t"+printable(strings.TrimSpace(l.Holder+" "+l.Link)))
			}
			return len(ids) < offers
		})
		return ids, completion.None
	}
}

// completeVariables completes the name of a variable of the environment.
func completeVariables(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, typed) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, completion.None
}

// completeZones completes names of the time zones that this machine knows.
func completeZones(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	const dir = "/usr/share/zoneinfo"
	var zones []string
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error { // without zones, none is completed
		name := strings.TrimPrefix(path, dir+"/")
		switch {
		case err != nil:
			return err
		case path == dir:
		case name[0] < 'A' || name[0] > 'Z': // tables, and other forms of the same zones
			if entry.IsDir() {
				return fs.SkipDir
			}
		case !entry.IsDir() && strings.HasPrefix(name, typed):
			zones = append(zones, name)
		}
		return nil
	})
	return zones, completion.None
}

// completeBy asks a program that parses its command lines itself.
func completeBy(name string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		program, err := connection.FindProgram(name)
		if err != nil {
			return nil, completion.None
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), programTime)
		defer cancel()
		out, err := exec.CommandContext(ctx, program, slices.Concat([]string{cobra.ShellCompRequestCmd}, args, []string{typed})...).Output()
		if err != nil {
			return nil, completion.None
		}
		var found []string
		for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
			if n, err := strconv.Atoi(strings.TrimPrefix(s.Text(), ":")); err == nil && strings.HasPrefix(s.Text(), ":") {
				return found, cobra.ShellCompDirective(n)
			}
			found = append(found, s.Text())
		}
		return found, completion.None
	}
}
