// Command manual makes the manual pages of the texts in docs and of what the programs say of
// their commands and options.
//
//	go run ./scripts/manual [-doc DIR] [-share DIR] DIRECTORY BIN
//
// The pages go into directories for their sections, below DIRECTORY, and those of at, which
// are installed only with at, below DIRECTORY/at. BIN has the built programs. The flags say
// where the texts and the schemas are installed. The date of the pages is that of
// SOURCE_DATE_EPOCH, or else of the last commit.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"activationd/internal/help"
)

func main() {
	var b book
	flag.StringVar(&b.doc, "doc", "/usr/local/share/doc/activationd", "the texts are installed in `DIR`")
	flag.StringVar(&b.share, "share", "/usr/local/share/activationd", "the schemas are installed in `DIR`")
	flag.StringVar(&b.texts, "texts", "docs", "the texts are in `DIR` now")
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	if err := b.print(context.Background(), flag.Arg(0), flag.Arg(1), os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

// A book is all pages.
type book struct {
	doc, share, texts string

	date, version string
	root          help.Description
	commands      map[string]help.Description
	daemonHelp    map[string]string // the sections of the help of activationd
}

func (b *book) print(ctx context.Context, dir, bin, epoch string) (err error) {
	if b.date, err = date(ctx, epoch); err != nil {
		return err
	}
	if b.root, b.commands, err = commands(ctx, bin); err != nil {
		return err
	}
	daemon := filepath.Join(bin, "activationd")
	out, err := exec.CommandContext(ctx, daemon, "--help").Output()
	if err != nil {
		return fmt.Errorf("activationd --help: %w", err)
	}
	b.daemonHelp = helpSections(string(out))
	if out, err = exec.CommandContext(ctx, daemon, "--version").Output(); err != nil {
		return fmt.Errorf("activationd --version: %w", err)
	}
	b.version = short(strings.TrimSpace(string(out)))
	for _, s := range specs {
		source, err := b.page(s)
		if err != nil {
			return fmt.Errorf("%s(%d): %w", s.name, s.section, err)
		}
		to := dir
		if s.name == "at" {
			to = filepath.Join(dir, "at")
		}
		if err := put(filepath.Join(to, fmt.Sprintf("man%d", s.section)), s, source); err != nil {
			return err
		}
	}
	return nil
}

// commit is what a version that has not been released has after its day: the time, the commit,
// and a sign of changes. A page's last line has no room for it.
var commit = regexp.MustCompile(`(~git[0-9]{8})\.\S*`)

// short returns a version that fits into the last line of a page, beside its date and its name.
func short(version string) string {
	version = commit.ReplaceAllString(version, "$1")
	if len(version) > 30 {
		_, version, _ = strings.Cut(version, " ") // the program's name
	}
	return version[:min(len(version), 30)]
}

// put writes a page and the links to it, with the same modes whatever the umask is.
func put(dir string, s spec, source string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file := fmt.Sprintf("%s.%d", s.name, s.section)
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, []byte(source), 0o644); err != nil {
		return err
	}
	for _, made := range []struct {
		path string
		mode os.FileMode
	}{{dir, 0o755}, {path, 0o644}} {
		if err := os.Chmod(made.path, made.mode); err != nil {
			return err
		}
	}
	for _, name := range others(s) {
		link := filepath.Join(dir, fmt.Sprintf("%s.%d", name, s.section))
		_ = os.Remove(link) // of an earlier time
		if err := os.Symlink(file, link); err != nil {
			return err
		}
	}
	return nil
}

// others returns the other names of a page: those of its commands, for "man atctl hold".
func others(s spec) []string {
	names := s.names
	for _, cmd := range s.commands {
		if name := "atctl-" + cmd; name != s.name && s.name != "atctl" {
			names = append(names, name)
		}
	}
	return names
}

// date returns the date of the pages.
func date(ctx context.Context, epoch string) (string, error) {
	if epoch == "" {
		out, err := exec.CommandContext(ctx, "git", "log", "-1", "--format=%ct").Output()
		if err != nil {
			return "", fmt.Errorf("without git, SOURCE_DATE_EPOCH has to say the date of the pages: %w", err)
		}
		epoch = strings.TrimSpace(string(out))
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return "", fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC().Format(time.DateOnly), nil
}
