// Command listener works off the messages of queues, and writes down what it does, so that
// a test can compare this with what the daemon says.
//
//	listener message    works off the message of standard input
//	listener stream     works off messages until standard input ends
//	listener sleep      does nothing, for as long as it can
//
// Each line that it appends to the file $DID/QUEUE is about a message:
//
//	begin|end ID ATTEMPT PID NANOSECONDS LABEL HOW
//
// and one with "over" says that a stream ends because its input has ended.
//
// The time is that since the boot of the machine. While it works on a message, it has a lock
// on the file $LOCKS/ID. A message is LABEL KIND ARGUMENT; the kinds are in the function work.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	switch os.Args[1] {
	case "sleep":
		time.Sleep(time.Hour)
	case "message":
		body, err := io.ReadAll(os.Stdin)
		check(err)
		attempt, err := strconv.Atoi(os.Getenv("MESSAGE_ATTEMPT"))
		check(err)
		how := work(message{
			ID: number(os.Getenv("MESSAGE_ID")), Attempt: attempt, Queue: os.Getenv("QUEUE"), Body: string(body),
			ends: make(chan bool), // is never cancelled: the daemon kills this process
			send: func(string) {},
		})
		if how == done {
			fmt.Println("worked")
		}
		os.Exit(how.status)
	case "stream":
		stream()
	}
}

// A message is what the daemon hands out, as a stream listener reads it.
type message struct {
	ID      uint64 `json:"id"`
	Attempt int    `json:"attempt"`
	Queue   string `json:"queue"`
	Body    string `json:"body"`
	File    string `json:"body_file"`

	Cancel uint64    `json:"cancel"`
	ends   chan bool // closed when it is cancelled
	send   func(line string)
}

// An ending is how the work on a message ended.
type ending struct {
	how    string
	status int    // of a process
	answer string // of a stream, less its beginning
}

var (
	done      = ending{"ok", 0, `"ok":true,"result":"done"`}
	failed    = ending{"failed", 3, `"error":"it failed","again":"10ms"`}
	later     = ending{"later", 75, `"error":"not now","again":"10ms"`}
	dead      = ending{"dead", 65, `"error":"it never will","again":"dead"`}
	cancelled = ending{"cancelled", 3, `"error":"cancelled"`}
)

func work(m message) ending {
	body := m.Body
	if m.File != "" {
		data, err := os.ReadFile(m.File)
		check(err)
		body = string(data)
	}
	words := append(strings.Fields(body), "", "", "")
	label, kind, arg := words[0], words[1], words[2]
	lock := take(strconv.FormatUint(m.ID, 10), m, label)
	defer func() { _ = lock.Close() }()
	if key, ok := strings.CutPrefix(words[3], "key="); ok {
		k := take("key."+m.Queue+"."+key, m, label)
		defer func() { _ = k.Close() }()
	}
	m.write("begin", label, "")
	e := do(m, kind, arg)
	m.write("end", label, e.how)
	return e
}

