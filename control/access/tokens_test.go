package access_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"activationd/control"
	"activationd/control/access"
	"activationd/internal/fault"
)

func TestTokens(t *testing.T) {
	sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("hidden-secret-of-ops")))
	hexSecret := strings.Repeat("0123456789abcdef", 4) // openssl rand -hex 32 makes one like this; it is a secret, not a sum
	file := writeTokens(t, "# comment\n\nrez operator 0123456789abcdef\r\nops admin "+sum+" root\n  lab viewer "+hexSecret+"\n", 0o600)
	var tokens access.Tokens
	if _, ok := tokens.Caller("0123456789abcdef"); ok {
		t.Error("tokens without a file identify somebody")
	}
	if err := tokens.Load(file); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		secret string
		want   control.Caller
	}{
		{"0123456789abcdef", control.Caller{Kind: control.ByToken, Role: control.Operator, Name: "rez", UID: -1, GID: -1, Via: "token rez"}},
		{"hidden-secret-of-ops", control.Caller{Kind: control.ByToken, Role: control.Admin, Name: "root", Via: "token ops"}},
		{hexSecret, control.Caller{Kind: control.ByToken, Role: control.Viewer, Name: "lab", UID: -1, GID: -1, Via: "token lab"}},
		{"0123456789abcdeF", control.Caller{}}, {"", control.Caller{}}, {sum, control.Caller{}}, {sum[7:], control.Caller{}},
	} {
		if got, ok := tokens.Caller(tt.secret); got != tt.want || ok != (tt.want.Role != control.NoRole) {
			t.Errorf("Caller(%q) = %+v, %v, want %+v", tt.secret, got, ok, tt.want)
		}
	}

	bad := "one\nrez king 0123456789abcdef\nshort viewer secret\nhash viewer sha256:12\nwho viewer 0123456789abcdef no-such-user\n" +
		"a viewer aaaaaaaaaaaaaaaa\na viewer bbbbbbbbbbbbbbbb\nc viewer aaaaaaaaaaaaaaaa\n"
	badFile := writeTokens(t, bad, 0o600)
	err := tokens.Load(badFile)
	want := strings.ReplaceAll(`F:1: has 1 words; a token is NAME ROLE SECRET [USER]
F:2: token rez: role "king" must be viewer, submitter, operator or admin
F:3: token short: the secret has 6 characters, but needs 16; openssl rand -hex 16 makes one
F:4: token hash: sha256: must be followed by 64 hexadecimal digits
F:5: token who: user no-such-user is not known on this machine
F:7: name a: is also the name of line 6
F:8: token c: has the secret of line 6`, "F:", badFile+":")
	if !errors.Is(err, fault.Invalid) || text(err) != want {
		t.Errorf("Load = %v\nwant %s", err, want)
	}
	if _, ok := tokens.Caller("0123456789abcdef"); !ok {
		t.Error("a bad file replaced the tokens")
	}

	open := writeTokens(t, "rez operator 0123456789abcdef\n", 0o644)
	if err := tokens.Load(open); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("Load of a file that others can read = %v", err)
	}
	if err := tokens.Load(file + ".not"); !errors.Is(err, fault.Invalid) {
		t.Errorf("Load of no file = %v", err)
	}
	if err := tokens.Load(""); err != nil {
		t.Errorf("Load without a name = %v", err)
	}
	if _, ok := tokens.Caller("0123456789abcdef"); ok {
		t.Error("removed tokens identify somebody")
	}
}

func writeTokens(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokens")
	if err := errors.Join(os.WriteFile(file, []byte(text), mode), os.Chmod(file, mode)); err != nil {
		t.Fatal(err)
	}
	return file
}
