package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"activationd/docs"
)

// nodeParts is where scripts/node-parts puts what package.json names.
const nodeParts = "/var/cache/activationd-node"

// needNodeParts skips a test if they are not there.
func needNodeParts(t *testing.T) {
	t.Helper()
	needProgram(t, "node")
	if _, err := os.Stat(nodeParts + "/complete"); err != nil {
		t.Skip("scripts/node-parts has not been run")
	}
}

// clientOf returns a copy of a client in testdata with the OpenAPI document, and a function that
// runs programs there.
func clientOf(t *testing.T, name string) (dir string, run func(env []string, argv ...string) string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/clients/"+name)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "openapi.json"), docs.OpenAPI(), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, func(env []string, argv ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", argv, err, out)
		}
		return string(out)
	}
}

// daemonForClients starts a daemon that clients can reach over TCP, and returns its URL.
func daemonForClients(t *testing.T) (*daemon, string) {
	t.Helper()
	d := newDaemon(t, "listen_http: [{address: '127.0.0.1:0', role: admin, user: root}]\n")
	d.Start()
	return d, "http://" + d.tcp()
}

// TestClientInGo generates a client in Go of the OpenAPI document, and has it talk with the
// daemon.
func TestClientInGo(t *testing.T) {
	t.Parallel()
	needRoot(t) // the daemon runs jobs as root
	dir, run := clientOf(t, "go")
	env := []string{"GOFLAGS=-mod=readonly -trimpath", "GOWORK=off"}
	get := exec.CommandContext(t.Context(), "go", "mod", "download")
	get.Dir, get.Env = dir, append(os.Environ(), env...)
	if out, err := get.CombinedOutput(); err != nil {
		t.Skipf("the generator's modules cannot be downloaded: %v\n%s", err, out)
	}
	d, url := daemonForClients(t)
	run(env, "go", "tool", "oapi-codegen", "-config", "oapi-codegen.yaml", "openapi.json")
	run(env, "go", "vet", ".")
	id := strings.TrimSpace(run(env, "go", "run", ".", url))
	if a := d.show(id); a.Label != "go" {
		t.Errorf("the client says that it has added %s, which is %+v", id, a)
	}
}

// TestClientInTypeScript generates a client in TypeScript of the OpenAPI document, compiles it
// with all checks, and has it talk with the daemon.
func TestClientInTypeScript(t *testing.T) {
	t.Parallel()
	needRoot(t) // the daemon runs jobs as root
	needNodeParts(t)
	d, url := daemonForClients(t)
	dir, run := clientOf(t, "typescript")
	if err := os.Symlink(nodeParts+"/node_modules", dir+"/node_modules"); err != nil {
		t.Fatal(err)
	}
	run(nil, "node_modules/.bin/openapi-typescript", "openapi.json", "-o", "openapi.ts")
	run(nil, "node_modules/.bin/tsc")
	id := strings.TrimSpace(run(nil, "node", "out/main.js", url))
	if a := d.show(id); a.Label != "typescript" {
		t.Errorf("the client says that it has added %s, which is %+v", id, a)
	}
}

// TestDocumentIsClean checks the OpenAPI document with a program that knows what generators of
// clients stumble over. Its warnings are errors.
func TestDocumentIsClean(t *testing.T) {
	t.Parallel()
	needNodeParts(t)
	_, run := clientOf(t, "typescript")
	run([]string{"REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true"}, nodeParts+"/node_modules/.bin/redocly", "lint", "--max-problems=20", "openapi.json")
}
