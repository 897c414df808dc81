package activation

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A list has every record once, also when they fill its pages to the last place.
func TestListPages(t *testing.T) {
	for _, n := range []int{0, 1, pageSize - 1, pageSize, pageSize + 1, 2 * pageSize} {
		bubble(t, nil, func(l *lab) {
			jobs := make([]NewJob, n)
			for i := range jobs {
				jobs[i] = NewJob{Owner: "alice", At: time.Now().Add(time.Hour), Argv: []string{"true"}}
			}
			if _, err := l.e.Add(context.Background(), jobs); err != nil {
				t.Fatal(err)
			}
			seen := make(map[string]bool)
			err := l.e.List(context.Background(), Filter{}, func(v View) error {
				if seen[v.ID] {
					return errors.New(v.ID + " is listed twice")
				}
				seen[v.ID] = true
				return nil
			})
			if err != nil || len(seen) != n {
				t.Errorf("of %d jobs %d are listed, %v", n, len(seen), err)
			}
		})
	}
}
