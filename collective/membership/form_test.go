package membership

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// formName returns a name that nobody else on this machine uses.
func formName() string { return "m-" + rand.Text()[:12] }

// A former is Local or OnHost.
type former = func(ctx context.Context, name string, size int, self Member) (*Group, error)

func testMember(rank int) Member {
	return Member{
		Rank: rank, Host: "h", Label: fmt.Sprint("l", rank), Process: fmt.Sprint("p", rank), PID: 100 + rank, Cores: 2,
		Addrs: map[string]string{"mem": fmt.Sprint(rank), "shm": strings.Repeat("x", rank)},
	}
}

// formAll lets ranks 0 to size-1 form a group at once.
func formAll(ctx context.Context, form former, name string, size int) ([]*Group, error) {
	groups, errs := make([]*Group, size), make([]error, size)
	var wg sync.WaitGroup
	for r := range size {
		wg.Go(func() { groups[r], errs[r] = form(ctx, name, size, testMember(r)) })
	}
	wg.Wait()
	return groups, errors.Join(errs...)
}

// checkFormed checks that all ranks got one group with what each said of itself.
func checkFormed(t *testing.T, groups []*Group) {
	t.Helper()
	for r, g := range groups {
		if g.ID != groups[0].ID || len(g.Members) != len(groups) {
			t.Fatalf("rank %d: group %x of %d, want %x of %d", r, g.ID, len(g.Members), groups[0].ID, len(groups))
		}
		for i, m := range g.Members {
			if got, want := fmt.Sprintf("%+v", m), fmt.Sprintf("%+v", testMember(i)); got != want {
				t.Fatalf("rank %d: member %d is %s, want %s", r, i, got, want)
			}
		}
	}
}

// testFormer runs what Local and OnHost have in common. await returns when rank 0 of a group is there.
func testFormer(t *testing.T, form former, await func(name string)) {
	ctx := t.Context()
	t.Run("forms", func(t *testing.T) {
		ids := make(map[uint64]bool)
		for _, n := range []int{1, 2, 5, 64} {
			for range 2 { // the name is free again
				groups, err := formAll(ctx, form, "again-"+formName(), n)
				if err != nil {
					t.Fatalf("%d ranks: %v", n, err)
				}
				checkFormed(t, groups)
				if ids[groups[0].ID] {
					t.Errorf("two groups have the ID %x", groups[0].ID)
				}
				ids[groups[0].ID] = true
			}
		}
	})
	t.Run("one name again and again", func(t *testing.T) {
		name := formName()
		for range 5 {
			groups, err := formAll(ctx, form, name, 3)
			if err != nil {
				t.Fatal(err)
			}
			checkFormed(t, groups)
		}
	})
	t.Run("side by side", func(t *testing.T) {
		names := []string{formName(), formName(), formName()}
		groups, errs := make([][]*Group, len(names)), make([]error, len(names))
		var wg sync.WaitGroup
		for i, name := range names {
			wg.Go(func() { groups[i], errs[i] = formAll(ctx, form, name, 4+i) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			checkFormed(t, g)
		}
	})
	t.Run("refusals", func(t *testing.T) {
		name := formName()
		forming, cancel := context.WithCancel(ctx)
		first := make(chan error, 1)
		go func() {
			_, err := form(forming, name, 3, testMember(0))
			first <- err
		}()
		for what, misfit := range map[string]struct {
			size, rank int
		}{"no ranks": {0, 0}, "fewer than none": {-3, 0}, "rank below": {3, -1}, "rank above": {3, 3}} {
			var refused *RefusedError
			m := testMember(0)
			m.Rank = misfit.rank
			if _, err := form(ctx, formName(), misfit.size, m); !errors.As(err, &refused) || !errors.Is(err, ErrForming) || refused.Reason == "" {
				t.Errorf("%s: got %v, want a RefusedError", what, err)
			}
		}
		await(name)
		cancel()
		var incomplete *IncompleteError
		if err := <-first; !errors.As(err, &incomplete) || !errors.Is(err, ErrForming) || !errors.Is(err, context.Canceled) || !slices.Equal(incomplete.Missing, []int{1, 2}) {
			t.Errorf("rank 0 alone: got %v, want an IncompleteError of ranks 1 and 2", err)
		}
	})
	t.Run("a context that has ended", func(t *testing.T) {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := form(ended, formName(), 1, testMember(0)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	})
}

func TestLocal(t *testing.T) { testFormer(t, Local, awaitLocal) }

func awaitLocal(name string) {
	for in := false; !in; runtime.Gosched() {
		forming.Lock()
		in = forming.groups[name] != nil
		forming.Unlock()
	}
}

// Members that do not fit are refused while the group forms, and it forms.
func TestLocalRefusesMisfits(t *testing.T) {
	name := formName()
	groups := make([]*Group, 2)
	var wg sync.WaitGroup
	wg.Go(func() {
		groups[0], _ = Local(t.Context(), name, 2, testMember(0))
	})
	awaitLocal(name)
	for what, misfit := range map[string]struct{ size, rank int }{"rank 0 again": {2, 0}, "another size": {3, 1}, "rank above": {2, 2}} {
		var refused *RefusedError
		m := testMember(1)
		m.Rank = misfit.rank
		if _, err := Local(t.Context(), name, misfit.size, m); !errors.As(err, &refused) || refused.Rank != misfit.rank || refused.Group != name {
			t.Errorf("%s: got %v, want a RefusedError", what, err)
		}
	}
	var err error
	if groups[1], err = Local(t.Context(), name, 2, testMember(1)); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	checkFormed(t, groups)
	if groups[0] != groups[1] {
		t.Error("the ranks of one process do not share the group")
	}
	forming.Lock()
	defer forming.Unlock()
	if forming.groups[name] != nil {
		t.Error("a group that has formed is still forming")
	}
}

// Share makes its value once.
func TestShare(t *testing.T) {
	var g Group
	made := 0
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if got := g.Share(func() any { made++; return made }); got != 1 {
				t.Errorf("got %v, want 1", got)
			}
		})
	}
	wg.Wait()
}

