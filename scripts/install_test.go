package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
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
	if err != nil || !strings.Contains(string(page), "\n.SH DIFFERENCES FROM AT\n") {
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

// checkCompletions checks that shells find what completes the installed programs.
func checkCompletions(t *testing.T, share string) {
	for _, shell := range []struct{ name, needs, script, want string }{
		{"bash", "/usr/share/bash-completion/bash_completion",
			`source /usr/share/bash-completion/bash_completion; for p in atctl activationd atrm; do _completion_loader $p; complete -p $p; done`,
			"complete -F _atctl atctl\ncomplete -F _atctl_activationd activationd\ncomplete -F _atctl_at atrm\n"},
		{"zsh", "/usr/bin/zsh",
			`fpath+=($XDG_DATA_DIRS/zsh/site-functions); autoload -Uz compinit; compinit -u -D; print $_comps[atctl] $_comps[activationd]`,
			"_atctl _atctl\n"},
		{"fish", "/usr/bin/fish",
			`for p in atctl activationd; complete -C "$p --vers"; end`, "--version\tprint this program's version\n--version\tprint the version and exit\n"},
	} {
		t.Run(shell.name, func(t *testing.T) {
			if _, err := os.Stat(shell.needs); err != nil {
				t.Skip(err)
			}
			cmd := exec.CommandContext(t.Context(), shell.name, "-c", shell.script)
			cmd.Env = []string{"PATH=" + share + "/../bin:" + os.Getenv("PATH"), "XDG_DATA_DIRS=" + share, "HOME=" + t.TempDir()}
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != shell.want {
				t.Errorf("%v\n%s\nwant\n%s", err, out, shell.want)
			}
		})
	}
}
