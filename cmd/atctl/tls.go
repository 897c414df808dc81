package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"

	"activationd/internal/fault"
)

// tlsDialer returns what connects to address with TLS. An empty file name
// means: the system's authorities, no certificate of our own.
func tlsDialer(address, caFile, certFile, keyFile string) (func(context.Context, string, string) (net.Conn, error), error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("--connect %s: wants HOST:PORT: %w", address, fault.Invalid)
	}
	config := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
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
	switch {
	case (certFile == "") != (keyFile == ""):
		return nil, fmt.Errorf("--tls-cert and --tls-key go together: %w", fault.Invalid)
	case certFile != "":
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert and --tls-key: %w: %w", err, fault.Invalid)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	d := &tls.Dialer{Config: config}
	return d.DialContext, nil
}
