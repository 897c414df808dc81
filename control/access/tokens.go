package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"activationd/control"
	"activationd/internal/diag"
	"activationd/internal/fault"
)

// minSecret is the least length of a secret.
const minSecret = 16

// Tokens are secrets that identify callers who connect over TCP. The zero Tokens
// has none. Its methods may be called at the same time.
type Tokens struct {
	list atomic.Pointer[[]token]
}

type token struct {
	sum    [sha256.Size]byte
	caller control.Caller
}

// Load replaces the tokens by those of a file, which only its owner may be able to
// read. If anything is wrong, Load changes nothing and returns an error that lists
// all faults. A line of the file is
//
//	NAME ROLE SECRET [USER]
//
// where SECRET is the secret, of at least 16 characters, or "sha256:" and its
// SHA-256 sum in hexadecimal. The jobs of a token with a USER run as that user of
// this machine. Empty lines and lines that begin with # are ignored. If file is
// empty, there are no tokens.
func (t *Tokens) Load(file string) error {
	if file == "" {
		t.list.Store(nil)
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("tokens: %w: %w", err, fault.Invalid)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s: it holds secrets, and users other than its owner may open it (mode %04o); run chmod 600 on it and change the secrets: %w",
			file, info.Mode().Perm(), fault.Invalid)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s: it belongs to user %d, who could become an admin by editing it; chown it to root or to the daemon's user: %w",
			file, st.Uid, fault.Invalid)
	}
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	list, err := parseTokens(file, string(data))
	if err != nil {
		return err
	}
	t.list.Store(&list)
	return nil
}

// Caller returns the caller to whom a secret belongs, if there is one. It is for
// [Gate.Token].
func (t *Tokens) Caller(secret string) (control.Caller, bool) {
	list := t.list.Load()
	if list == nil {
		return control.Caller{}, false
	}
	sum := sumOf(secret)
	found := -1
	for i := range *list { // always all of them, so that the time taken reveals nothing
		if subtle.ConstantTimeCompare(sum[:], (*list)[i].sum[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return control.Caller{}, false
	}
	return (*list)[found].caller, true
}

func sumOf(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }

func parseTokens(file, data string) ([]token, error) {
	faults := diag.List{File: file}
	var list []token
	names, sums := map[string]int{}, map[[sha256.Size]byte]int{}
	n := 0
	for text := range strings.Lines(data) {
		n++
		words := strings.Fields(text)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		t, problem := parseToken(words)
		if problem != "" {
			faults.Add(n, "%s", problem)
			continue
		}
		if first := names[words[0]]; first != 0 {
			faults.Add(n, "name %s: is also the name of line %d", words[0], first)
		}
		if first := sums[t.sum]; first != 0 {
			faults.Add(n, "token %s: has the secret of line %d", words[0], first)
		}
		names[words[0]], sums[t.sum] = n, n
		list = append(list, t)
	}
	if err := faults.Err(); err != nil {
		return nil, err
	}
	return list, nil
}

// parseToken returns the token of a line, or what is wrong with the line. Its
// messages never contain the secret.
func parseToken(words []string) (t token, problem string) {
	if len(words) < 3 || len(words) > 4 {
		return t, fmt.Sprintf("has %d words; a token is NAME ROLE SECRET [USER]", len(words))
	}
	name, secret := words[0], words[2]
	role, err := control.ParseRole(words[1])
	if err != nil {
		return t, fmt.Sprintf("token %s: role %q must be viewer, submitter, operator or admin", name, words[1])
	}
	t.caller = control.Caller{Kind: control.ByToken, Role: role, Name: name, UID: -1, GID: -1, Via: "token " + name}
	if hash, ok := strings.CutPrefix(secret, "sha256:"); ok {
		sum, err := hex.DecodeString(hash)
		if err != nil || len(sum) != sha256.Size {
			return t, fmt.Sprintf("token %s: sha256: must be followed by 64 hexadecimal digits", name)
		}
		t.sum = [sha256.Size]byte(sum)
	} else if len(secret) < minSecret {
		return t, fmt.Sprintf("token %s: the secret has %d characters, but needs %d; openssl rand -hex 16 makes one",
			name, len(secret), minSecret)
	} else {
		t.sum = sumOf(secret)
	}
	if len(words) == 4 {
		u, err := user.Lookup(words[3])
		if err != nil {
			return t, fmt.Sprintf("token %s: user %s is not known on this machine", name, words[3])
		}
		uid, uerr := strconv.Atoi(u.Uid)
		gid, gerr := strconv.Atoi(u.Gid)
		if uerr != nil || gerr != nil {
			return t, fmt.Sprintf("token %s: user %s has no numeric uid and gid", name, words[3])
		}
		t.caller.UID, t.caller.GID, t.caller.Name = uid, gid, u.Username
	}
	return t, ""
}
