package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"activationd/control"
	"activationd/test/harness"
)

// looksConfig has something for every page, and serves it over TLS.
const looksConfig = `
listen_http: [{address: '127.0.0.1:0', role: none, tls: {certificate: DIR/lab.crt, key: DIR/lab.key}}]
tokens: tokens
lab: {inventory: DIR/inventory.yaml}
sources: [{files: DIR/res.yaml}]
reservations: {activate: ['true'], deactivate: ['true'], deactivate_retries: 0}
services:
  db: {command: [sleep, "10000"], groups: [data]}
  shop: {command: [sleep, "10000"], instances: 2}
  bad: {command: [sh, -c, 'echo "no <b>key</b>"; exit 7'], start_limit: {count: 1, window: 10m}}
listeners:
  - {queues: [bills], command: [sh, -c, 'echo "the printer is off"; exit 65']}
recurrences:
  - {name: nightly, cron: 30 3 * * *, command: ['true'], label: '<img src=x onerror="globalThis.hostile=true">'}
`

// nasty is a name that wants to be more than a text, goes from right to left, and is as long as names can be.
var nasty = `<img src=x onerror="globalThis.hostile=true"> ` + "\u202e\u05e9\u05dc\u05d5\u05dd 👩‍👩‍👧‍👦 "

// stuckSlots is how many reservations are stuck.
const stuckSlots = 60

// newLooksDaemon starts a daemon that has something for each page, and returns its address.
func newLooksDaemon(t *testing.T) (d *daemon, home, waits, dead string) {
	t.Helper()
	d = newDaemon(t, looksConfig)
	d.certify()
	d.write("tokens", "chief admin "+adminToken+"\n", 0o600)
	d.write("inventory.yaml", "pools: {brno: {ranges: [100-199, 300], exclude: [150]}}\ndevices: {}\n", 0o644)
	now := time.Now().UTC()
	at := func(after time.Duration) string { return now.Add(after).Format(time.RFC3339) }
	var res strings.Builder
	res.WriteString("reservations:\n")
	for n := range stuckSlots {
		fmt.Fprintf(&res, "- {id: %d@x, owner: ada, start: %s, end: %s, devices: [s%d], deactivate: ['false']}\n", n+1, at(-time.Hour), at(time.Hour), n)
	}
	for n := range 3 {
		fmt.Fprintf(&res, "- {id: clash%d@x, owner: bob, start: %s, end: %s, devices: [r1]}\n", n, at(2*time.Hour), at(4*time.Hour))
	}
	fmt.Fprintf(&res, "- {id: long@x, owner: %q, start: %s, end: %s, devices: [r2], label: %q}\n", strings.Repeat("owner", 12), at(time.Hour), at(3*time.Hour), nasty+strings.Repeat("W", 10000))
	d.write("res.yaml", res.String(), 0o644)
	d.Start()
	var all []string
	for n := range stuckSlots {
		d.InState(fmt.Sprintf("%d@x", n+1), "active")
		all = append(all, fmt.Sprintf("%d@x", n+1))
	}
	d.must(append([]string{"cancel"}, all...)...)
	d.must("vlan", "alloc", "brno:l1", "brno:l2", "--holder", "portal")
	d.must("vlan", "quarantine", "brno", "170", "--reason", nasty)
	holder := d.add("--lock", "lab", "--label", nasty+strings.Repeat("W", 150), "sleep", "1000")
	d.InState(holder, "activating")
	waits = d.add("--lock", "lab", "true")
	d.InState(waits, "waiting")
	d.add("--hold", "--label", "of ten thousand", "--", "true", nasty+strings.Repeat("W", 10000))
	d.must("queue", "create", "bills", "lonely")
	dead = d.must("queue", "push", "bills", "--body", nasty+strings.Repeat("W", 10000), "--header", "to="+nasty)
	d.must("queue", "push", "lonely", "--body", "nobody listens")
	d.must("queue", "pause", "lonely", "--reason", nasty)
	d.untilQueue("bills", "with a dead letter", func(q *control.Queue) bool { return q.Dead == 1 })
	d.must("publish", "custom.looks", nasty)
	for _, id := range all {
		d.InState(id, "stuck")
	}
	_, port, _ := strings.Cut(d.tcp(), ":")
	return d, "https://panel.test:" + port, waits, dead
}

