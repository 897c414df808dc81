package test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"activationd/control"
)

// page returns a page of the panel.
func (d *daemon) page(c *http.Client, path string, status int) string {
	d.t.Helper()
	r := d.asked(c, http.MethodGet, path, "", "Accept: text/html")
	if r.status != status {
		d.t.Fatalf("%s: %d %s", path, r.status, r.body)
	}
	return r.body
}

// TestTimeline looks at the timeline of a daemon with slots of all sorts.
func TestTimeline(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, httpConfig+`
sources: [{http: portal}]
reservations: {activate: ['true'], deactivate: ['true']}
services: {shop_db: {command: [sleep, '100000']}, shop_web: {command: [sh, -c, 'exit 3']}}
`)
	d.Start()
	c := d.plainWeb()
	d.must("queue", "create", "mails", "resize")
	d.must("queue", "push", "mails", "--body", "x")
	d.must("queue", "pause", "resize", "--reason", "the disk is full")
	now := time.Now().UTC()
	over := regexp.MustCompile(`id="bar-c1-4@x".*cancelled`)
	res := func(id, owner, from, to, devices string) string {
		return fmt.Sprintf(`{"id": %q, "owner": %q, "start": %q, "end": %q, "devices": [%s], "label": "</svg><script>alert(1)</script>"}`, id, owner, from, to, devices)
	}
	all := []string{
		res("1@x", "ada", "2099-12-01T06:00:00Z", "2099-12-01T12:00:00Z", `"r10", "r2"`),
		res("2@x", "eve", "2099-12-01T09:00:00Z", "2099-12-01T15:00:00Z", `"r2", "c1"`),
		res("3@x", strings.Repeat("ß<b>", 20), "2099-11-30T18:00:00Z", "2099-12-01T03:00:00Z", `"r10"`),
		res("4@x", "ada", now.Add(-time.Hour).Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339), `"c1"`),
	}
	for n := range 90 {
		for hour := range 9 {
			all = append(all, res(fmt.Sprintf("%d@x", 100+10*n+hour), "many", fmt.Sprintf("2099-12-02T%02d:00:00Z", hour), fmt.Sprintf("2099-12-02T%02d:00:00Z", hour+1), fmt.Sprintf(`"z%d"`, n)))
		}
	}
	for _, some := range [][]string{all[:1], all} { // the first is there before the second
		if r := d.asked(c, http.MethodPut, "/api/v1/sources/portal/reservations", `{"reservations": [`+strings.Join(some, ",")+`]}`); !strings.Contains(r.body, `"rejected":0`) {
			t.Fatal(r.body)
		}
	}
	d.InState("4@x", "active")
	d.must("service", "start", "--wait", "shop_db")
	d.Until("shop_web@1", "its first run has ended", func(it control.Detail) bool { return len(it.Attempts) > 0 && !it.Attempts[0].Ended.IsZero() })
	d.must("pause", "device", "z0", "--reason", "a new power supply")
	bar := func(key, x, y, width string) string {
		_, id, _ := strings.Cut(key, "-")
		return `(?s)<a id="bar-` + key + `"[^>]*href="/activations/` + id + `"[^>]*>(?:<[^a][^>]*>)*<rect class="body" x="` + x + `%" y="` + y + `" width="` + width + `%"`
	}
	const day = "/timeline?zone=UTC&from=2099-12-01T00:00:00Z"
	for _, tt := range []struct {
		name, path string
		want       []string // regular expressions, in their order
		not        string
	}{
		{"a slot is where its time is, rows are in the order of their numbers", day,
			[]string{`1 of 93 devices in use now`, `id="row-c1"`, bar("c1-2@x", "37.500", "4", "25.000"), `id="row-r2"`, bar("r2-1@x", "25.000", "4", "25.000"), `id="row-r10"`}, `<script>alert`},
		{"what loses a conflict stands below, and the hours in common are hatched", day,
			[]string{bar("r2-2@x", "37.500", "28", "25.000"), `<rect class="hatch" x="37.500%" y="28" width="12.500%"`}, ""},
		{"a slot that has begun before is cut", day, []string{bar("r10-3@x", "0.000", "4", "12.500")}, "<b>ß"},
		{"a paused device is crossed", day, []string{`id="row-z0"`, `fill="url\(#crossed\)"`, "paused: a new power supply"}, ""},
		{"the default is from two hours ago", "/timeline", []string{`in use now`, `data-now`, bar("c1-4@x", "4.[12]..", "4", "8.333"), `active`}, ""},
		{"the same as a table", day + "&view=table", []string{`<td><a class="id" href="/timeline\?[^"]*device=c1[^"]*"><bdi>c1</bdi></a></td><td><a class="id" href="/activations/2@x">`, "a new power supply"}, `id="tl"`},
		{"the same as an agenda", day + "&view=agenda", []string{`slot-3@x`, `slot-1@x`, `<code>r10</code> <code>r2</code>`, `slot-2@x`}, `id="tl"`},
		{"a page ends after 60 rows", day, []string{`id="row-z0"`, `id="row-z56"`, `rel="next" href="[^"]*after=z56`}, `id="row-z57"`},
		{"and the next one goes on", day + "&after=z56", []string{`id="row-z57"`, `id="row-z89"`, `First page`}, `id="row-z56"|Next rows`},
		{"a group of rows", day + "&group=r", []string{`id="row-r2"`, `id="row-r10"`}, `id="row-c1"`},
		{"the rows of an owner", day + "&match=EVE", []string{`id="row-c1"`, `id="row-r2"`}, `id="row-r10"`},
		{"some rows by name", day + "&match=r1", []string{`id="row-r10"`}, `id="row-r2"`},
		{"none", day + "&match=nobody", []string{`No row matches the filters`}, `id="tl"`},
		{"a day of 23 hours", "/timeline?zone=Europe/Prague&from=2099-03-29&window=24h", []string{`>Sun 29<`, `x="4.167%"|>04:00<`, `Mon 30`}, `>02:00<`},
		{"instances of services", "/timeline?rows=services", []string{`1 of 2 instances are ready`, `id="bar-shop_db@1-run1" href="/services/shop_db@1" data-s="ready"`, `class="on"`, `id="bar-shop_web@1-run1"[^>]*data-s="failed"[^>]*exited with status 3`}, `id="row-c1"`},
		{"queues", "/timeline?rows=queues", []string{`Messages wait in 1 of 2 queues`, `id="bar-mails-mails" href="/queues/mails" data-s="waiting"[^>]*aria-label="1 ready`, `id="row-resize"`, "paused: the disk is full"}, `id="row-c1"`},
		{"VLANs", "/timeline?rows=vlans", []string{`All VLANs are free`, `Nothing is here`}, `id="row-c1"`},
	} {
		text := d.page(c, tt.path, http.StatusOK)
		rest := text
		for _, want := range tt.want {
			at := regexp.MustCompile(want).FindStringIndex(rest)
			if at == nil {
				t.Errorf("%s: %s is not there, or too early:\n%s", tt.name, want, text[max(0, strings.Index(text, "<main")):])
				break
			}
			rest = rest[at[1]:]
		}
		if tt.not != "" && regexp.MustCompile(tt.not).MatchString(text) {
			t.Errorf("%s: %s is there", tt.name, tt.not)
		}
	}
	// However many slots there are, browsers get no more than they can draw at once.
	for _, view := range []string{"", "&view=chart", "&view=agenda", "&view=table"} {
		text := d.page(c, "/timeline?zone=UTC&from=2099-12-02T00:00:00Z"+view, http.StatusOK)
		if n := len(regexp.MustCompile(`<[a-z]`).FindAllString(text, -1)); n > 5000 || !strings.Contains(text, "after=z") {
			t.Errorf("%s has %d elements:\n%.2000s", view, n, text)
		}
	}
	for _, path := range []string{"/timeline?window=2h", "/timeline?from=soon", "/timeline?view=list", "/timeline?rows=all", "/timeline?zone=Nowhere"} {
		d.page(c, path, http.StatusBadRequest)
	}
	d.must("cancel", "4@x")
	d.InState("4@x", "finished")
	if text := d.page(c, "/timeline", http.StatusOK); !over.MatchString(text) {
		t.Errorf("what is over is not there any more:\n%s", text)
	}
}

