package line

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

// minSecret is how long a secret must be, as nothing slows down guessing.
const minSecret = 16

// Tokens are the secrets by which callers are known who come over TCP. The zero
// Tokens knows none. Its methods may be called at the same time.
type Tokens struct {
	list atomic.Pointer[[]token]
}

type token struct {
	sum    [sha256.Size]byte
	caller control.Caller
}

// Load replaces the tokens by those of a file, which must not be readable for
// others than its owner, or changes nothing and returns an error with all that
// is wrong. A line of the file is
//
//	NAME ROLE SECRET [USER]
//
// where SECRET is the secret, of at least 16 characters, or "sha256:" and the
// sum of it in hexadecimal. Jobs of one with a USER run as that user of this
// machine. Empty lines and lines that begin with # mean nothing. An empty name
// is that of no file, with no tokens.
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
		return fmt.Errorf("%s: others than its owner may open it (mode %04o), and it holds secrets; chmod 600 it and change them: %w",
			file, info.Mode().Perm(), fault.Invalid)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s: belongs to user %d, who could make himself an admin; chown it to root or to the daemon's user: %w",
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

// Caller returns whose token secret is. It is for [Server].
func (t *Tokens) Caller(secret string) (control.Caller, bool) {
	list := t.list.Load()
	if list == nil {
		return control.Caller{}, false
	}
	sum := sha256.Sum256([]byte(secret))
	found := -1
	for i := range *list { // all of them, so that the time tells nothing
		if subtle.ConstantTimeCompare(sum[:], (*list)[i].sum[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return control.Caller{}, false
	}
	return (*list)[found].caller, true
}

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
			faults.Add(n, "name %s: is that of line %d, too", words[0], first)
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

// parseToken returns the token of a line, or what is wrong with it, without
// telling the secret.
func parseToken(words []string) (t token, problem string) {
	if len(words) < 3 || len(words) > 4 {
		return t, fmt.Sprintf("has %d words; a token is NAME ROLE SECRET [USER]", len(words))
	}
	name, secret := words[0], words[2]
	role, err := control.ParseRole(words[1])
	if err != nil {
		return t, fmt.Sprintf("token %s: role %q is none of viewer, submitter, operator, admin", name, words[1])
	}
	t.caller = control.Caller{Role: role, Name: name, UID: -1, GID: -1, Via: "token " + name}
	if hash, ok := strings.CutPrefix(secret, "sha256:"); ok {
		sum, err := hex.DecodeString(hash)
		if err != nil || len(sum) != sha256.Size {
			return t, fmt.Sprintf("token %s: after sha256: 64 hexadecimal digits are wanted", name)
		}
		t.sum = [sha256.Size]byte(sum)
	} else if len(secret) < minSecret {
		return t, fmt.Sprintf("token %s: the secret has %d characters, and needs %d; openssl rand -hex 16 makes one",
			name, len(secret), minSecret)
	} else {
		t.sum = sha256.Sum256([]byte(secret))
	}
	if len(words) == 4 {
		u, err := user.Lookup(words[3])
		if err != nil {
			return t, fmt.Sprintf("token %s: user %s is not known on this machine", name, words[3])
		}
		uid, uerr := strconv.Atoi(u.Uid)
		gid, gerr := strconv.Atoi(u.Gid)
		if uerr != nil || gerr != nil {
			return t, fmt.Sprintf("token %s: user %s has no number", name, words[3])
		}
		t.caller.UID, t.caller.GID, t.caller.Name = uid, gid, u.Username
	}
	return t, ""
}
