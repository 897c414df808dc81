package panel

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"activationd/control"
	"activationd/internal/fault"
)

// A view is what the templates get.
type view struct {
	Client
	panel *Panel
	r     *http.Request
	page  page

	Title string
	Needs int // how many things need attention; -1: it is not known
	Now   time.Time
	Zone  *time.Location
	Lab   string // the name of the daemon's zone
	Theme string // light | dark; empty: the system's
	Said  string // what an action has done
	Data  any

	clearSaid bool
}

// Cookies of what a person has chosen, and of what an action has said.
const (
	zoneCookie  = "activationd-zone"
	themeCookie = "activationd-theme"
	saidCookie  = "activationd-said"
)

// newView returns the frame of a page.
func (p *Panel) newView(w http.ResponseWriter, r *http.Request, c Client, pg page) (*view, error) {
	v := &view{Client: c, panel: p, r: r, page: pg, Title: pg.title, Needs: -1, Theme: themeOf(r)}
	p.renew(w, r, c)
	clock, err := one[control.Clock](r.Context(), p, c.Caller, "clock", &control.Nothing{})
	if err != nil {
		return nil, err
	}
	v.Now, v.Lab = clock.Now, clock.Zone
	if v.Zone, err = v.zone(); err != nil {
		return nil, err
	}
	v.Now = v.Now.In(v.Zone)
	if said, err := r.Cookie(saidCookie); err == nil {
		if v.Said, err = url.QueryUnescape(said.Value); err == nil {
			v.clearSaid = true
		}
	}
	return v, nil
}

// zone returns the zone in which times are shown: that of the address, of an earlier choice, or
// else the daemon's.
func (v *view) zone() (*time.Location, error) {
	name := v.r.URL.Query().Get("zone")
	if name == "" {
		if c, err := v.r.Cookie(zoneCookie); err == nil {
			if zone, err := zoneOf(c.Value); err == nil {
				return zone, nil
			}
		}
	}
	return zoneOf(name)
}

// zoneOf returns the zone of a name; none and "lab": the daemon's.
func zoneOf(name string) (*time.Location, error) {
	switch name {
	case "", "lab", "Local":
		return time.Local, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("zone: there is no zone %.60q; give one such as Europe/Prague, UTC, or lab: %w", name, fault.Invalid)
	}
	return zone, nil
}

// ZoneName returns the name of the zone of the times on a page.
func (v *view) ZoneName() string {
	if v.Zone == time.Local {
		if v.Lab != "" {
			return v.Lab
		}
		return v.Now.Format("UTC-07:00")
	}
	return v.Zone.String()
}

// Zones are the choices in the menu of the clock: the daemon's zone, UTC, and the one in force if it
// is another. The address of a choice is the name of its zone.
func (v *view) Zones() []link {
	have := v.ZoneName()
	all := []link{{Text: "Daemon: " + v.Lab, Address: "lab", Here: v.Zone == time.Local}}
	if v.Lab != "UTC" {
		all = append(all, link{Text: "UTC", Address: "UTC", Here: have == "UTC"})
	}
	if v.Zone != time.Local && have != "UTC" {
		all = append(all, link{Text: have, Address: have, Here: true})
	}
	return all
}

func themeOf(r *http.Request) string {
	if c, err := r.Cookie(themeCookie); err == nil && (c.Value == "light" || c.Value == "dark") {
		return c.Value
	}
	return ""
}

// Base precedes all addresses.
func (v *view) Base() string { return v.panel.base }

// Asset returns the address of a file of the panel.
func (v *view) Asset(name string) string {
	return v.panel.base + "/static/" + name + "?" + v.panel.version
}

// Topics are the first words of the topics of events that change the page.
func (v *view) Topics() string { return v.page.topics }

// May reports whether the caller's role allows an operation.
func (v *view) May(operation string) bool {
	op := v.panel.registry.Lookup(operation)
	return op != nil && v.Caller.Role >= op.Role
}

// Who says who the caller is: "lab-team, operator".
func (v *view) Who() string { return v.Caller.Name + ", " + v.Caller.Role.String() }

// A link of the navigation.
type link struct {
	Address, Text string
	Here          bool
}

func (v *view) nav(more bool) (links []link) {
	for _, pg := range v.panel.views() {
		if pg.title == "" || pg.more != more {
			continue
		}
		path := strings.TrimSuffix(pg.pattern, "{$}")
		links = append(links, link{Address: v.panel.base + path, Text: pg.title, Here: v.page.title == pg.title ||
			path != "/" && strings.HasPrefix(v.page.pattern, path+"/")})
	}
	return links
}

// Nav is the first part of the navigation, and More the second one.
func (v *view) Nav() []link  { return v.nav(false) }
func (v *view) More() []link { return v.nav(true) }

// MoreHere reports whether the page is in the second part.
func (v *view) MoreHere() bool {
	return slices.ContainsFunc(v.More(), func(l link) bool { return l.Here })
}

// Here is the page's address, without the host.
func (v *view) Here() string { return v.panel.base + v.r.URL.RequestURI() }

// LoginHere is the address at which one logs in, and comes back to the page.
func (v *view) LoginHere() string {
	return v.panel.base + "/login?" + url.Values{"to": {v.Here()}}.Encode()
}

// With returns the page's address with other arguments: names and values. An empty value removes
// the argument.
func (v *view) With(pairs ...string) string {
	q := v.r.URL.Query()
	for i := 0; i+1 < len(pairs); i += 2 {
		if q.Del(pairs[i]); pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return v.panel.base + v.r.URL.Path
	}
	return v.panel.base + v.r.URL.Path + "?" + q.Encode()
}

// arg returns an argument of the address.
func (v *view) arg(name string) string { return v.r.URL.Query().Get(name) }

// settings keeps what a person has chosen in a cookie: the theme or the zone.
func (p *Panel) settings(w http.ResponseWriter, r *http.Request, _ Client) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read", http.StatusBadRequest)
		return
	}
	set := func(name, value string) {
		c := &http.Cookie{Name: name, Value: value, Path: p.base + "/", SameSite: http.SameSiteLaxMode, HttpOnly: true, MaxAge: 365 * 24 * 3600}
		if value == "" {
			c.MaxAge = -1
		}
		http.SetCookie(w, c)
	}
	if theme, ok := r.PostForm["theme"]; ok && slices.Contains([]string{"", "light", "dark"}, theme[0]) {
		set(themeCookie, theme[0])
	}
	back := p.local(r.PostForm.Get("back"))
	if zone, ok := r.PostForm["zone"]; ok {
		if _, err := zoneOf(zone[0]); err != nil {
			http.Error(w, fault.Text(err), http.StatusBadRequest)
			return
		}
		set(zoneCookie, zone[0])
		back = inZone(back, zone[0])
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}

// inZone returns the address of a page with another zone, so that whoever gets it sees the same times.
func inZone(page, zone string) string {
	u, err := url.Parse(page)
	if err != nil {
		return page
	}
	q := u.Query()
	if q.Del("zone"); zone != "" {
		q.Set("zone", zone)
	}
	u.RawQuery = q.Encode()
	return u.String()
}
