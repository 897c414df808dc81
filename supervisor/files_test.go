package supervisor_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"activationd/internal/fault"
)

// The files of a configuration directory can be listed and read while the script runs, and after. Nothing leads out of
// the directory, whatever the script has put there, and what is no file is neither listed nor opened.
func TestFiles(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	secret := t.TempDir() + "/secret"
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	hostile := "-rf <b>\x1b[31m\u202e 100%.txt"
	go1 := b.RunDir(key) + ".go"
	spec := shell(fmt.Sprintf(`cd "$ACTIVATION_CONFIG_DIR"; mkdir -p sub/deep a/b/c/d; echo text >sub/deep/r1.conf; echo too deep >a/b/c/d/e; echo own >own; ln own twin
ln -s %s link; ln -s / root; ln -s . here; mkfifo pipe; echo hidden >.hidden; echo hostile >"$HOSTILE"; truncate -s 1T huge
head -c 1000 /dev/zero | tr '\0' x >r1.diff; echo up; while ! [ -e %s ]; do sleep 0.01; done`, secret, go1))
	spec.Env = append(spec.Env, "HOSTILE="+hostile)
	b.start(spec)
	b.awaitLog("up")
	want := map[string]int64{"sub/deep/r1.conf": 5, hostile: 8, "huge": 1 << 40, "r1.diff": 1000}
	look := func(when string) {
		t.Helper()
		files, err := b.Files(key)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		for _, f := range files {
			if size, ok := want[f.Name]; !ok || f.Size != size || f.Time.IsZero() {
				t.Errorf("%s, there is %+v", when, f)
			}
		}
		if len(files) != len(want) {
			t.Errorf("%s, there are %d files, want %d: %+v", when, len(files), len(want), files)
		}
		for _, name := range []string{
			"link", "root/etc/passwd", "here/r1.diff", "pipe", "own", "twin", "sub", ".hidden", "", ".", "..", "../spec", "sub/../r1.diff", "/etc/passwd", "sub//deep/r1.conf", "r1.diff/x",
		} {
			f, err := b.Open(key, "config/"+name)
			if err == nil {
				_ = f.Close()
				t.Errorf("%s, Open opens %q", when, name)
			} else if strings.Contains(err.Error(), secret) {
				t.Errorf("%s, the error for %q says where a link leads: %v", when, name, err)
			}
		}
		f, err := b.Open(key, "config/sub/deep/r1.conf")
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		defer func() { _ = f.Close() }()
		if data, err := io.ReadAll(f); string(data) != "text\n" || err != nil {
			t.Errorf("%s, the file is %q, %v", when, data, err)
		}
	}
	look("while it runs")
	if err := os.WriteFile(go1, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.exit()
	look("after its end")
	if _, err := b.Open(key, "config/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := b.Open(key, "config/link"); fault.Of(err) != fault.Invalid {
		t.Errorf("a link: %v", err)
	}
	if err := os.RemoveAll(b.RunDir(key) + "/config"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", b.RunDir(key)+"/config"); err != nil {
		t.Fatal(err)
	}
	if files, err := b.Files(key); err == nil {
		t.Errorf("a link instead of the directory lists %+v", files)
	}
	if err := os.Remove(b.RunDir(key) + "/config"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Files(key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is gone: %v", err)
	}
}

// A directory with very many files is listed in part.
func TestFilesAreBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.run(shell(`cd "$ACTIVATION_CONFIG_DIR"; seq 3000 | xargs touch`))
	if files, err := b.Files(key); len(files) != 1000 || err != nil {
		t.Errorf("%d files are listed, %v", len(files), err)
	}
}
