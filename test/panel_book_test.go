package test

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// follow presses a key that leads to another page.
func (p *tab) follow(key string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, stepPatience)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.KeyEvent(key)); err != nil {
		p.t.Fatalf("the key %q leads nowhere: %v\n%s", key, err, p.seen())
	}
}

// tabTo presses Tab until an element has the focus.
func (p *tab) tabTo(selector string) {
	p.t.Helper()
	for range 200 {
		p.do(chromedp.KeyEvent(kb.Tab))
		if eval[bool](p, "document.activeElement.matches(%q)", selector) {
			return
		}
	}
	p.t.Fatalf("Tab does not lead to %s:\n%s", selector, p.seen())
}

const (
	said    = `document.querySelector("#said")?.textContent ?? ""`
	refused = `document.querySelector("#refused")?.textContent ?? ""`
)

// booked returns the id of the booking that the page says was made.
func (p *tab) booked() string {
	p.t.Helper()
	id, _, ok := strings.Cut(eval[string](p, said), " is booked")
	if !ok {
		p.t.Fatalf("nothing was booked:\n%s", p.seen())
	}
	return id
}

// testBook books with the keyboard alone, by the page and from a free stretch of the timeline, and asks
// for more than the quota allows. Whatever the page says, it breaks no rule of accessibility.
func testBook(t *testing.T, b *browser, d *daemon, home string) {
	p := b.person(t, home)
	p.login(gusToken)
	p.open("/book")
	p.tabTo("#for")
	p.do(chromedp.KeyEvent("1h"))
	p.tabTo("#label")
	p.do(chromedp.KeyEvent("by keys"))
	p.tabTo("#named")
	p.do(chromedp.KeyEvent("b1"))
	p.follow(kb.Enter)
	if at := eval[string](p, "location.search"); !strings.Contains(at, "for=1h") || !strings.Contains(at, "devices=b1") {
		t.Errorf("the address of the search is %s", at)
	}
	for _, media := range []string{"prefers-color-scheme=light", "prefers-color-scheme=dark", "forced-colors=active"} {
		p.media(media)
		p.axe()
	}
	p.fits("the free slots")
	p.tabTo("button[name=slot]")
	p.follow(kb.Enter)
	id := p.booked()
	if it := d.show(id); it.Owner != "gus" || it.Label != "by keys" || strings.Join(it.Devices, " ") != "b1" {
		t.Errorf("%s of %s has %s, for %q", id, it.Owner, it.Devices, it.Label)
	}
	if row := eval[string](p, "document.getElementById(`booking-%s`).innerText", id); !strings.Contains(row, "by keys") || !strings.Contains(row, "Extend…") {
		t.Errorf("the list has %q", row)
	}
	if text := eval[string](p, `document.querySelector("section[aria-labelledby=quota]").innerText`); !strings.Contains(text, "1 of 5 h") {
		t.Errorf("of the quota the page says:\n%s", text)
	}

	// More than is left: the page says which limit, and keeps what was typed.
	p.open("/book?for=4h30m&devices=b2&label=too+much")
	p.click("button[name=slot]")
	if text := eval[string](p, refused); !strings.Contains(text, "Not booked.") || !strings.Contains(text, "The quota of gus: hours in a week: at most 5h") || !strings.Contains(text, "still possible: 4h") {
		t.Errorf("more than the quota: the page says %q", text)
	}
	if text := eval[string](p, `["for", "label"].map((id) => document.getElementById(id).value).join()`); text != "4h30m,too much" {
		t.Errorf("after the refusal the form has %q", text)
	}
	p.axe()
	p.fits("a refusal")

	// The other way: a free stretch of the timeline.
	p.do(chromedp.EmulateViewport(1400, 900))
	p.open("/timeline?window=12h&device=b1")
	p.do(chromedp.Focus(chromedp.CSS("#row-b1 .tl-name")), chromedp.KeyEvent(kb.End))
	if says := eval[string](p, `document.querySelector("#inspect").textContent`); !strings.HasPrefix(says, "Book b1 from ") {
		t.Fatalf("the last stop of the row says %q", says)
	}
	p.axe()
	p.follow(kb.Enter)
	if at := eval[string](p, "location.pathname + location.search"); !strings.HasPrefix(at, "/book?") || !strings.Contains(at, "devices=b1") || !strings.Contains(at, "from=") {
		t.Errorf("the free stretch leads to %s", at)
	}
	if n := eval[int](p, `document.querySelectorAll("button[name=slot]").length`); n == 0 {
		t.Errorf("there it is not free:\n%s", p.seen())
	}
}

