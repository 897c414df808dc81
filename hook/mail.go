package hook

import (
	"bytes"
	"cmp"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"time"
	"unicode"

	"activationd/control"
	"activationd/internal/fault"
)

// subjectLength bounds a subject, in bytes before it is encoded.
const subjectLength = 150

// CheckAddress returns an error of kind fault.Invalid unless mail can be sent to an address: a
// user of this machine, or USER@HOST.
func CheckAddress(address string) error {
	plain := address
	if !strings.Contains(address, "@") {
		plain += "@localhost"
	}
	a, err := mail.ParseAddress(plain)
	if err != nil || a.Address != plain || strings.HasPrefix(address, "-") || strings.ContainsFunc(address, func(r rune) bool { return r > unicode.MaxASCII }) {
		return fmt.Errorf("%q is no address; want one such as olga@example.com, or a user of this machine: %w", address, fault.Invalid)
	}
	return nil
}

// Letter returns the mail that a hook sends about an event, whose JSON is body. The same event
// always makes the same mail, so a receiver who gets it twice recognises it by its Message-ID.
func Letter(hook, to string, body []byte) ([]byte, error) {
	e, err := eventOf(body)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	subject := summary(&e)
	short := oneLine(subject)
	if len(short) > subjectLength {
		short = strings.ToValidUTF8(short[:subjectLength], "") + " ..."
	}
	host := hostOf(e.Host)
	for _, h := range [][2]string{
		{"To", to},
		{"Subject", mime.QEncoding.Encode("utf-8", "[activationd] "+short)},
		{"Date", e.Time.UTC().Format(time.RFC1123Z)},
		{"Message-ID", fmt.Sprintf("<event-%d.%d.%s@%s>", e.Seq, e.Time.UnixNano(), hook, host)}, // the time: after a restore, numbers are used again
		{"X-Event-ID", fmt.Sprint(e.Seq)},
		{"Auto-Submitted", "auto-generated"}, // nobody's vacation program answers
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		fmt.Fprintf(&out, "%s: %s\n", h[0], h[1])
	}
	out.WriteString("\n")
	w := quotedprintable.NewWriter(&out)
	fmt.Fprintf(w, "%s\n\n", subject)
	for _, l := range details(&e) {
		if l[1] != "" {
			fmt.Fprintf(w, "%-8s  %s\n", l[0], l[1])
		}
	}
	if e.Kind != "" && e.ID != "" {
		fmt.Fprintf(w, "\nSee: atctl why %s\n", e.ID)
	}
	fmt.Fprintf(w, "\nThis mail is from the hook %s of activationd on %s.\n", hook, host)
	if err := w.Close(); err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(out.Bytes(), []byte("\r\n"), []byte("\n")), nil // as sendmail wants it
}

// details are the fields of an event for people.
func details(e *control.Event) [][2]string {
	by := ""
	if e.Actor != nil {
		by = e.Actor.String()
	}
	return [][2]string{
		{"time", e.Time.UTC().Format(time.RFC3339)}, {"event", fmt.Sprint(e.Seq)}, {"topic", e.Topic}, {"kind", e.Kind}, {"label", e.Label},
		{"owner", e.Owner}, {"outcome", e.Outcome}, {"action", e.Action}, {"by", by}, {"source", e.Source},
	}
}

// summary says in a sentence what an event is about.
func summary(e *control.Event) string {
	state := e.State
	if e.Kind == "service" { // people call these states of instances so
		state = cmp.Or(map[string]string{"stuck": "fatal", "active": "ready", "held": "down"}[state], state)
	}
	var said string
	switch {
	case e.What == control.EventGap && e.Reset:
		return "events are missing: the numbers of events have begun again, because an older state was restored"
	case e.What == control.EventGap:
		return fmt.Sprintf("events are missing: those from %d to %d were removed before this hook came to them", e.From, e.Seq)
	case e.What == "published":
		said = e.Topic
	case e.What == "state" && e.Outcome != "":
		said = fmt.Sprintf("%s %s has ended: %s", e.Kind, e.ID, e.Outcome)
	case e.What == "state":
		said = fmt.Sprintf("%s %s is %s", e.Kind, e.ID, state)
	case e.ID != "":
		said = strings.TrimSpace(e.Kind+" "+e.ID) + ": " + e.What
	default:
		said = e.What
	}
	for _, more := range []string{e.Text, e.Reason} {
		if more != "" {
			said += ": " + more
		}
	}
	return said
}

// hostOf returns a host's name as it can be in an address.
func hostOf(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, name)
	return cmp.Or(strings.Trim(name, ".-"), "localhost")
}
