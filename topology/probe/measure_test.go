package probe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/shm"
	"github.com/ringtree/ringtree/transport/simnet"
	"github.com/ringtree/ringtree/transport/transporttest"
)

func parseGraph(t testing.TB, text string) *topology.Graph {
	t.Helper()
	g, err := topology.Parse(strings.NewReader("topology v1\n" + text))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func preset(t testing.TB, name string, n int, params map[string]string) *topology.Graph {
	t.Helper()
	g, err := topology.Preset(name, n, params)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// part is a rank's Config within a group of the conformance suite.
func part(t testing.TB, g *transporttest.Group, rank int) Config {
	ep := g.Endpoints[rank]
	return Config{
		Rank: topology.Rank(rank), Bell: g.Bells[rank], Memory: 1 << 20, Polls: -1, Alloc: ep.Alloc, Free: ep.Free,
		Open: func(peer topology.Rank) (transport.Link, error) {
			return ep.Open(g.Peers[peer], transport.LinkID{Comm: 77, Channel: 3})
		},
	}
}

// measureAll runs all ranks and returns what each got.
func measureAll(ctx context.Context, t testing.TB, group *transporttest.Group, g *topology.Graph, change func(*Config), pairs ...Pair) ([]*Report, []error) {
	reports, errs := make([]*Report, g.Size()), make([]error, g.Size())
	var wait sync.WaitGroup
	for rank := range g.Size() {
		c := part(t, group, rank)
		if change != nil {
			change(&c)
		}
		wait.Go(func() { reports[rank], errs[rank] = Measure(ctx, g, c, pairs...) })
	}
	wait.Wait()
	return reports, errs
}

// oneReport fails unless all ranks have the same report, and returns it.
func oneReport(t testing.TB, reports []*Report, errs []error) *Report {
	t.Helper()
	var texts []string
	for rank, r := range reports {
		if errs[rank] != nil {
			t.Fatalf("rank %d: %v", rank, errs[rank])
		}
		text, err := r.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
		if texts[rank] != texts[0] {
			t.Fatalf("rank %d has the report\n%s\nrank 0 has\n%s", rank, texts[rank], texts[0])
		}
	}
	return reports[0]
}

// network gives every pair of ranks the cost of its link in a graph.
func network(g *topology.Graph) *simnet.Network {
	return simnet.New(func(a, b int) simnet.Path {
		l := g.Link(topology.Rank(a), topology.Rank(b))
		return simnet.Path{Delay: time.Duration(math.Round(l.Alpha * 1e9)), BytesPerSecond: 1 / l.Beta}
	})
}

// near reports whether two costs are equal but for nanoseconds.
func near(got, want, scale float64) bool { return math.Abs(got-want) <= 1e-9*scale+1e-3*want }

// In virtual time the costs that come out are the costs that went in.
func TestMeasureFindsWhatIsThere(t *testing.T) {
	for name, text := range map[string]string{
		"host":     "tier host 3e-6 1e-9\nranks 0-4 host a",
		"two":      "tier host 1e-6 1e-9\ntier rack 2e-5 3e-9\nranks 0-5 host h0/3",
		"devices":  "tier device 1e-7 2e-10\ntier host 2e-6 4e-10\nranks 0-7 host h0 device d0/2",
		"dealt":    "tier host 3e-6 1e-9\ntier rack 3e-5 2e-9\nranks 0-6 host h0/1%2",
		"alone":    "tier rack 3e-5 2e-9\nranks 0-6 host h0/1",
		"racks":    "tier host 1e-6 1e-9\ntier rack 2e-5 2e-9\ntier site 5e-5 4e-9\nranks 0-23 host h0/3 rack r0/6",
		"two ends": "tier world 2e-3 1e-8\npath s0 s1 2e-3 1e-8\npath s1 s0 2e-3 5e-8\nranks 0-1 host h0/1 site s0/1 rack r0/1",
		"sites": "tier host 1e-6 1e-9\ntier rack 2e-5 3e-9\ntier world 0.02 8e-9\npath s0 s1 0.004 2e-9\npath s1 s0 0.004 6e-9\npath s0 s2 0.01 1e-9\npath s2 s0 0.01 1e-9\n" +
			"path s1 s2 0.03 3e-9\npath s2 s1 0.03 4e-9\nranks 0-11 host h0/2 site s0/4 rack r0/4",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := parseGraph(t, text)
				began := time.Now()
				r := simulate(t, g, network(g), nil)
				if took := time.Since(began); took >= 2*time.Second {
					t.Errorf("took %v, want less than 2 s", took)
				}
				applied, err := r.Apply(g)
				if err != nil {
					t.Fatal(err)
				}
				for a := range topology.Rank(g.Size()) {
					for b := range topology.Rank(g.Size()) {
						got, want := applied.Link(a, b), g.Link(a, b)
						if a != b && (!near(got.Alpha, want.Alpha, 3) || !near(got.Beta, want.Beta, 1e-4) || got.Level != want.Level) {
							t.Fatalf("link %d to %d: got %+v, want %+v\n%+v", a, b, got, want, r)
						}
					}
				}
				for _, c := range r.Tiers {
					if c.Level != topology.World && c.Residual > 3e-3 || c.Probes < 2*c.Pairs || c.Pairs < 1 {
						t.Errorf("tier %v: got residual %g of %d probes of %d pairs, want next to none and some", c.Level, c.Residual, c.Probes, c.Pairs)
					}
				}
			})
		})
	}
}

