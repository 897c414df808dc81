package scripts

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// packageVersion is no version that anybody else builds.
const packageVersion = "1.0~package.test"

// TestPackage builds the packages twice, in different places and surroundings, and checks what
// can be seen without installing them; test/deb installs them.
func TestPackage(t *testing.T) {
	if testing.Short() {
		t.Skip("builds everything, twice")
	}
	for _, program := range []string{"dh", "lintian", "git"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: run scripts/install-deps deb", program)
		}
	}
	t.Parallel()
	debs := buildPackages(t, "..", "022")
	again := buildPackages(t, copyTree(t), "077", "TZ=Asia/Kathmandu", "LC_ALL=C", "LANG=de_DE.UTF-8")
	for i := range debs {
		one, err := os.ReadFile(debs[i])
		if err != nil {
			t.Fatal(err)
		}
		if two, err := os.ReadFile(again[i]); err != nil || !bytes.Equal(one, two) {
			t.Errorf("%s and %s differ, though their source is the same (%v); diffoscope says in what", debs[i], again[i], err)
		}
	}
	t.Run("lintian", func(t *testing.T) { checkLintian(t, debs) })
	t.Run("control", func(t *testing.T) { checkControl(t, debs[0]) })
	t.Run("files", func(t *testing.T) { checkFiles(t, debs) })
}

// buildPackages builds the packages of a tree and returns their files.
func buildPackages(t *testing.T, tree, umask string, env ...string) []string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `umask "$1"; exec make -C "$2" deb VERSION="$3" DIST="$4" SOURCE_DATE_EPOCH=1700000000`,
		"build", umask, tree, packageVersion, dir)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make deb in %s: %v\n%s", tree, err, out)
	}
	var debs []string
	for _, name := range []string{"activationd", "activationd-at"} {
		found, err := filepath.Glob(filepath.Join(dir, name+"_"+packageVersion+"_*.deb"))
		if err != nil || len(found) != 1 {
			t.Fatalf("make deb in %s made %v (%v)\n%s", tree, found, err, out)
		}
		debs = append(debs, found[0])
	}
	return debs
}

// copyTree copies the source, but not its history, as into a tarball.
func copyTree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "another place")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "bash", "-c",
		`set -o pipefail; cd ..; git ls-files -z --cached --others --exclude-standard | tar -c --null --ignore-failed-read -T - | tar -x -C "$1"; find "$1" -type f -exec touch -d 2001-02-03 {} +`, "copy", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("copying the tree: %v\n%s", err, out)
	}
	return dir
}

// checkLintian checks that lintian finds nothing, but the one thing that the package says why.
func checkLintian(t *testing.T, debs []string) {
	out, _ := exec.CommandContext(t.Context(), "lintian", append([]string{"--allow-root", "--show-overrides", "--tag-display-limit", "0"}, debs...)...).CombinedOutput()
	overridden := 0
	for line := range strings.Lines(string(out)) {
		switch {
		case strings.HasPrefix(line, "N:"):
		case strings.HasPrefix(line, "O: activationd: statically-linked-binary ["):
			overridden++
		default:
			t.Errorf("lintian: %s", line)
		}
	}
	if overridden != 7 {
		t.Errorf("%d programs are linked statically, want 7:\n%s", overridden, out)
	}
}

// checkControl checks what dpkg gets to know of a package.
func checkControl(t *testing.T, deb string) {
	dir := t.TempDir()
	run(t, "dpkg-deb", "--control", deb, dir)
	conffiles, err := os.ReadFile(dir + "/conffiles")
	if want := "/etc/activationd/activationd.yaml\n/etc/needrestart/conf.d/activationd.conf\n"; err != nil || string(conffiles) != want {
		t.Errorf("conffiles %q, %v, want %q", conffiles, err, want)
	}
	postinst, err := os.ReadFile(dir + "/postinst")
	if err != nil {
		t.Fatal(err)
	}
	at := -1 // each needs what is before it
	for _, step := range []string{"systemd-sysusers", "systemd-tmpfiles", "deb-systemd-helper enable", "deb-systemd-invoke start"} {
		next := strings.Index(string(postinst), step)
		if next <= at {
			t.Errorf("the postinst does not call %s, or too early:\n%s", step, postinst)
		}
		at = next
	}
	if n := strings.Count(string(postinst), "deb-systemd-invoke"); n != 4 {
		t.Errorf("the postinst starts or restarts %d times, want one start of the socket, two restarts of the service and one of the spawner:\n%s", n, postinst)
	}
}

