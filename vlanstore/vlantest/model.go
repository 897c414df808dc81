package vlantest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"
)

// A state of the model is sorted lines, one for each id that is not free.

func line(domain string, id int, state, holder, link string) string {
	return fmt.Sprintf("%s\t%04d\t%s\t%s\t%s", domain, id, state, holder, link)
}

// ids reads "10-14".
func ids(pool string) (first, last int) {
	a, b, _ := strings.Cut(pool, "-")
	first, _ = strconv.Atoi(a)
	last, _ = strconv.Atoi(b)
	return first, last
}

// model returns the simplest model of VLANs.
func (h *History) model() *porcupine.NondeterministicModel {
	return &porcupine.NondeterministicModel{
		Init: func() []any { return []any{""} },
		Step: func(state, input, output any) []any {
			s, ok1 := state.(string)
			r, ok2 := input.(Request)
			a, ok3 := output.(Answer)
			if !ok1 || !ok2 || !ok3 {
				panic(fmt.Sprintf("%T, %T, %T", state, input, output))
			}
			next, want := h.step(s, r)
			switch {
			case a.Unknown:
				return []any{s, next}
			case a != want:
				return nil
			}
			return []any{next}
		},
	}
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

func join(lines []string) string {
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// step returns the state after a request, and the answer.
func (h *History) step(s string, r Request) (string, Answer) {
	lines := split(s)
	found := func(domain string, id int) int {
		return slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, line(domain, id, "", "", "")[:len(domain)+6]) })
	}
	switch r.Do {
	case "list":
		return s, Answer{Code: 200, Leases: s}
	case "alloc":
		return h.alloc(s, r)
	case "release":
		var kept, freed []string
		for _, l := range lines {
			if f := strings.Split(l, "\t"); f[2] == "leased" && f[3] == r.Holder {
				freed = append(freed, l)
			} else {
				kept = append(kept, l)
			}
		}
		if freed == nil {
			return s, Answer{Code: 404}
		}
		return join(kept), Answer{Code: 200, Leases: join(freed)}
	case "quarantine":
		l := line(r.Domain, r.ID, "quarantined", "", "")
		if i := found(r.Domain, r.ID); i >= 0 {
			f := strings.Split(lines[i], "\t")
			l = line(r.Domain, r.ID, "quarantined", f[3], f[4])
			lines = slices.Delete(lines, i, i+1)
		}
		return join(append(lines, l)), Answer{Code: 200, Leases: l}
	case "free":
		i := found(r.Domain, r.ID)
		switch {
		case i < 0:
			return s, Answer{Code: 404}
		case strings.Split(lines[i], "\t")[2] == "leased":
			return s, Answer{Code: 409}
		}
		l := lines[i]
		return join(slices.Delete(lines, i, i+1)), Answer{Code: 200, Leases: l}
	}
	panic(r.Do)
}

// alloc leases the requested ids, and to the other links the lowest free ones.
func (h *History) alloc(s string, r Request) (string, Answer) {
	lines := split(s)
	got := make([]string, len(r.Links))
	refused := func() (string, Answer) { return s, Answer{Code: 409} }
	of := func(domain string, id int) bool { // taken
		return slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, fmt.Sprintf("%s\t%04d\t", domain, id)) })
	}
	for _, named := range []bool{true, false} {
		for i, link := range r.Links {
			if (r.IDs[i] != 0) != named {
				continue
			}
			had := slices.IndexFunc(lines, func(l string) bool {
				f := strings.Split(l, "\t")
				return f[0] == r.Domains[i] && f[3] == r.Holder && f[4] == link
			})
			if had >= 0 {
				f := strings.Split(lines[had], "\t")
				if id, _ := strconv.Atoi(f[1]); f[2] != "leased" || named && id != r.IDs[i] {
					return refused()
				}
				got[i] = lines[had]
				continue
			}
			first, last := ids(h.pools[r.Domains[i]])
			if named {
				first, last = r.IDs[i], r.IDs[i]
			}
			for ; first <= last && of(r.Domains[i], first); first++ {
			}
			if first > last {
				return refused()
			}
			got[i] = line(r.Domains[i], first, "leased", r.Holder, link)
			lines = append(lines, got[i])
		}
	}
	return join(lines), Answer{Code: 200, Leases: strings.Join(got, "\n")}
}
