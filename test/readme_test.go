package test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"activationd/test/harness"
)

// readmeScript returns the commands in README, in their order, for a shell. What is shown
// after a command that begins with $ is what the command prints; the script compares it.
func readmeScript(readme string) string {
	var script strings.Builder
	var shown []string
	command := ""
	for line := range strings.Lines(readme + "\n") {
		text, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "    ")
		if cut, isShown := strings.CutPrefix(text, "$ "); ok && isShown {
			command = cut
			continue
		}
		switch {
		case command != "" && ok:
			shown = append(shown, text)
		case command != "":
			script.WriteString("cat >../want <<'END'\n" + strings.Join(shown, "\n") + "\nEND\n" + command +
				" | sed s/generation=[0-9]*/generation=3/ | diff ../want - >&2\n") // each change of a file is a load
			command, shown = "", nil
		case ok:
			script.WriteString(text + "\n")
		}
	}
	return script.String()
}

// unpackaged returns README without the commands that install the package: test/deb types those.
func unpackaged(readme string) string {
	before, rest, found := strings.Cut(readme, "\n## Install on Debian\n")
	_, after, ends := strings.Cut(rest, "\n## ")
	if !found || !ends {
		return readme
	}
	return before + "\n## " + after
}

// TestReadme types every command of README into a shell, as a user other than root in a fresh
// checkout: the first job and the first reservation. The commands that try or measure
// everything have tests of their own; of these it checks that make knows them.
func TestReadme(t *testing.T) {
	t.Parallel()
	needProgram(t, "nc")
	data, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\bmake ([a-z]+(?:-[a-z]+)*)\b`).FindAllStringSubmatch(string(data), -1) {
		if !regexp.MustCompile(`(?m)^` + m[1] + `:`).Match(makefile) {
			t.Errorf("make has no target %s", m[1])
		}
	}
	d := newDaemon(t, "")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	script := strings.NewReplacer(
		"50002", port, // it may be in use
		"--wait 5s", "--wait 10m", // the machine may be slow
		"+1 minute", "+1 hour",
		"atctl list                         # 1042@ostrava", "until atctl list | grep -w active; do :; done #",
		"atctl wait 1042@ostrava\n", "atctl cancel 1042@ostrava; atctl wait 1042@ostrava 2>/dev/null\n",
		"--id 1042@ostrava    #", "--id 1042@ostrava 2>/dev/null & #", // the stop of the daemon ends it
	).Replace(readmeScript(unpackaged(string(data))))
	script = regexp.MustCompile(`(?m)^make .*\n`).ReplaceAllString(script, "") // make build has made the programs
	checkout := d.dir + "/home/checkout"
	for _, dir := range []string{"docs", "lab"} {
		if err := os.CopyFS(checkout+"/"+dir, os.DirFS("../"+dir)); err != nil {
			t.Fatal(err)
		}
	}
	programs, err := filepath.Glob(harness.Bin + "/*")
	if err != nil {
		t.Fatal(err)
	}
	d.write("home/checkout/bin/README", "", 0o644)
	for _, p := range programs {
		if err := os.Symlink(p, checkout+"/bin/"+filepath.Base(p)); err != nil {
			t.Fatal(err)
		}
	}
	before := tree(t, checkout)
	d.write("script", script+"wait\n", 0o644)
	argv := []string{
		"env", "-i", "HOME=" + d.dir + "/home", "XDG_RUNTIME_DIR=" + d.dir + "/home", "PATH=/usr/bin:/bin",
		"sh", "-c", "cd ~/checkout && exec sh ../../script",
	}
	if os.Getuid() == 0 {
		needProgram(t, "setpriv")
		err := filepath.WalkDir(d.dir+"/home", func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, nobody, nobody)
		})
		if err != nil {
			t.Fatal(err)
		}
		argv = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, argv...)
	}
	o := d.run("", argv...)
	rest := "\n" + o.out
	for _, want := range []string{
		"\n1\nhello\n2\n3\n", "\n0\n", " poll\n", "ok: activationd.yaml\n", "1042@ostrava  active ",
		"lab 1042@ostrava of group7: activate r1 r2\n", "lab 1042@ostrava of group7: deactivate r1 r2\n",
	} {
		var ok bool
		if _, rest, ok = strings.Cut(rest, want); !ok {
			t.Fatalf("no %q in what it says, or not in this order:\n%s\n%s", want, o.out, o.err)
		}
	}
	// The daemon's log would break into what is typed.
	if o.err != "" {
		t.Errorf("it complains, or logs:\n%s", o.err)
	}
	for _, name := range tree(t, checkout) {
		if !slices.Contains(before, name) {
			t.Errorf("the checkout has a new file, %s", name)
		}
	}
}

// tree lists the files of a directory, except those in bin, which version control ignores.
func tree(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && d.Name() == "bin" {
			return filepath.SkipDir
		}
		files = append(files, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
