package test

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// testList sorts the list of activations, and does something with several of them at once. Rows that
// were ticked stay so when the page changes, and what is refused is shown.
func testList(t *testing.T, b *browser, d *daemon, home string) {
	var ids []string
	for range 4 {
		ids = append(ids, d.add("--hold", "--label", "bulk", "--", "true"))
	}
	p := b.person(t, home)
	p.login(operatorToken)
	const rows = `[...document.querySelectorAll("#rows tbody .id")].map((a) => a.innerText).join(" ")`
	p.open("/activations?kind=job&match=bulk")
	if got := eval[string](p, rows); got != strings.Join(ids, " ") {
		t.Errorf("the list is %s", got)
	}
	eval[any](p, `document.querySelector("#rows th a").click()`) // by id, the other way round
	p.until(`document.querySelector("th[aria-sort]")?.ariaSort == "descending"`)
	if got := eval[string](p, rows+` + "|" + document.querySelector("th[aria-sort]").ariaSort`); got != strings.Join([]string{ids[3], ids[2], ids[1], ids[0]}, " ")+"|descending" {
		t.Errorf("the reversed list is %s", got)
	}
	p.axe()
	// By a script: while the list follows the daemon, rows move, and chromedp would press where one has been.
	press := func(selector string) { eval[any](p, `document.querySelector(%q).click(), null`, selector) }
	tick := func(id string) { press("#row-" + id + " input") }
	tick(ids[0])
	tick(ids[1])
	d.must("cancel", ids[1]) // meanwhile somebody else
	p.until(`document.querySelector("#row-%s") == null`, ids[1])
	tick(ids[2])
	p.until(`document.querySelector("#ticked").innerText.trim() == "(2)"`)
	p.click("#bulk button[value=release]")
	p.until(`document.querySelector("#said").innerText.startsWith("Release: done for 2 of 2")`)
	for _, id := range []string{ids[0], ids[2]} {
		d.ended(id, "succeeded", 0)
	}
	if got := d.show(ids[3]).State; got != "held" {
		t.Errorf("what was not ticked is %s", got)
	}

	// What is over cannot be held, and the others are.
	p.open("/activations?kind=job&match=bulk&state=all")
	press("#tick-all")
	p.until(`document.querySelector("#ticked").innerText.trim() == "(4)"`)
	press("#bulk button[value=cancel]")
	p.do(chromedp.WaitVisible(chromedp.CSS("dialog[open] button.danger")))
	if got := eval[string](p, `document.querySelector("#asked").innerText`); got != "Cancel 4 things?" {
		t.Errorf("the question is %q", got)
	}
	p.axe()
	p.click("dialog[open] button.danger")
	p.until(`/Cancel: done for 1 of 4. The others were refused, the first because ./.test(document.querySelector("#said").innerText)`)
	d.ended(ids[3], "cancelled", 125)

	// What people type at the top of a page leads to the activation, or to the list that has some.
	for text, want := range map[string]string{ids[0]: "/activations/" + ids[0], "bulk": "/activations?kind=job&match=bulk&state=all"} {
		p.open("/find?text=" + text)
		if got := eval[string](p, `location.pathname + location.search`); got != want {
			t.Errorf("%q leads to %s, want %s", text, got, want)
		}
	}

	p.open("/activations?kind=job&match=bulk&state=all")
	p.click("#bulk button[value=retry]") // nothing is ticked
	if got := eval[string](p, `document.querySelector("main").innerText`); !strings.Contains(got, "Tick at least one row") {
		t.Errorf("without a row, the page says %q", got)
	}

	// Without scripts, the question is a page of its own.
	id := d.add("--hold", "--label", "bulk", "--", "true")
	q := b.person(t, home)
	if _, err := chromedp.Call(q.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	q.login(operatorToken)
	q.open("/activations?kind=job&match=" + id)
	eval[any](q, `document.querySelector("#row-%s input").click(), null`, id)
	q.click("#bulk button[value=cancel]")
	if at := eval[string](q, "location.pathname"); at != "/act" {
		t.Errorf("without scripts, the question is at %s", at)
	}
	q.click("#ask button.danger")
	d.ended(id, "cancelled", 125)
}
