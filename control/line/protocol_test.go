package line_test

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"

	"activationd/control"
	"activationd/control/line"
)

const (
	pong   = "200 OK name=tester\n.\n"
	loaded = "200 OK force=false dry=false\n" + `{"what":"notice","text":"a <b> & c"}` + "\n.\n"
	forced = "200 OK force=true dry=false\n" + `{"what":"notice","text":"a <b> & c"}` + "\n.\n"
)

func echoed(text, rest string) string {
	return `200 OK` + "\n" + `{"Text":` + text + `,` + rest + "}\n.\n"
}

func TestProtocol(t *testing.T) {
	const plain = `"N":0,"U":0,"Yes":false,"List":[]`
	tests := []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"empty lines", "\n\r\n\n  \n", ""},
		{"at once", "ping\n", pong},
		{"at once, and an empty line", "ping\n\n", pong},
		{"names in any case", "PiNg\n", pong},
		{"CR and blanks", " \tping\r\n\r\n", pong},
		{"several", "ping\nping\n\n\nping\n", pong + pong + pong},
		{"what needs none, at the end", "reload\n", loaded},
		{"what needs none, at the empty line", "reload\n\n", loaded},
		{"what needs none, at the next command", "reload\nping\n", loaded + pong},
		{"the same twice", "reload\nreload\n", loaded + loaded},
		{"with an argument", "reload\nforce:yes\n\n", forced},
		{"argument's name in any case", "reload\n  FORCE:Yes\n\n", forced},
		{"argument on the command's line", "reload force:yes\n", forced},
		{"arguments on the command's line and after", "reload force:yes\ndry-run:no\n\n", forced},
		{"argument on the line and the next command", "reload force:yes\necho text:a n:1\n\n",
			forced + echoed(`"a"`, `"N":1,"U":0,"Yes":false,"List":[]`)},
		{"all types", "echo\nlist:a\nyes:1\ntext:x y\nn:-7\nu:18446744073709551615\nlist:\nlist:b:c\n\n",
			echoed(`"x y"`, `"N":-7,"U":18446744073709551615,"Yes":true,"List":["a","","b:c"]`)},
		{"a value is as it stands", "echo\ntext: a\t \n\n", echoed(`" a\t "`, plain)},
		{"a quoted value", `echo` + "\n" + `text:"a\nb\"c"` + "\n\n", echoed(`"a\nb\"c"`, plain)},
		{"a quoted value on the command's line", `echo text:"a b\" c" n:1` + "\n", echoed(`"a b\" c"`, `"N":1,"U":0,"Yes":false,"List":[]`)},
		{"a bad quoted value", "echo\ntext:\"a\n\nping\n",
			"400 text: \"\\\"a\" starts with a double quote, and is not a whole JSON string\n.\n" + pong},
		{"an unknown argument", "echo\ntext:a\nfoo:1\n\nping\n",
			`400 echo: no argument "foo"; it takes text, n, u, yes, list` + "\n.\n" + pong},
		{"an argument of one that takes none", "ping force:yes\n", `400 ping: no argument "force"; it takes none` + "\n.\n"},
		{"what is missing", "echo\nn:1\n\nping\n", "400 echo needs text\n.\n" + pong},
		{"what is needed and empty", "echo\ntext:\n\n", "400 echo needs text\n.\n"},
		{"twice", "echo\ntext:a\ntext:b\n\n", "400 text: given twice\n.\n"},
		{"no number", "echo\ntext:a\nn:1x\n\n", `400 n: "1x" is not a whole number` + "\n.\n"},
		{"a number with a blank", "echo\ntext:a\nn: 1\n\n", `400 n: " 1" is not a whole number` + "\n.\n"},
		{"less than nothing", "echo\ntext:a\nu:-1\n\n", `400 u: "-1" is not a whole number of 0 or more` + "\n.\n"},
		{"neither yes nor no", "reload\nforce:maybe\n\n", `400 force: "maybe" is neither yes nor no` + "\n.\n"},
		{"invalid", "fail\nkind:invalid\n\nping\n", "400 one; two generation=4\n{\"n\":1}\n.\n" + pong},
		{"denied", "fail\nkind:denied\n\n", "403 one; two generation=4\n{\"n\":1}\n.\n"},
		{"not found", "fail\nkind:not-found\n\n", "404 one; two generation=4\n{\"n\":1}\n.\n"},
		{"conflict", "fail\nkind:conflict\n\n", "409 one; two generation=4\n{\"n\":1}\n.\n"},
		{"unavailable", "fail\nkind:unavailable\n\n", "503 one; two generation=4\n{\"n\":1}\n.\n"},
		{"failing in the middle", "fail kind:conflict late:yes\nping\n",
			"200 OK generation=4\n{\"n\":1}\n" + `{"error":{"code":409,"text":"one\ntwo"}}` + "\n.\n" + pong},
		{"quit", "ping\nquit\nping\n", pong + "200 OK\n.\n"},
		{"a stream that fails", "events id:none\nping\n", "404 no such id\n.\n" + pong},
		{"a token where there are none", "token\ntoken:abc\n\nping\n", "401 this token is not known; ask an admin for one\n.\n"},
		{"an argument token", "ping token:abc\nping\n", "401 this token is not known; ask an admin for one\n.\n"},
		{"an empty token", "reload\ntoken:\n\n", "401 this token is not known; ask an admin for one\n.\n"},
		{"no token at all", "token\n\nping\n", "400 token needs token\n.\n" + pong},

		// Malformed requests: a reply, and the connection is closed.
		{"no command", "foo\nping\n", `400 no command "foo"; "help" lists them` + "\n.\n"},
		{"a browser", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", `400 no command "GET"; "help" lists them` + "\n.\n"},
		{"what came before is answered", "ping\nfoo\n", pong + `400 no command "foo"; "help" lists them` + "\n.\n"},
		{"no argument", "echo\ntext\n\n", `400 "text" is not an argument; arguments are name:value, an empty line ends a request` + "\n.\n"},
		{"a command among arguments", "echo\ntext:a\nping\n",
			`400 "ping" is not an argument; arguments are name:value, an empty line ends a request` + "\n.\n"},
		{"a blank in a name", "reload\nfor ce:yes\n\n",
			`400 "for ce:yes" is not an argument; arguments are name:value, an empty line ends a request` + "\n.\n"},
		{"a name of two words", "ping twice\nPing \t TWICE force:yes\nping twice\nforce:yes\n\nping\n",
			"200 OK force=false\n.\n200 OK force=true\n.\n200 OK force=true\n.\n" + pong},
		{"no argument on the command's line", "reload now\n",
			`400 "now" is not an argument; arguments are name:value, and a value with blanks needs double quotes` + "\n.\n"},
		{"NUL", "ping\x00\n", `400 "ping\x00" is not text in UTF-8` + "\n.\n"},
		{"NUL in a value", "echo\ntext:a\x00b\n\n", `400 "text:a\x00b" is not text in UTF-8` + "\n.\n"},
		{"not UTF-8", "echo\ntext:\xff\n\n", `400 "text:\xff" is not text in UTF-8` + "\n.\n"},
		{"half a line", "pin", "400 the request is incomplete; an empty line ends a request\n.\n"},
		{"half a request", "reload\nforce:yes\n", "400 the request is incomplete; an empty line ends a request\n.\n"},
		{"half a request that needs more", "echo\n", "400 the request is incomplete; an empty line ends a request\n.\n"},
		{"half a value", "echo\ntext:ab", "400 the request is incomplete; an empty line ends a request\n.\n"},
		{"a giant line", "echo\ntext:" + strings.Repeat("x", 3<<20) + "\n\nping\n", "400 a line of more than 1048576 bytes\n.\n"},
		{"a giant line without end", strings.Repeat("x", 3<<20), "400 a line of more than 1048576 bytes\n.\n"},
		{"a million lines", "echo\n" + strings.Repeat("list:a\n", 1_000_000), "400 more than 10000 arguments\n.\n"},
		{"a giant request", "echo\n" + strings.Repeat("list:"+strings.Repeat("x", 1<<19)+"\n", 9) + "\nping\n",
			"400 a request of more than 4194304 bytes\n.\n"},
	}
	for _, network := range []string{"unix", "tcp"} {
		ln := unixListener(t)
		if network == "tcp" {
			ln = tcpListener(t)
		}
		serve(t, &line.Server{}, ln, as(control.Operator))
		for _, tt := range tests {
			t.Run(network+"/"+tt.name, func(t *testing.T) {
				if got := talk(t, ln, tt.in); got != tt.want {
					t.Errorf("%.200q\n got %.400q\nwant %.400q", tt.in, got, tt.want)
				}
			})
		}
	}
}

