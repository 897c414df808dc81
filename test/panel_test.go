package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"activationd/control"
	"activationd/test/harness"
)

// The tokens of panelDaemon.
const (
	operatorToken = "0123456789abcdef-operator"
	viewerToken   = "0123456789abcdef-viewer"
	adminToken    = "0123456789abcdef-admin"
	gusToken      = "0123456789abcdef-gus" // submitters
	evaToken      = "0123456789abcdef-eva"
)

// panelConfig has something for every page to show.
const panelConfig = `
listen_http: [{address: '127.0.0.1:0', role: none}]
http_hosts: [panel.test]
tokens: tokens
sources: [{files: DIR/res.yaml}]
reservations: {activate: ['true'], deactivate: ['true'], deactivate_retries: 0}
services: {db: {command: [sleep, "10000"], groups: [data]}}
booking: {role: submitter, devices: ['b*'], max: 8h, quota: {hours_per_week: 5h, devices: 3, days_ahead: 14}, activate: ['true'], deactivate: ['true']}
`

// newPanelDaemon starts a daemon for the tests of the panel, and returns its address.
func newPanelDaemon(t *testing.T) (*daemon, string) {
	t.Helper()
	d := newDaemon(t, panelConfig)
	d.write("tokens", "ops operator "+operatorToken+"\nada viewer "+viewerToken+"\nchief admin "+adminToken+"\ngus submitter "+gusToken+"\neva submitter "+evaToken+"\n", 0o600)
	now := time.Now().UTC()
	at := func(after time.Duration) string { return now.Add(after).Format(time.RFC3339) }
	d.write("res.yaml", fmt.Sprintf(`reservations:
- {id: 1@x, owner: ada, start: %s, end: %s, devices: [r1], label: now}
- {id: 2@x, owner: ada, start: %s, end: %s, devices: [r1, r2], deactivate: ['false']}
- {id: 3@x, owner: bob, start: %s, end: %s, devices: [r3], label: later}
- {id: 4@x, owner: cleo, start: %s, end: %s, devices: [r4], label: gets stuck, deactivate: ['false']}
`, at(-time.Hour), at(time.Hour), at(2*time.Hour), at(3*time.Hour), at(30*time.Minute), at(3*time.Hour), at(-time.Hour), at(time.Hour)), 0o644)
	d.Start()
	d.InState("1@x", "active")
	_, port, _ := strings.Cut(d.tcp(), ":")
	return d, "http://panel.test:" + port
}

// TestPanel opens pages of the panel in a browser.
func TestPanel(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	d, home := newPanelDaemon(t)
	for _, tt := range []struct {
		name string
		test func(t *testing.T, b *browser, d *daemon, home string)
	}{
		{"pages", testPages},
		{"timeline", testTimelineKeys},
		{"place", testPlace},
		{"tabs", testTabs},
		{"away", testAway},
		{"stream", testStream},
		{"without scripts", testPlain},
		{"roles", testRoles},
		{"two operators", testTwo},
		{"hostile texts", testHostile},
		{"addresses", testAddress},
		{"stuck", testStuck},
		{"log", testLog},
		{"list", testList},
		{"book", testBook},
		{"book without scripts", testBookPlain},
		{"book at once", testBookTwo},
		{"book roles", testBookRoles},
		{"book hostile", testBookHostile},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, b, d, home)
		})
	}
}

