package panel

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var start = time.Date(2099, 12, 21, 10, 0, 0, 0, time.UTC)

func newTestPanel(t *testing.T) *Panel {
	t.Helper()
	key, err := Key(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Key: key, Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A session is a cookie that nobody can read or change, and that ends by itself.
func TestSession(t *testing.T) {
	p := newTestPanel(t)
	rec := httptest.NewRecorder()
	p.setSession(rec, true, "secret of ada")
	c := rec.Result().Cookies()[0]
	if c.Name != "__Host-session" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.MaxAge != int(sessionAge.Seconds()) {
		t.Errorf("the cookie is %v", c)
	}
	secret := func(p *Panel, value string) string {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.AddCookie(&http.Cookie{Name: c.Name, Value: value})
		return p.Secret(r)
	}
	if got := secret(p, c.Value); got != "secret of ada" {
		t.Errorf("the secret is %q", got)
	}
	for i := range len(c.Value) {
		changed := []byte(c.Value)
		if changed[i] = 'A'; c.Value[i] == 'A' {
			changed[i] = 'Q'
		}
		if got := secret(p, string(changed)); got != "" {
			t.Errorf("with byte %d changed the secret is %q", i, got)
		}
	}
	for _, value := range []string{"", "x", c.Value[:20], c.Value + "AAAA"} {
		if got := secret(p, value); got != "" {
			t.Errorf("of %q the secret is %q", value, got)
		}
	}
	if got := secret(newTestPanel(t), c.Value); got != "" {
		t.Errorf("with another key the secret is %q", got)
	}
	p.now = func() time.Time { return start.Add(sessionAge) }
	if got := secret(p, c.Value); got != "" {
		t.Errorf("after its time the secret is %q", got)
	}
}

// A session lasts its whole time after the last page, and not a part of it.
func TestRenew(t *testing.T) {
	p := newTestPanel(t)
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	w := httptest.NewRecorder()
	p.setSession(w, true, "secret")
	request.AddCookie(w.Result().Cookies()[0])
	for after, renewed := range map[time.Duration]bool{30 * time.Second: false, time.Hour: true} {
		p.now = func() time.Time { return start.Add(after) }
		w := httptest.NewRecorder()
		p.renew(w, request, Client{Secure: true})
		if got := len(w.Result().Cookies()) > 0; got != renewed {
			t.Errorf("after %v the session is renewed: %t", after, got)
		}
	}
}

// The key of sessions stays the same, and a file that is none is replaced.
func TestKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	a, err := Key(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Key(path)
	if err != nil || string(a) != string(b) || len(a) != keySize {
		t.Errorf("%x and then %x, %v", a, b, err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil { // as after a loss of power
		t.Fatal(err)
	}
	if c, err := Key(path); err != nil || len(c) != keySize || string(c) == string(a) {
		t.Errorf("after a loss of power: %x, %v", c, err)
	}
}

// Links lead to the panel's own pages only, whoever wrote them.
func TestLocal(t *testing.T) {
	p := newTestPanel(t)
	for to, want := range map[string]string{
		"/activations?kind=job": "/activations?kind=job", "/": "/", "": "/", "activations": "/", "//evil.example/": "/",
		"https://evil.example/": "/", `/\evil.example`: "/", "/a\nb": "/", "javascript:alert(1)": "/", "http:/x": "/",
	} {
		if got := p.local(to); got != want {
			t.Errorf("%q leads to %q, want %q", to, got, want)
		}
	}
	p.base = "/lab"
	for to, want := range map[string]string{"/lab/activations": "/lab/activations", "/activations": "/lab/activations", "x": "/lab/"} {
		if got := p.local(to); got != want {
			t.Errorf("below /lab, %q leads to %q, want %q", to, got, want)
		}
	}
}
