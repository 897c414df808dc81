package hook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"activationd/internal/fault"
	"activationd/internal/trace"
)

// Limits of what a receiver may do.
const (
	bodyPart     = 4 << 10     // of the body of an answer, which is read
	headerPart   = 64 << 10    // of the header of an answer
	bodyTime     = time.Second // in which that part of the body must come
	maxRetry     = time.Hour   // that a receiver can ask us to wait
	reasonLength = 200         // of what is said of an answer's body
)

// MinSecret is the least length of a secret.
const MinSecret = 16

// A Post is where and how events are posted.
type Post struct {
	URL          string
	Secret       []byte        // signs what is posted; empty: it is not signed
	AllowPrivate bool          // addresses that are not public may be connected to
	Timeout      time.Duration // of one attempt
}

// Check returns an error of kind fault.Invalid that says what is wrong with the URL.
func (p *Post) Check() error {
	u, err := url.Parse(p.URL)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("want a URL such as https://example.com/events: %w", fault.Invalid)
	case u.User != nil:
		return fmt.Errorf("a URL must not have a user or a password; sign what is posted, by secret_file: %w", fault.Invalid)
	case u.Fragment != "":
		return fmt.Errorf("a URL must not have a part after #: %w", fault.Invalid)
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && !p.AllowPrivate {
		if err := refusePrivate(a); err != nil {
			return fmt.Errorf("%w: %w", err, fault.Invalid)
		}
	}
	return nil
}

// HostOf returns the scheme and the host of a URL, without the rest, which may be secret.
func HostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "?"
	}
	return u.Scheme + "://" + u.Host
}

// A Verdict is what became of an attempt to deliver an event.
type Verdict struct {
	Outcome Outcome
	Reason  string        // in words; empty if it was delivered
	After   time.Duration // the receiver asked not to be tried again earlier; 0: it did not
}

// An Outcome is how an attempt ended.
type Outcome int

const (
	Done  Outcome = iota // the receiver has the event
	Again                // it may be tried again
	Dead                 // the receiver will never take it
)

// A Poster posts events to one receiver. Make it with [NewPoster]. Its methods may be called at
// the same time.
type Poster struct {
	post   Post
	client http.Client
}

// NewPoster returns a poster. Its caller closes it.
func NewPoster(p Post) *Poster {
	dialer := &net.Dialer{}
	if !p.AllowPrivate {
		dialer.Control = publicOnly
	}
	return newPoster(p, &http.Transport{
		Proxy:                  nil, // a proxy of the environment would connect for us, to any address
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		MaxResponseHeaderBytes: headerPart,
		MaxIdleConns:           1,
		IdleConnTimeout:        30 * time.Second,
		DisableCompression:     true,
	})
}

func newPoster(p Post, t http.RoundTripper) *Poster {
	return &Poster{post: p, client: http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes connections that are idle.
func (p *Poster) Close() { p.client.CloseIdleConnections() }

// Post makes one attempt to post an event, whose number is seq and whose JSON is body, with
// the traceparent of its subject; empty: it has none. It
// returns an error only if ctx is done first: then the receiver may have the event, and the
// attempt does not count.
func (p *Poster) Post(ctx context.Context, seq uint64, body []byte, traceparent string) (Verdict, error) {
	limited, cancel := context.WithTimeoutCause(ctx, p.post.Timeout, errTimeout)
	defer cancel()
	req, err := p.request(limited, seq, body, traceparent, time.Now())
	if err != nil {
		return Verdict{Outcome: Again, Reason: err.Error()}, nil
	}
	resp, err := p.client.Do(req)
	if ctx.Err() != nil {
		if err == nil {
			_ = resp.Body.Close()
		}
		return Verdict{}, context.Cause(ctx)
	}
	if err != nil {
		return Verdict{Outcome: Again, Reason: p.explain(limited, err)}, nil
	}
	// What the receiver has said so far decides. It gets little time to say more.
	slow := time.AfterFunc(bodyTime, cancel)
	text, _ := io.ReadAll(io.LimitReader(resp.Body, bodyPart))
	slow.Stop()
	_ = resp.Body.Close()
	return judge(resp, text, time.Now()), nil
}

// errTimeout is the cause of a receiver's being too slow.
var errTimeout = errors.New("no answer in time")

// request makes a request. The signature covers the time, so that nobody can send an old
// request again unnoticed.
func (p *Poster) request(ctx context.Context, seq uint64, body []byte, traceparent string, now time.Time) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.post.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	stamp := strconv.FormatInt(now.Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "activationd")
	req.Header.Set("X-Event-ID", strconv.FormatUint(seq, 10))
	req.Header.Set("X-Timestamp", stamp)
	if traceparent != "" {
		req.Header.Set(trace.Header, traceparent)
	}
	if len(p.post.Secret) > 0 {
		req.Header.Set("X-Signature", "sha256="+Sign(p.post.Secret, stamp, body))
	}
	return req, nil
}

// Sign returns the signature of a body: the HMAC with SHA-256 of the timestamp, a dot and the
// body, in hexadecimal.
func Sign(secret []byte, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// explain says why there was no answer, without the URL, which may have a secret in it.
func (p *Poster) explain(ctx context.Context, err error) string {
	if errors.Is(context.Cause(ctx), errTimeout) {
		return fmt.Sprintf("no answer within %v", p.post.Timeout)
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return oneLine(err.Error())
}

// judge decides by an answer.
func judge(resp *http.Response, body []byte, now time.Time) Verdict {
	said := resp.Status
	if text := oneLine(string(body)); text != "" {
		said += ": " + text
	}
	switch code := resp.StatusCode; {
	case 200 <= code && code < 300:
		return Verdict{}
	case code == http.StatusGone:
		return Verdict{Outcome: Dead, Reason: said}
	case 300 <= code && code < 400:
		said = resp.Status + ": redirects are not followed"
		if to, err := resp.Location(); err == nil {
			said += "; if it is right that it is now at " + oneLine(HostOf(to.String())) + ", correct post" // the path may be secret
		}
	}
	return Verdict{Outcome: Again, Reason: said, After: retryAfter(resp.Header.Get("Retry-After"), now)}
}

// retryAfter reads the header Retry-After: seconds, or a time.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetry)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), maxRetry)
	}
	return 0
}

// oneLine makes text from others a short line.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "?"), func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if len(s) > reasonLength {
		s = strings.ToValidUTF8(s[:reasonLength], "") + " ..."
	}
	return s
}