// TestPanelLooks looks at every page with data in it, as people see it who need more than others: by
// day, by night, with colours of their own, enlarged, on paper, and without movement.
func TestPanelLooks(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	d, home, waits, dead := newLooksDaemon(t)
	p := b.person(t, home)
	p.login(adminToken)
	p.cookieOverTLS()
	for _, at := range harness.Part(t, []string{
		"/", "/book", "/timeline", "/timeline?view=table", "/timeline?view=agenda", "/timeline?rows=vlans", "/activations?kind=reservation", "/activations?kind=job",
		"/activations?match=nobody", "/activations/long@x", "/activations/1@x", "/activations/" + waits, "/services", "/services/bad@1", "/queues", "/queues/bills",
		"/queues/bills?message=" + dead, "/queues/lonely", "/vlans", "/vlans?state=quarantined", "/locks", "/locks?match=nobody", "/recurrences", "/recurrences/nightly",
		"/events", "/events?match=nobody", "/audit", "/reports", "/reports?month=2001-02", "/act?op=forgive&id=1@x", "/act?op=cancel&id=" + waits,
		"/act?op=vlan+free&domain=brno&id=170", "/queues/nothing", "/reports?month=soon",
	}, 8) {
		p.open(at)
		p.looks(at)
	}
	p.do(chromedp.EmulateViewport(1400, 900))
	testFolded(t, p)
	testZones(t, b, p)
	testWrongClock(t, b, d, home)
	testNotified(t, d, p)
}

// looks checks the page that a tab shows.
func (p *tab) looks(at string) {
	p.t.Helper()
	for _, media := range []string{"prefers-color-scheme=light", "prefers-color-scheme=dark", "forced-colors=active"} {
		p.media(media)
		if media == "prefers-color-scheme=light" {
			p.axe()
		} else {
			p.axe("color-contrast")
		}
	}
	if eval[bool](p, `globalThis.hostile === true || document.querySelector("main img, main script:not([src])") !== null`) {
		p.t.Errorf("%s runs what is only a name", at)
	}
	p.fits(at)
	// A window of 1,280 pixels that is enlarged four times: what is wide scrolls alone.
	p.do(chromedp.EmulateViewport(320, 256))
	if over := eval[int](p, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
		p.t.Errorf("%s, four times as large, is %d pixels too wide", at, over)
	}
	p.do(chromedp.ResetViewport())
	p.media("prefers-reduced-motion=reduce")
	if moves := eval[string](p, `document.getAnimations().map((a) => a.animationName ?? a.transitionProperty).join() +
		[...document.querySelectorAll("*")].filter((e) => parseFloat(getComputedStyle(e).transitionDuration) > 0).map((e) => e.outerHTML.slice(0, 80)).join()`); moves != "" {
		p.t.Errorf("%s moves although nothing should: %s", at, moves)
	}
	// Paper has no grounds, and perhaps no colour.
	p.media("print", "prefers-color-scheme=dark")
	for _, wrong := range eval[[]string](p, `[...document.querySelectorAll("main .state")].filter((e) => e.checkVisibility()).flatMap((e) => {
		const style = getComputedStyle(e), symbol = e.querySelector("svg");
		const bright = (style.color.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number).reduce((a, b) => a + b) > 450;
		return e.textContent.trim() === "" || !symbol || symbol.getBoundingClientRect().width < 5 || bright || style.backgroundColor !== "rgba(0, 0, 0, 0)" ? [e.outerHTML + style.color] : [];
	})`) {
		p.t.Errorf("%s: on paper nobody sees %s", at, wrong)
	}
	if eval[bool](p, `document.querySelector("header").checkVisibility() || [...document.querySelectorAll("main button")].some((e) => e.checkVisibility() && !e.closest("#ask, [role=group]"))`) {
		p.t.Errorf("%s: paper has buttons", at)
	}
	p.media()
}

