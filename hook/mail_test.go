package hook

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"time"

	"activationd/control"
)

// letter returns the parts of a mail about an event.
func letter(t *testing.T, e control.Event) (head mail.Header, subject, text string, raw []byte) {
	t.Helper()
	body, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	raw, err = Letter("admin", "olga@example.com", body)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	plain, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		t.Fatal(err)
	}
	subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	return m.Header, subject, string(plain), raw
}

func TestLetter(t *testing.T) {
	at := time.Date(2026, 11, 21, 9, 5, 0, 123456789, time.UTC)
	e := control.Event{
		Seq: 42, Time: at, What: "state", Topic: "activation.7@ostrava.stuck", ID: "7@ostrava", Kind: "reservation", Owner: "ada", Label: "Übung",
		Host: "lab1", State: "stuck", Reason: "deactivate attempt 3 exited with status 1",
	}
	head, subject, text, raw := letter(t, e)
	if want := "[activationd] reservation 7@ostrava is stuck: deactivate attempt 3 exited with status 1"; subject != want {
		t.Errorf("the subject is %q, want %q", subject, want)
	}
	for key, want := range map[string]string{
		"To": "olga@example.com", "Date": "Sat, 21 Nov 2026 09:05:00 +0000", "Message-Id": "<event-42.1795251900123456789.admin@lab1>",
		"X-Event-Id": "42", "Auto-Submitted": "auto-generated",
	} {
		if got := head.Get(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	for _, want := range []string{"topic     activation.7@ostrava.stuck\n", "label     Übung\n", "See: atctl why 7@ostrava\n", "hook admin of activationd on lab1"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	if _, _, _, again := letter(t, e); !bytes.Equal(again, raw) {
		t.Errorf("the same event makes another mail:\n%s\n%s", raw, again)
	}
}

func TestSubjects(t *testing.T) {
	for _, tt := range []struct {
		ev   control.Event
		want string
	}{
		{control.Event{What: "state", ID: "7", Kind: "job", State: "finished", Outcome: "failed", Reason: "exited with status 1"}, "job 7 has ended: failed: exited with status 1"},
		{control.Event{What: "state", ID: "web@1", Kind: "service", State: "stuck"}, "service web@1 is fatal"},
		{control.Event{What: "unready", ID: "web@1", Kind: "service", Reason: "no answer"}, "service web@1: unready: no answer"},
		{control.Event{What: "rejected", ID: "7@x", Reason: "lab.yml:3: end: is before start"}, "7@x: rejected: lab.yml:3: end: is before start"},
		{control.Event{What: "published", Topic: "build.42", Text: "3\nwarnings"}, "build.42: 3 warnings"},
		{control.Event{What: "published", Topic: "x", Text: "a\r\nBcc: everybody@example.com"}, "x: a Bcc: everybody@example.com"},
		{control.Event{What: "published", Topic: "x", Text: strings.Repeat("ü", 200)}, "x: " + strings.Repeat("ü", 73) + " ..."},
		{control.Event{What: "gap", From: 3, Seq: 9}, "events are missing: those from 3 to 9 were removed before this hook came to them"},
		{control.Event{What: "gap", Reset: true}, "events are missing: the numbers of events have begun again, because an older state was restored"},
	} {
		head, subject, _, raw := letter(t, tt.ev)
		if subject != "[activationd] "+tt.want {
			t.Errorf("the subject is %q, want %q", subject, tt.want)
		}
		if len(head) != 9 || head.Get("Bcc") != "" {
			t.Errorf("the mail has these headers: %v", head)
		}
		for _, line := range bytes.Split(raw, []byte("\n")) {
			if len(line) > 998 || bytes.ContainsRune(line, '\r') || bytes.ContainsFunc(line, func(r rune) bool { return r > '~' || r < ' ' }) {
				t.Errorf("the mail has the line %q", line)
			}
		}
	}
}

func TestCheckAddress(t *testing.T) {
	for _, good := range []string{"root", "olga@example.com", "a.b+c@x-y.example"} {
		if err := CheckAddress(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "-oQ/tmp", "-f@example.com", "a b", "Olga <olga@example.com>", "a@x, b@x", "a\n@x", "ö@x", "@x"} {
		if err := CheckAddress(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
