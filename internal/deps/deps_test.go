// Package deps holds the project's import policy and nothing else.
package deps

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "activationd/"

// policy says which packages of the module each may import. It is a statement
// of design: change it in a commit of its own, and say why. A package that is
// not here fails the test, so a new folder is a decision; and so does what is
// allowed and not used, so that it stays a drawing of what there is.
//
// No edge joins schedule, supervisor, reservation and store: they don't know
// each other.
var policy = map[string]string{
	"internal/fault":             "",
	"internal/diag":              "internal/fault",
	"internal/deps":              "",
	"internal/prose":             "",
	"internal/early":             "", // else it would not be
	"internal/direct":            "", // nor it
	"internal/terminal":          "",
	"internal/object":            "",
	"internal/object/objecttest": "", // for tests only
	"internal/trace":             "",
	"internal/trust":             "",
	"internal/programs":          "",
	"internal/completion":        "",
	"internal/ical":              "",
	"internal/timeline":          "internal/timetext", // it draws what it is given: no terminal, no clock
	"internal/help":              "internal/fault",    // atctl and atctl-lab print their help in the same form
	"internal/document":          "internal/diag",
	"internal/display":           "control internal/timetext",                                // timetext: the offset of a daemon's zone
	"internal/connection":        "control internal/direct internal/fault internal/programs", // one way to a daemon for the programs that people start
	"internal/envfile":           "internal/diag",
	"docs":                       "", // the schemas, for activationd to print, and the description of HTTP, for it to serve

	// Every program and every test can read a configuration: no database's driver and no SSH
	// comes with it.
	"internal/config": "internal/document internal/diag internal/timetext",

	// One reader of times and durations, which each may import: it imports nothing.
	"internal/timetext":           "",
	"internal/timetext/timeforms": "",

	// Who has which device when is computed from what the core says: without it, and without its store.
	"calendar": "",

	"schedule":          "internal/timetext",
	"schedule/timespec": "internal/timetext",
	"store":             "internal/fault",
	"store/bolt":        "store internal/fault",
	"store/once":        "store internal/fault",
	"store/storetest":   "store internal/fault",
	"store/memstore":    "store internal/fault", // for tests only
	"vlanstore":         "store internal/fault",
	"loginstore":        "store internal/fault",
	"event":             "store internal/fault internal/object",
	"queue/pools":       "internal/fault",
	"queue":             "store internal/document internal/fault", // document has the nearest of some names
	// It hands messages to processes. They are no activations: a delivery writes nothing, see its comment.
	"queue/broker":       "queue schedule store store/once supervisor supervisor/wrapper internal/fault internal/timetext internal/trace",
	"vlanstore/vlantest": "control internal/fault",                           // it looks from outside
	"supervisor":         "supervisor/wrapper internal/fault internal/trust", // trust: where the files of sockets are
	// A process of root's does what is privileged for a daemon that is not: it has the standard library, and no
	// reader of YAML.
	"supervisor/spawn":   "supervisor supervisor/wrapper internal/fault internal/trust",
	"supervisor/wrapper": "", // it must outlive every bug and upgrade of the daemon
	"reservation":        "internal/fault",
	"reservation/file":   "reservation topology internal/document internal/diag internal/fault internal/timetext",
	"reservation/sql":    "reservation internal/fault internal/timetext",

	// Talking with one device knows of nothing but devices.
	"device": "internal/diag internal/fault",

	// The core runs in a test without a port or a file: no server, no backend of
	// the store, no source. It knows the wrapper's specification, which a record
	// of what shall run is made of.
	"activation": "calendar event schedule supervisor supervisor/wrapper vlanstore loginstore store store/once internal/fault internal/object internal/trace",

	// What makes activations of its own takes part in the core's turns and knows the core;
	// the core does not know it.
	"activation/recurring": "activation event schedule internal/fault",
	"activation/announce":  "activation event reservation internal/fault",
	"activation/booking":   "activation activation/announce calendar reservation internal/fault",                                       // announce converts a reservation
	"activation/service":   "activation activation/service/probe supervisor event supervisor/wrapper internal/document internal/fault", // document has the nearest of some names

	// Checks of readiness and liveness know connections, commands and logs, and nothing of
	// what a service is, or what follows from their results.
	"activation/service/probe": "",

	// It looks at files of other users, and so at who could change them.
	"activation/service/discover": "activation/service internal/envfile internal/trust",

	// It tells others of events, in the wire form that clients get, which it is given: it asks
	// the core only what its states are called.
	"hook": "activation control event queue store internal/document internal/fault internal/trace",

	// Wire forms outlive the core's types, and atctl stays small: control knows
	// neither the core nor a server. Only control/ops knows both sides: it reads
	// times as schedule does and tells a run's reasons as the wrapper gave them. The
	// daemon's faces share control/access and do not know each other.
	"control":        "internal/fault",
	"control/access": "control internal/fault internal/diag",
	"control/line":   "control control/access internal/fault",
	"control/panel":  "control internal/fault internal/timeline internal/timetext",                    // it calls operations, as any client
	"control/web":    "control control/access control/panel store/once internal/fault internal/trace", // a face has no store; it knows keys of requests
	// It makes files of the declarations, which the daemon serves: nothing but tests imports it.
	"control/web/describe": "control control/web",
	"control/web/webtest":  "", // for tests only
	"control/ops":          "calendar control queue queue/broker queue/pools activation activation/announce activation/booking activation/recurring activation/service event schedule schedule/timespec store/once vlanstore loginstore internal/fault internal/timetext internal/trace",

	// Metrics are made of what the daemon's parts are asked for: it knows none of them.
	"metrics":            "",
	"metrics/exposition": "", // for tests only

	// A topology is read by the daemon, which wants its devices, and by the laboratory,
	// which wants the whole: there is one reader, and it knows of neither.
	"topology": "internal/document internal/fault",

	// An id of a VLAN is a fact that lab is given: it knows no store.
	"lab": "device topology internal/document internal/fault internal/timetext",

	"cmd/activationd":       "*",
	"cmd/atctl":             "control schedule/timespec internal/completion internal/connection internal/direct internal/display internal/fault internal/help internal/ical internal/terminal internal/timeline internal/timetext", // timespec: at says at once what is wrong with a time
	"cmd/atctl-lab":         "control device lab topology internal/completion internal/fault internal/help internal/terminal",                                                                                                      // beside atctl: SSH would slow its every start; device masks its errors
	"cmd/atctl-tls":         "internal/fault",
	"cmd/atctl-top":         "control internal/completion internal/connection internal/display internal/fault internal/help internal/terminal", // beside atctl, as the library for terminals would slow its every start
	"cmd/atwrap":            "supervisor/wrapper",
	"cmd/activationd-spawn": "supervisor/spawn internal/fault internal/programs",

	"bench":                         "*",
	"test":                          "",
	"test/harness":                  "control",                                                                                                                         // imported by tests only
	"test/biglab":                   "activation activation/announce reservation/file schedule store store/bolt store/memstore supervisor supervisor/wrapper topology", // likewise
	"test/lab":                      "",
	"test/vm":                       "",
	"test/deb":                      "",
	"examples/embed":                "activation schedule store/bolt supervisor", // as a program of another module would
	"examples/stacks/broker/broker": "",                                          // it knows the daemon by atctl, as a program in another language would
	"examples/stacks/micro/shop":    "",                                          // likewise
	"examples/stacks/builds/farm":   "",                                          // likewise
	"scripts":                       "",
	"scripts/gotest":                "",
	"scripts/image":                 "",
	"scripts/manual":                "control/ops internal/help", // what it describes
	"scripts/mutants":               "",
	"scripts/panel":                 "control", // it asks the daemon as atctl does
}