// testTimelineKeys uses the timeline with the keyboard alone: arrows go along rows and between
// them, one row at a time is in the order of Tab, a change moves nothing, and the table has what the
// chart has.
func testTimelineKeys(t *testing.T, b *browser, d *daemon, home string) {
	p := b.person(t, home)
	p.login(operatorToken)
	p.open("/timeline?window=12h&device=r1&device=r2&device=r3")
	focus := func() string {
		return eval[string](p, `(document.activeElement.closest(".tl-name") ? "name " : "") + (document.activeElement.id || document.activeElement.parentElement.id)`)
	}
	p.do(chromedp.Focus(chromedp.CSS("#row-r1 .tl-name")))
	for _, step := range []struct{ key, want, says string }{
		{kb.ArrowRight, "bar-r1-1@x", "active"},
		{kb.ArrowRight, "bar-r1-2@x", "scheduled"},
		{kb.ArrowRight, "bar-r1-2@x", ""}, // the last one
		{kb.ArrowDown, "bar-r2-2@x", ""},
		{kb.ArrowUp, "bar-r1-2@x", ""},
		{kb.Home, "name row-r1", "Point at"},
		{kb.End, "bar-r1-2@x", "has r1 r2"},
		{kb.Escape, "name row-r1", ""},
		{kb.ArrowDown, "name row-r2", ""},
		{kb.ArrowDown, "name row-r3", ""},
		{kb.ArrowDown, "name row-r3", ""}, // the last row
		{kb.Tab, "bar-r3-3@x", "3 "},
	} {
		p.do(chromedp.KeyEvent(step.key))
		if got, says := focus(), eval[string](p, `document.querySelector("#inspect").textContent`); got != step.want || !strings.Contains(says, step.says) {
			t.Fatalf("after the key %q the focus is at %q, which says %q; want %q and %q", step.key, got, says, step.want, step.says)
		}
	}
	if rows := eval[int](p, `new Set([...document.querySelectorAll(".tl-row a[tabindex='0']")].map((a) => a.closest(".tl-row").id)).size`); rows != 1 {
		t.Errorf("%d rows are in the order of Tab", rows)
	}
	if same := eval[int](p, `(document.querySelector("[id='bar-r1-2@x']").focus(), document.querySelectorAll(".tl a.same").length)`); same != 2 {
		t.Errorf("%d bars of the same reservation are marked, want 2", same)
	}

	// What happens meanwhile moves nothing.
	p.do(chromedp.Focus(chromedp.CSS("[id='bar-r3-3@x']")))
	d.must("hold", "3@x")
	p.until(`document.querySelector("[id='bar-r3-3@x']").dataset.s == "held"`)
	p.until(`document.querySelector("#inspect").textContent.includes("held")`)
	if got, tab := focus(), eval[string](p, `document.activeElement.getAttribute("tabindex")`); got != "bar-r3-3@x" || tab != "0" {
		t.Errorf("after a change the focus is at %s, with tabindex %q", got, tab)
	}
	d.must("release", "3@x")

	ids := eval[string](p, `[...new Set([...document.querySelectorAll(".tl a[data-id]")].map((a) => a.dataset.id))].sort().join()`)
	leave := func(key string) { // presses a key that leads to another page
		ctx, cancel := context.WithTimeout(p.ctx, stepPatience)
		defer cancel()
		if _, err := chromedp.RunResponse(ctx, chromedp.KeyEvent(key)); err != nil {
			t.Fatalf("the key %q leads nowhere: %v", key, err)
		}
	}
	leave("t")
	if got := eval[string](p, `[...new Set([...document.querySelectorAll("#rows td:nth-child(2) a")].map((a) => a.textContent))].sort().join()`); got != ids || ids != "1@x,2@x,3@x" {
		t.Errorf("the table has %s, and the chart %s", got, ids)
	}
	p.axe()
	p.open("/timeline?view=agenda")
	p.axe()
	p.open("/timeline")
	p.do(chromedp.Focus(chromedp.CSS("[id='bar-r3-3@x']")))
	leave(kb.Enter)
	if at := eval[string](p, "decodeURIComponent(location.pathname)"); at != "/activations/3@x" {
		t.Errorf("Enter leads to %s", at)
	}

	// A narrow screen has the agenda, and is not wider than it is.
	p.do(chromedp.EmulateViewport(360, 800))
	p.open("/timeline")
	if at := eval[string](p, `getComputedStyle(document.querySelector(".tl-chart")).display + " " + getComputedStyle(document.querySelector(".tl-narrow")).display + " " + document.documentElement.scrollWidth`); at != "none block 360" {
		t.Errorf("on a narrow screen there are: %s; want no chart, an agenda, and 360 pixels", at)
	}
	for _, media := range []string{"prefers-color-scheme=light", "prefers-color-scheme=dark", "forced-colors=active"} {
		p.media(media)
		p.axe()
	}
}
