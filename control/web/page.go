package web

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"activationd/control"
	"activationd/internal/fault"
)

// ItemsOfPage is how many items a page has if the client does not say how many, MostItems how many
// it can have.
const (
	ItemsOfPage = 100
	MostItems   = 1000
)

// A page is what a client wants of a list.
type page struct {
	of    *control.Paging
	limit int
	sets  url.Values // arguments that the client has not given
	next  bool       // the list is in the order in which it can be continued
}

// pageOf returns the page that a query asks for, without the arguments that it reads; nil: the
// operation has no pages.
// A stream of lines has as many as it has: only as one object it ends after ItemsOfPage.
func pageOf(op *control.Op, values url.Values, lines bool) (*page, error) {
	if op.Paging == nil {
		return nil, nil //nolint:nilnil // most operations have none
	}
	p := &page{of: op.Paging, limit: ItemsOfPage, sets: make(url.Values), next: true}
	if text, ok := values["limit"]; ok {
		n, err := strconv.Atoi(text[0])
		if err != nil || n < 1 || n > MostItems || len(text) > 1 {
			return nil, fmt.Errorf("limit: want 1 to %d, have %.40q; the reply has next, from which the list is continued: %w", MostItems, text[0], fault.Invalid)
		}
		p.limit = n
	}
	if !lines {
		p.sets.Set("limit", strconv.Itoa(p.limit))
	}
	for name, value := range op.Paging.Order {
		if given, ok := values[name]; ok {
			p.next = p.next && len(given) == 1 && (given[0] == value || value == "no" && (given[0] == "false" || given[0] == "0"))
		} else {
			p.sets.Set(name, value)
		}
	}
	if after, ok := values["after"]; ok {
		text, err := base64.RawURLEncoding.DecodeString(after[0])
		switch {
		case err != nil || len(text) == 0 || !utf8.Valid(text) || len(after) > 1:
			return nil, fmt.Errorf("after: %.40q is not the next of an earlier reply: %w", after[0], fault.Invalid)
		case !p.next:
			return nil, fmt.Errorf("after: a list in another order cannot be continued; leave out %s: %w", strings.Join(op.Paging.OrderNames(), " and "), fault.Invalid)
		}
		p.sets.Set("after", string(text))
	}
	return p, nil
}

// cursor returns the place after an item, which is in JSON; empty: the list ends there.
func (p *page) cursor(n int, item []byte) (string, error) {
	if p == nil || !p.next || n < p.limit {
		return "", nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(item, &fields); err != nil {
		return "", err
	}
	words := make([]string, len(p.of.After))
	for i, name := range p.of.After {
		words[i] = string(fields[name])
		if strings.HasPrefix(words[i], `"`) {
			if err := json.Unmarshal(fields[name], &words[i]); err != nil {
				return "", err
			}
		}
	}
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join(words, "/"))), nil
}
