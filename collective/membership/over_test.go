package membership_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective/membership"
	"github.com/ringtree/ringtree/transport/p2p"
)

// patience ends a test that hangs; no passing test waits for it.
const patience = 2 * time.Minute

func newHost(t testing.TB) *p2p.Host {
	t.Helper()
	h, err := p2p.New(context.Background(), p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatalf("new host: %v", err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("closing the host: %v", err)
		}
	})
	return h
}

func newHosts(t testing.TB, n int) []*p2p.Host {
	t.Helper()
	hosts := make([]*p2p.Host, n)
	var wg sync.WaitGroup
	for i := range hosts {
		wg.Go(func() {
			h, err := p2p.New(context.Background(), p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
			if err != nil {
				t.Errorf("new host: %v", err)
				return
			}
			hosts[i] = h
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() {
		for _, h := range hosts {
			wg.Go(func() {
				if err := h.Close(); err != nil {
					t.Errorf("closing a host: %v", err)
				}
			})
		}
		wg.Wait()
	})
	return hosts
}

func invite(t testing.TB, h *p2p.Host, size int) *membership.Invitation {
	t.Helper()
	inv, err := membership.Invite(h, size)
	if err != nil {
		t.Fatalf("invite: %v", err)
	}
	return inv
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// outcome is what Over returned.
type outcome struct {
	group *membership.Group
	rank  int
	err   error
}

// join calls Over on a goroutine.
func join(ctx context.Context, h membership.Host, inv *membership.Invitation, m membership.Member, opts membership.Options) <-chan outcome {
	c := make(chan outcome, 1)
	go func() {
		g, r, err := membership.Over(ctx, h, inv, m, opts)
		c <- outcome{g, r, err}
	}()
	return c
}

func anyRank(host string) membership.Member {
	return membership.Member{Rank: membership.AnyRank, Host: host, Label: host, Process: host + "/p"}
}

// checkGroup holds that the outcomes are one group with all ranks.
func checkGroup(t testing.TB, size int, all []outcome) {
	t.Helper()
	seen := make([]bool, size)
	for i, o := range all {
		if o.err != nil {
			t.Errorf("member %d: %v", i, o.err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	for i, o := range all {
		if o.group.ID != all[0].group.ID || !slices.EqualFunc(o.group.Members, all[0].group.Members, sameMember) {
			t.Fatalf("member %d has group %+v, want %+v", i, o.group.Members, all[0].group.Members)
		}
		if seen[o.rank] {
			t.Fatalf("member %d has rank %d, which another has", i, o.rank)
		}
		seen[o.rank] = true
	}
	if len(all) != size {
		t.Fatalf("%d members, want %d", len(all), size)
	}
}

func sameMember(a, b membership.Member) bool {
	return a.Rank == b.Rank && a.ID == b.ID && a.Host == b.Host && a.Addrs["p2p"] == b.Addrs["p2p"]
}

func TestOverForms(t *testing.T) {
	for _, n := range []int{1, 2, 3, 8, 64} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			if n > 8 && testing.Short() {
				t.Skip("64 hosts in one process take seconds")
			}
			ctx := testContext(t)
			hosts := newHosts(t, n)
			inv := invite(t, hosts[0], n)
			start := time.Now()
			pending := make([]<-chan outcome, n)
			for i, h := range hosts {
				pending[i] = join(ctx, h, inv, anyRank(fmt.Sprint("host", i%3)), membership.Options{})
			}
			all := make([]outcome, n)
			all[0] = <-pending[0]
			// The inviter ends as soon as it has formed the group; nobody else minds.
			if err := hosts[0].Close(); err != nil {
				t.Errorf("closing the inviter: %v", err)
			}
			for i := range all[1:] {
				all[i+1] = <-pending[i+1]
			}
			t.Logf("%d hosts in one process: %v", n, time.Since(start).Round(time.Millisecond))
			checkGroup(t, n, all)
			ids := all[0].group.IDs()
			if len(ids) != n {
				t.Errorf("%d identities, want %d", len(ids), n)
			}
			for i, o := range all {
				if got := o.group.Members[o.rank].ID; got != hosts[i].ID() {
					t.Errorf("member %d: identity %s in the table, want %s", i, got, hosts[i].ID())
				}
				if err := hosts[i].Gate(ids); err != nil {
					t.Errorf("member %d: gate: %v", i, err)
				}
			}
		})
	}
}

// Several ranks of a process share its host.
func TestOverSharedHosts(t *testing.T) {
	ctx := testContext(t)
	hosts := newHosts(t, 2)
	inv := invite(t, hosts[0], 6)
	var pending []<-chan outcome
	for i := range 6 {
		pending = append(pending, join(ctx, hosts[i%2], inv, anyRank(fmt.Sprint("host", i%2)), membership.Options{}))
	}
	var all []outcome
	for _, p := range pending {
		all = append(all, <-p)
	}
	checkGroup(t, 6, all)
	for r, m := range all[0].group.Members {
		if want := all[0].group.Members[r/3*3].ID; m.ID != want {
			t.Errorf("rank %d is at %s, want %s: ranks of a process belong together", r, m.ID, want)
		}
	}
	if got := len(all[0].group.IDs()); got != 2 {
		t.Errorf("%d identities, want 2", got)
	}
}

func TestOverKeepsGivenRanks(t *testing.T) {
	ctx := testContext(t)
	hosts := newHosts(t, 3)
	inv := invite(t, hosts[0], 3)
	given := []int{1, membership.AnyRank, 0}
	want := []int{1, 2, 0}
	var pending []<-chan outcome
	for i, h := range hosts {
		m := anyRank("h")
		m.Rank = given[i]
		pending = append(pending, join(ctx, h, inv, m, membership.Options{}))
	}
	var all []outcome
	for i, p := range pending {
		o := <-p
		all = append(all, o)
		if o.err == nil && o.rank != want[i] {
			t.Errorf("member %d came with %d: got rank %d, want %d", i, given[i], o.rank, want[i])
		}
	}
	checkGroup(t, 3, all)
}

// Both sides of a refusal learn its code, and the group forms all the same.
func TestOverRefusals(t *testing.T) {
	ctx := testContext(t)
	hosts := newHosts(t, 4)
	stranger := hosts[3].ID()
	inv := invite(t, hosts[0], 3)

	refused := make(chan *membership.RefusedError, 16)
	opts := membership.Options{
		Refused: func(e *membership.RefusedError) { refused <- e },
		Admit:   func(id string) bool { return id != stranger },
	}
	m := anyRank("h")
	m.Rank = 0
	coordinator := join(ctx, hosts[0], inv, m, opts)

	variant := func(change func(*membership.Invitation)) *membership.Invitation {
		v := *inv
		change(&v)
		return &v
	}
	cases := []struct {
		name string
		host *p2p.Host
		inv  *membership.Invitation
		rank int
		want membership.Code
	}{
		{"wrong secret", hosts[2], variant(func(v *membership.Invitation) { v.Secret[3]++ }), -1, membership.WrongSecret},
		{"wrong group", hosts[2], variant(func(v *membership.Invitation) { v.Group[3]++ }), -1, membership.WrongGroup},
		{"wrong size", hosts[2], variant(func(v *membership.Invitation) { v.Size++ }), -1, membership.WrongSize},
		{"duplicate rank", hosts[2], inv, 0, membership.DuplicateRank},
		{"no such rank", hosts[2], variant(func(v *membership.Invitation) { v.Size = 9 }), 7, membership.WrongSize},
		{"stranger", hosts[3], inv, -1, membership.Stranger},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := anyRank("h")
			m.Rank = c.rank
			_, _, err := membership.Over(ctx, c.host, c.inv, m, membership.Options{})
			var got *membership.RefusedError
			if !errors.As(err, &got) || got.Code != c.want || got.Peer != hosts[0].ID() || !errors.Is(err, membership.ErrForming) {
				t.Errorf("the guest got %v (%+v), want code %q of %s", err, got, c.want, hosts[0].ID())
			}
			if e := <-refused; e.Code != c.want || e.Peer != c.host.ID() {
				t.Errorf("the coordinator got %v (code %q, peer %s), want code %q, peer %s", e, e.Code, e.Peer, c.want, c.host.ID())
			}
		})
	}
	t.Run("rank out of range", func(t *testing.T) {
		m := anyRank("h")
		m.Rank = 3
		_, _, err := membership.Over(ctx, hosts[2], inv, m, membership.Options{})
		if got := (*membership.RefusedError)(nil); !errors.As(err, &got) || got.Code != membership.WrongRank {
			t.Errorf("got %v, want code %q", err, membership.WrongRank)
		}
	})

	a, b := join(ctx, hosts[1], inv, anyRank("h"), membership.Options{}), join(ctx, hosts[2], inv, anyRank("h"), membership.Options{})
	checkGroup(t, 3, []outcome{<-coordinator, <-a, <-b})

	t.Run("complete", func(t *testing.T) {
		late := newHost(t)
		// Whichever member is asked.
		for _, asked := range []*p2p.Host{hosts[0], hosts[1]} {
			v := variant(func(v *membership.Invitation) { v.Addrs = asked.Addrs() })
			_, _, err := membership.Over(ctx, late, v, anyRank("h"), membership.Options{})
			if got := (*membership.RefusedError)(nil); !errors.As(err, &got) || got.Code != membership.Complete {
				t.Errorf("got %v, want code %q", err, membership.Complete)
			}
		}
		_, _, err := membership.Over(ctx, hosts[0], inv, anyRank("h"), membership.Options{})
		if got := (*membership.RefusedError)(nil); !errors.As(err, &got) || got.Code != membership.Complete {
			t.Errorf("the coordinator again: got %v, want code %q", err, membership.Complete)
		}
	})
}

// A member that dies before the group is complete leaves its place to another.
func TestOverMemberReplaced(t *testing.T) {
	ctx := testContext(t)
	hosts := newHosts(t, 3)
	inv := invite(t, hosts[0], 3)
	asked := make(chan string, 8)
	coordinator := join(ctx, hosts[0], inv, anyRank("h"), membership.Options{Admit: func(id string) bool { asked <- id; return true }})
	mortal, err := p2p.New(ctx, p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	dying := join(ctx, mortal, inv, anyRank("h"), membership.Options{})
	if id := <-asked; id != mortal.ID() {
		t.Fatalf("%s asked first, want %s", id, mortal.ID())
	}
	if err := mortal.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if o := <-dying; !errors.Is(o.err, membership.ErrForming) {
		t.Errorf("the dead member got %v, want an error that is ErrForming", o.err)
	}
	a, b := join(ctx, hosts[1], inv, anyRank("h"), membership.Options{}), join(ctx, hosts[2], inv, anyRank("h"), membership.Options{})
	checkGroup(t, 3, []outcome{<-coordinator, <-a, <-b})
}

// Any member can invite by its own address.
func TestOverThroughMember(t *testing.T) {
	ctx := testContext(t)
	hosts := newHosts(t, 3)
	inv := invite(t, hosts[0], 3)
	coordinator := join(ctx, hosts[0], inv, anyRank("h"), membership.Options{})
	member := join(ctx, hosts[1], inv, anyRank("h"), membership.Options{})
	through := inv.Through(hosts[1])
	if got, want := through.Addrs[0], hosts[1].Addrs()[0]; got != want {
		t.Errorf("first address %s, want the member's, %s", got, want)
	}
	through.Addrs = hosts[1].Addrs() // and nobody else's: the member must show the way
	newcomer := join(ctx, hosts[2], through, anyRank("h"), membership.Options{})
	checkGroup(t, 3, []outcome{<-coordinator, <-member, <-newcomer})
}

// When the coordinator stops waiting everybody stops, and knows who was missing.
func TestOverGivesUp(t *testing.T) {
	ctx := testContext(t)
	hosts := newHosts(t, 2)
	inv := invite(t, hosts[0], 3)
	first, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	asked := make(chan string, 8)
	coordinator := join(first, hosts[0], inv, anyRank("h"), membership.Options{Admit: func(id string) bool { asked <- id; return true }})
	member := join(ctx, hosts[1], inv, anyRank("h"), membership.Options{})
	<-asked
	enough := errors.New("enough")
	cancel(enough)
	o := <-coordinator
	var e *membership.IncompleteError
	if !errors.As(o.err, &e) || !errors.Is(o.err, enough) || len(e.Missing) == 0 || !slices.Contains(e.Missing, 2) {
		t.Errorf("the coordinator got %v, want an IncompleteError that names rank 2 and the cause", o.err)
	}
	if o := <-member; !errors.As(o.err, new(*membership.IncompleteError)) && !errors.As(o.err, new(*membership.RefusedError)) {
		t.Errorf("the member got %v, want an IncompleteError or RefusedError", o.err)
	}
}

func TestOverNobodyThere(t *testing.T) {
	hosts := newHosts(t, 2)
	inv := invite(t, hosts[0], 2)
	if err := hosts[0].Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, _, err := membership.Over(ctx, hosts[1], inv, anyRank("h"), membership.Options{})
	if e := (*membership.IncompleteError)(nil); !errors.As(err, &e) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want an IncompleteError because of the deadline", err)
	}
}

// The guest finds out about a coordinator that does not know the secret, and about one that dies.
func TestOverCoordinatorDies(t *testing.T) {
	ctx := testContext(t)
	hosts := newHosts(t, 2)
	inv := invite(t, hosts[0], 3)
	asked := make(chan string, 8)
	coordinator := join(ctx, hosts[0], inv, anyRank("h"), membership.Options{Admit: func(id string) bool { asked <- id; return true }})
	member := join(ctx, hosts[1], inv, anyRank("h"), membership.Options{})
	<-asked
	if err := hosts[0].Close(); err != nil {
		t.Fatal(err)
	}
	var e *membership.LostError
	if o := <-member; !errors.As(o.err, &e) || e.Peer != hosts[0].ID() || !errors.Is(o.err, membership.ErrForming) {
		t.Errorf("got %v, want a LostError that names %s", o.err, hosts[0].ID())
	}
	_ = coordinator // it waits for members until its context ends
}
