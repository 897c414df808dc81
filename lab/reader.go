package lab

import (
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"activationd/internal/document"
	"activationd/internal/timetext"
)

// A reader reads a YAML file node by node and collects every fault with its line.
type reader struct {
	document.Reader
	kept bool // the platform belongs to a stored plan
}

func (r *reader) boolean(n *yaml.Node, what string) (b bool) {
	if v := r.Visit(n); v.ShortTag() != "!!bool" || v.Decode(&b) != nil {
		r.Fault(n, "%s: must be true or false", what)
	}
	return b
}

func (r *reader) number(n *yaml.Node, what string, low, high int) int {
	v, err := strconv.Atoi(r.Visit(n).Value)
	if err != nil || v < low || v > high {
		r.Fault(n, "%s: must be a number from %d to %d", what, low, high)
		return low
	}
	return v
}

func (r *reader) duration(n *yaml.Node, what string, most time.Duration) time.Duration {
	v, err := timetext.Duration(r.Visit(n).Value)
	if err == nil && v > most {
		err = fmt.Errorf("must be a time from 0s to %v, as in 20ms", most)
	}
	if err != nil {
		r.Fault(n, "%s: %v", what, err)
		return 0
	}
	return v
}

func (r *reader) unknown(key *yaml.Node, where string, known string) {
	r.Fault(key, "%s%.80s: unknown key; there are %s", where, key.Value, known)
}

func checkName(s string) error { return document.CheckName(s) }

func checkPort(s string) error { return document.CheckPort(s) }
