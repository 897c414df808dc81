package hook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"activationd/internal/fault"
)

// receiver is a server on the loopback interface, which a post must be allowed to reach.
func receiver(t *testing.T, h http.HandlerFunc) (*httptest.Server, Post) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s, Post{URL: s.URL + "/in?x=1", Secret: []byte("0123456789abcdef"), AllowPrivate: true, Timeout: time.Minute}
}

// post makes one attempt.
func post(t *testing.T, p Post) Verdict {
	t.Helper()
	poster := NewPoster(p)
	defer poster.Close()
	v, err := poster.Post(t.Context(), 42, []byte(`{"seq":42}`), "")
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPost(t *testing.T) {
	var got *http.Request
	var body []byte
	_, p := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	})
	before := time.Now().Unix()
	if v := post(t, p); v != (Verdict{}) {
		t.Fatalf("the verdict is %+v", v)
	}
	if got.Method != http.MethodPost || got.URL.RequestURI() != "/in?x=1" || string(body) != `{"seq":42}` || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %s %v: %s", got.Method, got.URL, got.Header, body)
	}
	if id := got.Header.Get("X-Event-ID"); id != "42" {
		t.Errorf("X-Event-ID is %q", id)
	}
	stamp := got.Header.Get("X-Timestamp")
	if at, err := strconv.ParseInt(stamp, 10, 64); err != nil || at < before || at > time.Now().Unix() {
		t.Errorf("X-Timestamp is %q", stamp)
	}
	mac := hmac.New(sha256.New, []byte("0123456789abcdef")) // as a receiver does
	fmt.Fprintf(mac, "%s.%s", stamp, body)
	if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); got.Header.Get("X-Signature") != want {
		t.Errorf("X-Signature is %q, want %q", got.Header.Get("X-Signature"), want)
	}
	p.Secret = nil
	if post(t, p); got.Header.Get("X-Signature") != "" {
		t.Errorf("without a secret it is signed: %q", got.Header.Get("X-Signature"))
	}
}

// TestSign has a signature that was made by another program:
// printf '1700000000.{"seq":42}' | openssl dgst -sha256 -hmac 0123456789abcdef
func TestSign(t *testing.T) {
	const want = "a68bc32f9293482d2c14f469389ded1fbff9af9377d794fa0f009ef22631f4a0"
	if got := Sign([]byte("0123456789abcdef"), "1700000000", []byte(`{"seq":42}`)); got != want {
		t.Errorf("Sign = %s, want %s", got, want)
	}
}

func TestAnswers(t *testing.T) {
	soon := time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
	for _, tt := range []struct {
		name       string
		status     int
		retryAfter string
		body       string
		want       Outcome
		reason     string
		after      time.Duration
	}{
		{"done", 200, "", "", Done, "", 0},
		{"accepted", 202, "", "thanks", Done, "", 0},
		{"no content, which may say when to come again", 204, "100", "", Done, "", 0},
		{"a server's fault", 500, "", "<b>it\nis \x1b[31mbroken</b>", Again, "500 Internal Server Error: <b>it is [31mbroken</b>", 0},
		{"unavailable for a time", 503, "120", "", Again, "503 Service Unavailable", 2 * time.Minute},
		{"unavailable until a time", 503, soon, "", Again, "503 Service Unavailable", 90 * time.Second},
		{"too many", 429, "7", "slow down", Again, "429 Too Many Requests: slow down", 7 * time.Second},
		{"for a year", 429, "31536000", "", Again, "429 Too Many Requests", time.Hour},
		{"for an impossible time", 429, "-5", "", Again, "429 Too Many Requests", 0},
		{"for a time that is no time", 429, "99999999999999999999", "", Again, "429 Too Many Requests", 0},
		{"since long ago", 429, "Mon, 01 Jan 2001 00:00:00 GMT", "", Again, "429 Too Many Requests", 0},
		{"a wrong request may be right later", 400, "", "no such field", Again, "400 Bad Request: no such field", 0},
		{"not found may be found later", 404, "", "", Again, "404 Not Found", 0},
		{"gone is gone", 410, "10", "we are no more", Dead, "410 Gone: we are no more", 0},
		{"much text", 500, "", strings.Repeat("é", 300), Again, "500 Internal Server Error: " + strings.Repeat("é", 100) + " ...", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, p := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
				if tt.retryAfter != "" {
					w.Header().Set("Retry-After", tt.retryAfter)
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			v := post(t, p)
			if v.Outcome != tt.want || v.Reason != tt.reason || v.After > tt.after || v.After < tt.after-30*time.Second {
				t.Errorf("the verdict is %+v", v)
			}
		})
	}
}