// testPages opens every page: each has its title, keeps to its policy and breaks no rule of
// accessibility, with colours for the day and the night, and some of them with the person's own.
func testPages(t *testing.T, b *browser, d *daemon, home string) {
	p := b.person(t, home)
	p.open("/activations?kind=job")
	if at := eval[string](p, "location.pathname + location.search"); at != "/login?to=%2Factivations%3Fkind%3Djob" {
		t.Errorf("whoever is not logged in comes to %s", at)
	}
	p.axe()
	p.do(chromedp.SendKeys(chromedp.ID("token"), "0123456789abcdef-nobody"))
	p.click("form button")
	p.axe()
	p.do(chromedp.SendKeys(chromedp.ID("token"), operatorToken))
	p.click("form button")
	if at := eval[string](p, "location.pathname + location.search"); at != "/activations?kind=job" {
		t.Errorf("after the log-in a person comes to %s", at)
	}
	pages := map[string]string{ // besides those of the navigation
		"/activations/1@x": "1@x", "/activations/nothing": "Not Found", "/act?op=cancel&id=3@x": "Cancel 3@x?",
		"/services/db@1": "db@1",
	}
	p.open("/")
	for _, link := range eval[[]struct{ Path, Title string }](p, `[...document.querySelectorAll("header nav a")].map((a) => ({Path: a.pathname, Title: a.textContent}))`) {
		pages[link.Path] = link.Title
	}
	for path, title := range pages {
		p.open(path)
		if got := eval[string](p, "document.title"); !strings.HasSuffix(got, title+" · activationd") {
			t.Errorf("%s has the title %q, want %q", path, got, title)
		}
		p.media("prefers-color-scheme=light")
		p.axe()
		p.media("prefers-color-scheme=dark")
		p.axe("color-contrast")
		if path == "/" || path == "/timeline" || path == "/book" {
			p.media("forced-colors=active")
			p.axe()
		}
		p.fits(path)
	}
}

// fits checks that a page is as wide as a small telephone at most.
func (p *tab) fits(what string) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(360, 700))
	if over := eval[int](p, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); over > 0 {
		p.t.Errorf("%s is %d pixels wider than a screen of 360: %s", what, over, eval[string](p,
			`[...document.querySelectorAll("main *, header *")].filter((e) => e.getBoundingClientRect().right > 361).slice(0, 3).map((e) => e.outerHTML.slice(0, 120)).join("\n")`))
	}
	p.do(chromedp.ResetViewport())
}

// testPlace changes what a page shows while a person types, has selected text, and has the focus
// in it: nothing of that is lost, and the page stays where it is.
func testPlace(t *testing.T, b *browser, d *daemon, home string) {
	for n := range 40 {
		d.add("--hold", "--label", fmt.Sprintf("place %d", n), "--", "true")
	}
	p := b.person(t, home)
	p.login(operatorToken)
	p.open("/activations?kind=job")
	p.until(`document.querySelector("#live").textContent === "Live"`)
	p.do(chromedp.SendKeys(chromedp.ID("match"), "typed"))
	eval[any](p, `(() => {
		scrollTo(0, 200);
		const rows = [...document.querySelectorAll("#rows tbody tr")];
		globalThis.row = rows[20];
		getSelection().selectAllChildren(row);
		const field = document.querySelector("#match");
		field.setSelectionRange(1, 3);
		document.querySelector("details.menu").open = true;
		globalThis.before = [scrollY, getSelection().toString(), field.value].join("|");
		return null;
	})()`)
	id := d.add("--hold", "--label", "the new one", "--", "true")
	p.until(`!!document.querySelector("#row-%s")`, id)
	if now, before := eval[string](p, `[scrollY, getSelection().toString(), document.querySelector("#match").value].join("|")`), eval[string](p, "before"); now != before {
		t.Errorf("the page was at %q and is at %q", before, now)
	}
	for what, script := range map[string]string{
		"the focus": `document.activeElement.id === "match"`, "the menu": `document.querySelector("details.menu").open`, "the row": `row.isConnected`,
		"the caret": `document.querySelector("#match").selectionStart === 1 && document.querySelector("#match").selectionEnd === 3`,
	} {
		if !eval[bool](p, "%s", script) {
			t.Errorf("%s was lost", what)
		}
	}
	// The focus on a link of a row, whose state changes.
	last := d.add("--hold", "--label", "has the focus", "--", "true")
	p.until(`!!document.querySelector("#row-%s")`, last)
	eval[any](p, `document.querySelector("#row-%s a").focus()`, last)
	d.must("release", last)
	p.until(`!document.querySelector("#row-%s")?.textContent.includes("held")`, last)
	if p.open("/activations?kind=job&state=all&match=place"); eval[int](p, `document.querySelectorAll("#rows tbody tr").length`) != 40 {
		t.Errorf("the filter in the address finds other jobs:\n%s", p.seen())
	}
}