// foreign says which packages may import what is not in the standard library,
// or in a module that begins with it. Tests may import what they need.
var foreign = map[string]string{
	"go.etcd.io/bbolt":              "store/bolt",
	"golang.org/x/sys/unix":         "supervisor/wrapper supervisor supervisor/spawn cmd/activationd-spawn schedule control/access control/line control/web control/ops cmd/activationd device activation/service/discover internal/direct",
	"golang.org/x/crypto/ssh":       "device",
	"github.com/fsnotify/fsnotify":  "reservation/file activation/service/discover queue/pools",
	"go.yaml.in/yaml/v3":            "internal/document internal/config topology reservation/file device lab",
	"github.com/jackc/pgx/v5":       "reservation/sql bench examples/stacks/broker/broker",
	"github.com/getkin/kin-openapi": "control/web/describe control/web/webtest",
	// Both ends of WebSockets: the standard library has none, and this one has no dependencies.
	"github.com/coder/websocket":        "examples/stacks/broker/broker control/web",
	"github.com/go-sql-driver/mysql":    "reservation/sql",
	"github.com/coreos/go-systemd":      "cmd/activationd",
	"github.com/spf13/cobra":            "cmd/atctl cmd/atctl-lab cmd/atctl-top internal/completion internal/help",
	"github.com/spf13/pflag":            "cmd/atctl internal/completion internal/connection internal/help", // what cobra's flags are
	"github.com/chromedp/chromedp":      "bench",
	"pgregory.net/rapid":                "store/storetest", // tests that others call
	"github.com/anishathalye/porcupine": "vlanstore/vlantest",
	// The form of Prometheus, with its histograms and what it tells of a process.
	"github.com/prometheus/client_golang": "metrics",
	"github.com/russross/blackfriday/v2":  "scripts/manual", // a reader of Markdown
	// Keys, the size and the redrawing of a terminal. x/ansi is its own knowledge of how wide texts are.
	"charm.land/bubbletea/v2":         "cmd/atctl-top",
	"github.com/charmbracelet/x/ansi": "cmd/atctl-top",
}

