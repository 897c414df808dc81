package announce

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"activationd/activation"
	"activationd/reservation"
)

// The keys of this package:
//
//	f/SOURCE   a lastLoad
//	fp/SOURCE  the content of a source that was put last
//	n/loading  a mark; it exists from the first transaction of a load to the last
const (
	loadKey    = "f/"
	contentKey = "fp/"
	markKey    = "n/loading"
)

// A lastLoad is the stored result of a source's last load.
type lastLoad struct {
	Fingerprint string    `json:"fingerprint"`
	Read        time.Time `json:"read"`
	Count       int       `json:"count"`
	unused
	Notices []string `json:"notices,omitempty"`
}

func parseLast(key string, data []byte) (lastLoad, error) {
	last, err := parse[lastLoad](key, data)
	last.Rejected = max(last.Rejected, len(last.Rejects)) // an earlier version did not write the number
	return last, err
}

// Content returns the content that was put into a source last; nil: none was.
func (l *Loader) Content(ctx context.Context, source string) (content []byte, err error) {
	err = l.engine.View(ctx, func(t *activation.Txn) error {
		content = bytes.Clone(t.Get(contentKey + activation.SourceKey(source)))
		return nil
	})
	return content, err
}

// A mark says that a load was applied only in part. Then the next one reads all sources
// again.
type mark struct {
	Generation uint64   `json:"generation"`
	Sources    []string `json:"sources"`
}

func parse[T any](key string, data []byte) (v T, err error) {
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("record of a load, %s: %w", key, err)
	}
	return v, nil
}

// A reading is what was read from a source.
type reading struct {
	Source
	set       reservation.Set
	hashes    [][16]byte // of the set's reservations
	unchanged bool
	gone      bool // the source is no longer configured
	last      lastLoad
	put       Put // its new content; nil: it was read
	err       error
}

func (r *reading) name() string { return activation.SourceKey(r.Name()) }

// read reads all sources, one after the other. A source that is no longer configured has
// no reservations. If only what the configuration declares has changed, a source that the last
// load could read is taken as unchanged.
func (l *Loader) read(ctx context.Context, sources []Source, o LoadOptions) ([]*reading, error) {
	var last map[string]lastLoad
	whole := false
	err := l.engine.View(ctx, func(t *activation.Txn) error {
		last, whole = make(map[string]lastLoad), false
		for k, v := range t.Scan(loadKey, "") {
			kept, err := parseLast(k, v)
			if err != nil {
				return err
			}
			last[strings.TrimPrefix(k, loadKey)] = kept
		}
		if data := t.Get(markKey); data != nil {
			m, err := parse[mark](markKey, data)
			if err != nil {
				return err
			}
			whole = true
			for _, name := range m.Sources {
				if _, ok := last[name]; !ok {
					last[name] = lastLoad{}
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	failed, declared := l.failed, o.declared && l.hasLoaded()
	l.mu.Unlock()
	var readings []*reading
	for _, s := range sources {
		r := &reading{Source: s}
		r.last = last[r.name()]
		delete(last, r.name())
		read, suffix, _ := strings.Cut(r.last.Fingerprint, " ")
		if whole || s.fingerprint(read) != read+" "+suffix { // the defaults may have changed
			read = ""
		}
		if put, ok := o.Put[s.Name()]; ok {
			r.put = put
			r.set, _, r.err = s.LoadIfChanged(reservation.WithContent(ctx, put.Content), "")
			s.Settle(&r.set)
			readings = append(readings, r)
			continue
		}
		if _, wrong := failed[s.Name()]; declared && read != "" && !wrong {
			r.unchanged = true
			readings = append(readings, r)
			continue
		}
		r.set, r.unchanged, r.err = s.LoadIfChanged(ctx, read)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		s.Settle(&r.set)
		readings = append(readings, r)
	}
	for name := range last {
		if configured, err := url.PathUnescape(name); err == nil {
			readings = append(readings, &reading{Source: Source{Source: goneSource{name: configured}}, gone: true})
		}
	}
	return readings, nil
}