// TestRedirectsAreNotFollowed redirects in each way that there is.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var followed atomic.Int32
	other, _ := receiver(t, func(http.ResponseWriter, *http.Request) { followed.Add(1) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		_, p := receiver(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/secret-path", status)
		})
		v := post(t, p)
		if v.Outcome != Again || !strings.Contains(v.Reason, "redirects are not followed") || !strings.Contains(v.Reason, other.URL) || strings.Contains(v.Reason, "secret") {
			t.Errorf("%d: the verdict is %+v", status, v)
		}
	}
	if n := followed.Load(); n > 0 {
		t.Errorf("%d were followed", n)
	}
}

// TestReceiversThatMisbehave has servers that hang, send too much, or close the connection.
func TestReceiversThatMisbehave(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	var sent atomic.Int64
	hang := func(r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then the server notices that the client has gone
		select {
		case <-r.Context().Done():
		case <-over:
		}
	}
	for _, tt := range []struct {
		name    string
		h       http.HandlerFunc
		timeout time.Duration
		want    Outcome
		reason  string
	}{
		{"hangs", func(_ http.ResponseWriter, r *http.Request) {
			hang(r)
		}, 100 * time.Millisecond, Again, "no answer within 100ms"},
		{"hangs in the body after it has accepted", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			hang(r)
		}, time.Minute, Done, ""},
		{"hangs in the body of a failure", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(500)
			_, _ = io.WriteString(w, "half a sent")
			_ = http.NewResponseController(w).Flush()
			hang(r)
		}, time.Minute, Again, "500 Internal Server Error: half a sent"},
		{"sends an endless body", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(200)
			for {
				n, err := w.Write(make([]byte, 64<<10))
				if err != nil {
					return
				}
				sent.Add(int64(n))
			}
		}, time.Minute, Done, ""},
		{"sends a header that is too long", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 2*headerPart))
		}, time.Minute, Again, "exceeded"},
		{"closes the connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, time.Minute, Again, "EOF"},
		{"speaks another protocol", func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = io.WriteString(c, "220 mail.example ESMTP\r\n")
				_ = c.Close()
			}
		}, time.Minute, Again, "malformed HTTP"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, p := receiver(t, tt.h)
			p.Timeout = tt.timeout
			v := post(t, p)
			if v.Outcome != tt.want || !strings.Contains(v.Reason, tt.reason) || tt.reason == "" && v.Reason != "" || strings.Contains(v.Reason, p.URL) {
				t.Errorf("the verdict is %+v", v)
			}
		})
	}
	if n := sent.Load(); n > 32<<20 { // as much as buffers of sockets may hold
		t.Errorf("%d bytes of the endless body were read", n)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if v := post(t, Post{URL: "http://" + ln.Addr().String() + "/secret", AllowPrivate: true, Timeout: time.Minute}); v.Outcome != Again || !strings.Contains(v.Reason, "refused") || strings.Contains(v.Reason, "secret") {
		t.Errorf("nobody listens: %+v", v)
	}
}

