package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A slowSwitch is a switch with an IOS-like command line on a TCP port. Each command
// takes the time of its lag, and the switch does one command at a time for all its
// connections. Its own queue is the sum of these times.
type slowSwitch struct {
	name string
	lag  time.Duration
	ln   net.Listener
	wg   sync.WaitGroup

	mu     sync.Mutex // also the switch's only processor
	busy   time.Duration
	blocks map[string][]string // the configuration: lines by their header
	odd    []string            // the lines that the switch did not understand
	log    slowLog
	ended  time.Time // the end of the last session; zero: none has ended, or another has begun
}

// A slowLog is what a switch saw of its callers, besides its work.
type slowLog struct {
	first     time.Time       // the first connection
	handovers []time.Duration // from the end of a session to the next connection
	logins    []time.Duration // from the connection to the first command that takes time
}

// summary returns in words what the switches saw since an instant.
func summary(logs []slowLog, since time.Time) string {
	var last time.Duration
	var handovers, logins []time.Duration
	for _, l := range logs {
		last = max(last, l.first.Sub(since))
		handovers, logins = append(handovers, l.handovers...), append(logins, l.logins...)
	}
	middle := func(all []time.Duration) float64 {
		slices.Sort(all)
		if len(all) == 0 {
			return 0
		}
		return all[len(all)/2].Seconds()
	}
	return fmt.Sprintf("%d sessions; the last switch is first used after %.1f s; login %.3f s, hand-over %.3f s",
		len(logins), last.Seconds(), middle(logins), middle(handovers))
}

// newSlowSwitch starts a switch whose ports are free and whose trunks carry nothing.
func newSlowSwitch(name string, lag time.Duration, ports, trunks []string) (*slowSwitch, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &slowSwitch{name: name, lag: lag, ln: ln, blocks: map[string][]string{}}
	for _, p := range ports {
		s.blocks["interface "+p] = []string{"switchport mode access", "shutdown"}
	}
	for _, t := range trunks {
		s.blocks["interface "+t] = []string{"switchport trunk allowed vlan none", "switchport mode trunk"}
	}
	s.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(c) })
		}
	})
	return s, nil
}

func (s *slowSwitch) close() {
	_ = s.ln.Close()
	s.wg.Wait()
}

// took returns how long the switch has worked, the lines that it did not understand, and its
// log, which then begins again.
func (s *slowSwitch) took() (time.Duration, []string, slowLog) {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log, s.ended = slowLog{}, time.Time{}
	return s.busy, slices.Clone(s.odd), log
}

func (s *slowSwitch) beginSession() *console {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log.first.IsZero() {
		s.log.first = now
	}
	if !s.ended.IsZero() {
		s.log.handovers = append(s.log.handovers, now.Sub(s.ended))
		s.ended = time.Time{}
	}
	return &console{slowSwitch: s, begun: now}
}

func (s *slowSwitch) endSession() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = time.Now()
}

// work takes the time of a command.
func (c *console) work(times int) {
	begin := time.Now()
	if !c.begun.IsZero() {
		c.log.logins = append(c.log.logins, begin.Sub(c.begun))
		c.begun = time.Time{}
	}
	time.Sleep(time.Duration(times) * c.lag)
	c.busy += time.Since(begin)
}

// A console is a session that is logged in.
type console struct {
	*slowSwitch
	mode, block string    // mode: "" or "(config)", "(config-if)" ...
	copying     bool      // the switch has asked for the name of the copy
	begun       time.Time // until the first work
}

func (s *slowSwitch) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	c := s.beginSession()
	defer s.endSession()
	in := bufio.NewReader(conn)
	fmt.Fprintf(conn, "\r\n%s#", s.name)
	var line []byte
	for {
		if err := conn.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
			return
		}
		b, err := in.ReadByte()
		if err != nil {
			return
		}
		switch b {
		case '\n', 0: // after a return
		case '\r':
			s.mu.Lock()
			said, ok := c.do(strings.TrimSpace(string(line)))
			s.mu.Unlock()
			if !ok {
				return
			}
			line = line[:0]
			if !c.copying {
				said += s.name + c.mode + "#"
			}
			if _, err := io.WriteString(conn, strings.ReplaceAll("\n"+said, "\n", "\r\n")); err != nil {
				return
			}
		case 0x15, 0x18: // Ctrl-U and Ctrl-X empty the line, also on the screen
			if _, err := io.WriteString(conn, strings.Repeat("\b \b", len(line))); err != nil {
				return
			}
			line = line[:0]
		case 0x03, 0x1a: // Ctrl-C and Ctrl-Z leave the configuration
			line, c.mode, c.block = line[:0], "", ""
			fmt.Fprintf(conn, "\r\n%s#", s.name)
		default:
			line = append(line, b)
			if _, err := conn.Write([]byte{b}); err != nil {
				return
			}
		}
	}
}