// testTabs opens more tabs than a browser has connections to a host: all follow the daemon, and all
// can still load pages.
func testTabs(t *testing.T, b *browser, d *daemon, home string) {
	first := b.person(t, home)
	first.login(operatorToken)
	tabs := []*tab{first}
	for range 9 {
		tabs = append(tabs, first.another())
	}
	for _, p := range tabs {
		p.open("/activations?kind=job")
	}
	for _, p := range tabs {
		p.until(`document.querySelector("#live").textContent === "Live"`)
	}
	id := d.add("--hold", "--label", "for ten tabs", "--", "true")
	for n, p := range tabs {
		p.front() // who looks at a tab sees it as it is
		p.until(`!!document.querySelector("#row-%s")`, id)
		if n%3 == 0 {
			p.open("/activations/" + id)
		}
	}
}

// front brings a tab to the front, as if somebody chose it.
func (p *tab) front() {
	p.t.Helper()
	p.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, page.BringToFront, cdp.Empty{})
		return err
	}))
}

// testAway looks at a page that nobody looks at for a while: it does nothing then, and shows what is
// there as soon as somebody comes back.
func testAway(t *testing.T, b *browser, d *daemon, home string) {
	p := b.person(t, home)
	p.login(operatorToken)
	q := p.another()
	for _, tab := range []*tab{p, q} {
		tab.open("/activations?kind=job")
		tab.until(`document.querySelector("#live").textContent === "Live"`)
	}
	look := func(hidden bool) {
		eval[any](p, `Object.defineProperty(document, "hidden", {get: () => %t, configurable: true}), null`, hidden)
	}
	q.front()
	look(true)
	first := d.add("--hold", "--label", "while nobody looks", "--", "true")
	q.until(`!!document.querySelector("#row-%s")`, first) // the page had the event at the same time
	second := d.add("--hold", "--label", "and another", "--", "true")
	q.until(`!!document.querySelector("#row-%s")`, second)
	if eval[bool](p, `!!document.querySelector("#row-%s")`, first) {
		t.Error("a page works although nobody looks at it")
	}
	look(false)
	eval[any](p, `document.dispatchEvent(new Event("visibilitychange")), null`)
	p.until(`!!document.querySelector("#row-%s")`, second)
}

// testStream cuts the stream of events again and again: no event is missed, and none comes twice.
func testStream(t *testing.T, b *browser, d *daemon, home string) {
	cut := newCutter(t, d.tcp())
	p := b.person(t, "http://panel.test:"+cut.port)
	p.login(viewerToken)
	p.open("/login") // no page with a stream of its own
	eval[any](p, `import("/static/live.js").then(({stream}) => {
		globalThis.seen = [];
		globalThis.opened = 0;
		stream("", (data) => {
			if (data.kind === "event" && data.topic.startsWith("custom.cut.")) seen.push(data.seq + " " + data.topic);
			if (data.kind === "state" && data.on) opened++;
		});
		return null;
	})`)
	p.until("opened === 1")
	all := 0
	for n := range harness.Size(3, 50) {
		for k := range 20 {
			topic := fmt.Sprintf("custom.cut.%d-%d", n, k)
			all++
			if _, _, err := control.Call[control.PublishOut](t.Context(), &d.Client, "publish", control.PublishIn{Topic: topic, Text: "x"}); err != nil {
				t.Fatal(err)
			}
			if k == 10 {
				p.until("seen.length > %d", n*20)
				cut.all()
			}
		}
		p.until("opened === %d", n+2)
	}
	p.until("seen.length >= %d", all)
	var want []string
	for line := range strings.Lines(d.must("events", "custom.cut.#", "--since", "0", "-n", strconv.Itoa(all), "--json")) {
		var ev control.Event
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprint(ev.Seq, " ", ev.Topic))
	}
	if got := eval[[]string](p, "seen"); len(want) != all || !slices.Equal(got, want) {
		t.Errorf("with a stream that was cut, the browser has seen these %d events:\n%v\natctl events prints %d:\n%v", len(got), got, len(want), want)
	}
}

