package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"activationd/internal/fault"
	"activationd/reservation"
)

// A Put is a source whose whole content clients put into it: {"reservations": [...]}, in the form
// of a file in JSON. There are no files beside it, so topologies are in it. Its clients
// need not administrate this machine, so it cannot say what is run.
type Put struct {
	name string
	last func(context.Context) ([]byte, error)
}

// NewPut returns a source of that name. Last returns the content that was put last; nil: none was.
func NewPut(name string, last func(context.Context) ([]byte, error)) *Put {
	return &Put{name, last}
}

// Name returns the name.
func (s *Put) Name() string { return s.name }

// Watch waits for ctx: whoever puts the content asks for a load.
func (s *Put) Watch(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return nil
}

// Load implements [reservation.Source].
func (s *Put) Load(ctx context.Context) (reservation.Set, error) {
	set, _, err := s.LoadIfChanged(ctx, "")
	return set, err
}

// LoadIfChanged implements [reservation.Source]. The content is that of [reservation.WithContent],
// or else what was put last.
func (s *Put) LoadIfChanged(ctx context.Context, fingerprint string) (set reservation.Set, unchanged bool, err error) {
	content := reservation.Content(ctx)
	if content == nil {
		if content, err = s.last(ctx); err != nil {
			return set, false, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if content == nil {
		content = []byte(`{"reservations": []}`) // as long as nobody has put anything
	}
	sum := sha256.Sum256(content)
	now := hex.EncodeToString(sum[:16])
	if now == fingerprint {
		return reservation.Set{Fingerprint: now}, true, nil
	}
	p := page{path: s.name, name: s.name + ".json", data: content}
	files := &topologyDir{texts: map[string]text{}, topologies: map[string]*named{}}
	items, err := p.parse(files)
	if err != nil {
		return set, false, fmt.Errorf("%w: %w", err, fault.Invalid)
	}
	first := make(map[string]string)
	for i := range items {
		it := &items[i]
		if it.fault == "" {
			it.fault = commandOf(&it.r)
		}
		gather(&set, first, it)
	}
	set.Fingerprint = now
	return set, false, nil
}

// commandOf says which field of a reservation decides what is run; empty: none.
func commandOf(r *reservation.Reservation) string {
	i := slices.IndexFunc(reservation.Fields[:], func(f reservation.Field) bool {
		return f.Command && !f.Equal(r, &reservation.Reservation{})
	})
	if i < 0 {
		return ""
	}
	return reservation.Fields[i].Name + ": only the configuration says what is run; leave it out"
}
