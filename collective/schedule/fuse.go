package schedule

import "github.com/ringtree/ringtree/topology"

// Fuse returns how many operations from index first of the lane form one unit, and whether they are one joint
// n-ary reduction. The width is 0 past the end of the lane.
//
// Operations join when they are of one kind, cover as many chunks, wait for the same operation and speak to
// different peers; reductions only when they also have the same source and destination. A unit advances slice by
// slice over all its members. That is what keeps all-to-all patterns free of deadlock when a link holds a
// single slice: nobody insists on the second slice of one peer before the first of another.
func Fuse(s Schedule, r topology.Rank, l Lane, first int) (width int, joint bool) {
	a, ok := s.At(r, l, first)
	if !ok {
		return 0, false
	}
	if a.Kind == Copy {
		return 1, false
	}
	var room [16]topology.Rank
	peers := append(room[:0], a.Peer)
	var seen map[topology.Rank]bool // once a linear search would be slow
next:
	for {
		b, ok := s.At(r, l, first+len(peers))
		if !ok || b.Kind != a.Kind || b.N != a.N || b.After != a.After || b.Eager != a.Eager || b.Final != a.Final {
			break
		}
		if a.Kind == RecvReduce && (a.Src != b.Src || a.Dst != b.Dst) {
			break
		}
		if len(peers) < 64 {
			for _, p := range peers {
				if p == b.Peer {
					break next
				}
			}
		} else {
			if seen == nil {
				seen = make(map[topology.Rank]bool)
				for _, p := range peers {
					seen[p] = true
				}
			}
			if seen[b.Peer] {
				break
			}
			seen[b.Peer] = true
		}
		peers = append(peers, b.Peer)
	}
	return len(peers), a.Kind == RecvReduce
}

// streams reports whether op, which waits for dep, may follow it slice by slice: both cover the same chunks.
func streams(op, dep *Op) bool {
	if op.N != dep.N {
		return false
	}
	touches := func(o *Op, index int) bool {
		return o.reads() && o.Src.Index() == index || o.writes() && o.Dst.Index() == index
	}
	if op.reads() && !touches(dep, op.Src.Index()) {
		return false
	}
	return !op.writes() || touches(dep, op.Dst.Index())
}
