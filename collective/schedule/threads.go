package schedule

import "github.com/ringtree/ringtree/topology"

// A thread is one lane of one rank.
type thread struct {
	base    vector
	queued  bool
	ops     []entry
	links   []int32 // by operation
	begins  []int32 // by operation: steps of the thread before its unit; shared by a unit's members
	wakes   []int32 // threads of the rank that wait for this one's operations
	count   uint16
	settled int          // steps that the machine knows to be complete
	ended   []completion // by step
	known   []vector     // by step: what its completion and all before it tell; filled on demand, for sends only
}

// A completion is when the memory of a step is free again: for a send by reference, when the peer has taken it.
type completion struct {
	stamp stamp
	over  bool
}

// connect makes the machines, threads, links and clocks.
func (v *run) connect() {
	type pair struct{ a, b int32 }
	var linked []pair
	toward := make([]int32, v.n) // by peer: the link of the thread at hand + 1
	var peers []topology.Rank
	for r, p := range v.table.programs {
		v.machines[r].Reset(p, topology.Rank(r), Slicing{Chunk: int64(v.slices), Slice: 1})
		for l := range v.lanes {
			id := v.thread(r, Lane(l))
			t := &v.threads[id]
			t.ops = p.lanes[l]
			t.links, t.begins = make([]int32, len(t.ops)), make([]int32, len(t.ops))
			steps, begins := 0, 0
			for i := range t.ops {
				e := &t.ops[i]
				if e.width > 0 {
					begins = steps
					per := int(e.width)
					if e.joint {
						per = 1
					}
					steps += per * v.machines[r].slicing.Count(e.op.N)
				}
				t.begins[i] = int32(begins)
				if dl, _, ok := e.op.After.Get(); ok && int(dl) != l {
					on := v.thread(r, dl)
					if w := v.threads[on].wakes; len(w) == 0 || w[len(w)-1] != id {
						v.threads[on].wakes = append(w, id)
						linked = append(linked, pair{id, on})
					}
				}
				if e.op.Kind == Send {
					if toward[e.op.Peer] == 0 {
						v.links = append(v.links, message{})
						toward[e.op.Peer] = int32(len(v.links))
						peers = append(peers, e.op.Peer)
						linked = append(linked, pair{id, v.thread(int(e.op.Peer), Lane(l).Opposite())})
					}
					t.links[i] = toward[e.op.Peer] - 1
				}
			}
			t.ended = make([]completion, 0, min(steps, maxSteps))
			for _, q := range peers {
				toward[q] = 0
			}
			peers = peers[:0]
		}
	}
	for r := range v.n {
		for l := 1; l < v.lanes; l += 2 {
			t := &v.threads[v.thread(r, Lane(l))]
			for i := range t.ops {
				if op := &t.ops[i].op; op.Kind != Copy {
					t.links[i] = v.threads[v.thread(int(op.Peer), Lane(l).Opposite())].links[op.Match]
				}
			}
		}
	}
	v.clocks = newClocks(len(v.threads), func(yield func(a, b int32)) {
		for _, p := range linked {
			yield(p.a, p.b)
		}
	})
}