// heavy is what atwrap must not contain, however it would come in: hundreds of
// wrappers run at once, and each must start in about a millisecond.
var heavy = []string{"net", "net/http", "encoding/json", "os/exec", "os/user"}

// outside is what only a program's main package reads or does; elsewhere,
// settings are arguments and failures are errors. The wrapper's Main is a
// program's main in all but name.
var outside = []string{
	"os.Exit", "os.Getenv", "os.LookupEnv", "os.Environ", "log.Fatal", "log.Fatalf", "log.Fatalln", "flag.Parse",
}

func golist(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Logf("%s", e.Stderr)
		}
		t.Fatalf("go list %v: %v", args, err)
	}
	return slices.Collect(strings.Lines(string(out)))
}

func TestImports(t *testing.T) {
	for _, line := range golist(t, "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...") {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], module)
		allowed, ok := policy[pkg]
		if !ok {
			t.Errorf("%s is not in the policy", pkg)
			continue
		}
		for _, imp := range words[1:] {
			if !mayImport(pkg, allowed, imp) {
				t.Errorf("%s may not import %s", pkg, imp)
			}
		}
		for _, local := range strings.Fields(allowed) {
			if local != "*" && !slices.Contains(words[1:], module+local) {
				t.Errorf("%s may import %s, and does not", pkg, local)
			}
		}
	}
}

func mayImport(pkg, allowed, imp string) bool {
	if local, ok := strings.CutPrefix(imp, module); ok {
		return allowed == "*" || slices.Contains(strings.Fields(allowed), local)
	}
	first, _, _ := strings.Cut(imp, "/")
	if !strings.Contains(first, ".") { // no host name: the standard library
		return true
	}
	for mod, homes := range foreign {
		if (imp == mod || strings.HasPrefix(imp, mod+"/")) && slices.Contains(strings.Fields(homes), pkg) {
			return true
		}
	}
	return false
}

// TestWrapperIsLean checks what is linked into atwrap, whoever imports it.
func TestWrapperIsLean(t *testing.T) {
	for _, line := range golist(t, "-deps", module+"cmd/atwrap") {
		if imp := strings.TrimSpace(line); slices.Contains(heavy, imp) {
			t.Errorf("cmd/atwrap contains %s", imp)
		}
	}
}

// beforeMain are the packages besides main that may: direct is a program of its own for the commands
// that shell loops run most, and its whole gain is that main has not begun.
var beforeMain = []string{"supervisor/wrapper", "test/harness", "internal/direct"}

// TestOnlyMainsTouchTheOutside checks that no package reads settings from the
// environment, ends the process, or does anything before main begins.
func TestOnlyMainsTouchTheOutside(t *testing.T) {
	for _, line := range golist(t, "-f", `{{.Name}} {{.ImportPath}} {{.Dir}} {{join .GoFiles " "}}`, module+"...") {
		words := strings.Fields(line)
		name, pkg, dir, files := words[0], strings.TrimPrefix(words[1], module), words[2], words[3:]
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, file), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, what := range outsideCalls(f) {
				if what == "init" || name != "main" && !slices.Contains(beforeMain, pkg) {
					t.Errorf("%s/%s: %s", pkg, file, what)
				}
			}
		}
	}
}

func outsideCalls(f *ast.File) []string {
	var found []string
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				found = append(found, "init")
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && slices.Contains(outside, x.Name+"."+n.Sel.Name) {
				found = append(found, x.Name+"."+n.Sel.Name)
			}
		}
		return true
	})
	return found
}

// privileged is what a daemon needs root's rights for when its runs belong to other users.
var privileged = []string{
	"os.Chown", "os.Lchown", "syscall.Chown", "syscall.Lchown", "unix.Chown", "unix.Lchown", "unix.Fchownat",
	"syscall.Kill", "unix.Kill", "unix.PidfdSendSignal", "os.FindProcess",
	"syscall.ForkExec", "os.StartProcess", "unix.Waitid", "syscall.Wait4", "unix.Wait4",
	"os.RemoveAll", "wrapper.RemoveTree", "wrapper.SaveConfig", "wrapper.JoinLog",
	"unix.Bind", "unix.Setfsuid", "unix.Setfsgid",
	"wrapper.KillCgroup", "wrapper.RemoveCgroup", "wrapper.RemoveEmptyCgroup", "wrapper.Environ",
}