// TestInternal checks that the text of an internal error stays in the log, and that the
// reply has a reference to it.
func TestInternal(t *testing.T) {
	ln := unixListener(t)
	var log syncBuffer
	serve(t, &line.Server{Log: log.logger()}, ln, as(control.Operator))
	got := talk(t, ln, "fail kind:bug\nping\n")
	ref, _, ok := strings.Cut(strings.TrimPrefix(got, "500 internal error; the daemon's log has the details, at ref="), " generation=4\n")
	if !ok || len(ref) > 12 || strings.Contains(got, "two") || !strings.HasSuffix(got, pong) {
		t.Errorf("reply %q", got)
	}
	if text := log.String(); !strings.Contains(text, "two: bug") || !strings.Contains(text, "ref="+ref) {
		t.Errorf("log %q", text)
	}
}

func TestPanic(t *testing.T) {
	ln := unixListener(t)
	var log syncBuffer
	serve(t, &line.Server{Log: log.logger()}, ln, as(control.Operator))
	if got, want := talk(t, ln, "ping\npanic\nping\n"), pong+"500 internal error; the daemon's log has the details\n.\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if text := log.String(); !strings.Contains(text, "on purpose") || !strings.Contains(text, "server_test.go") {
		t.Errorf("log %q", text)
	}
	if got := talk(t, ln, "ping\n"); got != pong {
		t.Errorf("after a panic: %q", got)
	}
}