// cookieOverTLS checks the cookie of a session: no other host can set it, and no script read it.
func (p *tab) cookieOverTLS() {
	p.t.Helper()
	cookies, err := chromedp.Call(p.ctx, network.GetCookies, network.GetCookiesParams{})
	if err != nil || len(cookies.Cookies) != 1 {
		p.t.Fatalf("the cookies of a session are %+v, %v", cookies, err)
	}
	if c := cookies.Cookies[0]; c.Name != "__Host-session" || !c.Secure || !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax || c.Path != "/" {
		p.t.Errorf("over TLS, the cookie is %+v", c)
	}
	if got := eval[string](p, "document.cookie"); got != "" {
		p.t.Errorf("a script can read %q", got)
	}
}

// testFolded looks at what needs attention when that is much: each kind is folded, and a link leads
// to the others. Slots that all want one device are one below the other.
func testFolded(t *testing.T, p *tab) {
	p.open("/")
	rows := eval[[]string](p, `[...document.querySelectorAll(".needs [data-s=stuck].state")].map((e) => e.closest("li").innerText.replaceAll(/\s+/g, " "))`)
	if want := fmt.Sprintf("%d more", stuckSlots-3); len(rows) != 4 || !strings.Contains(rows[3], want) {
		t.Errorf("of %d that are stuck, the page says %q, want three and %q", stuckSlots, rows, want)
	}
	var count int
	if _, err := fmt.Sscan(eval[string](p, `document.querySelector("h1").innerText`), &count); err != nil || count <= stuckSlots {
		t.Errorf("%d things need attention, and %d are stuck: %v", count, stuckSlots, err)
	}
	eval[any](p, `[...document.querySelectorAll(".needs [data-s=stuck] a")].at(-1).click(), null`)
	p.until(`location.pathname === "/activations" && document.querySelectorAll("#rows tbody tr").length === %d`, stuckSlots)

	p.open("/timeline?device=r1")
	tops := eval[[]float64](p, `[...document.querySelectorAll("#row-r1 a .body")].map((e) => e.getBoundingClientRect().top)`)
	if len(tops) != 3 || tops[0] == tops[1] || tops[1] == tops[2] || tops[0] == tops[2] {
		t.Errorf("three slots that want one device are at %v", tops)
	}
	if n := eval[int](p, `[...document.querySelectorAll("#row-r1 a[data-s=conflicting]")].filter((a) => / ha(s|ve) r1, /.test(a.getAttribute("aria-label"))).length`); n != 2 {
		t.Errorf("%d of three slots say that another has the device, want 2", n)
	}
}

// testZones chooses zones in the menu: the address has the choice, other pages keep it, and each
// page and axis names it.
func testZones(t *testing.T, b *browser, p *tab) {
	if _, err := chromedp.Call(p.ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Tokyo"}); err != nil {
		t.Fatal(err)
	}
	p.open("/timeline?window=6h")
	lab := strings.TrimPrefix(eval[string](p, `document.querySelector("button[name=zone]").textContent`), "Daemon: ")
	for _, tt := range []struct{ button, zone, name string }{
		{"#own-zone", "Asia/Tokyo", "Asia/Tokyo"}, {"button[name=zone][value=UTC]", "UTC", "UTC"}, {"button[name=zone][value=lab]", "lab", lab},
	} {
		if lab == "UTC" && tt.zone == "UTC" {
			continue // there is one button for both
		}
		eval[any](p, `document.querySelector("details:has(#clock-now)").open = true, null`)
		p.click("details[open] " + tt.button)
		if got := eval[string](p, `new URLSearchParams(location.search).get("zone") + " " + new URLSearchParams(location.search).get("window")`); got != tt.zone+" 6h" {
			t.Errorf("after %s the address has %s", tt.button, got)
		}
		for _, at := range []string{"/timeline?window=6h", "/timeline?rows=services", "/", "/events"} {
			p.open(at)
			if got := eval[string](p, `document.querySelector("#clock-now .quiet").innerText + " " + (document.querySelector(".tl-corner")?.innerText ?? "")`); strings.TrimSpace(got) != strings.TrimSpace(tt.name+" "+map[bool]string{true: tt.name}[strings.HasPrefix(at, "/timeline")]) {
				t.Errorf("with the zone %s, %s names %q", tt.zone, at, got)
			}
		}
		p.open("/timeline?window=6h")
	}
	q := b.person(t, p.home)
	q.login(adminToken)
	q.open("/timeline?zone=Asia/Tokyo")
	if got := eval[string](q, `document.querySelector(".tl-corner").innerText + document.querySelector("#clock-now time").getAttribute("datetime").slice(-6)`); got != "Asia/Tokyo+09:00" {
		t.Errorf("another browser shows an address in the zone %s", got)
	}
}