// A cutter is a way to the daemon that can be cut.
type cutter struct {
	port  string
	l     net.Listener
	mu    sync.Mutex
	conns []net.Conn
	shut  bool
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	c := &cutter{l: l}
	_, c.port, _ = net.SplitHostPort(l.Addr().String())
	join := func(a, b net.Conn) {
		_, _ = io.Copy(a, b)
		_, _ = a.Close(), b.Close()
	}
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			c.mu.Lock()
			if c.shut {
				_, _ = in.Close(), out.Close()
				c.mu.Unlock()
				continue
			}
			c.conns = append(c.conns, in, out)
			c.mu.Unlock()
			wg.Go(func() { join(in, out) })
			wg.Go(func() { join(out, in) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); c.all(); wg.Wait() })
	return c
}

// close cuts all connections, and lets nobody connect again.
func (c *cutter) close() {
	_ = c.l.Close()
	c.all()
}

// refuse cuts all connections and refuses others, or lets them through again.
func (c *cutter) refuse(shut bool) {
	c.mu.Lock()
	c.shut = shut
	c.mu.Unlock()
	if shut {
		c.all()
	}
}

// all cuts all connections.
func (c *cutter) all() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

// testPlain does without scripts what people do: log in, search, look at a job, hold and cancel it.
func testPlain(t *testing.T, b *browser, d *daemon, home string) {
	id := d.add("--in", "1h", "--label", "without scripts", "--", "true")
	p := b.person(t, home)
	if _, err := chromedp.Call(p.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	p.login(operatorToken)
	p.open("/activations?kind=job")
	p.do(chromedp.SendKeys(chromedp.ID("match"), "without scripts\r"), chromedp.WaitVisible(chromedp.CSS(".chip")))
	if n := eval[int](p, `document.querySelectorAll("#rows tbody tr").length`); n != 1 {
		t.Errorf("the search finds %d jobs:\n%s", n, p.seen())
	}
	p.click("#row-" + id + " a")
	for _, step := range []struct{ press, said string }{
		{`form.inline:has([name=op][value=hold]) button`, id + " is held."}, {`form.inline:has([name=op][value=release]) button`, id + " is released."},
		{"a[data-ask][href*='op=cancel']", ""}, {"form button.danger", id + " is cancelled."},
	} {
		p.click(step.press)
		if step.said != "" && eval[string](p, `document.querySelector("#said")?.textContent ?? ""`) != step.said {
			t.Errorf("after %s the page does not say %q:\n%s", step.press, step.said, p.seen())
		}
	}
	if job := d.show(id); job.Outcome != "cancelled" {
		t.Errorf("the job is %s %s", job.State, job.Outcome)
	}
}

// testRoles looks at pages as a viewer, who has no buttons and may not call what is behind them, and
// sends forms of another site as an operator. No script can read the cookie of a session.
func testRoles(t *testing.T, b *browser, d *daemon, home string) {
	id := d.add("--in", "1h", "--label", "of roles", "--", "true")
	p := b.person(t, home)
	p.login(viewerToken)
	const buttons = `document.querySelectorAll("[data-ask], main form[method=post]").length`
	for _, path := range []string{"/", "/activations", "/activations/" + id, "/activations/3@x"} {
		p.open(path)
		if n := eval[int](p, buttons); n != 0 {
			t.Errorf("a viewer has %d buttons on %s", n, path)
		}
	}
	forge := `fetch("/act", {method: "POST", redirect: "manual", body: new URLSearchParams({op: %q, id: %q})}).then((r) => r.status)`
	for _, op := range []string{"hold", "cancel", "retry"} {
		if code := eval[int](p, forge, op, id); code != 403 {
			t.Errorf("a viewer who sends the form of %s gets %d", op, code)
		}
	}
	if got := eval[string](p, "document.cookie"); got != "" {
		t.Errorf("a script can read %q", got)
	}
	if job := d.show(id); job.State != "scheduled" {
		t.Errorf("the job is %s", job.State)
	}

	q := b.person(t, home)
	q.login(operatorToken)
	q.open("/activations/" + id)
	if eval[int](q, buttons) == 0 {
		t.Error("an operator has no buttons")
	}
	cookies, err := chromedp.Call(q.ctx, network.GetCookies, network.GetCookiesParams{})
	if err != nil || len(cookies.Cookies) != 1 {
		t.Fatalf("the cookies of a session are %+v, %v", cookies, err)
	}
	c := cookies.Cookies[0]
	if !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax || c.Path != "/" {
		t.Errorf("the cookie is %+v", c)
	}
	for origin, want := range map[string]int{"": 303, home: 303, "http://evil.test": 403} {
		form := strings.NewReader(url.Values{"op": {"hold"}, "id": {id}}.Encode())
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+d.tcp()+"/act", form)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = q.host()
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Cookie", c.Name+"="+c.Value)
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("a form of %q is answered with %d, want %d", origin, resp.StatusCode, want)
		}
		if want == 303 {
			d.must("release", id)
		}
	}
}