// TestPostIsStopped stops a daemon while a receiver hangs: the attempt does not count.
func TestPostIsStopped(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stopping := errors.New("stopping")
	_, p := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel(stopping)
		<-r.Context().Done()
	})
	poster := NewPoster(p)
	defer poster.Close()
	if v, err := poster.Post(ctx, 1, []byte("{}"), ""); !errors.Is(err, stopping) {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestCertificates has a server whose certificate nobody trusts.
func TestCertificates(t *testing.T) {
	asked := false
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	p := Post{URL: s.URL, AllowPrivate: true, Timeout: time.Minute}
	if v := post(t, p); v.Outcome != Again || !strings.Contains(v.Reason, "certificate") || asked {
		t.Errorf("the verdict is %+v; posted: %v", v, asked)
	}
	poster := NewPoster(p)
	defer poster.Close()
	poster.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	if v, err := poster.Post(t.Context(), 1, []byte("{}"), ""); err != nil || v.Outcome != Done || !asked {
		t.Errorf("with an authority that is trusted: %+v, %v", v, err)
	}
}

// TestPrivateAddressesAreRefused posts to a server of this machine, by its address and by a
// name, without leave to do so.
func TestPrivateAddressesAreRefused(t *testing.T) {
	connected := make(chan struct{}, 10)
	s := httptest.NewUnstartedServer(nil)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connected <- struct{}{}
		}
	}
	s.Start()
	defer s.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"} {
		v := post(t, Post{URL: "http://" + host + ":" + u.Port() + "/", Timeout: time.Minute})
		if v.Outcome != Again || !strings.Contains(v.Reason, "allow_private") {
			t.Errorf("%s: the verdict is %+v", host, v)
		}
	}
	select {
	case <-connected:
		t.Error("the server was connected to")
	default:
	}
}

// TestNoProxy checks that a proxy of the environment is not used: it would connect to any
// address for us. Go's library reads the environment once, so the request is another process's.
func TestNoProxy(t *testing.T) {
	if os.Getenv("HTTP_PROXY") == "http://"+os.Getenv("HOOK_TEST_PROXY") {
		if v := post(t, Post{URL: "http://nowhere.invalid/", AllowPrivate: true, Timeout: 10 * time.Second}); v.Outcome != Again {
			t.Errorf("the verdict is %+v", v)
		}
		return
	}
	var asked atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }))
	defer proxy.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNoProxy$")
	cmd.Env = append(os.Environ(), "HTTP_PROXY="+proxy.URL, "HOOK_TEST_PROXY="+strings.TrimPrefix(proxy.URL, "http://"))
	if out, err := cmd.CombinedOutput(); err != nil || asked.Load() {
		t.Errorf("%v; the proxy was asked: %v\n%s", err, asked.Load(), out)
	}
}

func TestCheckPost(t *testing.T) {
	for _, tt := range []struct {
		url     string
		private bool
		wrong   string
	}{
		{"https://example.com/hook?x=1", false, ""},
		{"http://example.com", false, ""},
		{"https://192.0.2.1/", true, ""},
		{"https://[2606:4700::1]/", false, ""},
		{"https://10.0.0.1/", false, "10.0.0.1 is a private address"},
		{"https://[::1]:80/", false, "loopback"},
		{"ftp://example.com/", false, "want a URL"},
		{"example.com/x", false, "want a URL"},
		{"https:///x", false, "want a URL"},
		{"https:example.com", false, "want a URL"},
		{"https://exa mple.com/", false, "want a URL"},
		{"", false, "want a URL"},
		{"https://me:word@example.com/", false, "password"},
		{"https://example.com/#x", false, "after #"},
	} {
		p := Post{URL: tt.url, AllowPrivate: tt.private}
		switch err := p.Check(); {
		case tt.wrong == "" && err != nil:
			t.Errorf("%s: %v", tt.url, err)
		case tt.wrong != "" && (!errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.wrong)):
			t.Errorf("%s: %v, want %q", tt.url, err, tt.wrong)
		}
	}
}

// TestBodyIsSentAsItIs checks that a body with anything in it is signed as it is sent.
func TestBodyIsSentAsItIs(t *testing.T) {
	body := []byte("{\"text\":\"\x00\xff\r\n\"}")
	_, p := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		got, _ := io.ReadAll(r.Body)
		if !bytes.Equal(got, body) || r.Header.Get("X-Signature") != "sha256="+Sign([]byte("0123456789abcdef"), r.Header.Get("X-Timestamp"), got) {
			w.WriteHeader(400)
		}
	})
	poster := NewPoster(p)
	defer poster.Close()
	if v, err := poster.Post(t.Context(), 1, body, ""); err != nil || v.Outcome != Done {
		t.Errorf("%+v, %v", v, err)
	}
}
