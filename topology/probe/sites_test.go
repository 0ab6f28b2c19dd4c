package probe

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringtree/ringtree/topology"
)

// apartReport returns a report on hosts whose sites and costs are known: near between hosts of one site, else as far says.
func apartReport(site []int, near float64, far func(a, b int) float64, noise func() float64) *Report {
	r := new(Report)
	for i := range site {
		for j := range site {
			if i == j {
				continue
			}
			p := topology.Path{From: fmt.Sprintf("s%d", i), To: fmt.Sprintf("s%d", j), Alpha: near * noise(), Beta: 1e-9 * noise()}
			if site[i] != site[j] {
				p.Alpha = far(site[i], site[j]) * noise()
			}
			r.Paths = append(r.Paths, PathCost{Path: p, Probes: 10})
		}
	}
	return r
}

func TestSettle(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	noise := func() float64 { return 1 + 0.8*rng.Float64() }
	wide := func(a, b int) float64 { return 0.01 * float64(1+(3*a+b)%4) }
	for _, site := range [][]int{{0, 0}, {0, 1}, {0, 0, 0, 0}, {0, 1, 0, 1}, {0, 1, 2, 3}, {0, 1, 1, 2, 0, 2, 1}} {
		hosts := len(site)
		g, err := topology.Uniform(hosts, 2, topology.Link{Level: topology.Host, Alpha: 1e-6}, topology.Link{Level: topology.Rack, Alpha: 2e-5, Beta: 3e-10})
		if err != nil {
			t.Fatal(err)
		}
		apart, err := Apart(g)
		if err != nil {
			t.Fatal(err)
		}
		if apart.Sites() != hosts || apart.Hosts() != hosts || apart.Link(0, 2).Alpha != 2e-5 {
			t.Fatalf("%v: apart, %d sites of %d hosts, %+v between two", site, apart.Sites(), apart.Hosts(), apart.Link(0, 2))
		}
		report := apartReport(site, 3e-5, wide, noise)
		report.Tiers = []TierCost{{Level: topology.Host, Link: topology.Link{Level: topology.Host, Alpha: 5e-7, Beta: 1e-10}}}
		got, err := report.Settle(apart)
		if err != nil {
			t.Fatal(err)
		}
		if got.Sites() != slices.Max(site)+1 {
			t.Errorf("%v: got %d sites", site, got.Sites())
		}
		for r := range topology.Rank(2 * hosts) {
			if got.Site(r) != site[got.Host(r)] || got.HostName(got.Host(r)) != g.HostName(g.Host(r)) {
				t.Errorf("%v: rank %d: got %+v", site, r, got.Place(r))
			}
			for q := range topology.Rank(2 * hosts) {
				l, low := got.Link(r, q), 5e-7
				switch a, b := site[got.Host(r)], site[got.Host(q)]; {
				case r == q:
					low = l.Alpha
				case got.Host(r) == got.Host(q):
				case a == b:
					low = 3e-5
				default:
					low = wide(a, b)
				}
				if l.Alpha < low || l.Alpha > 1.8*low {
					t.Errorf("%v: ranks %d and %d: got alpha %g, want %g or a little more", site, r, q, l.Alpha, low)
				}
			}
		}
		again, err := report.Settle(apart)
		if err != nil || !again.Equal(got) {
			t.Errorf("%v: settled twice, the graphs differ: %v", site, err)
		}
		// A pair that was not measured leaves the hosts apart.
		report.Paths = report.Paths[1:]
		if got, err := report.Settle(apart); err != nil || got.Sites() != hosts {
			t.Errorf("%v: without a pair: got %d sites, %v", site, got.Sites(), err)
		}
	}
}

// One host and very many stay as they are.
func TestApartLeaves(t *testing.T) {
	for _, hosts := range []int{1, MaxApart + 1} {
		g, err := topology.Uniform(hosts, 2, topology.Link{Level: topology.Host, Alpha: 1e-6}, topology.Link{Level: topology.Rack, Alpha: 2e-5})
		if err != nil {
			t.Fatal(err)
		}
		if apart, err := Apart(g); err != nil || apart != g {
			t.Errorf("%d hosts: got another graph, %v", hosts, err)
		}
		r := &Report{Tiers: []TierCost{{Level: topology.Rack, Link: topology.Link{Level: topology.Rack, Alpha: 1}}}}
		if got, err := r.Settle(g); err != nil || got.Tier(topology.Rack).Alpha != 1 || got.Hosts() != hosts {
			t.Errorf("%d hosts: settled: got %v, %v, want the report's cost", hosts, got, err)
		}
	}
}

// What is measured over links of known cost settles to the machine that they make: three sites, one with two hosts.
func TestMeasureAndSettle(t *testing.T) {
	truth := parseGraph(t, `tier device 1e-7 1e-11
tier host 1e-6 1e-10
tier rack 5e-5 1e-9
tier site 5e-5 1e-9
tier world 0.02 8e-9
path a b 0.005 2e-9
path b a 0.005 2e-9
ranks 0-1 host h0 rack ra site a
ranks 2-3 host h1 rack ra site a
ranks 4-5 host h2 rack rb site b
ranks 6-7 host h3 rack rc site c
`)
	guess, err := topology.Uniform(4, 2, topology.Link{Level: topology.Host, Alpha: 1e-6}, topology.Link{Level: topology.Rack, Alpha: 2e-5})
	if err != nil {
		t.Fatal(err)
	}
	apart, err := Apart(guess)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		report := simulate(t, apart, network(truth), nil)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %v, want less than 2 s", took)
		}
		got, err := report.Settle(apart)
		if err != nil {
			t.Fatal(err)
		}
		if got.Sites() != 3 {
			t.Fatalf("got %d sites, want 3:\n%v", got.Sites(), got)
		}
		for a := range topology.Rank(8) {
			for b := range a {
				l, want := got.Link(a, b), truth.Link(a, b)
				if !near(l.Alpha, want.Alpha, 3) || !near(l.Beta, want.Beta, 1e-4) || l.Level != want.Level {
					t.Errorf("ranks %d and %d: got %+v, want %+v", a, b, l, want)
				}
			}
		}
	})
}