// TestHelp checks that help lists each command with its arguments.
func TestHelp(t *testing.T) {
	ln := unixListener(t)
	r := serve(t, &line.Server{}, ln, as(control.NoRole))
	got := talk(t, ln, "help\n")
	for _, op := range r.registry().Ops() {
		if !strings.Contains(got, `{"command":"`+op.Name+`",`) {
			t.Errorf("help does not tell of %s", op.Name)
		}
	}
	for _, want := range []string{
		`{"command":"echo","arguments":["text:","[n:]","[u:]","[yes:]","[list:]..."],"role":"submitter","help":"say it again"}`,
		`{"command":"quit","arguments":[],"role":"none","help":"close the connection"}`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("help does not say %s, but\n%s", want, got)
		}
	}
}

// TestRoles tries each operation with each role.
func TestRoles(t *testing.T) {
	r := &running{lab: newLab()}
	close(r.release)
	for role := control.NoRole; role <= control.Admin; role++ {
		ln := unixListener(t)
		serve(t, &line.Server{Registry: r.registry()}, ln, as(role))
		for _, op := range r.registry().Ops() {
			r.events <- 0 // ends the stream
			in := op.Name
			for _, a := range op.Args() {
				if a.Required {
					in += " " + a.Name + ":x"
				}
			}
			c := dial(t, ln)
			send(t, c, in+"\n\n")
			first := strings.SplitN(replyStart(t, c), "\n", 2)[0]
			c.Close()
			if denied := strings.HasPrefix(first, "403 "+op.Name+" needs the role "+op.Role.String()+", and "); denied != (role < op.Role) {
				t.Errorf("%s as %v: %s", op.Name, role, first)
			}
			select {
			case <-r.events:
			default:
			}
		}
	}
}

// TestNetcat sends what people type, with the program that they use.
func TestNetcat(t *testing.T) {
	nc, err := exec.LookPath("nc")
	if err != nil {
		t.Skip("nc is not installed")
	}
	help, _ := exec.Command(nc, "-h").CombinedOutput() // its exit status is 1
	if !strings.Contains(string(help), "-N") {
		t.Skip("this nc has no -N; install netcat-openbsd")
	}
	tcp, unix := tcpListener(t), unixListener(t)
	serve(t, &line.Server{}, tcp, as(control.Operator))
	serve(t, &line.Server{}, unix, as(control.Operator))
	host, port, err := net.SplitHostPort(tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args     []string
		in, want string
	}{
		{[]string{"-N", host, port}, "reload\n", loaded},
		{[]string{"-N", "-U", unix.Addr().String()}, "reload\nforce:yes\n\n", forced},
		{[]string{"-N", "-U", unix.Addr().String()}, "reload force:yes\nping\n", forced + pong},
		{[]string{host, port}, "reload\n\nquit\n", loaded + "200 OK\n.\n"}, // without -N the server has to close
	} {
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		cmd := exec.CommandContext(ctx, nc, tt.args...)
		cmd.Stdin = strings.NewReader(tt.in)
		out, err := cmd.CombinedOutput()
		cancel()
		if string(out) != tt.want || err != nil {
			t.Errorf("%q | nc %v: %q, %v, want %q", tt.in, tt.args, out, err, tt.want)
		}
	}
}