// do carries out a command and returns what the switch prints, in whole lines. It
// returns false if the command ends the session.
func (c *console) do(line string) (string, bool) {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case c.copying:
		c.work(10)
		c.copying = false
		return "Building configuration...\n[OK]\n", true
	case line == "" || line[0] == '!':
		return "", true
	case c.mode == "" && (word == "exit" || word == "logout" || word == "quit"):
		return "", false
	case word == "terminal" || word == "enable" || word == "disable":
		return "", true
	}
	c.work(1)
	switch {
	case line == "end":
		c.mode, c.block = "", ""
	case word == "exit" && c.block != "":
		c.mode, c.block = "(config)", ""
	case word == "exit":
		c.mode = ""
	case strings.HasPrefix(line, "conf"):
		c.mode = "(config)"
		return "Enter configuration commands, one per line.  End with CNTL/Z.\n", true
	case strings.HasPrefix(line, "copy run"):
		c.copying = true
		return "Destination filename [startup-config]? ", true
	case word == "show":
		return c.show(rest), true
	case c.mode == "":
		return c.strange(line), true
	case word == "interface" || word == "vlan":
		c.mode, c.block = map[string]string{"interface": "(config-if)", "vlan": "(config-vlan)"}[word], line
		if _, ok := c.blocks[line]; !ok {
			c.blocks[line] = []string{}
		}
	case word == "no" && strings.HasPrefix(rest, "vlan "):
		delete(c.blocks, rest)
		c.mode, c.block = "(config)", ""
	case c.block == "":
		return c.strange(line), true
	default:
		c.blocks[c.block] = change(c.blocks[c.block], line)
	}
	return "", true
}

func (c *console) strange(line string) string {
	c.odd = append(c.odd, line)
	return "% Invalid input detected at '^' marker.\n"
}

// change returns an interface's configuration after a line.
func change(lines []string, line string) []string {
	const allowed = "switchport trunk allowed vlan "
	if what, ok := strings.CutPrefix(line, "no "); ok {
		return slices.DeleteFunc(lines, func(l string) bool { return l == what || strings.HasPrefix(l, what+" ") })
	}
	key := line
	if i := strings.LastIndexByte(line, ' '); i > 0 {
		key = line[:i]
	}
	if more, ok := strings.CutPrefix(line, allowed); ok {
		key = strings.TrimSpace(allowed)
		line = allowed + trunkList(lines, more)
	}
	if i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, key+" ") || l == key }); i >= 0 {
		lines[i] = line
		return lines
	}
	return append(lines, line)
}

// trunkList returns a trunk's list after "add 100", "remove 100", "100,200" or "none".
func trunkList(lines []string, change string) string {
	set := map[int]bool{}
	for _, l := range lines {
		if has, ok := strings.CutPrefix(l, "switchport trunk allowed vlan "); ok {
			each(has, func(n int) { set[n] = true })
		}
	}
	verb, list, _ := strings.Cut(change, " ")
	switch verb {
	case "add":
		each(list, func(n int) { set[n] = true })
	case "remove":
		each(list, func(n int) { delete(set, n) })
	default:
		clear(set)
		each(change, func(n int) { set[n] = true })
	}
	var all []string
	for n := range 4096 {
		if set[n] {
			all = append(all, strconv.Itoa(n))
		}
	}
	if all == nil {
		return "none"
	}
	return strings.Join(all, ",")
}

func each(list string, f func(int)) {
	for _, one := range strings.Split(list, ",") {
		if n, err := strconv.Atoi(one); err == nil {
			f(n)
		}
	}
}

// show answers "running-config", with a block's header or none, and "vlan id".
func (c *console) show(what string) string {
	if id, ok := strings.CutPrefix(what, "vlan id "); ok {
		if _, ok := c.blocks["vlan "+id]; !ok {
			return "VLAN id " + id + " not found in current VLAN database\n"
		}
		return fmt.Sprintf("VLAN Name                             Status    Ports\n"+
			"---- -------------------------------- --------- -----\n%-4s lab                              active\n", id)
	}
	header, ok := strings.CutPrefix(what, "running-config")
	if !ok {
		return c.strange("show " + what)
	}
	header = strings.TrimSpace(header)
	var s strings.Builder
	s.WriteString("Building configuration...\n\nCurrent configuration:\n!\n")
	for _, h := range slices.Sorted(maps.Keys(c.blocks)) {
		if header != "" && header != h {
			continue
		}
		fmt.Fprintf(&s, "%s\n", h)
		for _, l := range c.blocks[h] {
			fmt.Fprintf(&s, " %s\n", l)
		}
		s.WriteString("!\n")
	}
	s.WriteString("end\n\n")
	return s.String()
}
