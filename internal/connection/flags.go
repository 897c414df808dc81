// Package connection connects the programs for people with a daemon: it has the flags that
// say which daemon and who the user is, finds the daemon's socket, and connects over TLS
// with the help of a program of its own, because the TLS library would slow down each start
// of atctl.
package connection

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"activationd/control"
	"activationd/internal/direct"
	"activationd/internal/fault"
)

// Flags say which daemon to use, and who the user is. The zero value means the default
// socket.
type Flags struct {
	Socket, Connect        string
	TokenFile              string
	TLS                    bool
	TLSCA, TLSCert, TLSKey string
}

// Add adds the flags to set.
func (f *Flags) Add(set *pflag.FlagSet) {
	set.StringVar(&f.Socket, "socket", "", "use the daemon at the Unix socket `PATH`")
	set.StringVar(&f.Connect, "connect", "", "use the daemon at the TCP port `HOST:PORT`")
	set.StringVar(&f.TokenFile, "token-file", "", "identify yourself with the token in `FILE`")
	set.BoolVar(&f.TLS, "tls", false, "speak TLS with --connect; the other --tls flags imply it")
	set.StringVar(&f.TLSCA, "tls-ca", "", "trust the authorities in `FILE` instead of the system's")
	set.StringVar(&f.TLSCert, "tls-cert", "", "identify yourself with the certificate in `FILE`")
	set.StringVar(&f.TLSKey, "tls-key", "", "read the certificate's key from `FILE`")
}

// Client returns the client that the flags describe. Getenv is os.Getenv as a rule.
func (f *Flags) Client(getenv func(string) string) (*control.Client, error) {
	c := &control.Client{Network: "unix", Address: f.Socket, Dial: dialUnix}
	secure := f.TLS || f.TLSCA != "" || f.TLSCert != "" || f.TLSKey != ""
	switch {
	case f.Socket != "" && f.Connect != "":
		return nil, fmt.Errorf("--socket and --connect exclude each other; use one of them: %w", fault.Invalid)
	case f.Connect != "":
		c.Network, c.Address, c.Dial = "tcp", f.Connect, nil
	case secure:
		return nil, fmt.Errorf("TLS is for --connect HOST:PORT; a Unix socket does not need it: %w", fault.Invalid)
	case f.Socket == "":
		c.Address = getenv("ACTIVATIOND_SOCKET")
	}
	if c.Address == "" {
		uid, xdg := os.Getuid(), getenv("XDG_RUNTIME_DIR")
		c.Address, c.Dial = direct.DefaultSocket(uid, xdg), dialTrusted
		c.Tried = triedSockets(uid, xdg, c.Address)
	}
	if f.TokenFile != "" {
		token, err := os.ReadFile(f.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w: %w", err, fault.Invalid)
		}
		if c.Token = strings.TrimSpace(string(token)); c.Token == "" {
			return nil, fmt.Errorf("--token-file: %s is empty: %w", f.TokenFile, fault.Invalid)
		}
	}
	if secure {
		if err := f.checkTLS(); err != nil {
			return nil, err
		}
		c.Dial = f.dialTLS
	}
	return c, nil
}
