package sim

import (
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// partRanks is how many ranks are worth a goroutine of their own, while a schedule is read.
const partRanks = 256

// partsOf returns into how many parts so many things are cut, for all processors, each of at least so many.
func partsOf(n, least int) int { return max(min(runtime.GOMAXPROCS(0), n/least), 1) }

// inParts runs f for parts 0 to parts-1 at once. What it does must not depend on how many those are.
func inParts(parts int, f func(part int)) {
	var all sync.WaitGroup
	for part := 1; part < parts; part++ {
		all.Go(func() { f(part) })
	}
	f(0)
	all.Wait()
}

// read reads a schedule.
func read(s schedule.Schedule, limit int64) (*schedule.Fleet, error) {
	parts := partsOf(s.Ranks(), partRanks)
	r := schedule.NewFleetReader(s, schedule.Slicing{}, limit, parts)
	inParts(parts, r.Read)
	return r.Fleet()
}

// A linkPart is the links of the entries of ranks lo to hi-1, numbered as they come.
type linkPart struct {
	lo, hi int32
	links  []topology.Link
	number map[topology.Link]uint8
	many   bool // more than a class can number
}

// classify finds the class of the link of every entry of a fleet.
func (m *Simulation) classify(f *schedule.Fleet) ([]uint8, error) {
	class := make([]uint8, f.Entries())
	n := f.Ranks()
	found := make([]linkPart, partsOf(n, partRanks))
	inParts(len(found), func(i int) {
		p := &found[i]
		p.lo, p.hi, p.number = int32(i*n/len(found)), int32((i+1)*n/len(found)), make(map[topology.Link]uint8)
		m.links(f, class, p)
	})
	for i := range found {
		p := &found[i]
		of, same, err := m.model.number(p)
		if err != nil {
			return nil, err
		}
		if !same {
			entries(f, p.lo, p.hi, func(e uint32, _, _ topology.Rank) bool {
				class[e] = of[class[e]]
				return true
			})
		}
	}
	return class, nil
}

// number returns the classes of the links of a part, and whether they are numbered as those are.
func (m *model) number(p *linkPart) (of [maxClasses]uint8, same bool, err error) {
	if p.many {
		return of, false, errClasses
	}
	same = true
	for k, l := range p.links {
		if of[k], err = m.class(l); err != nil {
			return of, false, err
		}
		same = same && int(of[k]) == k
	}
	return of, same, nil
}

// links finds the links of a part.
func (m *Simulation) links(f *schedule.Fleet, class []uint8, p *linkPart) {
	last := uint8(0)
	entries(f, p.lo, p.hi, func(e uint32, from, to topology.Rank) bool {
		l := m.g.Link(from, to)
		if len(p.links) == 0 || p.links[last] != l {
			if last = p.find(l); p.many {
				return false
			}
		}
		class[e] = last
		return true
	})
}

// find returns the number of a link, a new one if it is new.
func (p *linkPart) find(l topology.Link) uint8 {
	k := slices.Index(p.links[:min(len(p.links), 8)], l) // sooner than a hash
	if k < 0 {
		n, known := p.number[l]
		if k = int(n); !known {
			if p.many = len(p.links) == maxClasses; p.many {
				return 0
			}
			k = len(p.links)
			p.links = append(p.links, l)
			p.number[l] = uint8(k)
		}
	}
	return uint8(k)
}

// entries calls yield for the entries of ranks lo to hi-1 that send or receive, with the link's ends, until it returns false.
func entries(f *schedule.Fleet, lo, hi int32, yield func(e uint32, from, to topology.Rank) bool) {
	for r := lo; r < hi; r++ {
		for l := range schedule.Lane(f.Lanes()) {
			lc, base := f.Lane(r, l)
			for i := range lc.Codes {
				if lc.Codes[i].Kind == schedule.Copy {
					continue
				}
				e := base + uint32(i)
				from, to := f.Of(r), topology.Rank(f.Peer(e))
				if l.In() {
					from, to = to, from
				}
				if !yield(e, from, to) {
					return
				}
			}
		}
	}
}

// maxClasses is how many classes of links there can be.
const maxClasses = 256

var errClasses = &ModelError{fmt.Sprintf("more than %d different links", maxClasses)}