// testWrongClock has a browser on a machine whose clock is three hours wrong, and in another zone: all
// times are the same, also that of the last change when the daemon does not answer.
func testWrongClock(t *testing.T, b *browser, d *daemon, home string) {
	cut := newCutter(t, d.tcp())
	right, wrong := b.person(t, home), b.person(t, "https://panel.test:"+cut.port)
	const shift = `{ const Right = Date; const off = 3 * 3600_000;
		globalThis.Date = class extends Right { constructor(...a) { if (a.length) super(...a); else super(Right.now() + off); } static now() { return Right.now() + off; } };
		delete globalThis.SharedWorker; }`
	if _, err := chromedp.Call(wrong.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: shift}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(wrong.ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Tokyo"}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*tab{right, wrong} {
		p.login(adminToken)
		p.open("/activations?kind=reservation")
	}
	const times = `[...document.querySelectorAll("#rows time")].map((t) => t.innerText).join()`
	if got, want := eval[string](wrong, times), eval[string](right, times); got != want || want == "" {
		t.Errorf("with a wrong clock the times are %s instead of %s", got, want)
	}
	wrong.open("/activations?kind=job")
	wrong.until(`document.querySelector("#live").textContent === "Live"`)
	before := time.Now()
	id := d.add("--hold", "--", "true")
	wrong.until(`!!document.querySelector("#row-%s")`, id)
	cut.close()
	wrong.until(`document.querySelector("#live").textContent.startsWith("Reconnecting, last change ")`)
	said := eval[string](wrong, `document.querySelector("#live").textContent.slice(-5)`)
	if said != before.Format("15:04") && said != time.Now().Format("15:04") {
		t.Errorf("the last change was at %s, and not at %s", before.Format("15:04"), said)
	}
}

// testNotified switches notifications on, and looks away: of several tabs of a browser one says that
// more needs attention, once.
func testNotified(t *testing.T, d *daemon, p *tab) {
	const count = `Number(localStorage.told ?? 0)`
	const watch = `if (globalThis.Notification) {
		const Real = Notification;
		globalThis.Notification = class extends Real { constructor(...a) { super(...a); localStorage.told = Number(localStorage.told ?? 0) + 1; localStorage.text = a[1].body; } };
	}`
	tabs := []*tab{p}
	for range 9 {
		tabs = append(tabs, p.another())
	}
	if _, err := chromedp.Call(p.ctx, cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{
		Permission: &cdpbrowser.PermissionDescriptor{Name: "notifications"}, Setting: "prompt", Origin: p.home, BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID,
	}); err != nil {
		t.Fatal(err)
	}
	for _, p := range tabs {
		if _, err := chromedp.Call(p.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watch}); err != nil {
			t.Fatal(err)
		}
		p.open("/")
		p.until(`document.querySelector("#live").textContent === "Live"`)
	}
	if !eval[bool](p, `!document.querySelector("#notify").hidden && Notification.permission === "default"`) {
		t.Errorf("notifications are not offered: %s", eval[string](p, "Notification.permission"))
	}
	if _, err := chromedp.Call(p.ctx, cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{
		Permission: &cdpbrowser.PermissionDescriptor{Name: "notifications"}, Setting: "granted", Origin: p.home, BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID,
	}); err != nil {
		t.Fatal(err)
	}
	eval[any](p, `document.querySelector("#notify").click(), null`)
	p.until(`document.querySelector("#notify").hidden && document.querySelector("#news").textContent.includes("notified")`)
	for _, p := range tabs {
		eval[any](p, `Object.defineProperty(document, "hidden", {get: () => true}), null`)
	}
	fails := func() {
		id := d.add("--label", "fails", "--", "false")
		d.ended(id, "failed", 1)
	}
	fails()
	p.until(count + ` === 1`)
	fails()
	p.until(count + ` === 2`) // from one tab: those of others would have come before
	if text := eval[string](p, "localStorage.text"); !strings.HasSuffix(text, "things need attention") {
		t.Errorf("the notification says %q", text)
	}
}