func TestFormingErrorTexts(t *testing.T) {
	for want, err := range map[string]error{
		`membership: group "g": ranks that have not joined: 3: why`:                                  &IncompleteError{Group: "g", Missing: []int{3}, Cause: errors.New("why")},
		`membership: group "g": ranks that have not joined: 0, 1, 2, 3, 4, 5, 6, 7, and 2 more: why`: &IncompleteError{Group: "g", Missing: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, Cause: errors.New("why")},
		`membership: group "g": other ranks have not joined: why`:                                    &IncompleteError{Group: "g", Cause: errors.New("why")},
		`membership: group "g" refused rank 4: full`:                                                 &RefusedError{Group: "g", Rank: 4, Reason: "full"},
	} {
		if got := err.Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if !errors.Is(err, ErrForming) {
			t.Errorf("%v is not %v", err, ErrForming)
		}
	}
}

// A process has one identity; groups have many.
func TestIdentities(t *testing.T) {
	if a, b := ProcessID(), ProcessID(); a != b || a == "" {
		t.Errorf("ProcessID is %q and then %q", a, b)
	}
	if one, two := NewID(), NewID(); one == two {
		t.Error("two IDs are alike")
	}
}

// Near counts a rank's host and process, itself among them.
func TestNear(t *testing.T) {
	g := &Group{Members: []Member{
		{Host: "a", Process: "1"}, {Host: "a", Process: "1"}, {Host: "a", Process: "2"}, {Host: "b", Process: "3"},
	}}
	for rank, want := range [][2]int{{3, 2}, {3, 2}, {3, 1}, {1, 1}} {
		if onHost, inProcess := g.Near(rank); onHost != want[0] || inProcess != want[1] {
			t.Errorf("rank %d: %d on its host and %d in its process, want %v", rank, onHost, inProcess, want)
		}
	}
}
