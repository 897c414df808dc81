package panel

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"activationd/control"
	"activationd/internal/fault"
)

//go:embed templates static
var files embed.FS

// A Panel serves the pages. Make it with [New].
type Panel struct {
	registry *control.Registry
	log      *slog.Logger
	base     string // what precedes all paths: "/lab", or nothing
	seal     *seal
	now      func() time.Time
	pages    map[string]*template.Template // by the name of their file
	assets   map[string]*asset
	version  string // of the assets: it is in their addresses, so that browsers keep them
}

// Config is what a panel needs.
type Config struct {
	Registry *control.Registry
	Log      *slog.Logger
	Base     string
	Key      []byte           // of the cookies of sessions; 32 bytes
	Now      func() time.Time // nil: the machine's clock
}

// New makes a panel.
func New(c Config) (*Panel, error) {
	s, err := newSeal(c.Key)
	if err != nil {
		return nil, err
	}
	p := &Panel{registry: c.Registry, log: c.Log, base: c.Base, seal: s, now: c.Now, pages: make(map[string]*template.Template)}
	if p.now == nil {
		p.now = time.Now
	}
	if err := p.loadAssets(); err != nil {
		return nil, err
	}
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		return nil, err
	}
	shared := []string{"templates/frame.html", "templates/parts.html", "templates/log.html"}
	for _, name := range names {
		t, err := template.New("").Funcs(p.funcs()).ParseFS(files, append(shared, name)...)
		if err != nil {
			return nil, fmt.Errorf("the page %s: %w", name, err)
		}
		p.pages[strings.TrimSuffix(strings.TrimPrefix(name, "templates/"), ".html")] = t
	}
	return p, nil
}

// A Client is who asks for a page.
type Client struct {
	Caller   control.Caller
	Identify func(secret string) (control.Caller, error) // by a token
	Secure   bool                                        // the browser's connection is encrypted as far as the panel knows
	// Fixed says that the client is known by other means than a token: there is nothing to log
	// out of.
	Fixed bool
}

// A page is a view.
type page struct {
	pattern string // of net/http, without the method
	title   string // in the navigation; empty: it is not there
	more    bool   // it is in the navigation's second part
	topics  string // the first words of topics of events that change it, separated by blanks; *: all
	name    string // of its template
	fill    func(v *view) error
}

// views returns the pages in the order of the navigation.
func (p *Panel) views() []page {
	return []page{
		{"/{$}", "Now", false, "activation service source queue vlan login pause hook daemon", "now", p.fillNow},
		{"/timeline", "Timeline", false, "activation pause source device service queue vlan", "timeline", p.fillTimeline},
		{"/book", "Book", false, "activation pause device source", "book", p.fillBook},
		{"/activations", "Activations", false, "activation", "activations", p.fillActivations},
		{"/activations/{id}", "", false, "activation", "activation", p.fillActivation},
		{"/activations/{id}/file", "", false, "", "file", p.fillFile},
		{"/services", "Services", false, "service pause", "services", p.fillServices},
		{"/services/{id}", "", false, "service", "instance", p.fillInstance},
		{"/queues", "Queues", false, "queue", "queues", p.fillQueues},
		{"/queues/{name}", "", false, "queue", "queue", p.fillQueue},
		{"/vlans", "VLANs", true, "vlan load", "vlans", p.fillVLANs},
		{"/locks", "Locks", true, "activation service", "locks", p.fillLocks},
		{"/recurrences", "Recurrences", true, "activation recurrence", "recurrences", p.fillRecurrences},
		{"/recurrences/{name}", "", false, "activation recurrence", "recurrence", p.fillRecurrence},
		{"/events", "Events", true, "*", "events", p.fillEvents},
		{"/audit", "Audit", true, "*", "audit", p.fillAudit},
		{"/reports", "Reports", true, "", "reports", p.fillReports},
	}
}

// Routes calls handle with the pattern of each page and what serves it, which may wait for something to happen.
func (p *Panel) Routes(mount func(pattern string, waits bool, serve func(http.ResponseWriter, *http.Request, Client))) {
	handle := func(pattern string, serve func(http.ResponseWriter, *http.Request, Client)) {
		mount(pattern, false, serve)
	}
	for _, pg := range p.views() {
		handle("GET "+pg.pattern, func(w http.ResponseWriter, r *http.Request, c Client) { p.show(w, r, c, pg) })
	}
	handle("GET /activations/{id}/log.txt", p.logText)
	mount("GET /activations/{id}/log.html", true, p.logMore)
	handle("GET /activations/{id}/download", p.download)
	handle("GET /act", func(w http.ResponseWriter, r *http.Request, c Client) {
		p.show(w, r, c, page{name: "confirm", fill: p.fillConfirm})
	})
	handle("POST /act", p.act)
	handle("GET /find", p.find)
	handle("POST /book", p.book)
	handle("GET /login", p.loginPage)
	handle("POST /login", p.login)
	handle("POST /logout", p.logout)
	handle("POST /settings", p.settings)
	handle("GET /static/{file}", func(w http.ResponseWriter, r *http.Request, _ Client) { p.asset(w, r) })
}