// knowRuns are packages that know the directories of runs; reading is how they could read
// files there without asking.
var knowRuns = []string{"activation", "control/ops"}
var reading = []string{"os.Open", "os.OpenFile", "os.ReadFile", "os.ReadDir", "os.OpenRoot", "os.DirFS"}

// TestOnlyOnePartIsPrivileged checks that what needs root's rights over processes and
// directories of runs is done in the files of supervisor that implement its interface
// Privileged, in the spawner, which does that for a daemon of another user, and in the
// wrapper. The last two are processes of their own.
func TestOnlyOnePartIsPrivileged(t *testing.T) {
	others := []string{
		"cmd/activationd os.Lchown",            // of the directory of the devices' locks
		"cmd/activationd os.StartProcess",      // in process 1 of a container, of the daemon itself
		"cmd/activationd syscall.Wait4",        // there, too
		"cmd/activationd unix.PidfdSendSignal", // of no signal, to a client
		"lab os.RemoveAll",                     // in atctl-lab, as the user whose directory it is
	}
	seen := map[string]bool{}
	for _, line := range golist(t, "-deps", "-f", `{{.ImportPath}} {{.Dir}} {{join .GoFiles " "}}`, module+"cmd/activationd") {
		words := strings.Fields(line)
		pkg, ours := strings.CutPrefix(words[0], module)
		if !ours || pkg == "supervisor/wrapper" {
			continue
		}
		for _, file := range words[2:] {
			if pkg == "supervisor" && strings.HasPrefix(file, "privileged_") || pkg == "supervisor/spawn" && file != "client.go" {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(words[1], file), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				x, isIdent := identOf(s, ok)
				if !isIdent {
					return true
				}
				call := x + "." + s.Sel.Name
				if !slices.Contains(privileged, call) && !(slices.Contains(knowRuns, pkg) && slices.Contains(reading, call)) {
					return true
				}
				use := pkg + " " + call
				if seen[use] = true; !slices.Contains(others, use) {
					t.Errorf("%s, in %s: that is for what implements supervisor.Privileged", use, file)
				}
				return true
			})
		}
	}
	for _, use := range others {
		if !seen[use] {
			t.Errorf("%s is allowed, and not there", use)
		}
	}
}

// TestOneReaderOfTimes checks that times and durations are read by package timetext, so
// that what is taken in one place is taken in all. These read what the program itself, or
// a database's server, has written.
func TestOneReaderOfTimes(t *testing.T) {
	others := []string{
		"lab/manifest.go time.ParseDuration", "cmd/atctl-lab/device.go time.Parse", "cmd/atctl-lab/device.go time.ParseDuration",
		"reservation/sql/server.go time.Parse", "control/panel/format.go time.ParseInLocation",
	}
	for _, line := range golist(t, "-f", `{{.ImportPath}} {{.Dir}} {{join .GoFiles " "}}`, module+"...") {
		words := strings.Fields(line)
		pkg, dir, files := strings.TrimPrefix(words[0], module), words[1], words[2:]
		if pkg == "bench" || strings.HasPrefix(pkg, "scripts") {
			continue
		}
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, file), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if x, isIdent := identOf(s, ok); isIdent && x == "time" && strings.HasPrefix(s.Sel.Name, "Parse") {
					if use := pkg + "/" + file + " time." + s.Sel.Name; !slices.Contains(others, use) {
						t.Errorf("%s: timetext reads times", use)
					}
				}
				return true
			})
		}
	}
}

func identOf(s *ast.SelectorExpr, ok bool) (string, bool) {
	if !ok {
		return "", false
	}
	x, ok := s.X.(*ast.Ident)
	if !ok {
		return "", false
	}
	return x.Name, true
}

// TestPackageDocs checks that each package says what it is.
func TestPackageDocs(t *testing.T) {
	onlyTests := []string{module + "internal/deps", module + "test", module + "test/lab", module + "test/vm", module + "test/deb", module + "scripts"} // go list reads no doc in these
	for _, line := range golist(t, "-f", "{{if not .Doc}}{{.ImportPath}}{{end}}", module+"...") {
		if pkg := strings.TrimSpace(line); pkg != "" && !slices.Contains(onlyTests, pkg) {
			t.Errorf("%s has no package doc", pkg)
		}
	}
}
