package scripts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestInstall checks that a daemon finds what `make install` has installed with
// it, wherever that is: its wrapper and the scripts that are its default.
func TestInstall(t *testing.T) {
	if testing.Short() {
		t.Skip("builds everything, as it is built to be installed")
	}
	dest := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "make", "-C", "..", "install-at", "BIN="+t.TempDir(), "DESTDIR="+dest, "PREFIX=/opt/lab").CombinedOutput()
	if err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	config := filepath.Join(dest, "d.yaml")
	err = os.WriteFile(config, []byte("sources: [{files: r.yaml}]\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dest+"/r.yaml", []byte("reservations: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check := exec.CommandContext(t.Context(), dest+"/opt/lab/bin/activationd", "--check-config", "--config", config,
		"--state-dir", dest+"/state", "--runtime-dir", dest+"/run")
	check.Env = []string{"PATH=/nowhere"}
	out, err = check.CombinedOutput()
	if err != nil || strings.Contains(string(out), "notice") || !strings.Contains(string(out), dest+"/opt/lab/libexec/activationd/atwrap") {
		t.Errorf("--check-config: %v, and not all was found\n%s", err, out)
	}
	man := dest + "/opt/lab/share/man/"
	page, err := os.ReadFile(man + "man1/at.1")
	if err != nil || !strings.Contains(string(page), "\n.SH \"DIFFERENCES FROM AT\"\n") {
		t.Errorf("at's manual page does not say how it differs from at: %v", err)
	}
	for _, name := range []string{"atq", "atrm", "batch"} {
		if see, err := os.Readlink(man + "man1/" + name + ".1"); err != nil || see != "at.1" {
			t.Errorf("%s's manual page: %q, %v", name, see, err)
		}
	}
	unit, err := os.ReadFile(dest + "/opt/lab/lib/systemd/system/activationd.service")
	if err != nil || !strings.Contains(string(unit), "\nExecStart=/opt/lab/bin/activationd\n") {
		t.Errorf("the unit: %v\n%s", err, unit)
	}
	checkReferences(t, dest, "/opt/lab")
	checkCompletions(t, dest+"/opt/lab/share")
}

// checkReferences checks that whatever the installed texts name was installed with them:
// texts, examples, schemas, manual pages of the project.
func checkReferences(t *testing.T, dest, prefix string) {
	doc := prefix + "/share/doc/activationd"
	exists := func(from, path string) {
		if _, err := os.Stat(dest + path); err != nil {
			t.Errorf("%s names %s, which is not installed", from, path)
		}
	}
	link := regexp.MustCompile(`\]\(([^):#]+)(?:#[^)]*)?\)`)
	text := regexp.MustCompile(`\b[a-z]+(?:\.example\.yaml|\.schema\.json)|\b[a-z]+(?:-[a-z]+)*\.md\b`)
	below := regexp.MustCompile(regexp.QuoteMeta(prefix) + `/[\w./-]*\w`)
	page := regexp.MustCompile(`\b(activationd[a-z.-]*|atctl[a-z-]*)\(([0-9])\)`)
	seen := 0
	err := filepath.WalkDir(dest+prefix+"/share", func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name := strings.TrimPrefix(path, dest)
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		isPage := strings.HasPrefix(name, prefix+"/share/man/")
		isText := strings.HasPrefix(name, doc) && filepath.Ext(name) == ".md"
		isExample := strings.HasPrefix(name, doc) && filepath.Ext(name) == ".yaml"
		if !isPage && !isText && !isExample {
			return nil
		}
		said := strings.NewReplacer(`\-`, "-", `\(aq`, "'", `\fB`, "", `\fP`, "", `\fR`, "").Replace(string(data))
		for _, m := range below.FindAllString(said, -1) {
			exists(name, m)
			seen++
		}
		for _, m := range page.FindAllStringSubmatch(said, -1) {
			exists(name, prefix+"/share/man/man"+m[2]+"/"+m[1]+"."+m[2])
			seen++
		}
		if isText {
			for _, m := range link.FindAllStringSubmatch(said, -1) {
				exists(name, filepath.Join(filepath.Dir(name), m[1]))
				seen++
			}
		}
		if isPage {
			for _, m := range text.FindAllString(said, -1) {
				place := doc
				if strings.HasSuffix(m, ".schema.json") {
					place = prefix + "/share/activationd"
				}
				exists(name, place+"/"+m)
				seen++
			}
		}
		return nil
	})
	if err != nil || seen < 100 {
		t.Errorf("%d references were seen: %v", seen, err)
	}
}

