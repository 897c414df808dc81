package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
takes the first place where PROJECT/SERVICE fits, and prints the files that it has made.
The files belong to you, and the service runs as you; if you are root, as the user that the
configuration names.`,
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
	newScript = `#!/bin/sh
# Replace this by your program. It must not go to the background.
echo "running as $(id -un) in $PWD"
exec sleep infinity
`
)

func runServiceNew(ctx context.Context, a *app, name string) error {
	var places []string
	var file string
	err := stream(ctx, a, "service places", control.Nothing{}, func(p control.ServicePlace) error {
		places = append(places, p.Env)
		if path := newPlace(p.Env, name); path != "" && file == "" {
			if p.User == "" && os.Geteuid() == 0 {
				return fmt.Errorf("%s would belong to root, and its entry of discover has no user: run this as the user of the service: %w", path, fault.Denied)
			}
			file = path
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case len(places) == 0:
		return fmt.Errorf("the daemon looks for no .env files: add the key discover to its configuration, such as discover: [{env: /var/www/*/*/.env, user: www-data}], and reload: %w", fault.Conflict)
	case file == "":
		return fmt.Errorf("%s fits none of %s; want PROJECT/SERVICE: %w", name, strings.Join(places, ", "), fault.Invalid)
	}
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as other directories of programs
		return err
	}
	for _, f := range []struct {
		path, text string
		mode       os.FileMode
	}{
		{filepath.Join(dir, newProgram), newScript, 0o755},
		{file, fmt.Sprintf(newEnv, name), 0o600}, // the last one: the daemon sees it
	} {
		if err := writeNew(f.path, f.text, f.mode); err != nil {
			return err
		}
		fmt.Println(f.path)
	}
	return nil
}

// writeNew writes a file that does not exist yet.
func writeNew(path, text string, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already; it is left as it is: %w", path, fault.Conflict)
	}
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
