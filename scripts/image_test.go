package scripts

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestImage builds the image of a container twice, with the same bytes, has other programs read and unpack
// it, and starts what was unpacked in namespaces of its own, as process 1. It is stopped and started again
// on the same files: what had ended is known, what ran is lost, and what waited runs.
func TestImage(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	for _, program := range []string{"skopeo", "umoci", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed: scripts/install-deps image, as root, installs it")
		}
	}
	dir := t.TempDir()
	var images [2][]byte
	var file string
	for i := range images {
		of := filepath.Join(dir, strconv.Itoa(i))
		run(t, "make", "-C", "..", "image", "BIN="+of+"/bin", "DIST="+of)
		found, err := filepath.Glob(of + "/activationd_*.oci.tar")
		if err != nil || len(found) != 1 {
			t.Fatalf("make image made %q, %v", found, err)
		}
		file = found[0]
		if images[i], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("two builds have other bytes")
	}
	run(t, "skopeo", "--insecure-policy", "copy", "--quiet", "oci-archive:"+file, "oci:"+dir+"/copy:image")
	run(t, "umoci", "unpack", "--image", dir+"/copy:image", dir+"/bundle")

	c := &container{t: t, root: dir + "/bundle/rootfs"}
	c.start()
	done := c.must("add", "--", "sh", "-c", "echo a job; sleep 600 & exit 3")
	if out, err := c.atctl("wait", done); err == nil {
		t.Errorf("wait of a job that fails: %s", out)
	}
	if got := c.must("log", done); got != "a job" {
		t.Errorf("its log is %q", got)
	}
	waits := c.must("add", "--in", "8s", "--", "sh", "-c", "echo waited")
	runs := c.must("add", "--", "sleep", "600")
	for !strings.Contains(c.must("show", "--json", runs), `"state":"activating"`) { // until it runs
		time.Sleep(10 * time.Millisecond)
	}
	c.stop()
	c.start()
	defer c.stop()
	c.must("wait", waits)
	if out, err := c.atctl("wait", runs); err == nil {
		t.Errorf("wait of what ran at the stop: %s", out)
	}
	for id, want := range map[string]string{done: "failed", waits: "succeeded", runs: "lost"} {
		if got := c.must("show", "--json", id); !strings.Contains(got, `"outcome":"`+want+`"`) {
			t.Errorf("after the second start job %s is %s, want %s", id, got, want)
		}
	}
	if got := c.must("log", waits); got != "waited" {
		t.Errorf("the job that waited said %q", got)
	}
}

// A container is what an image has, as process 1 of namespaces of its own.
type container struct {
	t    *testing.T
	root string
	cmd  *exec.Cmd
	log  *bufio.Scanner
	said strings.Builder
}

// start starts it, and waits until the daemon is ready.
func (c *container) start() {
	c.t.Helper()
	c.cmd = exec.Command("sh", "-euc", `mount --make-rprivate /
		mount -t proc proc "$1/proc"
		mount --rbind /dev "$1/dev"
		mount -t tmpfs tmpfs "$1/run"
		exec chroot "$1" /usr/bin/activationd`, "sh", c.root)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWNET,
		Pdeathsig: syscall.SIGKILL}
	out, err := c.cmd.StderrPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.log = bufio.NewScanner(out)
	for c.log.Scan() {
		c.said.WriteString(c.log.Text() + "\n")
		if strings.Contains(c.log.Text(), "msg=ready") {
			return
		}
	}
	c.t.Fatalf("the container ended: %v\n%s", c.cmd.Wait(), c.said.String())
}

// stop stops it as container engines do. All its processes end with it.
func (c *container) stop() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	for c.log.Scan() { // until the last process has ended
		c.said.WriteString(c.log.Text() + "\n")
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("the container ended with %v:\n%s", err, c.said.String())
	}
	if !strings.Contains(c.said.String(), "runs are killed with the container") {
		c.t.Errorf("the log does not say what becomes of runs:\n%s", c.said.String())
	}
}

// atctl runs atctl in the container.
func (c *container) atctl(args ...string) (string, error) {
	enter := []string{"--target", strconv.Itoa(c.cmd.Process.Pid), "--all", "--root", "/bin/sh", "-c", `cd / && exec atctl "$@"`, "sh"}
	out, err := exec.Command("nsenter", append(enter, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// must is atctl, which must not fail.
func (c *container) must(args ...string) string {
	c.t.Helper()
	out, err := c.atctl(args...)
	if err != nil {
		c.t.Fatalf("atctl %q: %v\n%s\n%s", args, err, out, c.said.String())
	}
	return out
}
