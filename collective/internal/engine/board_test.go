package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/transport"
)

// near lets a group use boards.
func near(_ int, c *Config) { c.Near = transport.ScopeProcess }

// sumsOf runs an all-reduce of count elements on every rank and checks it.
func (g *group) sumsOf(a plan.Algorithm, count, round int) {
	g.Helper()
	n := len(g.engines)
	for r, err := range g.each(func(r int) error {
		data := make([]int32, count)
		for i := range data {
			data[i] = int32(i*n + r + round)
		}
		if err := g.allReduce(g.Context(), r, a, data); err != nil {
			return err
		}
		for i, got := range data {
			if want := int32(n*(i*n+round) + n*(n-1)/2); got != want {
				return fmt.Errorf("element %d is %d, want %d", i, got, want)
			}
		}
		return nil
	}) {
		if err != nil {
			g.Fatalf("%d elements, round %d: rank %d: %v", count, round, r, err)
		}
	}
}

// Operations on boards, of lengths at every border of the layout and in any mixture with others.
func TestBoards(t *testing.T) {
	counts := []int{0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 256, 1001, boardPart/4 - 1, boardPart / 4, boardPart/4 + 1, 20_000}
	for _, n := range []int{2, 3, 5} {
		g := newGroup(t, n, near)
		random := rand.New(rand.NewPCG(1, uint64(n)))
		for round := range 120 {
			a := plan.Direct
			if random.IntN(4) == 0 {
				a = plan.Ring
			}
			g.sumsOf(a, counts[random.IntN(len(counts))], round)
		}
		for r, e := range g.engines {
			if !e.board.ready || e.board.turn == 0 {
				t.Errorf("%d ranks: rank %d did not use its board", n, r)
			}
		}
	}
}

// copying is a link that is said to copy.
type copying struct{ transport.Link }

func (copying) Caps() transport.Caps { return transport.Caps{Scope: transport.ScopeProcess, Window: 8} }

// If one rank has no board, none is used.
func TestBoardsOfAllOrNone(t *testing.T) {
	g := newGroup(t, 3, func(r int, c *Config) {
		near(r, c)
		if open := c.Open; r == 1 {
			c.Open = func(peer int, channel uint16) (transport.Link, error) {
				l, err := open(peer, channel)
				return copying{l}, err
			}
		}
	})
	for round := range 10 {
		g.sumsOf(plan.Direct, 3, round)
	}
	for r, e := range g.engines {
		if !e.board.tried || e.board.ready {
			t.Errorf("rank %d uses its board", r)
		}
	}
}

// until waits for an event in another goroutine.
func until(event func() bool) {
	for !event() {
		runtime.Gosched()
	}
}

// waiting starts an operation on rank 0 and returns when that has said that it may sleep.
func (g *group) waiting(ctx context.Context, count int) <-chan error {
	g.sumsOf(plan.Direct, 2, 0) // the boards are there
	done := make(chan error, 1)
	go func() { done <- g.allReduce(ctx, 0, plan.Direct, make([]int32, count)) }()
	until(func() bool { return atomic.LoadUint32(g.engines[1].board.asleep(0)) != 0 })
	return done
}

// A rank that sleeps is woken, again and again.
func TestBoardWakes(t *testing.T) {
	g := newGroup(t, 2, near)
	for range 100 {
		done := g.waiting(t.Context(), 2)
		if err := g.allReduce(t.Context(), 1, plan.Direct, make([]int32, 2)); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever ends a wait for a board names the peer.
func TestBoardWaitEnds(t *testing.T) {
	cause := errors.New("enough")
	for name, tc := range map[string]struct {
		deed func(g *group, cancel context.CancelCauseFunc)
		want error
	}{
		"the peer leaves":   {func(g *group, _ context.CancelCauseFunc) { g.engines[1].Close(cause); g.endpoints[1].Close() }, transport.ErrPeerClosed},
		"the peer gives up": {func(g *group, _ context.CancelCauseFunc) { g.engines[1].Abort(cause) }, ErrAborted},
		"this rank does":    {func(g *group, _ context.CancelCauseFunc) { g.engines[0].Abort(cause) }, cause},
		"its context ends":  {func(g *group, cancel context.CancelCauseFunc) { cancel(cause) }, cause},
		"another operation": {func(g *group, _ context.CancelCauseFunc) { g.allReduce(g.Context(), 1, plan.Direct, make([]int32, 3)) }, ErrMismatch},
		"another algorithm": {func(g *group, _ context.CancelCauseFunc) { g.allReduce(g.Context(), 1, plan.Ring, make([]int32, 2)) }, ErrMismatch},
	} {
		g := newGroup(t, 2, near)
		ctx, cancel := context.WithCancelCause(t.Context())
		done := g.waiting(ctx, 2)
		tc.deed(g, cancel)
		err := <-done
		cancel(nil)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		var peer *PeerError
		if errors.Is(err, transport.ErrPeerClosed) && (!errors.As(err, &peer) || peer.Rank != 1) {
			t.Errorf("%s: %v does not name rank 1", name, err)
		}
	}
}

// What a peer writes on its board is compared before it counts.
func TestForeignBoard(t *testing.T) {
	for name, spoil := range map[string]func(slot []byte){
		"no header":     func(slot []byte) { clear(slot[boardHeader:boardLow]) },
		"another step":  func(slot []byte) { slot[boardHeader+28]++ },
		"another count": func(slot []byte) { slot[boardHeader+8]++ },
		"another epoch": func(slot []byte) { slot[boardHeader]++ },
	} {
		g := newGroup(t, 2, near)
		done := g.waiting(t.Context(), 2)
		turn := g.engines[0].board.turn
		// What rank 1 would write, spoiled.
		mine := g.engines[0].board.own[boardSlots+int(turn&1)*boardSlot:]
		theirs := g.engines[1].board.own[boardSlots+int(turn&1)*boardSlot:]
		copy(theirs[boardHeader:boardLow], mine[boardHeader:boardLow])
		spoil(theirs)
		atomic.StoreUint64(numberAt(&theirs[0]), turn)
		err := <-done
		var frame *transport.FrameError
		var peer *PeerError
		var mismatch *MismatchError
		switch {
		case errors.As(err, &frame) && errors.As(err, &peer) && peer.Rank == 1 && name != "another count":
		case errors.As(err, &mismatch) && mismatch.Peer == 1 && mismatch.Field == "count" && name == "another count":
		default:
			t.Errorf("%s: %v", name, err)
		}
		if g.engines[0].Err() == nil {
			t.Errorf("%s: the engine goes on", name)
		}
	}
}
