package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"activationd/control"
)

const (
	servicesAtOnce = 100
	firstPort      = 20001            // below the ports that the kernel gives to clients
	settled        = 15 * time.Second // until memory is measured: longer than a wrapper needs to become idle
)

// A supervision is a program that runs services, and these.
type supervision interface {
	begin() error // from the start of the program on, which starts all services
	stopAll() error
	startAll() error
	pid() int
	end()
}

// services measures how long it takes until many services answer, and the memory of what runs
// them, beside supervisord. The two take turns, and the order changes from round to round.
func services(b *bench, t *table) error {
	s, err := b.servers()
	if err != nil {
		return err
	}
	defer s.close()
	var ours, theirs servicesFigures
	_, missing := exec.LookPath("supervisord")
	sides := []func() error{
		func() (err error) {
			ours, err = s.measure(&ownServices{b: b, servers: s})
			return err
		},
		func() (err error) {
			if missing == nil {
				theirs, err = s.measure(&supervisord{servers: s})
			}
			return err
		},
	}
	what := fmt.Sprintf("%d services until each has answered on its port, from the start of the daemon", servicesAtOnce)
	switch {
	case !b.peers:
		sides = sides[:1]
	case len(t.row(what, "ms").figures)%2 == 1:
		sides[0], sides[1] = sides[1], sides[0]
	}
	for _, side := range sides {
		if err := side(); err != nil {
			return err
		}
	}
	version := supervisordVersion()
	peer := func(what, unit string, ours, theirs float64) *row {
		t.peer("  supervisord "+version+": "+what, unit, theirs, missing)
		return t.ratio("  ratio: "+what, ours, theirs)
	}
	t.add(what, "ms", ours.cold)
	if b.peers {
		peer("from its start", "ms", ours.cold, theirs.cold).atMost(0.5)
	}
	t.add("  processor time of the daemon and the wrappers until then", "ms", ours.work)
	if b.peers {
		peer("its processor time", "ms", ours.work, theirs.work)
	}
	t.add("the same, from `service start '*'` in a daemon that runs", "ms", ours.again)
	if b.peers {
		peer("from startAllProcesses", "ms", ours.again, theirs.again).atMost(0.5)
	}
	t.add(fmt.Sprintf("memory of the daemon and of %d wrappers, PSS", servicesAtOnce), "MiB", ours.all.pss).noted("the daemon alone %.1f; the services %.1f", ours.daemon.pss, ours.served.pss)
	if b.peers {
		peer("its memory, PSS", "MiB", ours.all.pss, theirs.all.pss).atMost(2)
	}
	t.add("  their private memory", "MiB", ours.all.private).noted("the daemon alone %.1f; the services %.1f", ours.daemon.private, ours.served.private)
	if b.peers {
		peer("its private memory", "MiB", ours.all.private, theirs.all.private)
	}
	return nil
}

// servicesFigures are those of one side.
type servicesFigures struct {
	cold, again         float64 // milliseconds
	work                float64 // processor time until then, cold, without that of the services, in milliseconds
	all, daemon, served memory  // of the daemon and its wrappers, of the first alone, of the services
}

// servers are the services of one round. Each tells by a FIFO that it listens.
type servers struct {
	dir, program, address, tell string
	port                        int // of the first
	fifo                        *os.File
	lines                       *bufio.Reader
}

func (b *bench) servers() (s *servers, err error) {
	pid := os.Getpid()
	s = &servers{dir: b.dir, address: fmt.Sprintf("127.%d.%d.%d", 1+pid>>16&0x7f, pid>>8&0xff, pid&0xff), tell: filepath.Join(b.dir, "tell"), port: firstPort}
	if s.program, err = b.act(); err != nil {
		return nil, err
	}
	if err := syscall.Mkfifo(s.tell, 0o600); err != nil {
		return nil, err
	}
	if s.fifo, err = os.OpenFile(s.tell, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	s.lines = bufio.NewReader(s.fifo)
	return s, nil
}

func (s *servers) close() { _ = s.fifo.Close() }

// next returns as many others at the next ports.
func (s *servers) next() *servers {
	more := *s
	more.port += servicesAtOnce
	return &more
}

// command returns a service's command.
func (s *servers) command(i int) []string {
	port := fmt.Sprint(s.port + i)
	return []string{s.program, s.tell, port, s.address, port}
}

// answered waits until each server has answered, and returns how many milliseconds that took.
func (s *servers) answered(begin time.Time) (float64, error) {
	if err := s.fifo.SetReadDeadline(begin.Add(patience)); err != nil {
		return 0, err
	}
	for range servicesAtOnce {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return 0, err
		}
		a, err := parseAct(line)
		if err != nil {
			return 0, err
		}
		c, err := net.Dial("tcp", s.address+":"+a.word)
		if err != nil {
			return 0, err
		}
		reply, err := io.ReadAll(c)
		if err = errors.Join(err, c.Close()); err != nil || string(reply) != "here\n" {
			return 0, fmt.Errorf("a service answers %q: %w", reply, err)
		}
	}
	return time.Since(begin).Seconds() * 1000, nil
}

