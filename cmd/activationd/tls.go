package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"activationd/internal/config"
	"activationd/internal/fault"
)

// wrapTLS puts TLS around the listeners that are to speak it.
func wrapTLS(open []listener, log *slog.Logger) error {
	for i := range open {
		if t := open[i].Listen.TLS; t != nil {
			conf, err := tlsConfig(t)
			if err != nil {
				return fmt.Errorf("listen %s: %w", open[i].Addr(), err)
			}
			open[i].Listener = tls.NewListener(open[i].Listener, renewedTLS(t, conf, log))
		}
	}
	return nil
}

// renewedTLS returns a configuration that reads the files for each connection, so that
// renewed certificates need no restart. While they cannot be read, as when they are being
// written, the certificate that was read last is used; the reason is logged once.
func renewedTLS(t *config.TLS, conf *tls.Config, log *slog.Logger) *tls.Config {
	var mu sync.Mutex
	last, logged := conf, ""
	first := conf.Clone()
	first.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now, err := tlsConfig(t)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			last, logged = now, ""
		case err.Error() != logged:
			logged = err.Error()
			log.Error("the certificate cannot be read; the last one that could be read is still used", "file", t.Certificate, "err", err)
		}
		return last, nil
	}
	return first
}

// tlsConfig reads the files that t names.
func tlsConfig(t *config.TLS) (*tls.Config, error) {
	info, err := os.Stat(t.Key)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o007 != 0 { // a group may manage the certificates
		return nil, fmt.Errorf("%s: everybody may open it (mode %04o), and it is a secret; run chmod 600 on it: %w", t.Key, info.Mode().Perm(), fault.Invalid)
	}
	pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if t.ClientCA != "" {
		pem, err := os.ReadFile(t.ClientCA)
		if err != nil {
			return nil, err
		}
		conf.ClientCAs = x509.NewCertPool()
		if !conf.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: has no certificate in it", t.ClientCA)
		}
		conf.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return conf, nil
}