// do does what a kind of message wants.
func do(m message, kind, arg string) ending {
	n, _ := strconv.Atoi(arg)
	switch kind {
	case "ok": // takes n milliseconds
		time.Sleep(time.Duration(n) * time.Millisecond)
	case "gate": // until somebody writes to a FIFO
		_, err := os.ReadFile(arg)
		check(err)
	case "until": // fails before its n-th attempt
		if m.Attempt < n {
			return failed
		}
	case "later":
		if m.Attempt < n {
			return later
		}
	case "dead":
		return dead
	case "hopeless":
		return failed
	case "stay": // until it is cancelled, or its time is over
		m.pause()
		return cancelled
	case "delayed": // not before the n-th nanosecond
		if at, err := strconv.ParseInt(arg, 10, 64); err != nil || time.Now().UnixNano() < at {
			m.write("wrong", "-", "begun_too_early_"+arg)
		}
	case "tree": // leaves a process behind; the first attempt fails
		child := exec.Command(os.Args[0], "sleep")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		child.ExtraFiles = append(child.ExtraFiles, held()...)
		check(child.Start())
		if m.Attempt == 1 {
			return failed
		}
	case "quit": // the first attempt ends the process
		if m.Attempt == 1 {
			os.Exit(1)
		}
	case "junk": // answers what is no answer
		if m.Attempt == 1 {
			m.send("this is no JSON\n")
			m.pause()
		}
	case "twice", "late": // answers more often than once
		m.send(fmt.Sprintf(`{"id":%d,"attempt":%d,%s}`+"\n", m.ID, m.Attempt+7, done.answer))
		m.send(fmt.Sprintf(`{"id":%d,%s}`+"\n", m.ID+1_000_000_000, done.answer))
		m.send(fmt.Sprintf(`{"id":%d,"progress":"half"}`+"\n", m.ID))
		if kind == "late" {
			time.AfterFunc(50*time.Millisecond, func() {
				m.send(fmt.Sprintf(`{"id":%d,"attempt":%d,%s}`+"\n", m.ID, m.Attempt, failed.answer))
			})
		}
	default:
		m.write("wrong", "-", "kind_"+kind)
	}
	return done
}

// pause waits until the message is cancelled.
func (m *message) pause() {
	select {
	case <-m.ends:
	case <-time.After(time.Hour):
	}
}

// stream works off messages until standard input ends, several at a time.
func stream() {
	var mu sync.Mutex
	send := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = os.Stdout.WriteString(line) // the daemon stops reading when it has given this process up
	}
	open := make(map[uint64]chan bool)
	var all sync.WaitGroup
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		check(err)
		var m message
		check(json.Unmarshal(line, &m))
		mu.Lock()
		if m.Cancel != 0 {
			if c := open[m.Cancel]; c != nil {
				close(c)
				delete(open, m.Cancel)
			}
			mu.Unlock()
			continue
		}
		m.ends, m.send = make(chan bool), send
		open[m.ID] = m.ends
		mu.Unlock()
		all.Go(func() {
			e := work(m)
			mu.Lock()
			delete(open, m.ID)
			mu.Unlock()
			send(fmt.Sprintf(`{"id":%d,"attempt":%d,%s}`+"\n", m.ID, m.Attempt, e.answer))
		})
	}
	all.Wait()
	m := message{Queue: os.Getenv("QUEUE")}
	m.write("over", "-", "")
}

// Locks that this process has, for its children.
var (
	locksMu sync.Mutex
	locks   = make(map[string]*os.File)
)

func held() (all []*os.File) {
	locksMu.Lock()
	defer locksMu.Unlock()
	for _, f := range locks {
		all = append(all, f)
	}
	return all
}

type lock struct {
	name string
	*os.File
}

func (l lock) Close() error {
	locksMu.Lock()
	delete(locks, l.name)
	locksMu.Unlock()
	return l.File.Close()
}

// take takes a lock, which must be free.
func take(name string, m message, label string) lock {
	f, err := os.OpenFile(os.Getenv("LOCKS")+"/"+name, os.O_RDWR|os.O_CREATE, 0o666)
	check(err)
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		m.write("wrong", label, "beside_another_that_has_"+name)
	}
	locksMu.Lock()
	locks[name] = f
	locksMu.Unlock()
	return lock{name, f}
}

// write appends a line, with one call.
func (m *message) write(what, label, how string) {
	var now unix.Timespec
	check(unix.ClockGettime(unix.CLOCK_BOOTTIME, &now))
	f, err := os.OpenFile(os.Getenv("DID")+"/"+m.Queue, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	check(err)
	_, err = fmt.Fprintf(f, "%s %d %d %d %d %s %s\n", what, m.ID, m.Attempt, os.Getpid(), now.Nano(), label, how)
	check(errors.Join(err, f.Close()))
}

func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(4)
	}
}