func simulate(t *testing.T, g *topology.Graph, n *simnet.Network, change func(*Config), pairs ...Pair) *Report {
	t.Helper()
	reports, errs := measureAll(t.Context(), t, transporttest.NewGroup(t, n, g.Size()), g, change, pairs...)
	return oneReport(t, reports, errs)
}

// Real links: positive costs, in less time than two seconds would be noticed, and a graph that can be planned for.
func TestMeasureRealLinks(t *testing.T) {
	transports := map[string]transport.Transport{"mem": mem.New()}
	if shm.Available() == nil {
		transports["shm"] = shm.New()
	}
	for name, tr := range transports {
		for _, text := range []string{"tier host 1 1\nranks 0-3 host a", "tier host 1 1\ntier rack 1 1\nranks 0-4 host h0/3"} {
			t.Run(fmt.Sprint(name, " ", strings.Count(text, "tier")), func(t *testing.T) {
				g := parseGraph(t, text)
				group := transporttest.NewGroup(t, tr, g.Size())
				reports, errs := measureAll(t.Context(), t, group, g, func(c *Config) {
					c.Machine, c.Memory, c.Polls = func(topology.Rank) int { return 0 }, 0, 0
				})
				r := oneReport(t, reports, errs)
				if len(r.Tiers) != strings.Count(text, "tier") {
					t.Fatalf("got %+v, want a cost for every tier of\n%s", r, text)
				}
				for _, c := range r.Tiers {
					t.Logf("%v: alpha %.3g µs, %.3g GB/s, residual %.0f %%, %d probes of %d pairs", c.Level, c.Link.Alpha*1e6, 1e-9/c.Link.Beta, 100*c.Residual, c.Probes, c.Pairs)
					if c.Link.Alpha+c.Link.Beta*float64(1<<20) <= 0 || c.Link.Alpha > 1 {
						t.Errorf("tier %v: got %+v, want a cost", c.Level, c.Link)
					}
				}
				if _, err := r.Apply(g); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestMeasureOneRank(t *testing.T) {
	g := topology.Local(1)
	r, err := Measure(t.Context(), g, Config{})
	if err != nil || len(r.Tiers)+len(r.Paths) != 0 {
		t.Errorf("got %+v, %v, want an empty report", r, err)
	}
}

// What rank 0 knows is not measured again, and reaches everybody.
func TestMeasureKnown(t *testing.T) {
	known := &Report{Tiers: []TierCost{{Level: topology.Host, Link: topology.Link{Level: topology.Host, Alpha: 0.125, Beta: 0.5}, Pairs: 3, Probes: 9, Residual: 0.25}}}
	for _, n := range []int{1, 2, 7, 16} {
		synctest.Test(t, func(t *testing.T) {
			g := topology.Local(n)
			r := simulate(t, g, network(g), func(c *Config) {
				if c.Rank == 0 {
					c.Known = known
				}
			})
			if len(r.Tiers) != 1 || r.Tiers[0] != known.Tiers[0] {
				t.Errorf("%d ranks: got %+v, want %+v", n, r, known)
			}
		})
	}
}

// Pairs that share a machine follow each other, whatever the graph says.
func TestMeasureOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := parseGraph(t, "tier host 1e-3 1e-9\ntier rack 1e-3 1e-9\nranks 0-15 host h0/4")
		group := transporttest.NewGroup(t, network(g), g.Size())
		var mu sync.Mutex
		busy, most, changes := make(map[topology.Rank]bool), 0, 0
		reports, errs := measureAll(t.Context(), t, group, g, func(c *Config) {
			open := c.Open
			self := c.Rank
			c.Machine = func(topology.Rank) int { return 0 }
			c.Open = func(peer topology.Rank) (transport.Link, error) {
				l, err := open(peer)
				return &watched{Link: l, ping: func(on bool) {
					mu.Lock()
					defer mu.Unlock()
					changes++
					busy[self] = on
					n := 0
					for _, b := range busy {
						if b {
							n++
						}
					}
					most = max(most, n)
				}}, err
			}
		})
		oneReport(t, reports, errs)
		if most != 1 || changes < 100 {
			t.Errorf("%d ranks pinged at once, in %d changes, want 1", most, changes)
		}
	})
}

// watched tells when its rank waits for a pong.
type watched struct {
	transport.Link
	ping func(on bool)
}

func (w *watched) Post(h *transport.Header, payload []byte) (bool, error) {
	ok, err := w.Link.Post(h, payload)
	if ok && h.Step == stepPing {
		w.ping(true)
	}
	return ok, err
}

func (w *watched) Poll() (*transport.Frame, error) {
	f, err := w.Link.Poll()
	if f != nil && f.Step == stepPong {
		w.ping(false)
	}
	return f, err
}

// A failure anywhere ends every rank, with an error that says at what.
func TestMeasureFailures(t *testing.T) {
	broken := errors.New("no such link")
	lost := func(group *transporttest.Group, rank int) func(*Config) {
		return func(c *Config) {
			if c.Rank == topology.Rank(rank) {
				c.Open = func(topology.Rank) (transport.Link, error) { return nil, broken }
			}
		}
	}
	for _, n := range []int{2, 5, 8} {
		for victim := range n {
			synctest.Test(t, func(t *testing.T) {
				g := topology.Local(n)
				group := transporttest.NewGroup(t, network(g), n)
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, errors.New("hung"))
				defer cancel()
				change := lost(group, victim)
				var ended sync.Map
				_, errs := measureAll(ctx, t, group, g, func(c *Config) {
					change(c)
					if c.Rank == topology.Rank(victim) { // its rank is gone, as a process that exits is
						open := c.Open
						c.Open = func(p topology.Rank) (transport.Link, error) {
							if _, again := ended.LoadOrStore(victim, true); !again {
								_ = group.Endpoints[victim].Close()
								for r := range group.Endpoints {
									if r != victim {
										group.Transport.(*simnet.Network).Cut(r, victim)
									}
								}
							}
							return open(p)
						}
					}
				})
				for rank, err := range errs {
					var pe *PeerError
					if !errors.As(err, &pe) || strings.Contains(err.Error(), "hung") {
						t.Errorf("%d ranks without %d: rank %d got %v, want a PeerError", n, victim, rank, err)
					}
				}
				if !errors.Is(errs[victim], broken) {
					t.Errorf("rank %d: got %v, want %v", victim, errs[victim], broken)
				}
			})
		}
	}
}

func TestMeasureCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := topology.Local(3)
		group := transporttest.NewGroup(t, network(g), 3)
		enough := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, enough)
		defer cancel()
		// Rank 2 never comes.
		var wait sync.WaitGroup
		for rank := range 2 {
			wait.Go(func() {
				_, err := Measure(ctx, g, part(t, group, rank))
				var pe *PeerError
				if !errors.As(err, &pe) || rank == 0 && (!errors.Is(err, enough) || pe.Peer != 2 && pe.Peer != 1) {
					t.Errorf("rank %d: got %v, want a PeerError and its cause %v", rank, err, enough)
				}
			})
		}
		wait.Wait()
	})
}