// testTwo has two operators cancel a job at once: it is cancelled, and the pages of both say so.
func testTwo(t *testing.T, b *browser, d *daemon, home string) {
	id := d.add("--in", "1h", "--label", "wanted by nobody", "--", "true")
	both := []*tab{b.person(t, home), b.person(t, home)}
	for _, p := range both {
		p.login(operatorToken)
		p.open("/act?op=cancel&id=" + id + "&back=/activations/" + id)
	}
	for _, p := range both {
		eval[any](p, `document.querySelector("#ask form").submit(), null`) // it does not wait for the reply
	}
	said := 0
	for _, p := range both {
		p.until(`!!document.querySelector("#main") && !document.querySelector("#ask")`)
		switch text := eval[string](p, "document.querySelector('#main').innerText"); {
		case strings.Contains(text, id+" is cancelled."):
			said++
		case !strings.Contains(text, "finished") && !strings.Contains(text, "cancelled"):
			t.Errorf("the other one reads:\n%s", text)
		}
	}
	if job := d.show(id); said == 0 || job.Outcome != "cancelled" {
		t.Errorf("%d pages say that the job is cancelled, which is %s %s", said, job.State, job.Outcome)
	}
}

// testHostile shows texts that want to be more than texts.
func testHostile(t *testing.T, b *browser, d *daemon, home string) {
	p := b.person(t, home)
	p.login(operatorToken)
	for _, label := range []string{
		`<img src=x onerror="globalThis.hostile=true">`, "'\"><script>globalThis.hostile=true</script>", "{{.}} ${1} </title></textarea>", "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd",
		"😀👩‍👩‍👧‍👦", strings.Repeat("long", 60), "javascript:globalThis.hostile=true",
	} {
		id := d.add("--hold", "--label", label, "--", "true", label)
		for _, path := range []string{"/activations/" + id, "/activations?kind=job&match=" + url.QueryEscape(id), "/?match=" + url.QueryEscape(label), "/act?op=cancel&id=" + url.QueryEscape(label)} {
			p.open(path)
			if eval[bool](p, `globalThis.hostile === true || document.querySelector("main img, main script:not([src])") !== null`) {
				t.Errorf("%s with %q runs it", path, label)
			}
			if strings.HasPrefix(path, "/activations/") && !eval[bool](p, `document.querySelector("main").textContent.includes(%q)`, label) {
				t.Errorf("%s does not show %q:\n%s", path, label, p.seen())
			}
			p.fits(path)
		}
	}
}

