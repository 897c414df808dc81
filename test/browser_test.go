package test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A browser is Chromium. Each tab of it that a test opens belongs to another person: it has
// cookies and a cache of its own.
type browser struct{ ctx context.Context }

// newBrowser starts a browser for a test. The names under .test lead to this machine.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	needProgram(t, "chromium")
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1400, 900), chromedp.IgnoreCertErrors,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1"))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("the browser does not start: %v", err)
	}
	return &browser{ctx}
}

// A tab shows pages of one daemon. At its end it fails its test if a page has violated the
// policy of its contents, thrown an error, or asked another host for something.
type tab struct {
	t    *testing.T
	ctx  context.Context
	home string // the daemon's address, with the base of all paths

	mu     sync.Mutex
	faults []string
}

// person opens a tab for somebody who has no cookies.
func (b *browser) person(t *testing.T, home string) *tab {
	t.Helper()
	return newTab(b.ctx, t, home, chromedp.WithNewBrowserContext())
}

// another opens one more tab of the same person.
func (p *tab) another() *tab {
	p.t.Helper()
	return newTab(p.ctx, p.t, p.home, chromedp.WithNewWindow(true))
}

func newTab(parent context.Context, t *testing.T, home string, opts ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, opts...)
	t.Cleanup(cancel)
	p := &tab{t: t, ctx: ctx, home: home}
	if err := chromedp.Do(ctx, chromedp.Func(p.watch)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.check)
	return p
}

// watch notes what pages may not do.
func (p *tab) watch(ctx context.Context, t *chromedp.Target) error {
	host := p.host()
	err := chromedp.Listen(ctx, func(ev any) {
		switch ev := ev.(type) {
		case *log.EventEntryAdded:
			// Most errors of the network are the tests' own doing; those of the panel's files are not.
			if e := ev.Entry; e.Level == log.EntryLevelError && (e.Source != log.EntrySourceNetwork || strings.Contains(e.URL, "/static/")) {
				p.fault("%s: %s", e.URL, e.Text)
			}
		case *runtime.EventExceptionThrown:
			text := ev.ExceptionDetails.Text
			if e := ev.ExceptionDetails.Exception; e != nil {
				text = e.Description
			}
			p.fault("%s:%d: %s", ev.ExceptionDetails.URL, ev.ExceptionDetails.LineNumber, text)
		case *runtime.EventConsoleAPICalled:
			if ev.Type == runtime.ConsoleAPICalledTypeError || ev.Type == runtime.ConsoleAPICalledTypeWarning {
				p.fault("the console: %s", ev.Args[0].Value)
			}
		case *network.EventRequestWillBeSent:
			if u, err := url.Parse(ev.Request.URL); err != nil || u.Host != host && u.Scheme != "data" {
				p.fault("a request to %s", ev.Request.URL)
			}
		}
	})
	if err == nil {
		_, err = cdp.Call(ctx, t, network.Enable, network.EnableParams{})
	}
	return err
}

func (p *tab) host() string {
	u, err := url.Parse(p.home)
	if err != nil {
		p.t.Fatal(err)
	}
	return u.Host
}

func (p *tab) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

func (p *tab) check() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		p.t.Errorf("the browser: %s", f)
	}
}

// stepPatience is how long a step in a browser may take: what is not on the page then will not be.
const stepPatience = 2 * time.Minute

// do carries out steps.
func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, stepPatience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatalf("%v\n%s", err, p.seen())
	}
}

// seen says for a failed test what the tab shows.
func (p *tab) seen() string {
	text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body?.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

// open opens a page of the panel.
func (p *tab) open(path string) {
	p.t.Helper()
	p.do(chromedp.Navigate(p.home + path))
}

// click presses an element, and waits for the page to which that leads. A script presses it: the
// mouse's press falls beside an element that the page moves meanwhile.
func (p *tab) click(selector string) {
	p.t.Helper()
	p.until(`document.querySelector(%q)?.checkVisibility()`, selector)
	ctx, cancel := context.WithTimeout(p.ctx, stepPatience)
	defer cancel()
	_, err := chromedp.RunResponse(ctx, func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Evaluate[any](fmt.Sprintf(`document.querySelector(%q).click(), null`, selector))(ctx, t)
		return chromedp.Void{}, err
	})
	if err != nil {
		p.t.Fatalf("pressing %s: %v\n%s", selector, err, p.seen())
	}
}

// login opens the log-in page and logs in with a token.
func (p *tab) login(token string) {
	p.t.Helper()
	p.open("/login")
	p.do(chromedp.SendKeys(chromedp.ID("token"), token))
	p.click("form button")
}

// eval returns the value of an expression in JavaScript; a promise is awaited.
func eval[T any](p *tab, format string, args ...any) T {
	p.t.Helper()
	script := format
	if len(args) > 0 {
		script = fmt.Sprintf(format, args...)
	}
	ctx, cancel := context.WithTimeout(p.ctx, stepPatience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", script, err, p.seen())
	}
	return v
}

// until waits until an expression is true.
func (p *tab) until(format string, args ...any) {
	p.t.Helper()
	script := format
	if len(args) > 0 {
		script = fmt.Sprintf(format, args...)
	}
	// It is asked for again and again from here, as a script of the page would end with the page.
	for deadline := time.Now().Add(stepPatience); ; time.Sleep(20 * time.Millisecond) {
		ok, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool](script))
		if err == nil && ok {
			return
		}
		if time.Now().After(deadline) || p.ctx.Err() != nil {
			p.t.Fatalf("%s does not become true: %v\n%s", script, err, p.seen())
		}
	}
}

// media sets the features of the screen for style sheets, as "prefers-color-scheme=dark", or the
// medium: "print".
func (p *tab) media(features ...string) {
	p.t.Helper()
	var params emulation.SetEmulatedMediaParams
	for _, f := range features {
		name, value, ok := strings.Cut(f, "=")
		if !ok {
			params.Media = name
			continue
		}
		params.Features = append(params.Features, &emulation.MediaFeature{Name: name, Value: value})
	}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, params); err != nil {
		p.t.Fatal(err)
	}
}

// axe checks the page by some rules of axe-core, or by all of WCAG 2.2, levels A and AA.
func (p *tab) axe(rules ...string) {
	p.t.Helper()
	if rules == nil {
		rules = []string{"wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"}
	}
	only, err := json.Marshal(rules)
	if err != nil {
		p.t.Fatal(err)
	}
	source, err := os.ReadFile(nodeParts + "/node_modules/axe-core/axe.min.js")
	if err != nil {
		p.t.Skipf("scripts/node-parts has not been run: %v", err)
	}
	if eval[bool](p, "!globalThis.axe") {
		eval[any](p, "%s; null", source)
	}
	found := eval[json.RawMessage](p, `axe.run(document, {runOnly: %s, resultTypes: ["violations"]})
		.then(({violations}) => violations.map(({id, help, nodes}) => ({id, help, nodes: nodes.map((n) => n.html + " " + n.failureSummary)})))`, only)
	var violations []struct {
		ID, Help string
		Nodes    []string
	}
	if err := json.Unmarshal(found, &violations); err != nil {
		p.t.Fatal(err)
	}
	for _, v := range violations {
		nodes := slices.Compact(v.Nodes)
		p.t.Errorf("%s: %s: %s: %d times, first: %s", eval[string](p, "location.pathname"), v.ID, v.Help, len(nodes), nodes[0])
	}
}