// measure measures one side.
func (s *servers) measure(x supervision) (f servicesFigures, err error) {
	begin := time.Now()
	err = x.begin()
	defer x.end()
	if err == nil {
		f.cold, err = s.answered(begin)
	}
	if err != nil {
		return f, err
	}
	for _, pid := range processTree(x.pid()) {
		if programOf(pid) != s.program {
			f.work += processorTime(pid)
		}
	}
	time.Sleep(settled)
	for _, pid := range processTree(x.pid()) {
		m := memoryOf(pid)
		switch {
		case programOf(pid) == s.program:
			f.served.add(m)
			continue
		case pid == x.pid():
			f.daemon.add(m)
		}
		f.all.add(m)
	}
	if err := x.stopAll(); err != nil {
		return f, err
	}
	begin = time.Now()
	if err := x.startAll(); err != nil {
		return f, err
	}
	f.again, err = s.answered(begin)
	return f, err
}

// ownServices are services under our daemon.
type ownServices struct {
	b       *bench
	servers *servers
	*daemon
}

// servicesConfig returns a configuration that declares them, each with these further keys.
func servicesConfig(s *servers, keys string) string {
	var config strings.Builder
	config.WriteString("services:\n")
	for i := range servicesAtOnce {
		fmt.Fprintf(&config, "  s%d: {command: [%s]%s}\n", i, strings.Join(s.command(i), ", "), keys)
	}
	return config.String()
}

func (o *ownServices) begin() (err error) {
	o.daemon, err = o.b.start(servicesConfig(o.servers, ""))
	return err
}

func (o *ownServices) pid() int { return o.cmd.Process.Pid }

func (o *ownServices) startAll() error {
	_, _, err := call[control.ServiceInstance](o.daemon, "service start", control.ServiceStartIn{ServiceIn: control.ServiceIn{Name: []string{"*"}}})
	return err
}

func (o *ownServices) end() {
	if o.daemon != nil {
		_ = o.stopAll() // what still runs then shows in the next round: its port is in use
		o.daemon.end()
	}
}

// stopAll stops the services of a daemon, and waits until they have ended.
func (d *daemon) stopAll() error {
	all := control.ServiceIn{Name: []string{"*"}}
	if _, _, err := call[control.ServiceInstance](d, "service stop", control.ServiceStopIn{ServiceIn: all}); err != nil {
		return err
	}
	return until("end of all services", func() bool {
		_, lines, err := call[control.ServiceInstance](d, "service list", all)
		for _, i := range lines {
			if i.State != "down" {
				return false
			}
		}
		return err == nil
	})
}

// supervisord is the one of https://supervisord.org, with the services as its programs.
type supervisord struct {
	servers *servers
	dir     string
	cmd     *exec.Cmd
}

func supervisordVersion() string {
	out, err := exec.Command("supervisord", "--version").Output()
	if err != nil {
		return "of unknown version"
	}
	return strings.TrimSpace(string(out))
}

func (o *supervisord) begin() (err error) {
	if o.dir, err = os.MkdirTemp(o.servers.dir, "supervisord"); err != nil {
		return err
	}
	var config strings.Builder
	fmt.Fprintf(&config, `[supervisord]
nodaemon=true
logfile=%[1]s/log
pidfile=%[1]s/pid
childlogdir=%[1]s
[unix_http_server]
file=%[1]s/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
`, o.dir)
	for i := range servicesAtOnce {
		fmt.Fprintf(&config, "[program:s%d]\ncommand=%s\nstartsecs=0\n", i, strings.Join(o.servers.command(i), " "))
	}
	name := filepath.Join(o.dir, "c.conf")
	if err := os.WriteFile(name, []byte(config.String()), 0o600); err != nil {
		return err
	}
	o.cmd = exec.Command("supervisord", "-c", name)
	return o.cmd.Start()
}

func (o *supervisord) pid() int { return o.cmd.Process.Pid }

// ask calls a method without parameters over the socket that supervisorctl uses.
func (o *supervisord) ask(method string) error {
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(o.dir, "socket"))
		},
	}}
	body := fmt.Sprintf("<?xml version='1.0'?><methodCall><methodName>supervisor.%s</methodName><params/></methodCall>", method)
	reply, err := client.Post("http://supervisord/RPC2", "text/xml", strings.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(reply.Body)
	if err = errors.Join(err, reply.Body.Close()); err != nil || reply.StatusCode != http.StatusOK || bytes.Contains(answer, []byte("<fault>")) {
		return fmt.Errorf("supervisord: %s: %s: %.300s: %w", method, reply.Status, answer, err)
	}
	return nil
}

func (o *supervisord) stopAll() error  { return o.ask("stopAllProcesses") }
func (o *supervisord) startAll() error { return o.ask("startAllProcesses") }

// end ends supervisord, which stops its programs.
func (o *supervisord) end() {
	if o.cmd != nil {
		_ = o.cmd.Process.Signal(syscall.SIGTERM)
		_ = o.cmd.Wait() // with a status that says so
	}
}
