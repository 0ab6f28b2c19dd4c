package plan

import "github.com/ringtree/ringtree/topology"

// An order is a sequence of ranks: who sits where on a ring or in a tree. The zero order of n ranks is 0..n-1.
type order struct {
	ranks []topology.Rank // nil: identity
	pos   []int32
}

// newOrder returns the order in which position p holds ranks[p]; the ranks must be a permutation.
func newOrder(ranks []topology.Rank) order {
	identity := true
	for p, r := range ranks {
		identity = identity && int(r) == p
	}
	if identity {
		return order{}
	}
	o := order{ranks: ranks, pos: make([]int32, len(ranks))}
	for p, r := range ranks {
		o.pos[r] = int32(p)
	}
	return o
}

func (o order) rank(p int) topology.Rank {
	if o.ranks == nil {
		return topology.Rank(p)
	}
	return o.ranks[p]
}

func (o order) position(r topology.Rank) int {
	if o.ranks == nil {
		return int(r)
	}
	return int(o.pos[r])
}

// mod returns a mod n in 0..n-1.
func mod(a, n int) int {
	if a %= n; a < 0 {
		a += n
	}
	return a
}
