package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
)

func newServiceNewCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "new PROJECT/SERVICE",
		Short: "Make a directory with a .env file that declares a service",
		Long: `New makes a directory where the daemon looks for .env files (the key discover of its
configuration), with a .env file that declares a service and a program to begin with. It
takes the first place where PROJECT/SERVICE fits and you can write, prints the files that it
has made, and waits until the daemon has noticed them. Files that are there stay as they
are. The files belong to you, and the service runs as you; if you are root, as the user that
the configuration names.`,
		Args: takes(1, 1, "a PROJECT/SERVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runServiceNew(cmd.Context(), a, args[0])
		},
	}
}

// What a new service consists of.
const (
	newProgram = "run"
	newEnv     = `# The service %s. docs/services.md explains this file.
DAEMON=true
COMMAND="./run"
`
	writable  = 2 | 1 // W_OK and X_OK of access(2), for a directory
	newScript = `#!/bin/sh
# Replace this by your program. It must not go to the background.
echo "running as $(id -un) in $PWD"
exec sleep infinity
`
)

func runServiceNew(ctx context.Context, a *app, name string) error {
	if a.daemon.Connect != "" {
		return fmt.Errorf("the directory would be on this machine, and the daemon may be on another one: run this where the daemon is, without --connect: %w", fault.Invalid)
	}
	var places []control.ServicePlace
	err := stream(ctx, a, "service places", control.Nothing{}, func(p control.ServicePlace) error {
		places = append(places, p)
		return nil
	})
	if err != nil {
		return err
	}
	file, err := chooseNew(places, name, os.Geteuid())
	if err != nil {
		return err
	}
	dir := filepath.Dir(file)
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("%s exists already, and is left as it is: to make it a service, add the lines DAEMON=true and COMMAND=\"...\" to it: %w", file, fault.Conflict)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as other directories of programs
		return err
	}
	begun := time.Now()
	var made []string
	for _, f := range []struct {
		path, text string
		mode       os.FileMode
	}{
		{filepath.Join(dir, newProgram), newScript, 0o755},
		{file, fmt.Sprintf(newEnv, name), 0o600}, // the last one: the daemon sees it
	} {
		err := writeNew(f.path, f.text, f.mode)
		if errors.Is(err, fs.ErrExist) && f.path != file {
			fmt.Fprintln(os.Stderr, printable(f.path+" exists already; it is left as it is, and the service runs it"))
			continue
		}
		if err != nil {
			return err
		}
		if !a.json {
			fmt.Println(f.path)
		}
		made = append(made, f.path)
	}
	return awaitNew(ctx, a, name, made, begun)
}

// chooseNew returns the first file that fits one of the places where the daemon looks, and that
// this user can make.
func chooseNew(places []control.ServicePlace, name string, uid int) (string, error) {
	if len(places) == 0 {
		return "", fmt.Errorf("the daemon looks for no .env files: add the key discover to its configuration, such as discover: [{env: /var/www/*/*/.env, user: www-data}], and reload: %w", fault.Conflict)
	}
	var patterns, reasons []string
	for _, p := range places {
		patterns = append(patterns, p.Env)
		file := newPlace(p.Env, name)
		above := filepath.Dir(file)
		for file != "" && above != "/" && errors.Is(syscall.Access(above, 0), fs.ErrNotExist) {
			above = filepath.Dir(above)
		}
		switch {
		case file == "":
		case uid == 0 && p.User == "":
			reasons = append(reasons, file+" would belong to root, and its entry of discover has no user: run this as the user of the service")
		case syscall.Access(above, writable) != nil:
			reasons = append(reasons, fmt.Sprintf("you cannot write to %s: have somebody make the directory %s for you, or run this as the user of the service", above, filepath.Dir(file)))
		default:
			return file, nil
		}
	}
	if len(reasons) > 0 {
		return "", fmt.Errorf("%s: %w", strings.Join(reasons, "\n"), fault.Denied)
	}
	return "", fmt.Errorf("%s fits none of %s; want PROJECT/SERVICE: %w", name, strings.Join(patterns, ", "), fault.Invalid)
}

// noticed is how long the daemon may take to notice a new file. If the kernel reports no changes,
// it takes up to a minute.
const noticed = 10 * time.Second

// awaitNew waits until the daemon has noticed a new service, and says so. It returns why the daemon
// does not accept it.
func awaitNew(ctx context.Context, a *app, name string, made []string, since time.Time) error {
	wait, cancel := context.WithTimeout(ctx, noticed)
	defer cancel()
	instance := strings.ReplaceAll(name, "/", "_") + "@"
	found := errors.New("found")
	err := stream(wait, a, "events", control.EventsIn{Since: since.Format(time.RFC3339Nano)}, func(e control.Event) error {
		switch {
		case strings.HasPrefix(e.ID, instance):
			return found
		case e.ID == name && e.What == "rejected":
			return fmt.Errorf("the daemon does not accept it: %s: %w", e.Reason, fault.Conflict)
		}
		return nil
	})
	late := wait.Err() != nil && ctx.Err() == nil
	switch {
	case a.json && (errors.Is(err, found) || late):
		return json.NewEncoder(os.Stdout).Encode(struct {
			Service  string   `json:"service"`
			Files    []string `json:"files"`
			Declared bool     `json:"declared"`
		}{name, made, !late})
	case errors.Is(err, found):
		fmt.Printf("%s is declared; atctl service status %s shows how it is, and atctl service log %s its output\n", name, name, name)
		return nil
	case late:
		fmt.Fprintf(os.Stderr, "the daemon has not noticed it yet; within a minute, atctl service status %s shows how it is\n", name)
		return nil
	}
	return err
}

// writeNew writes a file that does not exist yet.
func writeNew(path, text string, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// newPlace returns the file that matches a pattern and declares the service PROJECT/SERVICE;
// empty: there is none.
func newPlace(pattern, name string) string {
	project, service, ok := strings.Cut(name, "/")
	top := filepath.Dir(filepath.Dir(filepath.Dir(pattern)))
	file := filepath.Join(top, project, service, filepath.Base(pattern))
	if !ok || strings.ContainsAny(name, `*?[\\`) || strings.Contains(service, "/") || strings.ContainsAny(file, `*?[\\`) {
		return ""
	}
	if fits, err := filepath.Match(pattern, file); !fits || err != nil {
		return ""
	}
	return file
}
