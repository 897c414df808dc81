package line

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"

	"activationd/internal/fault"
)

// Certificates are what a TLS listener shows and accepts. They can be loaded
// again while it serves: connections made later get the new ones.
type Certificates struct {
	Cert, Key string // PEM files of the server
	ClientCA  string // PEM file with who signs clients' certificates; empty: clients have tokens only

	config atomic.Pointer[tls.Config]
}

// Load reads the files. An error is of kind fault.Invalid, and what was loaded
// before stays in force.
func (c *Certificates) Load() error {
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return fmt.Errorf("TLS certificate %s with key %s: %w: %w", c.Cert, c.Key, err, fault.Invalid)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if c.ClientCA != "" {
		pem, err := os.ReadFile(c.ClientCA)
		if err != nil {
			return fmt.Errorf("TLS clients' CA: %w: %w", err, fault.Invalid)
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("TLS clients' CA %s: has no certificate: %w", c.ClientCA, fault.Invalid)
		}
		config.ClientAuth = tls.VerifyClientCertIfGiven // who gives none may have a token
	}
	c.config.Store(config)
	return nil
}

// Config returns what tls.NewListener needs. Load comes first.
func (c *Certificates) Config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.config.Load(), nil },
	}
}
