package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// readme returns the commands of a section of README, without those that build.
func readme(t *testing.T, section string) string {
	t.Helper()
	data, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(data), "\n## "+section+"\n")
	if !ok {
		t.Fatalf("README has no section %q", section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	text, _, _ = strings.Cut(text, "\n    $ ") // what is shown with its answer
	var script strings.Builder
	for line := range strings.Lines(text) {
		if command, ok := strings.CutPrefix(line, "    "); ok && !strings.HasPrefix(command, "make build") &&
			!strings.HasPrefix(command, "export PATH=") {
			script.WriteString(command)
		}
	}
	return script.String()
}

// TestReadme pastes what README tells a newcomer to type into a shell, without a
// pause: the first job and the first reservation, as a user who is not root.
func TestReadme(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		section string
		changes []string // what does not end, is not for a test's machine, or not for a slow one
		want    []string
	}{
		{"A first job in one minute", []string{"--wait 5s", "--wait 10m"}, []string{"\n1\nhello\n2\n3\n", "\n0\n"}},
		{"A first reservation in five minutes", []string{
			"127.0.0.1:50002", "127.0.0.1:0",
			"--wait 5s", "--wait 10m",
			"+1 minute", "+1 hour",
			"atctl list  ", "until atctl list | grep -w active; do :; done #",
			"atctl events ", "#",
		}, []string{"1042@ostrava  active ", "lab 1042@ostrava of group7: activate r1 r2\n"}},
	} {
		t.Run(tt.section, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, "")
			script := strings.NewReplacer(tt.changes...).Replace(readme(t, tt.section))
			d.write("home/project/Makefile", "all:\n\ttrue\n", 0o644)
			d.write("script", script+"\nkill $!\nwait\n", 0o644)
			argv := []string{
				"env", "-i", "HOME=" + d.dir + "/home", "XDG_RUNTIME_DIR=" + d.dir + "/home", "PATH=" + bin + ":/usr/bin:/bin",
				"sh", "-c", "cd && exec sh ../script",
			}
			if os.Getuid() == 0 {
				needProgram(t, "setpriv")
				err := filepath.WalkDir(d.dir+"/home", func(path string, _ os.DirEntry, err error) error {
					if err != nil {
						return err
					}
					return os.Chown(path, nobody, nobody)
				})
				if err != nil {
					t.Fatal(err)
				}
				argv = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, argv...)
			}
			o := d.run("", argv...)
			for _, want := range tt.want {
				if !strings.Contains("\n"+o.out, want) {
					t.Errorf("no %q in what it says:\n%s\n%s", want, o.out, o.err)
				}
			}
			if strings.Contains(o.err, "atctl:") {
				t.Errorf("it complains:\n%s", o.err)
			}
		})
	}
}
