package event

import (
	"context"
	"runtime"
	"sort"
	"sync"
	"time"
)

// A Wish says which events a follower wants. Followers with the same Key share one reader, and
// sleep while nothing comes that they want.
type Wish struct {
	Key  string            // the same for wishes with the same Match
	Want func(*Event) bool // pure, for many goroutines at once; it may say yes to events that the follower then drops
}

const (
	crowdEvents = 1024 // how many wanted events a crowd keeps for members that are behind
	// How a crowd is woken: so many at a time, and then others may run. Ten thousand at once
	// would keep an activation from starting for as long as all of them take to write.
	wakeAtOnce = 48
	wakePause  = time.Millisecond
)

// A crowd is the followers with the same wish. Its reader has a goroutine, which begins with the
// first member and ends with the last one.
type crowd struct {
	want func(*Event) bool
	stop context.CancelFunc
	gone chan struct{} // closed when the reader has ended

	mu      sync.Mutex
	from    uint64   // events has all that are wanted after this number, up to read
	read    uint64   // the last number that was read
	events  []*Event // at most crowdEvents, and those of a page
	members map[*member]struct{}
	err     error // why the reader has ended
}

// A member is one follower.
type member struct {
	more chan struct{} // capacity one: there are more events
}

// FollowWish is [Log.Follow] for a follower that wants some of the events only, besides each
// [Gap].
func (l *Log) FollowWish(ctx context.Context, after uint64, w Wish, fn func(*Event) error) error {
	hand := func(page []*Event) error {
		for _, e := range page {
			after = e.Seq
			if e.What != Gap && !w.Want(e) {
				continue
			}
			if err := fn(e); err != nil {
				return err
			}
		}
		return nil
	}
	for {
		for { // up to now, alone
			page, tip, all, err := l.read(ctx, after)
			if err != nil {
				return err
			}
			if err := hand(page); err != nil {
				return err
			}
			if all {
				after = max(after, tip) // a crowd may begin there, with a number that is no event's
				break
			}
		}
		c, m := l.join(after, w)
		err := c.follow(ctx, m, &after, hand)
		l.leave(c, m, w.Key)
		if err != nil {
			return err
		}
	}
}

// join makes a follower that has read up to a number a member of its crowd.
func (l *Log) join(after uint64, w Wish) (*crowd, *member) {
	m := &member{more: make(chan struct{}, 1)}
	m.more <- struct{}{} // it looks at once; later the crowd may have woken it already
	l.crowding.Lock()
	defer l.crowding.Unlock()
	c := l.crowds[w.Key]
	if c == nil || !c.add(m) {
		ctx, cancel := context.WithCancel(context.Background())
		c = &crowd{want: w.Want, stop: cancel, gone: make(chan struct{}), from: after, read: after, members: map[*member]struct{}{m: {}}}
		if l.crowds == nil {
			l.crowds = make(map[string]*crowd)
		}
		l.crowds[w.Key] = c
		go c.run(ctx, l, after)
	}
	return c, m
}

// add adds a member, unless the reader has ended.
func (c *crowd) add(m *member) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.members[m] = struct{}{}
	}
	return c.err == nil
}

// leave removes a member. The last one ends the reader, and waits for it.
func (l *Log) leave(c *crowd, m *member, key string) {
	l.crowding.Lock()
	defer l.crowding.Unlock()
	c.mu.Lock()
	delete(c.members, m)
	last := len(c.members) == 0
	c.mu.Unlock()
	if !last {
		return
	}
	c.stop()
	<-c.gone
	if l.crowds[key] == c {
		delete(l.crowds, key)
	}
}

// run reads the log for all members.
func (c *crowd) run(ctx context.Context, l *Log, after uint64) {
	defer close(c.gone)
	err := l.FollowPages(ctx, after, 0, func(page []*Event) error {
		if c.take(page) {
			c.wake(ctx)
		}
		return nil
	})
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	c.wake(context.Background())
}

// take keeps the wanted events of a page, and reports whether there are any.
func (c *crowd) take(page []*Event) (some bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range page {
		if e.What == Gap || c.want(e) {
			c.events = append(c.events, e)
			some = true
		}
		c.read = e.Seq
	}
	if drop := len(c.events) - crowdEvents; drop > 0 {
		c.from = c.events[drop-1].Seq
		c.events = append([]*Event(nil), c.events[drop:]...)
	}
	return some
}

// wake wakes all members.
func (c *crowd) wake(ctx context.Context) {
	c.mu.Lock()
	all := make([]*member, 0, len(c.members))
	for m := range c.members {
		all = append(all, m)
	}
	c.mu.Unlock()
	for i, m := range all {
		select {
		case m.more <- struct{}{}:
		default: // it has not looked since the last time
		}
		if (i+1)%wakeAtOnce != 0 || i+1 == len(all) {
			continue
		}
		runtime.Gosched()
		select {
		case <-ctx.Done(): // the rest is woken at once
		case <-time.After(wakePause):
		}
	}
}

// follow hands events to a member until ctx is done, or hand or the reader fails. It returns nil
// if the member is so far behind that it has to read alone again.
func (c *crowd) follow(ctx context.Context, m *member, after *uint64, hand func([]*Event) error) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-m.more:
		}
		page, behind, err := c.after(*after)
		if err != nil || behind {
			return err
		}
		if err := hand(page); err != nil {
			return err
		}
	}
}

// after returns the wanted events after a number. Behind reports that there were more than the
// crowd has kept.
func (c *crowd) after(n uint64) (page []*Event, behind bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, false, c.err
	}
	if n < c.from {
		return nil, true, nil
	}
	i := sort.Search(len(c.events), func(i int) bool { return c.events[i].Seq > n })
	return c.events[i:len(c.events):len(c.events)], false, nil
}
