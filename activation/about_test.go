package activation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"activationd/event"
)

// What a transaction did is said by the first ids of its events, each once, in their order.
func TestAbout(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		txn, all := new(Txn), []string(nil)
		for range random.IntN(30) {
			id := ""
			if n := random.IntN(15); n > 0 {
				id = fmt.Sprint(n)
			}
			txn.events = append(txn.events, &event.Event{ID: id})
			if id != "" && !slices.Contains(all, id) {
				all = append(all, id)
			}
		}
		want := strings.Join(all, ", ")
		if len(all) > mostAbout {
			want = strings.Join(all[:mostAbout], ", ") + ", ..."
		}
		if got := txn.about(); got != want {
			t.Fatalf("about %q, want %q", got, want)
		}
	}
}
