package mem

import (
	"testing"
	"unsafe"

	"github.com/ringtree/ringtree/transport"
)

// 65,536 ranks with six links each must fit into one process.
func TestFootprint(t *testing.T) {
	const budget = 1920
	if got := unsafe.Sizeof(pair{}) + 2*unsafe.Sizeof([window]transport.Frame{}); got > budget {
		t.Errorf("a link with both rings takes %d bytes, want at most %d", got, budget)
	}
	if unsafe.Sizeof(uintptr(0)) == 8 {
		var l link
		for name, off := range map[string]uintptr{"posted": unsafe.Offsetof(l.posted), "released": unsafe.Offsetof(l.released), "held": unsafe.Offsetof(l.held), "all": unsafe.Sizeof(l)} {
			if off%64 != 0 {
				t.Errorf("%s at %d, want its own cache line", name, off)
			}
		}
	}
}

// A network keeps nothing of what has closed, and no half-open link once both ends are attached.
func TestNothingLeft(t *testing.T) {
	n := New()
	var eps [3]*endpoint
	for rank := range eps {
		ep, err := n.Listen(t.Context(), "g", rank, transport.NewBell())
		if err != nil {
			t.Fatal(err)
		}
		eps[rank] = ep.(*endpoint)
	}
	open := func(a, b int, comm uint64) transport.Link {
		l, err := eps[a].Open(transport.Peer{Rank: b, Addr: eps[b].Addr()}, transport.LinkID{Comm: comm})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	links := []transport.Link{open(0, 1, 1), open(1, 0, 1)}
	if got := len(eps[0].pending) + len(eps[1].pending); got != 0 {
		t.Errorf("%d half-open links after both ends were opened, want 0", got)
	}
	for _, l := range links {
		l.Close()
	}
	open(0, 2, 1)
	if got := len(eps[2].pending); got != 1 {
		t.Errorf("%d half-open links, want 1", got)
	}
	if got := len(eps[0].links) + len(eps[1].links); got != 1 {
		t.Errorf("%d open ends, want 1", got)
	}
	for _, ep := range eps {
		if err := ep.Close(); err != nil {
			t.Fatal(err)
		}
		if ep.links != nil || ep.pending != nil {
			t.Errorf("rank %d: a closed endpoint keeps links", ep.key.rank)
		}
	}
	if len(n.ranks) != 0 {
		t.Errorf("a network keeps %d closed endpoints", len(n.ranks))
	}
}
