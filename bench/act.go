package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed testdata/act.c
var actSource string

// act compiles the program that is started where a start is measured. Its first act is to read
// the clock, so a measured time depends on no record of whoever started it.
func (b *bench) act() (string, error) { return b.compile("act", actSource) }

// compile compiles a C program into the directory of the round.
func (b *bench) compile(name, source string) (string, error) {
	name = filepath.Join(b.dir, name)
	cc := exec.Command("gcc", "-O2", "-static", "-s", "-x", "c", "-o", name, "-")
	cc.Stdin = strings.NewReader(source)
	if out, err := cc.CombinedOutput(); err != nil {
		return "", fmt.Errorf("gcc: %w: %s", err, out)
	}
	return name, nil
}

// An act is a line that such a program has written.
type act struct {
	word string
	at   time.Time
}

// acts waits until n programs have written their lines to a file.
func acts(name string, n int) (all []act, err error) {
	var data []byte
	if err := until("line of each of the programs", func() bool {
		data, err = os.ReadFile(name)
		return err == nil && strings.Count(string(data), "\n") >= n
	}); err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(data)) {
		a, err := parseAct(line)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

func parseAct(line string) (act, error) {
	word, ns, _ := strings.Cut(strings.TrimSpace(line), " ")
	n, err := strconv.ParseInt(ns, 10, 64)
	return act{word, time.Unix(0, n)}, err
}
