// Atctl-tls connects atctl with a daemon over TLS. Atctl starts it only if it needs TLS: with
// the TLS library, each start of atctl would take a quarter longer.
//
// It copies its standard input to the daemon, and the daemon's replies to its standard
// output. Before, it prints a line of its own: "ok", or the kind of fault and the error.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"activationd/internal/fault"
)

const patience = 30 * time.Second // for the connection and the TLS handshake

func main() {
	address := flag.String("address", "", "the daemon's `HOST:PORT`")
	ca := flag.String("ca", "", "trust the authorities in `FILE` instead of the system's")
	cert := flag.String("cert", "", "`FILE` with the certificate of this client")
	key := flag.String("key", "", "`FILE` with the key of the certificate")
	flag.Parse()
	conn, err := dial(*address, *ca, *cert, *key)
	if err != nil {
		text := strings.ReplaceAll(err.Error(), "\n", "; ")
		fmt.Printf("%s %s\n", string(fault.Of(err)), text)
		os.Exit(1)
	}
	if err := carry(conn, os.Stdin, os.Stdout); err != nil {
		os.Exit(1) // atctl sees the end of the connection
	}
}

// carry prints ok, and copies in both directions until either side ends.
func carry(conn net.Conn, in io.Reader, out io.Writer) error {
	if _, err := fmt.Fprintln(out, "ok"); err != nil {
		return err
	}
	ended := make(chan error, 2)
	for _, way := range []func() (int64, error){
		func() (int64, error) { return io.Copy(conn, in) },
		func() (int64, error) { return io.Copy(out, conn) },
	} {
		go func() {
			_, err := way()
			ended <- err
		}()
	}
	return <-ended
}

// dial connects with TLS. Without caFile it trusts the system's authorities, and without
// certFile it has no certificate.
func dial(address, caFile, certFile, keyFile string) (net.Conn, error) {
	config, err := newConfig(caFile, certFile, keyFile)
	if err != nil {
		return nil, err
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", address, config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	return conn, nil
}

func newConfig(caFile, certFile, keyFile string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w: %w", err, fault.Invalid)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--tls-ca: %s has no certificate in PEM format: %w", caFile, fault.Invalid)
		}
	}
	if certFile == "" {
		return config, nil
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert and --tls-key: %w: %w", err, fault.Invalid)
	}
	config.Certificates = []tls.Certificate{cert}
	return config, nil
}