// testBookPlain books, extends and ends without scripts.
func testBookPlain(t *testing.T, b *browser, d *daemon, home string) {
	p := b.person(t, home)
	if _, err := chromedp.Call(p.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	p.login(evaToken)
	p.open("/book")
	p.do(chromedp.SendKeys(chromedp.ID("named"), "b6"), chromedp.SendKeys(chromedp.ID("from"), "+1d"))
	p.click("#book .find button")
	p.click("button[name=slot]")
	id := p.booked()
	before := d.show(id)
	p.open("/activations/" + id)
	p.click("a[data-ask][href*='op=book+extend']")
	p.click("#ask button.primary")
	if text := eval[string](p, said); text != id+" ends later." {
		t.Errorf("after Extend the page says %q", text)
	}
	if longer := d.show(id).End.Sub(before.End.Time).Minutes(); longer != 30 {
		t.Errorf("%s ends %v minutes later", id, longer)
	}
	p.open("/book")
	p.click("[id='booking-" + id + "'] a[href*='op=book+end']")
	p.click("form button.danger")
	if it := d.show(id); eval[string](p, said) != id+" is ended." || it.Outcome != "cancelled" {
		t.Errorf("after End %s is %s %s:\n%s", id, it.State, it.Outcome, p.seen())
	}
	if eval[bool](p, "!!document.getElementById(`booking-%s`)", id) {
		t.Error("what is over is still in the list")
	}
}

// testBookTwo has two people press the button of the same slot at once: one gets it, and the other one
// reads who has it, and sees what is free then.
func testBookTwo(t *testing.T, b *browser, d *daemon, home string) {
	both := []*tab{b.person(t, home), b.person(t, home)}
	for i, p := range both {
		p.login([]string{operatorToken, adminToken}[i])
		p.open("/book?for=1h&devices=b4&label=mine")
	}
	for _, p := range both {
		eval[any](p, `document.querySelector("button[name=slot]").click(), null`) // it does not wait for the reply
	}
	won := 0
	for _, p := range both {
		p.until(`!!document.querySelector("#said, #refused")`)
		text := eval[string](p, refused)
		switch {
		case text == "":
			d.must("book", "end", p.booked())
			won++
		case !strings.Contains(text, " has b4 from ") || !strings.Contains(text, "all of it is free for 1h from "):
			t.Errorf("the other one reads %q", text)
		case eval[string](p, `document.getElementById("label").value`) != "mine" || eval[int](p, `document.querySelectorAll("button[name=slot]").length`) == 0:
			t.Errorf("the other one sees:\n%s", p.seen())
		}
	}
	if won != 1 {
		t.Errorf("%d have got the slot", won)
	}
}

// testBookRoles: a viewer sees no button, and can book nothing.
func testBookRoles(t *testing.T, b *browser, d *daemon, home string) {
	d.must("book", "add", "--devices", "b7", "--from", "+2d", "--for", "1h", "--owner", "eva", "--over-quota")
	p := b.person(t, home)
	p.login(viewerToken)
	p.open("/book?for=1h&devices=b8&of=all")
	if n := eval[int](p, `document.querySelectorAll("#book, main button, main [data-ask]").length`); n != 0 || !strings.Contains(p.seen(), "b7") {
		t.Errorf("a viewer has %d buttons:\n%s", n, p.seen())
	}
	p.axe()
	p.open("/timeline?window=7d")
	if n := eval[int](p, `document.querySelectorAll(".gap, main a[href*='/book']").length`); n != 0 {
		t.Errorf("a viewer has %d links on the timeline to book", n)
	}
	forge := `fetch("/book", {method: "POST", redirect: "manual", body: new URLSearchParams({for: "1h", devices: "b8", slot: "k/2099-12-01T10:00:00Z/2099-12-01T11:00:00Z/b8"%s})}).then((r) => r.status)`
	if code := eval[int](p, forge, ""); code != 403 {
		t.Errorf("a viewer who sends the form gets %d", code)
	}

	// A submitter has no buttons for others' bookings, and cannot book for them.
	q := b.person(t, home)
	q.login(gusToken)
	q.open("/book?of=all")
	if n := eval[int](q, `[...document.querySelectorAll("tr[id^=booking-]")].filter((row) => row.cells[2].textContent === "eva" && row.querySelector("[data-ask]")).length`); n != 0 || !strings.Contains(q.seen(), "b7") {
		t.Errorf("there are buttons for %d bookings of others:\n%s", n, q.seen())
	}
	if code := eval[int](q, forge, `, owner: "eva"`); code != 403 {
		t.Errorf("who books for others gets %d", code)
	}
	if code := eval[int](q, forge, `, "over-quota": "yes"`); code != 403 {
		t.Errorf("who exceeds the quota gets %d", code)
	}
}

// testBookHostile types texts that want to be more than texts.
func testBookHostile(t *testing.T, b *browser, _ *daemon, home string) {
	p := b.person(t, home)
	p.login(adminToken)
	const evil = `"><img src=x onerror="globalThis.hostile=true"></textarea><script>globalThis.hostile=true</script>`
	check := func(what string) {
		t.Helper()
		if eval[bool](p, `globalThis.hostile === true || document.querySelector("main img, main script:not([src])") !== null`) {
			t.Errorf("%s: the page runs it", what)
		}
		p.fits(what)
	}
	for _, name := range []string{"for", "from", "devices", "kind", "owner", "label", "topology", "env", "of", "over"} {
		q := url.Values{"for": {"1h"}, "devices": {"b9"}}
		q.Set(name, evil)
		p.open("/book?" + q.Encode())
		check(name)
		if name == "for" || name == "from" || name == "kind" {
			if eval[string](p, refused) == "" {
				t.Errorf("%s is not refused:\n%s", name, p.seen())
			}
		}
	}
	p.open("/book?" + url.Values{"for": {"1h"}, "devices": {"b9"}, "from": {"+3d"}, "label": {evil}, "owner": {"<b>mallory</b>"}}.Encode())
	p.click("button[name=slot]")
	check("a booking")
	id := p.booked()
	if row := eval[string](p, "document.getElementById(`booking-%s`).innerText", id); !strings.Contains(row, evil) || !strings.Contains(row, "<b>mallory</b>") {
		t.Errorf("the list has %q", row)
	}
}
