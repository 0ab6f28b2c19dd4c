package collective_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/simnet"
)

// A sent is a message as both the engine and the simulator know it.
type sent struct {
	to    int
	step  int // operation in the lane
	slice int
	bytes int64
}

// A tape has what every rank sent on every channel, in order.
type tape struct {
	mu  sync.Mutex
	all map[[2]int][]sent // by rank and channel
}

func (t *tape) add(rank, channel int, s sent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := [2]int{rank, channel}
	t.all[key] = append(t.all[key], s)
}

// reset starts a new tape and returns the old one.
func (t *tape) reset() map[[2]int][]sent {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.all
	t.all = make(map[[2]int][]sent)
	return old
}

// taped is a network whose links write down the data that is posted.
type taped struct {
	inProcess
	tape *tape
}

func (n taped) Listen(ctx context.Context, group string, rank int, bell transport.Bell) (transport.Endpoint, error) {
	ep, err := n.inProcess.Listen(ctx, group, rank, bell)
	return tapedEndpoint{ep, n.tape, rank}, err
}

type tapedEndpoint struct {
	transport.Endpoint
	tape *tape
	rank int
}

func (e tapedEndpoint) Open(peer transport.Peer, id transport.LinkID) (transport.Link, error) {
	l, err := e.Endpoint.Open(peer, id)
	if err != nil {
		return nil, err
	}
	return tapedLink{l, e.tape, e.rank, peer.Rank, int(id.Channel)}, nil
}

type tapedLink struct {
	transport.Link
	tape          *tape
	rank, to, chn int
}

func (l tapedLink) Post(h *transport.Header, payload []byte) (bool, error) {
	ok, err := l.Link.Post(h, payload)
	if ok && h.Kind == transport.Data && l.chn < 1<<15 { // above are links on which nothing of a schedule goes
		l.tape.add(l.rank, l.chn, sent{l.to, int(h.Step), int(h.Slice), int64(len(payload))})
	}
	return ok, err
}

// What the engine sends over links without contention, and when each rank has ended, is what the simulator says of the same
// schedule: the same messages in the same order, and the same times, to the tick.
func TestEngineDoesWhatIsSimulated(t *testing.T) {
	const delay = 50 * time.Microsecond
	for _, n := range short(2, 4, 7, 2, 3, 16) {
		for _, a := range plan.Algorithms() {
			for _, hosts := range []int{1, 3} {
				if hosts > n || a != plan.Hierarchical && hosts > 1 {
					continue
				}
				t.Run(fmt.Sprintf("%v/%d on %d", a, n, hosts), func(t *testing.T) { twins(t, n, hosts, a, delay) })
			}
		}
	}
}

func twins(t *testing.T, n, hosts int, a plan.Algorithm, delay time.Duration) {
	log := &tape{all: make(map[[2]int][]sent)}
	path := simnet.Path{Delay: delay, BytesPerSecond: 1e9} // a byte a nanosecond
	wrap := func(net *simnet.Network) transport.Transport { return taped{inProcess{net}, log} }
	bubbleOver(t, layout{ranks: n, hosts: hosts, algorithm: a}, path, wrap, func(t *testing.T, w world) {
		g := w.comms[0].Topology()
		// Before the first small operation of a host's ranks they show each other memory, once.
		each(t, w.comms, func(ctx context.Context, c *collective.Comm) error {
			return collective.AllReduce(ctx, c, make([]float32, 1), buffer.Sum)
		})
		for _, coll := range []schedule.Collective{schedule.AllReduce, schedule.ReduceScatter, schedule.AllGather, schedule.Broadcast, schedule.Reduce} {
			for _, count := range short(2, 1000, 300_000, 5, 0) {
				if n > 7 {
					count /= 8 // virtual time costs nothing, but the data is real
				}
				if coll.ByRank() {
					count -= count % n
				}
				root := 0
				if coll.Rooted() {
					root = n - 1
				}
				operation := func(ctx context.Context, c *collective.Comm) error {
					data := make([]float32, count)
					part := make([]float32, count/n)
					switch coll {
					case schedule.AllReduce:
						return collective.AllReduce(ctx, c, data, buffer.Sum)
					case schedule.ReduceScatter:
						return collective.ReduceScatter(ctx, c, part, data, buffer.Sum)
					case schedule.AllGather:
						return collective.AllGather(ctx, c, data, part)
					case schedule.Broadcast:
						return collective.Broadcast(ctx, c, data, root)
					}
					return collective.Reduce(ctx, c, data, data, buffer.Sum, root)
				}
				p, err := plan.New(g).Choose(a, plan.Request{Collective: coll, Root: topology.Rank(root), Bytes: int64(4 * count)})
				if err != nil {
					t.Fatal(err)
				}
				// Ranks of the last operation end at different times; a barrier would leave its own times behind.
				each(t, w.comms, func(ctx context.Context, c *collective.Comm) error {
					<-time.After(time.Second)
					return nil
				})
				log.reset()
				took := make([]time.Duration, n)
				each(t, w.comms, func(ctx context.Context, c *collective.Comm) error {
					began := time.Now()
					err := operation(ctx, c)
					took[c.Rank()] = time.Since(began)
					return err
				})
				name := fmt.Sprintf("%v of %d elements by %v", coll, count, p.Variant)
				want := schedule.Contract{Collective: coll}
				if coll.Rooted() {
					want.Root = topology.Rank(root)
				}
				compareTwins(t, name, g, p, want, int64(4*count), delay, log.reset(), took)
			}
		}
	})
}

// compareTwins simulates a plan and compares.
func compareTwins(t *testing.T, name string, g *topology.Graph, p *plan.Plan, want schedule.Contract, bytes int64, delay time.Duration, got map[[2]int][]sent, took []time.Duration) {
	t.Helper()
	free, err := topology.New(topology.Spec{
		Shape: topology.Shape{Ranks: g.Size()}, Tiers: []topology.Link{{Level: topology.Device}, {Level: topology.Host}}, // copies and reductions take no time
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := sim.Run(free, p.Schedule, bytes, sim.For(want), sim.At(sim.Messages), sim.Queue(sim.PairWires), sim.Slices(int64(p.SliceBytes)), sim.Record(1<<20),
		sim.Costs(func(topology.Link) sim.Cost {
			return sim.Cost{Latency: sim.Time(delay.Nanoseconds()) * sim.Nanosecond, PerByte: sim.RateOf(1000)}
		}))
	if err != nil {
		t.Fatal(err)
	}
	simulated := make(map[[2]int][]sent)
	for m := range r.Recorded() {
		key := [2]int{int(m.From), int(m.Lane.Channel())}
		simulated[key] = append(simulated[key], sent{int(m.To), m.Index, m.Slice, m.Bytes})
	}
	for key, list := range simulated {
		if !slices.Equal(list, got[key]) {
			t.Errorf("%s: rank %d sends on channel %d\n%v, simulated\n%v", name, key[0], key[1], got[key], list)
			return
		}
	}
	if len(simulated) != len(got) {
		t.Errorf("%s: %d lanes have sent, %d simulated", name, len(got), len(simulated))
	}
	for rank, at := range r.Finish {
		if at != sim.Time(took[rank].Nanoseconds())*sim.Nanosecond {
			t.Errorf("%s: rank %d takes %v, simulated %v", name, rank, took[rank], at)
		}
	}
}