// testStuck finds what is stuck on the first screen, with its owner, its time, and what helps. A button
// there ends it.
func testStuck(t *testing.T, b *browser, d *daemon, home string) {
	d.InState("4@x", "active")
	d.must("cancel", "4@x")
	d.InState("4@x", "stuck")
	p := b.person(t, home)
	p.login(adminToken)
	p.open("/")
	const row = `[id^="need-stuck-4@x"]`
	p.until("!!document.querySelector(`%s`)", row)
	if text := eval[string](p, "document.querySelector(`%s`).innerText", row); !strings.Contains(text, "cleo") || !strings.Contains(text, "Since ") || !strings.Contains(text, "status 1") {
		t.Errorf("the page says of it:\n%s", text)
	}
	if bottom := eval[float64](p, "document.querySelector(`%s`).getBoundingClientRect().bottom", row); bottom > 900 {
		t.Errorf("it ends %v pixels below the top of the page", bottom)
	}
	eval[any](p, `document.querySelector(%q).click(), null`, row+" [data-ask]") // the list may just follow the daemon
	p.do(chromedp.WaitVisible(chromedp.CSS("dialog[open] button.danger")))
	p.axe()
	p.click("dialog[open] button.danger")
	if at := eval[string](p, "location.pathname"); at != "/" || d.show("4@x").State != "finished" {
		t.Errorf("after the button the browser is at %s, and 4@x is %s", at, d.show("4@x").State)
	}
}

// testAddress copies an address to another person's browser, which shows the same, and goes back.
func testAddress(t *testing.T, b *browser, d *daemon, home string) {
	id := d.add("--hold", "--label", "in the address", "--tag", "copied", "--", "true")
	d.add("--hold", "--label", "not in the address", "--", "true")
	p, q := b.person(t, home), b.person(t, home)
	p.login(operatorToken)
	q.login(operatorToken)
	p.open("/activations?kind=job&tag=copied&zone=UTC")
	p.until(`document.querySelectorAll("#rows tbody tr").length === 1`)
	rows := `[...document.querySelectorAll("#rows tbody tr time")].map((t) => t.dateTime).join() + [...document.querySelectorAll(".chip b")].map((b) => b.textContent).join()`
	want := eval[string](p, "%s", rows)
	q.open(strings.TrimPrefix(eval[string](p, "location.href"), home))
	if got := eval[string](q, "%s", rows); got != want {
		t.Errorf("the other browser shows %q instead of %q", got, want)
	}
	// By scripts, as a row may just be put in its place again, and as a page that comes out of the
	// browser's memory is not loaded, for which chromedp's way back waits.
	eval[any](p, `document.querySelector("#row-%s a").click(), null`, id)
	p.until(`location.pathname === "/activations/%s" && document.readyState === "complete"`, id)
	eval[any](p, `history.back(), null`)
	p.until(`location.pathname === "/activations" && document.readyState === "complete"`)
	if got := eval[string](p, "%s", rows); got != want {
		t.Errorf("the way back leads to %q instead of %q", got, want)
	}
}

// TestPanelScripts checks the types of the panel's scripts.
func TestPanelScripts(t *testing.T) {
	t.Parallel()
	needNodeParts(t)
	scripts, err := filepath.Glob("../control/panel/static/*.js")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("%v, %v", scripts, err)
	}
	args := append([]string{"--noEmit", "--allowJs", "--checkJs", "--strict", "--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler",
		"--lib", "es2022,dom,dom.iterable"}, scripts...)
	out, err := exec.CommandContext(t.Context(), nodeParts+"/node_modules/.bin/tsc", args...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
