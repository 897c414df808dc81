package panel

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"activationd/control"
	"activationd/internal/fault"
)

// A verb is how people call an operation that changes something.
type verb struct {
	label string // the button; "…" is added if it asks
	ask   string // the question of the page that asks first; empty: it does not ask. %s is what it is about
	tell  string // what happens then
	yes   string // the button that does it
	mild  bool   // nothing is lost by it
	no    string // the link that does not
	done  string // what was done; %s is what it is about
	input string // an argument that the page asks for
	named string // what people call it; empty: as it is called
	value string // what is there at first
	hint  string // what to type there
	// of names what it is about; nil: the first argument that names something does.
	of func(args url.Values) string
}

// verbs are the operations that pages have buttons for. What can be taken back is done at once.
var verbs = map[string]verb{
	"hold":    {label: "Hold", done: "%s is held"},
	"release": {label: "Release", done: "%s is released"},
	"retry":   {label: "Retry", done: "%s is tried again"},
	"run": {
		label: "Run now", ask: "Run %s now?", tell: "It starts before its time, also if it is held. A reservation has its devices from now on, also those that other reservations want until then.",
		yes: "Run now", mild: true, no: "Wait for its time", done: "%s starts now",
	},
	"cancel": {
		label: "Cancel", ask: "Cancel %s?", tell: "What runs is stopped. A reservation is deactivated, and its devices are free then.",
		yes: "Cancel now", no: "Leave it alone", done: "%s is cancelled", input: "reason", hint: "shown to others",
	},
	"forgive": {
		label: "Forgive", ask: "Have you cleaned up %s by hand?", tell: "It is ended without another attempt, and its devices are free for others at once. Whatever is still configured on them stays.",
		yes: "It is cleaned up", no: "Not yet", done: "%s is ended",
	},
	"book extend": {
		label: "Extend", ask: "Extend %s?", tell: "Its slot ends later, if nobody else has one of its devices then, and the owner's quota allows it.",
		yes: "Extend it", mild: true, no: "Leave it alone", done: "%s ends later", input: "by", named: "by how long", value: "30m", hint: "as 30m or 2h",
	},
	"book end": {
		label: "End", ask: "End %s?", tell: "If it is active, it is deactivated now. Otherwise it is cancelled. Then its devices are free for others, and only an operator can bring it back.",
		yes: "End it now", no: "Leave it alone", done: "%s is ended",
	},
	"reload":        {label: "Reload", done: "The sources and the configuration were read again"},
	"every hold":    {label: "Hold", done: "%s is held"},
	"every release": {label: "Release", done: "%s makes jobs again, from now on"},
	"every run":     {label: "Run now", done: "A job of %s starts now"},
	"service start": {label: "Start", done: "%s is started"},
	"service restart": {
		label: "Restart", ask: "Restart %s?", tell: "Each instance is stopped and started again.", yes: "Restart it", no: "Let it run", done: "%s is restarted",
	},
	"service stop": {
		label: "Stop", ask: "Stop %s?", tell: "It ends, and is not started again before somebody starts it.", yes: "Stop it", no: "Let it run", done: "%s is stopped",
	},
	"queue pause":  {label: "Pause", done: "%s is paused"},
	"queue resume": {label: "Resume", done: "%s is served again"},
	"queue retry": {
		label: "Retry", ask: "Try %s again?", tell: "A dead letter becomes ready again, as if it had never been tried.", yes: "Try again", no: "Leave it", done: "%s: ready again", of: deadLetters,
	},
	"queue purge": {
		label: "Remove", ask: "Remove %s?", tell: "What is removed is gone, with its body: nobody can get it back. Messages in work are not removed.", yes: "Remove", no: "Keep", done: "%s: removed", of: purged,
	},
	"queue cancel": {
		label: "Cancel", ask: "Cancel %s?", tell: "It is not handed out any more. If a listener works on it, that attempt ends.", yes: "Cancel the message", no: "Leave it alone", done: "%s: cancelled", of: messages,
	},
	"vlan free": {
		label: "Free", ask: "Is VLAN %s removed from all switches?", tell: "Another reservation may get it at once. If it is still configured somewhere, two laboratories are connected.", yes: "It is removed", no: "Not yet", done: "VLAN %s is free", of: vlanOf,
	},
	"pause": {
		label: "Pause", ask: "Pause %s?", tell: "Nothing begins until somebody resumes. What runs goes on, and reservations are deactivated at their ends.", yes: "Pause now", no: "Do not pause", done: "%s is paused", input: "reason", hint: "shown to others",
	},
	"resume": {label: "Resume", done: "%s is resumed"},
}

// A button carries out an operation.
type button struct {
	Op, Label string
	Ask       bool
	Args      url.Values
	Back      string
	Act       string // the address of the form
}

// Button returns a button for an operation: its arguments are names and values. It is nil if the
// caller's role does not allow it.
func (v *view) Button(op string, pairs ...string) *button {
	known, ok := verbs[op]
	if !ok || !v.May(op) {
		return nil
	}
	b := &button{Op: op, Label: known.label, Ask: known.ask != "", Args: make(url.Values), Back: v.Here(), Act: v.panel.base + "/act"}
	for i := 0; i+1 < len(pairs); i += 2 {
		b.Args.Add(pairs[i], pairs[i+1])
	}
	if b.Ask {
		b.Label += "…"
	}
	return b
}

// called gives a button another label.
func (b *button) called(label string) *button {
	if b != nil {
		b.Label = label
	}
	return b
}

// Address is that of the page that asks.
func (b *button) Address() string {
	q := maps.Clone(b.Args)
	q.Set("op", b.Op)
	q.Set("back", b.Back)
	return b.Act + "?" + q.Encode()
}

