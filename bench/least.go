package main

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"activationd/control"
	"activationd/reservation/file"
)

// These peers do the least that a program can do for a task, so they show what the rest costs.

//go:embed testdata/fdatasync.go
var fdatasyncSource string

// leastDurable builds the Go program that does one fdatasync, and returns its command.
func (b *bench) leastDurable() (command string, err error) {
	source, program := filepath.Join(b.dir, "fdatasync.go"), filepath.Join(b.dir, "fdatasync")
	if err := os.WriteFile(source, []byte(fdatasyncSource), 0o600); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return program + " " + filepath.Join(b.dir, "fdatasync.data"), nil
}

// echoes as an argument makes this program a server that answers each request with one text.
const echoes = "echoes"

func echo(args []string) error {
	ln, err := net.Listen("unix", args[0])
	if err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go echoTo(c, []byte(args[1]))
	}
}

// echoTo answers requests of the line protocol, which end with an empty line, until there are no more.
func echoTo(c net.Conn, reply []byte) {
	defer func() { _ = c.Close() }()
	for in := bufio.NewReader(c); ; {
		line, err := in.ReadSlice('\n')
		if err == nil && len(line) == 1 {
			_, err = c.Write(reply)
		}
		if err != nil {
			return
		}
	}
}

// echoRate has callers ask such a server, in a process of its own, and returns how many replies came
// in a second. The replies are one of the daemon's.
func (d *daemon) echoRate(callers int, during time.Duration) (float64, error) {
	reply, err := d.reply("add\nin:20d\narg:true\n\n")
	if err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	server := daemon{client: &control.Client{Network: "unix", Address: filepath.Join(d.runtime, "echo.sock")}}
	server.cmd = exec.Command(self, echoes, server.client.Address, reply)
	server.cmd.Stderr = os.Stderr
	if err := server.launch(); err != nil {
		return 0, err
	}
	defer server.kill()
	return server.callers(callers, during)
}

// reply returns what the daemon answers to a request, as it is.
func (d *daemon) reply(request string) (reply string, err error) {
	c, err := net.Dial("unix", d.client.Address)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, request); err != nil {
		return "", err
	}
	in := bufio.NewReader(c)
	for !strings.HasSuffix(reply, "\n.\n") {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("the reply ends after %q: %w", reply, err)
		}
		reply += line
	}
	return reply, nil
}

// decodes as an argument makes this program read a file of reservations, and nothing else.
const decodes = "decodes"

func decode(args []string) error {
	begin := time.Now()
	set, err := file.New(args[0]).Load(context.Background())
	took := time.Since(begin)
	if err == nil && len(set.Reservations) == 0 {
		err = errors.New("no reservation is in " + args[0])
	}
	fmt.Println(took.Nanoseconds())
	return err
}

// decodeTime returns how long the daemon's decoder takes for a file in a process of its own, in
// milliseconds.
func decodeTime(name string) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	out, err := exec.Command(self, decodes, name).Output()
	if err != nil {
		return 0, fmt.Errorf("decoding %s: %w", name, err)
	}
	ns, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	return ns / 1e6, err
}