// Ranks that were told of other pairs find out, and do not hang.
func TestMeasureMismatch(t *testing.T) {
	for name, change := range map[string]struct {
		g     *topology.Graph
		pairs []Pair
		m     func(topology.Rank) int
	}{
		"pairs":    {topology.Local(4), []Pair{{0, 3, topology.Host}}, nil},
		"graph":    {preset(t, "hosts", 4, map[string]string{"hosts": "2"}), nil, nil},
		"machines": {topology.Local(4), nil, func(r topology.Rank) int { return int(r) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				group := transporttest.NewGroup(t, network(topology.Local(4)), 4)
				errs := make([]error, 4)
				var wait sync.WaitGroup
				for rank := range 4 {
					wait.Go(func() {
						c, g, pairs := part(t, group, rank), topology.Local(4), []Pair(nil)
						if rank == 1 {
							g, pairs, c.Machine = change.g, change.pairs, change.m
						}
						_, errs[rank] = Measure(t.Context(), g, c, pairs...)
					})
				}
				wait.Wait()
				var proto *ProtocolError
				if !errors.As(errs[1], &proto) {
					t.Errorf("rank 1: got %v, want a ProtocolError", errs[1])
				}
				for rank, err := range errs {
					var pe *PeerError
					if !errors.As(err, &pe) {
						t.Errorf("rank %d: got %v, want a PeerError", rank, err)
					}
				}
			})
		})
	}
}

