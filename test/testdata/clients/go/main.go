// Main talks with a daemon by the client that oapi-codegen has made of its document: it adds a
// job, lists it, waits for it, follows the events about it, shows it, and meets a problem.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"slices"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: client URL")
	}
	id, err := run(context.Background(), os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(id)
}

func run(ctx context.Context, base string) (string, error) {
	c, err := NewClientWithResponses(base)
	if err != nil {
		return "", err
	}
	argv, label, tags := []string{"sh", "-c", "echo from Go; exit 3"}, "go", []string{"a", "b"}
	key := "go-1"
	added, err := c.AddWithResponse(ctx, &AddParams{IdempotencyKey: &key}, AddJSONRequestBody{Arg: &argv, Label: &label, Tag: &tags})
	if err != nil {
		return "", err
	}
	if added.JSON201 == nil {
		return "", fmt.Errorf("add: %s %s", added.Status(), added.Body)
	}
	id := added.JSON201.Id

	end, err := c.WaitWithResponse(ctx, id, nil)
	if err != nil {
		return "", err
	}
	if end.JSON200 == nil || end.JSON200.Exit != 3 {
		return "", fmt.Errorf("wait: %s %s", end.Status(), end.Body)
	}

	states := []string{"all"}
	list, err := c.ListWithResponse(ctx, &ListParams{State: &states, Tag: &tags})
	if err != nil {
		return "", err
	}
	if list.JSON200 == nil || !slices.ContainsFunc(list.JSON200.Items, func(a Activation) bool { return a.Id == id && a.Outcome == "failed" }) {
		return "", fmt.Errorf("list: %s %s", list.Status(), list.Body)
	}

	if err := follow(ctx, c, id); err != nil {
		return "", err
	}

	show, err := c.ShowWithResponse(ctx, id, nil)
	if err != nil {
		return "", err
	}
	d := show.JSON200
	if d == nil || d.Ended == nil || d.Due != nil || d.Deadline != nil || len(d.Attempts) != 1 {
		return "", fmt.Errorf("show: %s %s", show.Status(), show.Body)
	}

	missing, err := c.ShowWithResponse(ctx, "777", nil)
	if err != nil {
		return "", err
	}
	if p := missing.ApplicationproblemJSON404; p == nil || p.Type != "urn:activationd:problem:not-found" || p.Status != http.StatusNotFound {
		return "", fmt.Errorf("show 777: %s %s", missing.Status(), missing.Body)
	}
	return id, nil
}

// follow reads the events about a job, as JSON lines, until the one of its end.
func follow(ctx context.Context, c *ClientWithResponses, id string) error {
	since := "0"
	resp, err := c.Events(ctx, &EventsParams{Since: &since, Id: &id})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	for in.Scan() {
		if len(in.Bytes()) == 0 {
			continue
		}
		var e Event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			return fmt.Errorf("%s: %w", in.Text(), err)
		}
		if e.Outcome != nil && *e.Outcome == "failed" {
			return nil
		}
	}
	return fmt.Errorf("the events ended: %w", in.Err())
}
