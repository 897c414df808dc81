package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/display"
	"activationd/internal/fault"
)

type logOptions struct {
	control.LogIn
	keepGoing bool
	prefixed  bool // each line begins with the id, if there are several
}

func newLogCommand(a *app) *cobra.Command {
	var opts logOptions
	cmd := &cobra.Command{
		Use:   "log ID...",
		Short: "Print the output of attempts",
		Long: `Log prints output byte for byte: standard output and standard error in the order in
which they were written. Without other flags it prints the output of the newest attempt
that has written something; on a terminal it also names the other attempts. If an
attempt could not be started, log says why.

With -f, log goes on until the job or reservation is finished: with later attempts, and
with the deactivation of a reservation. On a terminal it says what it waits for. It goes
on if the daemon is restarted in the meantime. Several jobs are followed at once.

--grep takes a regular expression in the syntax of RE2 and prints the lines that match.
It searches all attempts, unless --attempt has a number. A line of more than 1 MiB is
searched in parts.

A heading such as "==> attempt 2, 2099-11-21 10:00:00, exit 1 <==" precedes the output of
each attempt. With several IDs or --attempt all it is on standard output,
otherwise on standard error; the output of a single attempt has none.`,
		Example: `  atctl log -f 17
  atctl log -n 20 17 18
  atctl log --attempt all --grep 'error|refused' 1042@ostrava`,
		Args: takes(1, 0, "an ID; see atctl list --all"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("lines") && opts.Lines == "" {
				return usage(cmd, "-n needs a number")
			}
			return runLog(cmd.Context(), a, opts, args)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&opts.Follow, "follow", "f", false, "go on until the job or reservation is finished")
	f.StringVarP(&opts.Lines, "lines", "n", "", "print only the last `N` lines of each attempt")
	f.StringVar(&opts.Grep, "grep", "", "print only lines that match `REGEXP`")
	f.StringVar(&opts.Phase, "phase", "", "print the output of the phase `activate|deactivate`")
	f.StringVar(&opts.Attempt, "attempt", "", "print the output of attempt `N|all`")
	f.BoolVarP(&opts.keepGoing, "keep-going", "k", false, "try every ID")
	return cmd
}

func runLog(ctx context.Context, a *app, opts logOptions, ids []string) error {
	p := &logPrinter{
		json: a.json, several: len(ids) > 1, each: opts.Attempt == "all" || opts.Grep != "" || opts.Follow,
		lone: len(ids) == 1 && opts.Attempt != "all" && opts.Grep == "", told: isTerminal(os.Stderr), titles: os.Stderr,
		attempts: make(map[logKey]control.Attempt),
	}
	if opts.prefixed && p.several {
		p.rest = make(map[string][]byte)
	}
	if !p.json && (p.told || p.each) {
		var err error
		ask := func() (err error) {
			p.clock, err = a.clock(ctx)
			return err
		}
		if opts.Follow { // the daemon may end here, too
			err = outlast(a, ask)
		} else {
			err = ask()
		}
		if err != nil {
			return err
		}
	}
	if p.several || opts.Attempt == "all" {
		p.titles = os.Stdout
	}
	do := func(id string) error {
		defer p.flush(id)
		in := opts.LogIn
		in.ID = id
		if in.Follow {
			return followLog(ctx, a, in, p)
		}
		var last control.LogOut // about the attempt
		err := stream(ctx, a, "log", in, func(line json.RawMessage) error {
			out, err := p.print(line)
			if out.Attempt != nil {
				last = out
			}
			return err
		})
		if err == nil && !p.json {
			p.explain(&in, &last)
		}
		return err
	}
	if !p.several {
		return do(ids[0])
	}
	if !opts.Follow {
		return forEachID(ids, opts.keepGoing, do)
	}
	if _, err := a.client(); err != nil { // once, before it is shared
		return err
	}
	errs := make([]error, len(ids))
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() { errs[i] = forEachID(ids[i:i+1], true, do) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// followLog prints a log as it grows. If the daemon is restarted, it goes on where it was.
func followLog(ctx context.Context, a *app, in control.LogIn, p *logPrinter) error {
	return outlast(a, func() error {
		return stream(ctx, a, "log", in, func(line json.RawMessage) error {
			out, err := p.print(line)
			if out.Next != "" {
				in.Next = out.Next
			}
			return err
		})
	})
}

// A logKey names an attempt.
type logKey struct {
	id, phase string
	n         int
}

// String names the attempt for people.
func (k logKey) String() string { return display.AttemptName(k.id, k.phase, k.n) }

// A logPrinter prints the output of one attempt or of several. Several goroutines may use
// it.
type logPrinter struct {
	json    bool
	several bool      // ids
	each    bool      // headings name attempts, of which an id may have several
	lone    bool      // the first attempt has no heading
	told    bool      // standard error is a terminal
	titles  io.Writer // for headings
	clock   *clock    // nil unless told or each

	mu       sync.Mutex
	attempts map[logKey]control.Attempt
	last     logKey // what was printed last; zero: nothing
	wrote    bool   // output was printed

	// rest has, by id, the beginning of a line whose end has not come yet; nil: lines have no
	// prefix.
	rest map[string][]byte
}

// print prints a line of the daemon's reply, and returns it.
func (p *logPrinter) print(line json.RawMessage) (out control.LogOut, err error) {
	if err := json.Unmarshal(line, &out); err != nil {
		return out, fmt.Errorf("the daemon's reply %.80q: %w: %w", line, err, fault.Internal)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.json {
		_, err := fmt.Printf("%s\n", line)
		return out, err
	}
	if act := out.Activation; act != nil {
		if p.told {
			fmt.Fprintln(os.Stderr, "atctl: "+printable(nowText(act, p.clock)))
		}
		return out, nil
	}
	data, err := outputIn(&out)
	if err != nil {
		return out, err
	}
	if p.rest != nil {
		return out, p.lines(out.ID, data)
	}
	key := logKey{out.ID, out.Phase, out.N}
	_, known := p.attempts[key]
	if out.Attempt != nil {
		p.attempts[key] = *out.Attempt
	}
	if key != p.last && (len(data) > 0 || !known) {
		if err := p.heading(key); err != nil {
			return out, err
		}
	}
	p.wrote = p.wrote || len(data) > 0
	_, err = os.Stdout.Write(data)
	return out, err
}

// outputIn returns the output that a line of the daemon's reply has.
func outputIn(out *control.LogOut) ([]byte, error) {
	if out.Base64 == "" {
		return []byte(out.Text), nil
	}
	data, err := base64.StdEncoding.DecodeString(out.Base64)
	if err != nil {
		return nil, fmt.Errorf("the daemon's reply: %w: %w", err, fault.Internal)
	}
	return data, nil
}

// lines prints the lines of an id, each after a prefix, as far as they have come.
func (p *logPrinter) lines(id string, data []byte) error {
	data = append(p.rest[id], data...)
	whole := bytes.LastIndexByte(data, '\n') + 1
	p.rest[id] = bytes.Clone(data[whole:])
	var b bytes.Buffer
	for line := range bytes.Lines(data[:whole]) {
		b.WriteString(id + " | ")
		b.Write(line)
	}
	_, err := os.Stdout.Write(b.Bytes())
	return err
}

// flush prints the last line of an id, which has no end.
func (p *logPrinter) flush(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.rest[id]) > 0 {
		_ = p.lines(id, []byte("\n"))
	}
}

// heading prints the heading of an attempt, if it has one.
func (p *logPrinter) heading(key logKey) error {
	first := p.last == logKey{}
	p.last = key
	if first && p.lone {
		return nil
	}
	var words []string
	if p.several {
		words = append(words, key.id)
	}
	if p.each {
		at := p.attempts[key]
		text := key.String()
		if !at.Started.IsZero() {
			text += ", " + p.clock.Time(at.Started)
		}
		words = append(words, text+", "+display.EndedBy(&at))
	}
	blank := "\n"
	if first {
		blank = ""
	}
	_, err := fmt.Fprintf(p.titles, "%s==> %s <==\n", blank, printable(strings.Join(words, ": ")))
	return err
}

// nowText says what a job is, and why.
func nowText(act *control.Activation, clock *clock) string {
	text := display.NowIs(act)
	if act.Reason != "" {
		text += ": " + act.Reason
	}
	if act.State == "scheduled" || act.State == "active" {
		text += "; due " + clock.Full(act.Due.Time)
	}
	return text
}

// explain says why nothing was printed, and on a terminal which other attempts there are.
func (p *logPrinter) explain(in *control.LogIn, shown *control.LogOut) {
	at, key := shown.Attempt, logKey{shown.ID, shown.Phase, shown.N}
	switch {
	case at == nil:
		if p.told && in.Grep != "" {
			fmt.Fprintf(os.Stderr, "atctl: no line of %s matches\n", in.ID)
		}
		return
	case shown.Text+shown.Base64 == "" && (p.told || at.PID == 0 && !at.Ended.IsZero()):
		so := ""
		if at.Ended.IsZero() {
			so = " so far"
		}
		fmt.Fprintf(os.Stderr, "atctl: %v of %s has no output%s: %s\n", key, in.ID, so, printable(cmp.Or(at.Text, display.EndedBy(at))))
	}
	if len(shown.Others) > 0 && p.told && !p.several {
		fmt.Fprintf(os.Stderr, "atctl: this is %v; --attempt all prints all %d\n", key, len(shown.Others)+1)
	}
}
