package test

import (
	"fmt"
	"testing"
	"time"

	"activationd/control"
)

// TestTokensAfterGuesses has a user try tokens over HTTP. Tokens that the daemon has not seen yet
// have to wait for their turn then, by both protocols, and are accepted.
func TestTokensAfterGuesses(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, httpConfig+"tokens: DIR/tokens\n")
	d.write("tokens", "olga operator open-sesame-open-sesame\nvera viewer 0123456789abcdef\n", 0o600)
	d.Start()
	c := d.web()
	ask := func(secret string) (status int, took time.Duration) {
		began := time.Now()
		return d.asked(c, "GET", "/api/v1/status", "", "Authorization: Bearer "+secret).status, time.Since(began)
	}
	first := time.Now()
	for i := range 10 {
		if status, took := ask(fmt.Sprintf("guess-%d", i)); status != 401 || took > 5*time.Second {
			t.Errorf("guess %d: %d after %v", i, status, took)
		}
	}
	line := make(chan error, 1)
	go func() {
		olga := control.Client{Address: d.socket, Token: "open-sesame-open-sesame"}
		_, _, err := control.Call[control.StatusOut](t.Context(), &olga, "status", control.Nothing{})
		line <- err
	}()
	status, _ := ask("0123456789abcdef")
	if after := time.Since(first); status != 200 || after < 6*time.Second {
		t.Errorf("a token after guesses: %d, %v after the first of them, want 200 after six seconds", status, after)
	}
	if err := <-line; err != nil {
		t.Errorf("a token after guesses, over the line protocol: %v", err)
	}
	if status, took := ask("0123456789abcdef"); status != 200 || took > 5*time.Second {
		t.Errorf("it again: %d after %v", status, took)
	}
	if status, took := ask("guess-0"); status != 401 || took > 5*time.Second {
		t.Errorf("a guess again: %d after %v", status, took)
	}
}