// show serves a page.
func (p *Panel) show(w http.ResponseWriter, r *http.Request, c Client, pg page) {
	if c.Caller.Role < control.Viewer {
		to := url.Values{"to": {r.URL.RequestURI()}}
		http.Redirect(w, r, p.base+"/login?"+to.Encode(), http.StatusSeeOther)
		return
	}
	v, err := p.newView(w, r, c, pg)
	if err == nil {
		err = pg.fill(v)
	}
	if err != nil {
		p.fail(w, r, c, pg, err)
		return
	}
	p.send(w, r, http.StatusOK, pg.name, v)
}

// Missing says that there is no page at an address.
func (p *Panel) Missing(w http.ResponseWriter, r *http.Request, c Client) {
	p.fail(w, r, c, page{}, fmt.Errorf("there is no page at %.200q: %w", r.URL.Path, fault.NotFound))
}

// fail shows an error.
func (p *Panel) fail(w http.ResponseWriter, r *http.Request, c Client, pg page, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the client has gone
	}
	code, text := control.Code(err), fault.Text(err)
	if code >= 500 {
		p.log.Error("a page failed", "path", r.URL.Path, "err", err)
	}
	v, verr := p.newView(w, r, c, pg)
	if verr != nil { // the zone, say
		v = &view{panel: p, r: r, Client: c, Now: p.now(), Zone: time.Local}
	}
	it := problem{Code: code, Text: text}
	if back := r.Form.Get("back"); back != "" && r.Method == http.MethodPost {
		it.Back = p.local(back)
	}
	v.Title, v.Data = http.StatusText(code), it
	p.send(w, r, code, "error", v)
}

type problem struct {
	Code int
	Text string
	Back string // the page with the button that was pressed; empty: there was none
}

// policy keeps pages from loading or running anything but the panel's own files.
const policy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"

// send writes a page.
func (p *Panel) send(w http.ResponseWriter, r *http.Request, code int, name string, v *view) {
	w.Header().Set("Referrer-Policy", "same-origin") // without it, browsers would not say where forms come from
	if v.clearSaid {
		http.SetCookie(w, &http.Cookie{Name: saidCookie, Path: p.base + "/", MaxAge: -1})
	}
	p.write(w, r, code, name, "frame", v)
}

// write writes a page, or a part of one: what a template makes of data.
func (p *Panel) write(w http.ResponseWriter, r *http.Request, code int, name, part string, data any) {
	var b bytes.Buffer
	if err := p.pages[name].ExecuteTemplate(&b, part, data); err != nil {
		p.log.Error("a page cannot be made", "page", name, "err", err)
		http.Error(w, "the page cannot be made; the daemon's log says why", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	deliver(w, r, code, b.Bytes())
}

// get calls an operation as the caller, and returns the lines of its reply.
func get[Out any](ctx context.Context, p *Panel, c control.Caller, name string, in any) (lines []Out, err error) {
	op := p.registry.Lookup(name)
	if op == nil {
		return nil, fmt.Errorf("there is no operation %s: %w", name, fault.Internal)
	}
	add := func(line any) error {
		if out, ok := line.(*Out); ok {
			lines = append(lines, *out)
			return nil
		}
		out, ok := line.(Out)
		if !ok {
			return fmt.Errorf("%s: a line is %T: %w", name, line, fault.Internal)
		}
		lines = append(lines, out)
		return nil
	}
	if op.Streams() {
		return lines, op.Stream(ctx, c, in, add)
	}
	a := op.Call(ctx, c, in)[0]
	if a.Err != nil || a.Lines == nil {
		return nil, a.Err
	}
	for line, err := range a.Lines {
		if err == nil {
			err = add(line)
		}
		if err != nil {
			return nil, err
		}
	}
	return lines, nil
}

// one is get for an operation whose reply is one line.
func one[Out any](ctx context.Context, p *Panel, c control.Caller, name string, in any) (out Out, err error) {
	lines, err := get[Out](ctx, p, c, name, in)
	if err == nil && len(lines) == 0 {
		err = fmt.Errorf("%s: the reply is empty: %w", name, fault.Internal)
	}
	if err == nil {
		out = lines[0]
	}
	return out, err
}
