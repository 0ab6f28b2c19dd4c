package plan

import (
	"fmt"
	"math/rand/v2"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// A twin runs a schedule the dumb way: whole operations, in an order drawn by lot, on values that count each rank's
// contributions in four bits, so for up to 16 ranks. It shares nothing with Verify but Fuse. It proves nothing when a run
// goes well; when one goes wrong, the schedule is wrong.
type twin struct {
	s       schedule.Schedule
	want    schedule.Contract
	inPlace bool
	rng     *rand.Rand
	mem     [][]uint64 // by rank: output, then input
	chunks  int
	started [][]int // by rank and lane
	done    [][]int
	taken   map[[3]int]bool // rank, lane, index of sends that are over
	links   map[[3]int]*parcel
}

type parcel struct {
	index int
	vals  []uint64 // as they were when the send started; nil: they are read when they are taken
	op    schedule.Op
	from  int
}

const garbage = 0xdead_dead_dead_dead

func newTwin(s schedule.Schedule, want schedule.Contract, inPlace bool, rng *rand.Rand) *twin {
	t := &twin{s: s, want: want, inPlace: inPlace, rng: rng, chunks: s.Layout().Chunks(), taken: make(map[[3]int]bool), links: make(map[[3]int]*parcel)}
	for r := range s.Ranks() {
		t.mem = append(t.mem, make([]uint64, 2*t.chunks))
		t.started = append(t.started, make([]int, 2*s.Channels()))
		t.done = append(t.done, make([]int, 2*s.Channels()))
		for i := range t.mem[r] {
			t.mem[r][i] = garbage
		}
		for c := range t.chunks {
			if want.HasInput(topology.Rank(r), c/s.Layout().Pieces) {
				*t.at(r, schedule.Input(c), 0) = 1 << (4 * r)
			}
		}
	}
	return t
}

func (t *twin) at(r int, c schedule.Chunk, k int) *uint64 {
	i := c.Index() + k
	if !c.IsOutput() && !(t.inPlace && t.want.HasOutput(topology.Rank(r), i/t.s.Layout().Pieces)) {
		i += t.chunks
	}
	return &t.mem[r][i]
}

func (t *twin) total(block int) (sum uint64) {
	for r := range t.s.Ranks() {
		if t.want.HasInput(topology.Rank(r), block) {
			sum += 1 << (4 * r)
		}
	}
	return sum
}

// run returns what went wrong, or nil.
func (t *twin) run() error {
	lanes := 2 * t.s.Channels()
	threads := t.rng.Perm(t.s.Ranks() * lanes)
	for moved := true; moved; {
		moved = false
		t.rng.Shuffle(len(threads), func(i, j int) { threads[i], threads[j] = threads[j], threads[i] })
		for _, id := range threads {
			ok, err := t.step(id/lanes, schedule.Lane(id%lanes))
			if err != nil {
				return err
			}
			moved = moved || ok
		}
	}
	for r := range t.s.Ranks() {
		for l := range lanes {
			if _, ok := t.s.At(topology.Rank(r), schedule.Lane(l), t.started[r][l]); ok {
				return fmt.Errorf("rank %d %v stops at op %d", r, schedule.Lane(l), t.started[r][l])
			}
		}
		for c := range t.chunks {
			b := c / t.s.Layout().Pieces
			if got, want := *t.at(r, schedule.Output(c), 0), t.total(b); t.want.HasOutput(topology.Rank(r), b) && got != want {
				return fmt.Errorf("rank %d chunk %d: got %x, want %x", r, c, got, want)
			}
		}
	}
	return nil
}

func (t *twin) step(r int, l schedule.Lane) (bool, error) {
	i := t.started[r][l]
	op, ok := t.s.At(topology.Rank(r), l, i)
	if !ok {
		return false, nil
	}
	if dl, di, ok := op.After.Get(); ok && t.done[r][dl] < t.end(r, dl, di, op) {
		return false, nil
	}
	switch op.Kind {
	case schedule.Send:
		key := [3]int{r, int(op.Peer), int(l.Channel())}
		if t.links[key] != nil {
			return false, nil
		}
		p := &parcel{index: i, op: op, from: r}
		if op.Eager || t.rng.IntN(2) == 0 {
			p.vals = t.load(r, op)
		}
		t.links[key] = p
		t.taken[[3]int{r, int(l), i}] = op.Eager
	case schedule.Copy:
		for k := range int(op.N) {
			*t.at(r, op.Dst, k) = *t.at(r, op.Src, k)
		}
		t.taken[[3]int{r, int(l), i}] = true
	default:
		return t.receive(r, l, i, op)
	}
	t.started[r][l]++
	t.settle(r, l)
	return true, nil
}

// end returns how many operations of a lane must be over when op waits for operation i: its unit moves as one, but for a
// plain receive that covers what op covers, which op may follow slice by slice.
func (t *twin) end(r int, l schedule.Lane, i int, op schedule.Op) int {
	first, width, joint := 0, 0, false
	for first+width <= i {
		first += width
		width, joint = schedule.Fuse(t.s, topology.Rank(r), l, first)
	}
	on, _ := t.s.At(topology.Rank(r), l, i)
	if !joint && on.N == op.N && chunkOf(&on) == chunkOf(&op) {
		return i + 1
	}
	return first + width
}

func (t *twin) load(r int, op schedule.Op) []uint64 {
	vals := make([]uint64, op.N)
	for k := range vals {
		vals[k] = *t.at(r, op.Src, k)
	}
	return vals
}

func (t *twin) settle(r int, l schedule.Lane) {
	for t.taken[[3]int{r, int(l), t.done[r][l]}] {
		t.done[r][l]++
	}
}

func (t *twin) receive(r int, l schedule.Lane, i int, op schedule.Op) (bool, error) {
	width, _ := schedule.Fuse(t.s, topology.Rank(r), l, i)
	if op.Kind == schedule.Recv {
		width = 1
	}
	var parcels []*parcel
	for j := range width {
		member, _ := t.s.At(topology.Rank(r), l, i+j)
		p := t.links[[3]int{int(member.Peer), r, int(l.Channel())}]
		if p == nil {
			return false, nil
		}
		parcels = append(parcels, p)
	}
	sum := make([]uint64, op.N)
	for _, p := range parcels {
		if p.vals == nil {
			p.vals = t.load(p.from, p.op)
		}
		for k := range sum {
			if p.op.N != op.N {
				return false, fmt.Errorf("rank %d %v op %d: got %d chunks, want %d", r, l, i, p.op.N, op.N)
			}
			sum[k] += p.vals[k]
		}
	}
	for k := range sum {
		if op.Kind == schedule.RecvReduce {
			sum[k] += *t.at(r, op.Src, k)
			if done := sum[k] == t.total((op.Dst.Index()+k)/t.s.Layout().Pieces); done != op.Final {
				return false, fmt.Errorf("rank %d %v op %d: complete %v, Final %v", r, l, i, done, op.Final)
			}
		}
	}
	for k := range sum {
		*t.at(r, op.Dst, k) = sum[k]
	}
	for j := range width {
		t.taken[[3]int{r, int(l), i + j}] = true
	}
	t.started[r][l] += width
	t.settle(r, l)
	for _, p := range parcels {
		delete(t.links, [3]int{p.from, r, int(l.Channel())})
		t.taken[[3]int{p.from, int(l.Opposite()), p.index}] = true
		t.settle(p.from, l.Opposite())
	}
	return true, nil
}

// breaks returns what goes wrong in one of some runs, in place and not.
func breaks(s schedule.Schedule, want schedule.Contract, rng *rand.Rand, runs int) error {
	for k := range runs {
		if err := newTwin(s, want, k%2 == 0, rng).run(); err != nil {
			return err
		}
	}
	return nil
}
