package panel

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"activationd/control"
	"activationd/internal/fault"
)

const (
	// sessionAge is how long a session lasts without a page being asked for.
	sessionAge = 12 * time.Hour
	// keySize is the size of the key of sessions, in bytes.
	keySize = 32
)

// A seal encrypts the token of a session, so that a cookie is worth nothing to who reads it from
// a disk or a log without the daemon's key.
type seal struct{ aead cipher.AEAD }

func newSeal(key []byte) (*seal, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("the key of sessions has %d bytes, want %d", len(key), keySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &seal{aead}, err
}

// close returns the value of a cookie with a secret, which is valid until a time.
func (s *seal) close(secret string, until time.Time) string {
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	plain := binary.BigEndian.AppendUint64(nil, uint64(until.Unix()))
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nonce, nonce, append(plain, secret...), nil))
}

// open returns the secret in the value of a cookie; empty: there is none, or not any more.
func (s *seal) open(value string, now time.Time) (secret string, until time.Time) {
	data, err := base64.RawURLEncoding.DecodeString(value)
	if n := s.aead.NonceSize(); err == nil && len(data) > n {
		plain, err := s.aead.Open(nil, data[:n], data[n:], nil)
		if err == nil && len(plain) > 8 {
			until = time.Unix(int64(binary.BigEndian.Uint64(plain)), 0)
			if now.Before(until) {
				return string(plain[8:]), until
			}
		}
	}
	return "", time.Time{}
}

// Key returns the key of sessions in a file. It makes one if there is none, or only what a loss of
// power has left of it: then all sessions end.
func Key(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	switch {
	case err == nil && len(key) == keySize:
		return key, nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	key = make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	return key, os.WriteFile(path, key, 0o600)
}

// A cookie with the prefix __Host- cannot be set by another host of the same domain, or over a
// connection that is not encrypted. Browsers take it from localhost, too.
func (p *Panel) sessionCookie(secure bool) string {
	if secure && p.base == "" {
		return "__Host-session"
	}
	return "activationd-session" // __Host- demands TLS, and / as the path
}

// Secret returns the token of the session that a request belongs to; empty: there is none.
func (p *Panel) Secret(r *http.Request) string {
	secret, _ := p.session(r)
	return secret
}

func (p *Panel) session(r *http.Request) (secret string, until time.Time) {
	for _, secure := range []bool{true, false} {
		if c, err := r.Cookie(p.sessionCookie(secure)); err == nil {
			if secret, until = p.seal.open(c.Value, p.now()); secret != "" {
				return secret, until
			}
		}
	}
	return "", time.Time{}
}

// setSession sets the cookie of a session; no secret: it ends.
func (p *Panel) setSession(w http.ResponseWriter, secure bool, secret string) {
	c := &http.Cookie{Path: p.base + "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode, MaxAge: -1}
	if secret != "" {
		c.MaxAge = int(sessionAge.Seconds())
		c.Value = p.seal.close(secret, p.now().Add(sessionAge))
	}
	c.Name = p.sessionCookie(secure)
	http.SetCookie(w, c)
}

// renew makes a session last its whole time from now on. A cookie a minute is enough for that.
func (p *Panel) renew(w http.ResponseWriter, r *http.Request, c Client) {
	if secret, until := p.session(r); secret != "" && until.Sub(p.now()) < sessionAge-time.Minute {
		p.setSession(w, c.Secure, secret)
	}
}

type loginForm struct {
	To    string // where to go then
	Error string
}

func (p *Panel) loginPage(w http.ResponseWriter, r *http.Request, c Client) {
	to := p.local(r.URL.Query().Get("to"))
	// Who is known by an address or by a front server may want another role.
	if c.Caller.Role >= control.Viewer && !c.Fixed {
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	p.writeLogin(w, r, c, http.StatusOK, loginForm{To: to})
}

func (p *Panel) writeLogin(w http.ResponseWriter, r *http.Request, c Client, code int, f loginForm) {
	v := &view{panel: p, r: r, Client: c, Now: p.now(), Zone: time.Local, Title: "Log in", Data: f}
	v.Theme = themeOf(r)
	p.send(w, r, code, "login", v)
}

func (p *Panel) login(w http.ResponseWriter, r *http.Request, c Client) {
	if err := r.ParseForm(); err != nil {
		p.writeLogin(w, r, c, http.StatusBadRequest, loginForm{Error: "The form cannot be read."})
		return
	}
	f := loginForm{To: p.local(r.PostForm.Get("to"))}
	secret := strings.TrimSpace(r.PostForm.Get("token"))
	if secret == "" {
		f.Error = "Type the token that an administrator has given you."
		p.writeLogin(w, r, c, http.StatusUnprocessableEntity, f)
		return
	}
	caller, err := c.Identify(secret)
	if err == nil && caller.Role < control.Viewer {
		err = fmt.Errorf("this token has no role: %w", fault.Denied)
	}
	if err != nil {
		f.Error = sentence(fault.Text(err))
		p.writeLogin(w, r, c, http.StatusForbidden, f)
		return
	}
	p.setSession(w, c.Secure, secret)
	http.Redirect(w, r, f.To, http.StatusSeeOther)
}

func (p *Panel) logout(w http.ResponseWriter, r *http.Request, _ Client) {
	for _, secure := range []bool{true, false} {
		p.setSession(w, secure, "")
	}
	http.Redirect(w, r, p.base+"/login", http.StatusSeeOther)
}

// local returns an address of the panel's own: somebody else may have written the link.
func (p *Panel) local(to string) string {
	u, err := url.Parse(to)
	if err != nil || to == "" || u.Scheme != "" || u.Host != "" || u.Opaque != "" || !strings.HasPrefix(u.Path, "/") ||
		strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return p.base + "/"
	}
	if p.base != "" && !strings.HasPrefix(u.Path, p.base+"/") {
		return p.base + to // the front server has removed it
	}
	return to
}
