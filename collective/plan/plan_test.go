package plan

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

func TestParseAlgorithm(t *testing.T) {
	for _, a := range append(Algorithms(), Auto) {
		if got, err := ParseAlgorithm(a.String()); got != a || err != nil {
			t.Errorf("%q: got %v, %v", a, got, err)
		}
	}
	for _, name := range []string{"", "Ring", "rings", "hier/ring"} {
		_, err := ParseAlgorithm(name)
		var re *RequestError
		if !errors.As(err, &re) || !strings.Contains(err.Error(), "auto, ring, tree, hd, direct, hier") {
			t.Errorf("%q: got %v, want a *RequestError that lists the names", name, err)
		}
	}
	if got := Algorithm(99).String(); got != "Algorithm(99)" {
		t.Errorf("got %q", got)
	}
}

func FuzzParseAlgorithm(f *testing.F) {
	f.Add("ring")
	f.Add("hier/ring")
	f.Fuzz(func(t *testing.T, name string) {
		a, err := ParseAlgorithm(name)
		if (err == nil) != (a.String() == name) && name != "auto" {
			t.Errorf("%q: got %v, %v", name, a, err)
		}
	})
}

func TestRequestErrors(t *testing.T) {
	p := New(topology.Local(4))
	ok := Request{Collective: schedule.AllReduce, Bytes: 8}
	for _, c := range []struct {
		name   string
		a      Algorithm
		req    Request
		reason string
	}{
		{"no collective", Auto, Request{}, "unknown collective 0"},
		{"unknown collective", Ring, Request{Collective: 7}, "unknown collective 7"},
		{"bytes", Auto, Request{Collective: schedule.AllReduce, Bytes: -1}, "-1 bytes"},
		{"root", Auto, Request{Collective: schedule.Broadcast, Root: 4}, "root 4 of 4 ranks"},
		{"negative root", Tree, Request{Collective: schedule.Reduce, Root: -1}, "root -1 of 4 ranks"},
		{"algorithm", 6, ok, "unknown algorithm 6"},
	} {
		_, err := p.Choose(c.a, c.req)
		var re *RequestError
		if !errors.As(err, &re) || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: got %v, want a *RequestError that says %q", c.name, err, c.reason)
		}
	}
	for _, c := range []struct {
		v      Variant
		req    Request
		reason string
	}{
		{Variant{}, ok, "no schedules for algorithm auto"},
		{Variant{Algorithm: 17}, ok, "no schedules for algorithm Algorithm(17)"},
		{Variant{Algorithm: Hierarchical, Between: Hierarchical}, ok, "algorithm hier between hosts"},
		{Variant{Algorithm: Ring}, Request{Collective: 9}, "unknown collective 9"},
	} {
		_, err := p.Build(c.v, c.req)
		var re *RequestError
		if !errors.As(err, &re) || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("Build %v: got %v, want a *RequestError that says %q", c.v, err, c.reason)
		}
	}
	// A root without meaning is no error.
	if _, err := p.Choose(Ring, Request{Collective: schedule.AllReduce, Root: 99}); err != nil {
		t.Errorf("root of an all-reduce: got %v, want no error", err)
	}
}

func TestVariantCodes(t *testing.T) {
	seen := make(map[uint16]Variant)
	for _, g := range []*topology.Graph{topology.Local(4), hostsOf(t, nil, 2, 2)} {
		for _, c := range schedule.Collectives() {
			for _, v := range New(g).Variants(c) {
				if other, ok := seen[v.Code()]; ok && other != v {
					t.Errorf("%v and %v have code %#x", other, v, v.Code())
				}
				seen[v.Code()] = v
			}
		}
	}
	if len(seen) < 9 {
		t.Errorf("got %d variants, want at least 9", len(seen))
	}
	names := make(map[string]bool)
	for _, v := range seen {
		if names[v.String()] {
			t.Errorf("two variants are called %q", v)
		}
		names[v.String()] = true
	}
}

