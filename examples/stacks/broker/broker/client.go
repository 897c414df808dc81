package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/coder/websocket"
)

// client is the user's side of a console, for trying it by hand and for tests: lines of its
// standard input go to the machine, and lines of the machine to its standard output. If the
// web worker ends, it connects again, and gets another one.
func client(ctx context.Context, _ settings, args []string) error {
	f := flags("client")
	url := f.String("url", "http://127.0.0.1:8400/console", "the console")
	id := f.String("session", "", "the value of the cookie")
	_ = f.Parse(args) // it ends the process
	input := make(chan string)
	go func() { // until the process ends: standard input cannot be interrupted
		defer close(input)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			input <- lines.Text()
		}
	}()
	for {
		err := talk(ctx, *url, *id, input)
		switch {
		case websocket.CloseStatus(err) == websocket.StatusNormalClosure: // the machine is off
			return nil
		case err == nil, errors.Is(err, errDial), ctx.Err() != nil:
			return err
		}
	}
}

var errDial = errors.New("cannot connect")

// talk is one connection. It ends without an error when there is no more input.
func talk(ctx context.Context, url, id string, input <-chan string) error {
	// As a browser on a page of the same site
	header := http.Header{"Cookie": {"session=" + id}, "Origin": {strings.TrimSuffix(url, "/console")}}
	socket, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		return fmt.Errorf("%w: %w", errDial, err)
	}
	defer func() { _ = socket.CloseNow() }()
	ctx, end := context.WithCancelCause(ctx)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer end(nil)
	reader.Go(func() {
		for {
			_, text, err := socket.Read(ctx)
			if err != nil {
				end(err)
				return
			}
			fmt.Println(string(text))
		}
	})
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case line, more := <-input:
			if !more {
				return socket.Close(websocket.StatusNormalClosure, "")
			}
			if err := socket.Write(ctx, websocket.MessageText, []byte(line)); err != nil {
				<-ctx.Done() // the reader knows why
				return context.Cause(ctx)
			}
		}
	}
}