// checkFiles checks that the packages have the files that make install installs, and that the
// programs know their version.
func checkFiles(t *testing.T, debs []string) {
	packaged, installed := t.TempDir(), t.TempDir()
	for _, deb := range debs {
		run(t, "dpkg-deb", "--extract", deb, packaged)
	}
	for _, name := range []string{"activationd", "atctl"} {
		if got, want := run(t, packaged+"/usr/bin/"+name, "--version"), name+" "+packageVersion+"\n"; got != want {
			t.Errorf("%s --version = %q, want %q", name, got, want)
		}
	}
	run(t, "bash", "-c", `umask 077; exec make -C .. install-at VERSION="$1" SOURCE_DATE_EPOCH=1700000000 BIN="$2" DESTDIR="$3" PREFIX=/usr`,
		"install", packageVersion, t.TempDir(), installed)
	got, want := filesOf(t, packaged), filesOf(t, installed)
	for _, name := range []string{"activationd/copyright", "activationd/changelog", "activationd-at/copyright", "activationd-at/changelog"} {
		if _, ok := got["usr/share/doc/"+name]; !ok {
			t.Errorf("the packages have no %s", name)
		}
		delete(got, "usr/share/doc/"+name)
	}
	delete(got, "usr/share/lintian/overrides/activationd")
	delete(want, "usr/share/doc/activationd/LICENSE") // the file copyright says the same
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s is %.100q in a package, and make install installs %.100q", name, got[name], want[name])
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%s is in a package, and make install does not install it", name)
	}
}

// filesOf returns mode and content of all files below dir. It looks into compressed files.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		path := filepath.Join(dir, name)
		info, err := d.Info()
		if err != nil {
			return err
		}
		plain := strings.TrimSuffix(name, ".gz")
		if info.Mode()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			files[plain] = "-> " + strings.TrimSuffix(target, ".gz")
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && plain != name {
			var r *gzip.Reader
			if r, err = gzip.NewReader(bytes.NewReader(data)); err == nil {
				data, err = io.ReadAll(r)
			}
		}
		files[plain] = fmt.Sprintf("%v %s", info.Mode(), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestVersion checks which version a tree says it has.
func TestVersion(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	run(t, "mkdir", "-p", dir+"/scripts", dir+"/debian")
	run(t, "cp", "version", dir+"/scripts")
	changelog := "activationd (1.0) unstable; urgency=medium\n\n  * First release.\n\n -- a <a@example.org>  Tue, 01 Dec 2026 01:00:00 +0100\n"
	if err := os.WriteFile(dir+"/debian/changelog", []byte(changelog), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(what, version, time string) {
		t.Helper()
		if got := strings.TrimSpace(run(t, dir+"/scripts/version")); got != version {
			t.Errorf("%s: the version is %s, want %s", what, got, version)
		}
		if got := strings.TrimSpace(run(t, dir+"/scripts/version", "--time")); got != time {
			t.Errorf("%s: its time is %s, want %s", what, got, time)
		}
	}
	git := func(in string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", in, "-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2026-12-01T23:33:41+02:00", "GIT_CONFIG_GLOBAL=/dev/null")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	check("without git", "1.0", "1796083200")
	git(filepath.Dir(dir), "init", "-q")
	check("in another repository", "1.0", "1796083200")
	git(dir, "init", "-q")
	git(dir, "add", ".")
	git(dir, "commit", "-q", "-m", "one")
	snapshot := "1.0~git20261201.213341." + git(dir, "rev-parse", "--short", "HEAD")
	check("between releases", snapshot, "1796160821")
	if err := exec.CommandContext(t.Context(), "dpkg", "--compare-versions", snapshot, "lt", "1.0").Run(); err != nil {
		t.Errorf("for dpkg, %s is not older than 1.0: %v", snapshot, err)
	}
	git(dir, "tag", "v1.0")
	check("with the tag", "1.0", "1796160821")
	git(dir, "tag", "-d", "v1.0")
	if err := os.WriteFile(dir+"/debian/changelog", []byte(changelog+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("with a change", snapshot+".dirty", "1796160821")
}

// run runs a program and returns what it prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, &errs)
	}
	return string(out)
}