// TestChooseAgrees lets every rank plan for itself, as ranks in different processes do: all must come to one choice.
func TestChooseAgrees(t *testing.T) {
	t.Parallel()
	const seed = 8
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 30 {
		n := 1 + rng.IntN(40)
		sizes := uneven(n, 8, rng)
		dealt := rng.Uint64()
		var planners []*Planner
		for range 3 {
			planners = append(planners, New(hostsOf(t, rand.New(rand.NewPCG(dealt, 0)), sizes...)))
		}
		for _, c := range schedule.Collectives() {
			req := Request{Collective: c, Root: topology.Rank(rng.IntN(n)), Bytes: int64(math.Exp2(rng.Float64() * 34))}
			var first *Plan
			for _, p := range planners {
				// What a planner did before must not matter.
				if _, err := p.Choose(Auto, Request{Collective: schedule.AllReduce, Bytes: rng.Int64N(1 << 30)}); err != nil {
					t.Fatal(err)
				}
				plan, err := p.Choose(Auto, req)
				if err != nil {
					t.Fatal(err)
				}
				if first == nil {
					first = plan
				}
				if plan.Variant != first.Variant || plan.SliceBytes != first.SliceBytes || printOf(plan.Schedule, schedule.Contract{Collective: c}) != printOf(first.Schedule, schedule.Contract{Collective: c}) {
					t.Errorf("seed %d: %v over %d ranks: got %v and %v", seed, req, n, first.Variant, plan.Variant)
				}
				again, err := p.Choose(Auto, req)
				if err != nil || again.Schedule != plan.Schedule {
					t.Errorf("seed %d: %v: a second call gives another schedule (%v)", seed, req, err)
				}
			}
		}
	}
}

func TestChooseForced(t *testing.T) {
	for _, g := range []*topology.Graph{topology.Local(1), topology.Local(5), hostsOf(t, nil, 3, 1, 4)} {
		p := New(g)
		for _, c := range schedule.Collectives() {
			for _, a := range Algorithms() {
				plan, err := p.Choose(a, Request{Collective: c, Bytes: 1 << 20})
				if err != nil {
					t.Fatal(err)
				}
				chosen := 0
				for i, x := range plan.Candidates {
					if x.Chosen {
						chosen++
						if x.Variant != plan.Variant {
							t.Errorf("%v %v: candidate %v is chosen, the plan is %v", c, a, x.Variant, plan.Variant)
						}
					}
					if !(x.Seconds >= 0) || math.IsInf(x.Seconds, 0) {
						t.Errorf("%v %v: candidate %d, %v, takes %v s", c, a, i, x.Variant, x.Seconds)
					}
				}
				if plan.Variant.Algorithm != a || chosen != 1 || plan.SliceBytes <= 0 || plan.Schedule.Ranks() != g.Size() {
					t.Errorf("%v %v: got %v, %d chosen, slices of %d bytes, %d ranks", c, a, plan.Variant, chosen, plan.SliceBytes, plan.Schedule.Ranks())
				}
			}
		}
	}
}

// TestChooseSensibly holds the model to what is known of the algorithms: few messages for short vectors, few bytes for
// long ones, hosts taken into account, and no all-to-all in a crowd.
func TestChooseSensibly(t *testing.T) {
	uniform := func(hosts, per int) *Planner {
		g, err := topology.Uniform(hosts, per,
			topology.Link{Level: topology.Host, Alpha: 1e-6, Beta: 1e-10}, topology.Link{Level: topology.Rack, Alpha: 2e-5, Beta: 1e-9})
		if err != nil {
			t.Fatal(err)
		}
		return New(g)
	}
	seconds := func(p *Planner, v Variant, bytes int64) float64 {
		return p.model.seconds(v, Request{Collective: schedule.AllReduce, Bytes: bytes})
	}
	p := uniform(64, 1)
	if ring, hd := seconds(p, Variant{Algorithm: Ring}, 8), seconds(p, Variant{Algorithm: HalvingDoubling}, 8); ring <= hd {
		t.Errorf("8 bytes over 64 hosts: ring takes %v, hd %v, want hd faster", Seconds(ring), Seconds(hd))
	}
	p = uniform(8, 8)
	for _, bytes := range []int64{8, 1 << 20, 1 << 30} {
		plan, err := p.Choose(Auto, Request{Collective: schedule.AllReduce, Bytes: bytes})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range plan.Candidates {
			if c.Seconds < plan.Candidates[0].Seconds {
				t.Errorf("%d bytes: %v takes %v, the chosen %v takes %v", bytes, c.Variant, c.Seconds, plan.Variant, plan.Candidates[0].Seconds)
			}
		}
		if bytes == 1<<30 && plan.Variant.Algorithm != Hierarchical {
			t.Errorf("1 GiB over 8 hosts of 8: got %v, want a hierarchy", plan.Variant)
		}
		if plan.Variant.OneShot && bytes > oneShotLimit {
			t.Errorf("%d bytes: got %v above its limit", bytes, plan.Variant)
		}
	}
	p = uniform(512, 8)
	for _, bytes := range []int64{8, 1 << 20} {
		plan, err := p.Choose(Auto, Request{Collective: schedule.AllReduce, Bytes: bytes})
		if err != nil {
			t.Fatal(err)
		}
		if p.crowded(plan.Variant) {
			t.Errorf("%d bytes over 4096 ranks: got %v, which is only for smaller groups", bytes, plan.Variant)
		}
		text := p.Explain(plan)
		if !strings.Contains(text, "only on request") {
			t.Errorf("got %q, want it to say what is only on request", text)
		}
	}
}