func TestMeasureConfig(t *testing.T) {
	g := topology.Local(2)
	good := Config{Bell: transport.NewBell(), Open: func(topology.Rank) (transport.Link, error) { panic("opened") }}
	with := func(f func(*Config)) Config { c := good; f(&c); return c }
	for field, c := range map[string]Config{
		"Config.Rank":   with(func(c *Config) { c.Rank = 2 }),
		"Config.Open":   with(func(c *Config) { c.Open = nil }),
		"Config.Alloc":  with(func(c *Config) { c.Free = func([]byte) error { return nil } }),
		"Config.Budget": with(func(c *Config) { c.Budget = -1 }),
		"Config.Memory": with(func(c *Config) { c.Memory = transport.MaxPayload - 1 }),
	} {
		var ce *ConfigError
		if _, err := Measure(t.Context(), g, c); !errors.As(err, &ce) || ce.Field != field {
			t.Errorf("got %v, want a ConfigError of %s", err, field)
		}
	}
	for _, p := range []Pair{{0, 0, topology.Device}, {0, 2, topology.Host}, {-1, 0, topology.Host}, {0, 1, topology.Rack}} {
		var ce *ConfigError
		if _, err := Measure(t.Context(), g, good, p); !errors.As(err, &ce) || ce.Field != "pair 0" {
			t.Errorf("%+v: got %v, want a ConfigError of pair 0", p, err)
		}
	}
	var ce *ConfigError
	if _, err := Measure(t.Context(), g, good, make([]Pair, MaxPairs+1)...); !errors.As(err, &ce) || ce.Field != "pairs" {
		t.Errorf("too many: got %v, want a ConfigError of pairs", err)
	}
	var re *ReportError
	if _, err := Measure(t.Context(), g, with(func(c *Config) { c.Known = &Report{Tiers: make([]TierCost, 2)} })); !errors.As(err, &re) {
		t.Errorf("a bad known report: got %v, want a ReportError", err)
	}
	if _, err := Measure(t.Context(), nil, good); !errors.As(err, &ce) {
		t.Errorf("no graph: got %v, want a ConfigError", err)
	}
}
