package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/lab"
)

const rootHelp = `Lab brings configurations to a laboratory's devices and takes them off again.

In an activation's scripts no command needs a flag: the daemon's variables say all.

  atctl lab generate   VLANs and configurations, from the topology and the inventory
  atctl lab upload     to the devices, all at once, each by its own way and pace
  atctl lab verify     the devices say that it is there
  atctl lab erase      take off what was applied, whatever it was, and prove it

Each exits with 0 only when it is so, and may be killed at any point and run again.
By hand, plan shows what would be sent, drift what is not as it should be, and platforms
what devices there may be.`

// An app is what the commands share.
type app struct {
	socket, connect, tokenFile string
	tls                        bool
	tlsCA, tlsCert, tlsKey     string
	json                       bool
	activation, inventory      string
	topology, config, keep     string
	devices                    []string

	mu sync.Mutex // of the output
}

func newRootCommand() *cobra.Command {
	a := new(app)
	root := &cobra.Command{
		Use:           "lab",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "atctl lab"},
		Short:         "Configure a laboratory's devices, and undo it",
		Long:          rootHelp,
		SilenceErrors: true, // main prints them, once
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("there is no command lab %q; see \"atctl lab --help\": %w", args[0], fault.Invalid)
			}
			return nil
		},
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w (see %q): %w", err, cmd.CommandPath()+" --help", fault.Invalid)
	})
	f := root.PersistentFlags()
	f.StringVar(&a.socket, "socket", os.Getenv("ACTIVATIOND_SOCKET"), "ask the daemon at the Unix socket `PATH`")
	f.StringVar(&a.connect, "connect", "", "ask the daemon at the TCP port `HOST:PORT`")
	f.StringVar(&a.tokenFile, "token-file", "", "present the token that is in `FILE`")
	f.BoolVar(&a.tls, "tls", false, "speak TLS with --connect; the other --tls flags imply it")
	f.StringVar(&a.tlsCA, "tls-ca", "", "trust the authorities in `FILE`, not the system's")
	f.StringVar(&a.tlsCert, "tls-cert", "", "present the certificate in `FILE`")
	f.StringVar(&a.tlsKey, "tls-key", "", "the certificate's key is in `FILE`")
	f.BoolVar(&a.json, "json", false, "print JSON, one object a line")
	root.AddCommand(newPlanCommand(a), newGenerateCommand(a), newUploadCommand(a), newVerifyCommand(a), newEraseCommand(a), newDriftCommand(a), newPlatformsCommand(a))
	return root
}

func none(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s wants no arguments, and no %q (see %q): %w", cmd.Name(), args[0], cmd.CommandPath()+" --help", fault.Invalid)
	}
	return nil
}

// The flags that several commands have, with the daemon's variables as defaults.

func (a *app) inputFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	a.inventoryFlag(cmd)
	f.StringVar(&a.topology, "topology", os.Getenv("ACTIVATION_TOPOLOGY"), "the topology is in `FILE`")
	f.StringSliceVar(&a.devices, "devices", strings.Fields(os.Getenv("ACTIVATION_DEVICES")), "use no devices but `NAMES`, separated by commas")
	a.activationFlag(cmd)
}

func (a *app) inventoryFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.inventory, "inventory", os.Getenv("ACTIVATION_INVENTORY"), "the inventory is `FILE`")
}

func (a *app) activationFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.activation, "activation", os.Getenv("ACTIVATION_ID"), "do it for the activation `ID`")
}

func (a *app) configFlag(cmd *cobra.Command, name, usage string) {
	cmd.Flags().StringVar(&a.config, name, os.Getenv("ACTIVATION_CONFIG_DIR"), usage)
}

func (a *app) keepFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.keep, "keep", os.Getenv("ACTIVATION_KEEP_DIR"), "what was applied is kept in `DIR`")
}

// need is an error unless all flags have a value.
func need(flags ...string) error {
	for i := 0; i < len(flags); i += 3 {
		if flags[i] == "" {
			return fmt.Errorf("give --%s, or set %s: %w", flags[i+1], flags[i+2], fault.Invalid)
		}
	}
	return nil
}

// client returns the client that the flags describe.
func (a *app) client() (*control.Client, error) {
	c := &control.Client{Network: "unix", Address: a.socketPath()}
	secure := a.tls || a.tlsCA != "" || a.tlsCert != "" || a.tlsKey != ""
	if a.connect != "" {
		c.Network, c.Address = "tcp", a.connect
	} else if secure {
		return nil, fmt.Errorf("TLS is for --connect HOST:PORT; a Unix socket needs none: %w", fault.Invalid)
	}
	if a.tokenFile != "" {
		token, err := os.ReadFile(a.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w: %w", err, fault.Invalid)
		}
		c.Token = strings.TrimSpace(string(token))
	}
	if secure {
		config, err := a.tlsConfig()
		if err != nil {
			return nil, err
		}
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			return (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
		}
	}
	return c, nil
}

func (a *app) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.tlsCA != "" {
		pem, err := os.ReadFile(a.tlsCA)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w: %w", err, fault.Invalid)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--tls-ca: %s has no certificate in PEM format: %w", a.tlsCA, fault.Invalid)
		}
	}
	if a.tlsCert != "" || a.tlsKey != "" {
		cert, err := tls.LoadX509KeyPair(a.tlsCert, a.tlsKey)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert and --tls-key: %w: %w", err, fault.Invalid)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config, nil
}

// socketPath is the daemon's socket; atctl gives it when it is another than these.
func (a *app) socketPath() string {
	if a.socket != "" {
		return a.socket
	}
	return "/run/activationd/control.sock"
}

// work is what brings plans to devices. Those who write to one wait for each other in
// the daemon's runtime directory.
func (a *app) work() *lab.Work {
	return &lab.Work{
		Logins:     a.login(),
		Activation: a.activation, Getenv: os.Getenv, Transcripts: a.config,
		Locks: filepath.Join(filepath.Dir(a.socketPath()), "devices"),
		Say:   func(device, text string) { a.say(device, text) },
	}
}

// say prints what happens with a device, or in general.
func (a *app) say(device, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.json {
		a.printJSON(struct {
			Device string `json:"device,omitempty"`
			Text   string `json:"text"`
		}{device, text})
		return
	}
	if device != "" {
		text = device + ": " + text
	}
	fmt.Println(text)
}

func (a *app) printJSON(v any) {
	e := json.NewEncoder(os.Stdout)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // who closes our output wants no more of it
}
