package sim

import "github.com/ringtree/ringtree/collective/schedule"

// foldUneven is up to how many steps classes are looked for where chunks differ in length: every operation is asked for then.
const foldUneven = 1 << 24

// fold returns the classes of ranks that cannot be told apart: those that have one program, and operation by operation the
// same cost of links and sizes, and peers of the same class. It is the coarsest such partition, by colour refinement: ranks
// are coloured by what they are, then again and again by the colours of their peers, until that splits no more. ok is
// false when there would be more than limit classes.
//
// What one member of a class does at a time all do at that time, so a fleet of one member each takes exactly as long; but for messages that
// ask first, which are granted by number, and wires of pairs, of which classes have fewer.
func fold(f *schedule.Fleet, class []uint8, size *sizes, limit int) (of []int32, classes int, ok bool) {
	n := f.Ranks()
	if size.chunk < 0 && f.Steps() > foldUneven {
		return nil, 0, false
	}
	first := make([]uint32, n+1)
	for r := range n {
		_, first[r] = f.Lane(int32(r), 0)
	}
	first[n] = uint32(f.Entries())
	colour, next := make([]uint64, n), make([]uint64, n)
	for r := range n {
		h := mix(uint64(f.Program(int32(r))))
		for e := first[r]; e < first[r+1]; e++ {
			h = (h ^ uint64(class[e])) * 0xff51afd7ed558ccd
			h ^= h >> 29
		}
		if size.chunk < 0 {
			for l := range schedule.Lane(f.Lanes()) {
				lc, base := f.Lane(int32(r), l)
				for i := range lc.Codes {
					c := &lc.Codes[i]
					for k := range c.Count {
						h = mix(h ^ uint64(size.elements(f, int32(r), l, c, base+uint32(i), k)))
					}
				}
			}
		}
		colour[r] = h
	}
	number := make(map[uint64]int32)
	count := func(c []uint64) int {
		clear(number)
		for _, x := range c {
			if _, ok := number[x]; !ok {
				number[x] = int32(len(number))
			}
			if len(number) > limit {
				break
			}
		}
		return len(number)
	}
	for classes = count(colour); classes <= limit; {
		for r := range n {
			h := colour[r]
			for e := first[r]; e < first[r+1]; e++ {
				h = (h ^ colour[f.Peer(e)]) * 0xff51afd7ed558ccd
				h ^= h >> 31
			}
			next[r] = h
		}
		colour, next = next, colour
		now := count(colour)
		if now == classes {
			break
		}
		classes = now
	}
	if classes > limit {
		return nil, 0, false
	}
	of = make([]int32, n)
	lead := make([]int32, 0, classes)
	for r, x := range colour {
		of[r] = number[x]
		if int(of[r]) == len(lead) {
			lead = append(lead, int32(r))
		}
	}
	// Colours are hashes; what follows is not.
	for r := range n {
		q := lead[of[r]]
		if f.Program(int32(r)) != f.Program(q) {
			return nil, 0, false
		}
		d := first[q] - first[r]
		for e := first[r]; e < first[r+1]; e++ {
			if class[e] != class[e+d] || of[f.Peer(e)] != of[f.Peer(e+d)] {
				return nil, 0, false
			}
		}
	}
	return of, classes, true
}