// Two ranks of a host do the same by the ring, by halving and doubling, and directly: whoever compares what was chosen with the others measures
// only one of them.
func TestTwoRanksDoTheSame(t *testing.T) {
	p := New(topology.Local(2))
	req := Request{Collective: schedule.AllReduce}
	listing := func(a Algorithm) string {
		s, err := p.Build(Variant{Algorithm: a}, req)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := schedule.Format(&b, s); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	ring := listing(Ring)
	if got := listing(HalvingDoubling); got != ring {
		t.Errorf("hd:\n%s\nring:\n%s", got, ring)
	}
	var b strings.Builder
	if err := schedule.Format(&b, newDirect(schedule.AllReduce, 0, 2, false, false)); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != ring {
		t.Errorf("direct in one channel:\n%s\nring:\n%s", got, ring)
	}
	if listing(Tree) == ring {
		t.Error("the tree does the same as the ring")
	}
}

// Inside a host, results of a direct all-reduce have a channel of their own, of two ranks as of more, and where ring and halving-doubling cost
// the same that one is chosen. Whoever asks for another gets it, and whatever else two ranks do has one channel.
func TestChannelForResults(t *testing.T) {
	apart, err := topology.Uniform(2, 1,
		topology.Link{Level: topology.Host, Alpha: 1e-6, Beta: 1e-10}, topology.Link{Level: topology.Rack, Alpha: 2e-5, Beta: 1e-9})
	if err != nil {
		t.Fatal(err)
	}
	for _, bytes := range []int64{64 << 10, 1<<20 + 4, 64 << 20, 256 << 20} {
		for _, row := range []struct {
			g        *topology.Graph
			coll     schedule.Collective
			ask      Algorithm
			want     Algorithm
			channels int
		}{
			{topology.Local(2), schedule.AllReduce, Auto, Direct, 2},
			{topology.Local(2), schedule.AllReduce, Direct, Direct, 2},
			{topology.Local(2), schedule.AllReduce, Ring, Ring, 1},
			{topology.Local(2), schedule.AllReduce, HalvingDoubling, HalvingDoubling, 1},
			{topology.Local(2), schedule.ReduceScatter, Auto, Ring, 1},
			{topology.Local(2), schedule.AllGather, Auto, Ring, 1},
			{topology.Local(64), schedule.AllReduce, Direct, Direct, 2},
			{topology.Local(65), schedule.AllReduce, Direct, Direct, 1},
			{apart, schedule.AllReduce, Auto, Ring, 1},
			{apart, schedule.AllReduce, Direct, Direct, 1},
		} {
			p, err := New(row.g).Choose(row.ask, Request{Collective: row.coll, Bytes: bytes})
			if err != nil {
				t.Fatal(err)
			}
			if p.Variant != (Variant{Algorithm: row.want}) || p.Schedule.Channels() != row.channels {
				t.Errorf("%v of %d bytes over %d ranks on %d hosts, asked for %v: %v on %d channels, want %v on %d",
					row.coll, bytes, row.g.Size(), row.g.Hosts(), row.ask, p.Variant, p.Schedule.Channels(), row.want, row.channels)
			}
		}
	}
}

// A schedule is asked for its operations again and again: that must not make garbage.
func TestAtAllocates(t *testing.T) {
	for _, g := range []*topology.Graph{topology.Local(7), hostsOf(t, nil, 3, 1, 4, 2)} {
		p := New(g)
		for _, c := range schedule.Collectives() {
			for _, v := range p.Variants(c) {
				s, err := p.Build(v, Request{Collective: c, Root: 1})
				if err != nil {
					t.Fatal(err)
				}
				// The runtime allocates now and then for itself; At would do so in every run.
				if got := testing.AllocsPerRun(20, func() {
					for r := range topology.Rank(s.Ranks()) {
						for l := range schedule.Lane(2 * s.Channels()) {
							for i := 0; ; i++ {
								if _, ok := s.At(r, l, i); !ok {
									break
								}
							}
						}
					}
				}); got != 0 {
					t.Errorf("%v %v on %d hosts: got %v allocations, want 0", c, v, g.Hosts(), got)
				}
			}
		}
	}
}

func TestSchedulesAreKept(t *testing.T) {
	p := New(topology.Local(3))
	for root := range 3 * maxSchedules {
		if _, err := p.Build(Variant{Algorithm: Ring}, Request{Collective: schedule.Broadcast, Root: topology.Rank(root % 3)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(p.schedules); got != 3 {
		t.Errorf("got %d schedules, want 3", got)
	}
	p = New(topology.Local(maxSchedules + 10))
	for root := range maxSchedules + 10 {
		if _, err := p.Build(Variant{Algorithm: Ring}, Request{Collective: schedule.Broadcast, Root: topology.Rank(root)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(p.schedules); got > maxSchedules {
		t.Errorf("got %d schedules, want at most %d", got, maxSchedules)
	}
	if p.Graph().Size() != maxSchedules+10 {
		t.Errorf("got a graph of %d ranks", p.Graph().Size())
	}
}

func TestUnits(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Bytes(0), "0 B"}, {Bytes(1023), "1023 B"}, {Bytes(1536), "1.5 KiB"}, {Bytes(3 << 20), "3 MiB"}, {Bytes(5 << 30), "5 GiB"},
		{Seconds(2), "2 s"}, {Seconds(0.0125), "12.5 ms"}, {Seconds(42e-6), "42 µs"}, {Seconds(3e-9), "3 ns"}, {Seconds(0), "0 ns"},
		{rate(0), "no limit"}, {rate(1e-10), "10 GB/s"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func BenchmarkAt(b *testing.B) {
	g, err := topology.Uniform(512, 8, topology.Link{Level: topology.Host, Alpha: 1e-6}, topology.Link{Level: topology.Rack, Alpha: 1e-5})
	if err != nil {
		b.Fatal(err)
	}
	p := New(g)
	for _, v := range p.Variants(schedule.AllReduce) {
		b.Run(strings.ReplaceAll(v.String(), " ", "-"), func(b *testing.B) {
			s, err := p.Build(v, Request{Collective: schedule.AllReduce})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			i, n := 0, 0
			for b.Loop() {
				for l := range schedule.Lane(2) {
					if _, ok := s.At(100, l, i); !ok {
						i = -1
					}
				}
				i++
				n += 2
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/at")
		})
	}
}

func BenchmarkVerify64(b *testing.B) {
	for _, g := range []*topology.Graph{topology.Local(64), hostsOf(b, nil, 8, 8, 8, 8, 8, 8, 8, 8)} {
		p := New(g)
		for _, v := range p.Variants(schedule.AllReduce) {
			b.Run(fmt.Sprintf("%v/hosts-%d", strings.ReplaceAll(v.String(), " ", "-"), g.Hosts()), func(b *testing.B) {
				s, err := p.Build(v, Request{Collective: schedule.AllReduce})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					if err := schedule.Verify(s, schedule.Contract{Collective: schedule.AllReduce}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
