package vlanstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"activationd/internal/fault"
	"activationd/vlanstore"
)

func TestSection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s vlanstore.Sections
		leave, err := s.Enter(t.Context(), "vlan", "ada", "first", nil)
		if err != nil {
			t.Fatal(err)
		}
		var order []string
		done := make(chan struct{})
		for i := range 5 {
			who := fmt.Sprint("waiter ", i)
			go func() {
				out, err := s.Enter(t.Context(), "vlan", "ada", who, nil)
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, who) // the section guards it
				time.Sleep(time.Second)
				out()
				done <- struct{}{}
			}()
			synctest.Wait() // they come one after the other
		}
		vs := s.List()
		if len(vs) != 6 || !vs[0].Inside || vs[0].Who != "first" || vs[1].Inside {
			t.Errorf("List = %+v", vs)
		}
		// A visitor that does not wait long enough learns who is inside, and the others keep
		// their places.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Enter(ctx, "vlan", "ada", "hasty", nil); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "first is in it") {
			t.Errorf("hasty: %v", err)
		}
		if _, err := s.Enter(t.Context(), "another", "ada", "first", nil); err != nil {
			t.Errorf("another section: %v", err)
		}
		leave()
		leave() // and no more than once
		for range 5 {
			<-done
		}
		if want := []string{"waiter 0", "waiter 1", "waiter 2", "waiter 3", "waiter 4"}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
		if vs := s.List(); len(vs) != 1 || vs[0].Section != "another" {
			t.Errorf("List at the end = %+v", vs)
		}
	})
}

// TestSectionGivenUp: a visitor in the middle of the line gives up, and so does one
// whose turn comes at the same moment.
func TestSectionGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s vlanstore.Sections
		leave, err := s.Enter(t.Context(), "x", "ada", "a", nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 2)
		go func() { _, err := s.Enter(ctx, "x", "ada", "b", nil); result <- err }()
		synctest.Wait()
		go func() {
			out, err := s.Enter(t.Context(), "x", "ada", "c", nil)
			if err == nil {
				out()
			}
			result <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-result; !errors.Is(err, fault.Unavailable) {
			t.Errorf("b: %v", err)
		}
		leave()
		if err := <-result; err != nil {
			t.Errorf("c: %v", err)
		}
		if vs := s.List(); len(vs) != 0 {
			t.Errorf("left: %+v", vs)
		}
	})
}

// TestSectionsOfOne: however many sections somebody is in, others come into theirs.
func TestSectionsOfOne(t *testing.T) {
	var s vlanstore.Sections
	var leave []func()
	for n := 0; ; n++ {
		out, err := s.Enter(t.Context(), fmt.Sprint("n", n), "eve", "eve", nil)
		if err != nil {
			if !errors.Is(err, fault.Unavailable) || n < 10 {
				t.Fatalf("after %d: %v", n, err)
			}
			break
		}
		leave = append(leave, out)
	}
	out, err := s.Enter(t.Context(), "vlan", "ada", "ada", nil)
	if err != nil {
		t.Fatal(err)
	}
	out()
	leave[0]()
	if out, err = s.Enter(t.Context(), "vlan", "eve", "eve", nil); err != nil {
		t.Fatal(err)
	}
	out()
	for n := 0; ; n++ { // all together have a limit, too
		_, err := s.Enter(t.Context(), fmt.Sprint("m", n), fmt.Sprint("user", n/10), "somebody", nil)
		if err != nil {
			if !errors.Is(err, fault.Unavailable) || len(s.List()) != 256 {
				t.Errorf("with %d: %v", len(s.List()), err)
			}
			return
		}
	}
}