// about names what an operation is about: the first of the arguments that name something.
func about(args url.Values) string {
	for _, name := range []string{"id", "name", "what"} {
		switch all := args[name]; {
		case len(all) > 1:
			return plural(len(all), "thing", "things")
		case len(all) == 1 && all[0] != "" && all[0] != "daemon":
			return all[0]
		}
	}
	return "the daemon"
}

// vlanOf names a VLAN with its pool.
func vlanOf(args url.Values) string { return args.Get("id") + " of " + args.Get("domain") }

// phrase puts what an operation is about into a text about it.
func (k *verb) phrase(text string, args url.Values) string {
	if !strings.Contains(text, "%s") {
		return text
	}
	of := about
	if k.of != nil {
		of = k.of
	}
	return fmt.Sprintf(text, of(args))
}

// A question is asked before an operation is carried out.
type question struct {
	Op, Ask, Tell, Yes, No string
	Args                   url.Values
	Names                  []string // of Args, sorted
	Back                   string
	Input, Named           string
	Value, Hint            string
	Mild                   bool
}

// fillConfirm asks whether an operation is to be carried out.
func (p *Panel) fillConfirm(v *view) error {
	args := v.r.URL.Query()
	op := args.Get("op")
	known, ok := verbs[op]
	if !ok || known.ask == "" {
		return fmt.Errorf("there is no question about %.40q: %w", op, fault.NotFound)
	}
	if !v.May(op) {
		return v.Caller.May(op, p.registry.Lookup(op).Role)
	}
	if bulk[op] && len(args["id"]) == 0 {
		return errNoRow
	}
	q := question{
		Op: op, Tell: known.tell, Yes: known.yes, No: known.no, Back: p.local(args.Get("back")), Input: known.input, Named: cmp.Or(known.named, known.input), Value: known.value, Mild: known.mild, Hint: known.hint,
	}
	args.Del("op")
	args.Del("back")
	q.Args, q.Names, q.Ask = args, slices.Sorted(maps.Keys(args)), known.phrase(known.ask, args)
	v.Title, v.Data = q.Ask, q
	return nil
}

// act carries out an operation, and goes back to the page that asked for it.
func (p *Panel) act(w http.ResponseWriter, r *http.Request, c Client) {
	pg := page{name: "error"}
	if err := r.ParseForm(); err != nil {
		p.fail(w, r, c, pg, fmt.Errorf("the form cannot be read: %w: %w", err, fault.Invalid))
		return
	}
	form := r.PostForm
	name, back := form.Get("op"), p.local(form.Get("back"))
	form.Del("op")
	form.Del("back")
	known := verbs[name]
	said := known.phrase(known.done, form)
	var err error
	if bulk[name] && len(form["id"]) != 1 {
		said, err = p.callEach(r, c.Caller, name, form)
	} else {
		err = p.call(r, c.Caller, name, form)
	}
	if err != nil {
		p.fail(w, r, c, pg, err)
		return
	}
	say(w, p.base, said)
	http.Redirect(w, r, back, http.StatusSeeOther)
}

// errNoRow is what is wrong if none is ticked, or more than a page has.
var errNoRow = fmt.Errorf("tick at least one row, and at most %d: %w", pageRows, fault.Invalid)

// say has the next page say what was done.
func say(w http.ResponseWriter, base, said string) {
	http.SetCookie(w, &http.Cookie{
		Name: saidCookie, Value: url.QueryEscape(sentenceStart(said)), Path: base + "/", MaxAge: 60, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}

// bulk are the operations that the list of activations can do with several at once.
var bulk = map[string]bool{"run": true, "hold": true, "release": true, "retry": true, "cancel": true, "forgive": true}

// callEach calls an operation for each of the ids of a form, and says what came of it. It goes on if
// one is refused: what was chosen may have changed meanwhile.
func (p *Panel) callEach(r *http.Request, c control.Caller, name string, form url.Values) (said string, err error) {
	ids := form["id"]
	if len(ids) == 0 || len(ids) > pageRows {
		return "", errNoRow
	}
	done := 0
	var refused []error
	for _, id := range ids {
		each := maps.Clone(form)
		each["id"] = []string{id}
		switch err := p.call(r, c, name, each); {
		case r.Context().Err() != nil:
			return "", err
		case err != nil:
			refused = append(refused, err)
		default:
			done++
		}
	}
	if done == 0 {
		return "", fmt.Errorf("nothing was done. The first reason: %w", refused[0])
	}
	said = fmt.Sprintf("%s: done for %d of %d", verbs[name].label, done, len(ids))
	if len(refused) > 0 {
		said += ". The others were refused, the first because " + strings.TrimSuffix(control.OneLine(fault.Text(refused[0])), ".")
	}
	return said, nil
}

// call calls an operation that has a button with the arguments of a form. Empty ones are not given.
func (p *Panel) call(r *http.Request, c control.Caller, name string, form url.Values) error {
	op := p.registry.Lookup(name)
	if _, ok := verbs[name]; !ok || op == nil || op.Streams() {
		return fmt.Errorf("there is no button for %.40q: %w", name, fault.NotFound)
	}
	args := op.Decoder()
	for _, key := range slices.Sorted(maps.Keys(form)) {
		for _, value := range form[key] {
			if value == "" {
				continue
			}
			if err := args.SetText([]byte(key), value); err != nil {
				return err
			}
		}
	}
	in, err := args.Input()
	if err != nil {
		return err
	}
	return op.Call(r.Context(), c, in)[0].Err
}
