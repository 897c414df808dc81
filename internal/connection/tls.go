package connection

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"activationd/internal/fault"
	"activationd/internal/programs"
)

// carrierName is the program that carries atctl's connection over TLS.
const carrierName = "atctl-tls"

// dialTLS connects to address through a carrier, which ends when the connection is closed.
func (f *Flags) dialTLS(ctx context.Context, _, address string) (net.Conn, error) {
	carrier, err := findCarrier()
	if err != nil {
		return nil, err
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := newFileConn(pair[0]), os.NewFile(uintptr(pair[1]), "carrier")
	args := []string{carrierName, "-address", address, "-ca", f.TLSCA, "-cert", f.TLSCert, "-key", f.TLSKey}
	p, err := os.StartProcess(carrier, args, &os.ProcAttr{Files: []*os.File{theirs, theirs, os.Stderr}})
	if err := errors.Join(err, theirs.Close()); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	go func() { _, _ = p.Wait() }() // it reports errors through its connection
	defer context.AfterFunc(ctx, func() { _ = ours.SetDeadline(time.Unix(1, 0)) })()
	if err := welcome(ours); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	return ours, nil
}

// checkTLS checks the flags as far as that is possible without a carrier.
func (f *Flags) checkTLS() error {
	if _, _, err := net.SplitHostPort(f.Connect); err != nil {
		return fmt.Errorf("--connect %s: must be HOST:PORT: %w", f.Connect, fault.Invalid)
	}
	if (f.TLSCert == "") != (f.TLSKey == "") {
		return fmt.Errorf("--tls-cert and --tls-key go together: %w", fault.Invalid)
	}
	for _, file := range [][2]string{{"--tls-ca", f.TLSCA}, {"--tls-cert", f.TLSCert}, {"--tls-key", f.TLSKey}} {
		if file[1] == "" {
			continue
		}
		if _, err := os.ReadFile(file[1]); err != nil {
			return fmt.Errorf("%s: %w: %w", file[0], err, fault.Invalid)
		}
	}
	return nil
}

// findCarrier finds the carrier.
func findCarrier() (string, error) {
	path, err := FindProgram(carrierName)
	if err != nil {
		return "", fmt.Errorf("TLS needs the program %s; install it beside atctl or in PATH: %w", carrierName, fault.Invalid)
	}
	return path, nil
}

// FindProgram finds a program that works for atctl, as activationd finds its wrapper.
func FindProgram(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		if file, err := programs.Find(name, self, ""); err == nil {
			return file, nil
		}
	}
	return exec.LookPath(name)
}

// welcome reads the carrier's own line, and no byte after it.
func welcome(conn io.Reader) error {
	var line strings.Builder
	var b [1]byte
	for {
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			return fmt.Errorf("%s ended without a message: %w", carrierName, fault.Unavailable)
		}
		if b[0] == '\n' {
			break
		}
		line.WriteByte(b[0])
	}
	if line.String() == "ok" {
		return nil
	}
	kind, text, _ := strings.Cut(line.String(), " ")
	return &carrierError{fault.Kind(kind), text}
}

// A carrierError is an error that a carrier has reported.
type carrierError struct {
	kind fault.Kind
	text string
}

func (e *carrierError) Error() string { return e.text }
func (e *carrierError) Unwrap() error { return e.kind }