// checkCompletions checks that shells find what completes the installed programs, and that
// they complete what a running daemon knows: ids and names of queues; and files.
func checkCompletions(t *testing.T, share string) {
	dir := shortDir(t)
	daemonOf(t, share+"/../bin", dir)
	if err := os.WriteFile(dir+"/state-copy", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	everyFlag(t, share)
	keys := "atctl cancel \t --dry-run\natctl queue peek \t\natctl backup state-c\t\nexit\n"
	for _, shell := range []struct {
		name, needs, script, want string
		load, typed               string // what an interactive shell loads before the keys
	}{
		{
			name: "bash", needs: "/usr/share/bash-completion/bash_completion",
			script: `source /usr/share/bash-completion/bash_completion; for p in atctl activationd atrm; do _completion_loader $p; complete -p $p; done`,
			want:   "complete -F _atctl atctl\ncomplete -F _atctl_activationd activationd\ncomplete -F _atctl_at atrm\n",
			load:   "source /usr/share/bash-completion/bash_completion\n", typed: "bash --norc -i",
		},
		{
			name: "zsh", needs: "/usr/bin/zsh",
			script: `fpath+=($XDG_DATA_DIRS/zsh/site-functions); autoload -Uz compinit; compinit -u -D; print $_comps[atctl] $_comps[activationd]`,
			want:   "_atctl _atctl\n",
			load:   "fpath+=($XDG_DATA_DIRS/zsh/site-functions); PS1=; autoload -Uz compinit; compinit -u -D\n",
			typed:  "zsh -f -i",
		},
		{
			name: "fish", needs: "/usr/bin/fish",
			script: `for p in atctl activationd; complete -C "$p --vers"; end; complete -C "atctl cancel "; complete -C "atctl queue peek "; complete -C "atctl backup state-c"`,
			want: "--version\tprint this program's version\n--version\tprint the version and exit\n" +
				"1\techo hello, held\nmails\tno listener: no entry of listeners matches\nstate-copy\n",
		},
	} {
		t.Run(shell.name, func(t *testing.T) {
			if _, err := os.Stat(shell.needs); err != nil {
				t.Skip(err)
			}
			run := func(cmd *exec.Cmd) string {
				cmd.Dir = dir
				cmd.Env = []string{
					"PATH=" + share + "/../bin:" + os.Getenv("PATH"), "XDG_DATA_DIRS=" + share, "HOME=" + t.TempDir(),
					"ACTIVATIOND_SOCKET=" + dir + "/run/control.sock", "TERM=dumb", "INPUTRC=/dev/null", "COLUMNS=200",
				}
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				return string(out)
			}
			if out := run(exec.CommandContext(t.Context(), shell.name, "-c", shell.script)); out != shell.want {
				t.Errorf("%s\nwant\n%s", out, shell.want)
			}
			if shell.typed == "" {
				return
			}
			cmd := exec.CommandContext(t.Context(), "script", "-q", "-c", shell.typed, "/dev/null")
			cmd.Stdin = strings.NewReader(shell.load + keys)
			out := run(cmd)
			for _, line := range []string{"atctl cancel 1 ", "atctl queue peek mails ", "atctl backup state-copy "} {
				if !strings.Contains(out, line) {
					t.Errorf("no line was completed to %q:\n%q", line, out)
				}
			}
		})
	}
}

// everyFlag checks that the shells know the flags that activationd lists.
func everyFlag(t *testing.T, share string) {
	help, err := exec.CommandContext(t.Context(), share+"/../bin/activationd", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`(?m)^  --([a-z-]+)`).FindAllStringSubmatch(string(help), -1)
	for file, form := range map[string]string{
		"bash-completion/completions/atctl": `--%s\b`, "zsh/site-functions/_atctl": `--%s[=[]`, "fish/vendor_completions.d/atctl.fish": `-l %s `,
	} {
		script, err := os.ReadFile(share + "/" + file)
		if err != nil {
			t.Error(err)
		}
		for _, f := range flags {
			if !regexp.MustCompile(fmt.Sprintf(form, f[1])).Match(script) {
				t.Errorf("%s lacks --%s of activationd", file, f[1])
			}
		}
	}
	if len(flags) < 8 {
		t.Errorf("only %d flags were seen", len(flags))
	}
}

// daemonOf starts the daemon of an installation, with a job that is held and a queue.
func daemonOf(t *testing.T, bin, dir string) {
	t.Helper()
	if err := os.WriteFile(dir+"/d.yaml", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(bin+"/activationd", "--config", dir+"/d.yaml", "--state-dir", dir+"/state", "--runtime-dir", dir+"/run")
	var log strings.Builder
	daemon.Stderr = &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM) // fails if it has ended
		if err := daemon.Wait(); err != nil {
			t.Errorf("the daemon: %v\n%s", err, &log)
		}
	})
	for _, args := range []string{"status --wait 60s", "add --hold -- echo hello", "queue create mails"} {
		cmd := exec.CommandContext(t.Context(), bin+"/atctl", append([]string{"--socket", dir + "/run/control.sock"}, strings.Fields(args)...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("atctl %s: %v\n%s", args, err, out)
		}
	}
}
