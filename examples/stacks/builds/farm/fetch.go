package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// A message is a line for a listener of the kind "stream".
type message struct {
	ID   uint64 `json:"id"` // 0: the line is no message; it may ask to cancel one
	Body string `json:"body"`
}

// An answer is a line of the listener.
type answer struct {
	ID     uint64 `json:"id"`
	OK     bool   `json:"ok,omitempty"`
	Result string `json:"result,omitempty"`
	Error  string `json:"error,omitempty"` // then the message is tried again
	Again  string `json:"again,omitempty"` // or not: dead
}

// A fetcher gets the sources of builds.
type fetcher struct {
	url    string // of the projects
	builds string // a directory for each build, by its number
}

// fetch fetches sources until there are no more messages. It gets several at a time, and most
// of its time it waits for them; so each has a goroutine.
func fetch(ctx context.Context, in io.Reader, out io.Writer, f fetcher) error {
	answers := make(chan answer)
	written := make(chan error, 1)
	go func() {
		var failure error
		for encoder := json.NewEncoder(out); ; {
			a, ok := <-answers
			if !ok {
				written <- failure
				return
			}
			if err := encoder.Encode(&a); err != nil {
				failure = err
			}
		}
	}()
	var inWork sync.WaitGroup
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return err
		}
		if m.ID != 0 {
			inWork.Go(func() { answers <- f.answer(ctx, &m) })
		}
	}
	inWork.Wait()
	close(answers)
	if err := lines.Err(); err != nil {
		return err
	}
	return <-written
}

func (f fetcher) answer(ctx context.Context, m *message) answer {
	var order struct{ Project string }
	if err := json.Unmarshal([]byte(m.Body), &order); err != nil {
		return answer{ID: m.ID, Error: err.Error(), Again: "dead"}
	}
	commit, err := f.fetch(ctx, m.ID, order.Project)
	switch {
	case err == nil:
		return answer{ID: m.ID, OK: true, Result: commit}
	case strings.Contains(err.Error(), "not exported"): // another try would be in vain
		if _, err := output(ctx, "atctl", "publish", topic(m.ID, "failed"), "there is no project "+order.Project); err != nil {
			return answer{ID: m.ID, Error: err.Error()}
		}
		return answer{ID: m.ID, Error: err.Error(), Again: "dead"}
	default:
		return answer{ID: m.ID, Error: err.Error()}
	}
}

func topic(build uint64, what string) string { return fmt.Sprintf("builds.%d.%s", build, what) }

// fetch fetches the source of a build, and has it compiled. A message may come a second time;
// then it begins again, but the source is compiled once.
func (f fetcher) fetch(ctx context.Context, build uint64, project string) (commit string, err error) {
	source := filepath.Join(f.builds, strconv.FormatUint(build, 10), "source")
	if err := os.RemoveAll(source); err != nil {
		return "", err
	}
	if _, err := output(ctx, "git", "clone", "--quiet", "--depth", "1", f.url+"/"+project, source); err != nil {
		return "", err
	}
	if commit, err = output(ctx, "git", "-C", source, "rev-parse", "--short", "HEAD"); err != nil {
		return "", err
	}
	if _, err := output(ctx, "atctl", "publish", topic(build, "fetched"), project+" "+commit); err != nil {
		return "", err
	}
	_, err = output(ctx, "atctl", "queue", "push", "cpu_build", "--body", fmt.Sprintf(`{"build":%d}`, build),
		"--key", strconv.FormatUint(build, 10), "--on-duplicate", "ignore", "--unique-for", "1h")
	return commit, err
}
