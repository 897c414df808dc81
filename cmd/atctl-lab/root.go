package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/completion"
	"activationd/internal/fault"
	"activationd/internal/help"
	"activationd/internal/terminal"
	"activationd/lab"
)

const rootHelp = `Lab configures the devices of a laboratory, and undoes that.

In the scripts of an activation the commands need no flags: the daemon sets variables.

  atctl lab apply      do the work of the next three commands
  atctl lab generate   lease VLANs and write configurations, from topology and
                       inventory
  atctl lab upload     send them to all devices at the same time, each at its
                       own pace
  atctl lab verify     check that the devices have them
  atctl lab erase      undo everything that was applied, and check that

Each of these exits with 0 only if it has succeeded, and may be killed at any point and run
again. For use by hand, plan shows what would be sent, drift shows ports that differ from
their expected state, and platforms lists the supported platforms.`

// An app is what the commands share.
type app struct {
	socket, connect, tokenFile string
	tls                        bool
	tlsCA, tlsCert, tlsKey     string
	json                       bool
	activation, inventory      string
	topology, config, keep     string
	devices                    []string

	mu   sync.Mutex        // of the output
	sent map[string]string // how far each device has come
	line *terminal.Line
}

func newRootCommand() *cobra.Command {
	a := &app{sent: make(map[string]string), line: terminal.NewLine(os.Stderr)}
	root := &cobra.Command{
		Use:               "lab",
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: "atctl lab"},
		Short:             "Configure the devices of a laboratory, and undo it",
		Long:              rootHelp,
		SilenceErrors:     true, // main prints them, once
		SilenceUsage:      true,
		Args:              help.Unknown,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetFlagErrorFunc(help.WrongFlag)
	f := root.PersistentFlags()
	f.StringVar(&a.socket, "socket", os.Getenv("ACTIVATIOND_SOCKET"), "use the daemon at the Unix socket `PATH`")
	f.StringVar(&a.connect, "connect", "", "use the daemon at the TCP port `HOST:PORT`")
	f.StringVar(&a.tokenFile, "token-file", "", "identify yourself with the token in `FILE`")
	f.BoolVar(&a.tls, "tls", false, "speak TLS with --connect; the other --tls flags imply it")
	f.StringVar(&a.tlsCA, "tls-ca", "", "trust the authorities in `FILE` instead of the system's")
	f.StringVar(&a.tlsCert, "tls-cert", "", "identify yourself with the certificate in `FILE`")
	f.StringVar(&a.tlsKey, "tls-key", "", "read the certificate's key from `FILE`")
	f.BoolVar(&a.json, "json", false, "print JSON, one object a line")
	root.AddCommand(newPlanCommand(a), newGenerateCommand(a), newUploadCommand(a), newVerifyCommand(a), newApplyCommand(a), newEraseCommand(a), newDriftCommand(a), newPlatformsCommand(a))
	root.SetHelpCommand(help.NewCommand())
	help.Use(root)
	if len(os.Args) > 1 && os.Args[1] == "manual" {
		root.AddCommand(help.NewManualCommand())
	}
	if len(os.Args) > 1 && os.Args[1] == cobra.ShellCompRequestCmd {
		completion.Use(root, values(), nil)
	}
	return root
}

// values says how the values of flags are completed.
func values() completion.Values {
	return completion.Values{
		"FILE": completion.Files, "PATH": completion.Files, "DIR": completion.Dirs,
		"ID": completion.Nothing, "NAMES": completion.Nothing, "HOST:PORT": completion.Nothing,
	}
}

func none(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no arguments; %q is too much (see %q): %w", cmd.Name(), args[0], cmd.CommandPath()+" --help", fault.Invalid)
	}
	return nil
}

// The flags that several commands have. The daemon's variables are their defaults.

func (a *app) inputFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	a.inventoryFlag(cmd)
	f.StringVar(&a.topology, "topology", os.Getenv("ACTIVATION_TOPOLOGY"), "read the topology from `FILE`")
	f.StringSliceVar(&a.devices, "devices", strings.Fields(os.Getenv("ACTIVATION_DEVICES")), "use only the devices `NAMES`, separated by commas")
	a.activationFlag(cmd)
}

func (a *app) inventoryFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.inventory, "inventory", os.Getenv("ACTIVATION_INVENTORY"), "read the inventory from `FILE`")
}

func (a *app) activationFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.activation, "activation", os.Getenv("ACTIVATION_ID"), "work for the activation `ID`")
}

func (a *app) configFlag(cmd *cobra.Command, name, usage string) {
	cmd.Flags().StringVar(&a.config, name, os.Getenv("ACTIVATION_CONFIG_DIR"), usage)
}

func (a *app) keepFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.keep, "keep", os.Getenv("ACTIVATION_KEEP_DIR"), "the plan that upload applies is stored in `DIR`")
}

// need returns an error unless all flags have a value. A flag is given by three strings: its
// value, its name, and the variable that it defaults to.
func need(flags ...string) error {
	for i := 0; i < len(flags); i += 3 {
		if flags[i] == "" {
			return fmt.Errorf("use --%s, or set %s: %w", flags[i+1], flags[i+2], fault.Invalid)
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
		return nil, fmt.Errorf("TLS is for --connect HOST:PORT; a Unix socket does not need it: %w", fault.Invalid)
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

// socketPath returns the daemon's socket. Atctl sets --socket's variable if it is not the
// system's.
func (a *app) socketPath() string {
	if a.socket != "" {
		return a.socket
	}
	return "/run/activationd/control.sock"
}

// work returns what applies plans to devices. Locks in the daemon's runtime directory make
// sure that only one program writes to a device at a time.
func (a *app) work() *lab.Work {
	return &lab.Work{
		Logins:     a.login(),
		Activation: a.activation, Getenv: os.Getenv, Transcripts: a.config,
		Locks: filepath.Join(filepath.Dir(a.socketPath()), "devices"),
		Say:   func(device, text string) { a.say(device, text) },

		Progress: a.progress,
	}
}

// progress shows a person how many lines have arrived on each device.
func (a *app) progress(device string, lines, of int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sent[device] = fmt.Sprintf("%s: %d of %d lines", device, lines, of); lines == of {
		delete(a.sent, device)
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(a.sent)) {
		all = append(all, a.sent[name])
	}
	a.line.Show(strings.Join(all, "  "))
}

// say prints a message about a device, or a general one.
func (a *app) say(device, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line.Clear()
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
	_ = e.Encode(v) // fails only if the reader has closed the output
}
