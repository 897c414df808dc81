package device

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"activationd/internal/fault"
)

// dialSSH connects and authenticates within ctx. It returns the TCP connection, too.
func dialSSH(ctx context.Context, host string, t Target, d *dialog) (*ssh.Client, *net.TCPConn, error) {
	check, types, err := t.HostKeys.checker(host)
	if err != nil {
		return nil, nil, err
	}
	login, err := newSSHLogin(t, d)
	if err != nil {
		return nil, nil, err
	}
	supported, old := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms()
	if !t.OldAlgorithms {
		old = ssh.Algorithms{}
	}
	config := &ssh.ClientConfig{
		Config: ssh.Config{
			KeyExchanges: append(supported.KeyExchanges, old.KeyExchanges...),
			Ciphers:      append(supported.Ciphers, old.Ciphers...),
			MACs:         append(supported.MACs, old.MACs...),
		},
		User: t.userName(), AuthCallback: login.next(ctx), HostKeyCallback: check,
		// The server must identify itself with a key that we know.
		HostKeyAlgorithms: keyAlgorithms(append(supported.HostKeys, old.HostKeys...), types),
	}
	if len(config.HostKeyAlgorithms) == 0 {
		return nil, nil, fmt.Errorf("its host key is %v, which only old_algorithms allows: %w", types, fault.Invalid)
	}
	conn, err := dialDevice(ctx, host)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	c, channels, requests, err := ssh.NewClientConn(conn, host, config)
	if !stop() {
		_ = conn.Close()
		return nil, nil, context.Cause(ctx)
	}
	if err = login.ended(ctx, err); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return ssh.NewClient(c, channels, requests), conn, nil
}

// sshFault returns the error for a failed SSH handshake, with what to do.
func sshFault(err error) error {
	if _, ok := errors.AsType[*hostKeyError](err); ok {
		return err
	}
	if e, ok := errors.AsType[*ssh.AlgorithmNegotiationError](err); ok {
		return fmt.Errorf("%w: if the device knows nothing better, set old_algorithms in the inventory: %w", e, fault.Invalid)
	}
	if strings.Contains(err.Error(), "unable to authenticate") || strings.Contains(err.Error(), "Too many authentication failures") {
		// The package has no type for it.
		return fmt.Errorf("refuses the user, password or key (%v): %w", err, fault.Denied)
	}
	return fmt.Errorf("%w: %w", err, fault.Unavailable)
}

// A hostKeyError is the error of a server that has another host key than expected.
type hostKeyError struct{ text string }

func (e *hostKeyError) Error() string { return e.text }
func (e *hostKeyError) Unwrap() error { return fault.Denied }

// checker returns a function that checks the key of a server, and the types of the keys that
// are known for it.
func (k HostKeys) checker(host string) (ssh.HostKeyCallback, []string, error) {
	var known []ssh.PublicKey
	for rest := []byte(k.Lines); len(bytes.TrimSpace(rest)) > 0; {
		key, _, _, more, err := ssh.ParseAuthorizedKey(rest)
		if err != nil {
			return nil, nil, fmt.Errorf("the host key must be as in \"ssh-ed25519 AAAA…\" (%v): %w", err, fault.Invalid)
		}
		known, rest = append(known, key), more
	}
	var inFile ssh.HostKeyCallback
	if k.File != "" {
		if _, err := os.Stat(k.File); err != nil {
			return nil, nil, fmt.Errorf("known hosts: %w: %w", err, fault.Invalid)
		}
		var err error
		if inFile, err = knownhosts.New(k.File); err != nil {
			return nil, nil, fmt.Errorf("known hosts: %w: %w", err, fault.Invalid)
		}
		known = append(known, keysInFile(inFile, host)...)
	}
	types := make([]string, 0, len(known))
	for _, key := range known {
		types = append(types, key.Type())
	}
	check := func(name string, addr net.Addr, key ssh.PublicKey) error {
		for _, one := range known {
			if bytes.Equal(one.Marshal(), key.Marshal()) {
				return nil
			}
		}
		if inFile != nil && inFile(name, addr, key) == nil {
			return nil
		}
		offer := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
		if len(types) == 0 {
			return &hostKeyError{fmt.Sprintf("no host key is known for %s; compare %s with the fingerprint that its console shows, "+
				"and if it is the same, set it as host_key in the inventory: %s", host, ssh.FingerprintSHA256(key), offer)}
		}
		return &hostKeyError{fmt.Sprintf("%s has another host key than the inventory: %s. "+
			"Either the key was changed, or another machine answers in its place", host, ssh.FingerprintSHA256(key))}
	}
	return check, types, nil
}

// keysInFile returns the keys of a host. Package knownhosts shows them only when it refuses
// another key.
func keysInFile(check ssh.HostKeyCallback, host string) []ssh.PublicKey {
	var refused *knownhosts.KeyError
	if err := check(host, &net.TCPAddr{}, noKey{}); !errors.As(err, &refused) {
		return nil
	}
	var keys []ssh.PublicKey
	for _, k := range refused.Want {
		keys = append(keys, k.Key)
	}
	return keys
}

// noKey is a key that no host has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// keyAlgorithms returns the algorithms that can be used with keys of the given types, or all
// of them if no key is known.
func keyAlgorithms(algorithms, types []string) []string {
	if len(types) == 0 {
		return algorithms
	}
	var out []string
	for _, a := range algorithms {
		if slices.Contains(types, a) || strings.HasPrefix(a, "rsa-sha2-") && slices.Contains(types, ssh.KeyAlgoRSA) {
			out = append(out, a)
		}
	}
	return out
}

// An sshShell is an interactive shell as a wire, for a link.
type sshShell struct {
	io.Reader
	io.Writer
	client *ssh.Client
}

// Close closes the connection under the shell. That ends a Write that waits for the device's
// window.
func (s *sshShell) Close() error { return s.client.Close() }

func openShell(client *ssh.Client, terminal string) (*sshShell, error) {
	session, err := client.NewSession()
	if err != nil {
		return nil, fmt.Errorf("gives no session: %w: %w", err, fault.Unavailable)
	}
	in, err := session.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := session.RequestPty(cmp.Or(terminal, terminalType), 200, columns, ssh.TerminalModes{}); err != nil {
		return nil, fmt.Errorf("gives no terminal: %w: %w", err, fault.Unavailable)
	}
	if err := session.Shell(); err != nil {
		return nil, fmt.Errorf("gives no shell: %w: %w", err, fault.Unavailable)
	}
	return &sshShell{out, in, client}, nil
}

// runSSH runs a command in a channel of its own, without standard input. It returns the exit
// status and the output, standard output and standard error as they come.
func runSSH(ctx context.Context, client *ssh.Client, command string, limit int, tr *Transcript) (string, int, error) {
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()
	fail := func(err error) (string, int, error) {
		if ctx.Err() != nil {
			return "", 0, context.Cause(ctx)
		}
		return "", 0, cutError(err)
	}
	session, err := client.NewSession()
	if err != nil {
		return fail(err)
	}
	defer func() { _ = session.Close() }() // it may be closed already
	out := &bounded{limit: limit, stop: client.Close, tr: tr}
	session.Stdout, session.Stderr = out, out
	tr.add(sent, []byte(command+"\n"))
	err = session.Run(command)
	if out.over() {
		return "", 0, outputError(limit)
	}
	exit, ended := errors.AsType[*ssh.ExitError](err)
	switch {
	case err == nil:
		return out.String(), 0, nil
	case ended && exit.Signal() != "":
		return out.String(), 128, nil
	case ended:
		return out.String(), exit.ExitStatus(), nil
	}
	return fail(err)
}
