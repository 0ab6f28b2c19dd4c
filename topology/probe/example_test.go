package probe_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"

	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/topology/probe"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
)

func ExampleHost() {
	h := probe.Host()
	fmt.Println("some cores:", h.Cores > 0)
	fmt.Println("one identity:", h.Identity() == probe.Host().Identity())
	// Output:
	// some cores: true
	// one identity: true
}

// Three goroutine ranks measure what passing a frame between them costs.
func ExampleMeasure() {
	const size = 3
	ctx := context.Background()
	g := topology.Local(size)
	network := mem.New()
	bells, ends, peers := make([]transport.Bell, size), make([]transport.Endpoint, size), make([]transport.Peer, size)
	for rank := range size {
		var err error
		if bells[rank], err = network.NewBell(); err != nil {
			log.Fatal(err)
		}
		if ends[rank], err = network.Listen(ctx, "example", rank, bells[rank]); err != nil {
			log.Fatal(err)
		}
		defer ends[rank].Close()
		peers[rank] = transport.Peer{Rank: rank, Addr: ends[rank].Addr()}
	}
	var ranks sync.WaitGroup
	for rank := range size {
		ranks.Go(func() {
			report, err := probe.Measure(ctx, g, probe.Config{
				Rank: topology.Rank(rank), Bell: bells[rank], Alloc: ends[rank].Alloc, Free: ends[rank].Free,
				Open: func(peer topology.Rank) (transport.Link, error) {
					return ends[rank].Open(peers[peer], transport.LinkID{Comm: 1})
				},
			})
			if err != nil {
				log.Print(err)
				return
			}
			measured, err := report.Apply(g)
			if err != nil {
				log.Print(err)
				return
			}
			if rank == 0 {
				for _, c := range report.Tiers {
					fmt.Println(c.Level, "from", c.Pairs, "pairs")
				}
				fmt.Println("1 MB takes some time:", measured.Link(0, 1).Time(1e6) > 0)
			}
		})
	}
	ranks.Wait()
	// Output:
	// host from 1 pairs
	// 1 MB takes some time: true
}

// One link, without a group: the two ends of it.
func ExamplePinger() {
	ctx := context.Background()
	network := mem.New()
	var bells [2]transport.Bell
	var ends [2]transport.Endpoint
	for rank := range ends {
		var err error
		if bells[rank], err = network.NewBell(); err != nil {
			log.Fatal(err)
		}
		if ends[rank], err = network.Listen(ctx, "pair", rank, bells[rank]); err != nil {
			log.Fatal(err)
		}
		defer ends[rank].Close()
	}
	side := func(rank int) probe.Probe {
		l, err := ends[rank].Open(transport.Peer{Rank: 1 - rank, Addr: ends[1-rank].Addr()}, transport.LinkID{Comm: 1})
		if err != nil {
			log.Fatal(err)
		}
		return probe.Probe{Link: l, Bell: bells[rank], Send: make([]byte, 1<<20), Receive: make([]byte, transport.MaxPayload)}
	}
	ping, pong := side(0), side(1)
	var other sync.WaitGroup
	other.Go(func() {
		if err := probe.Ponger(ctx, pong); err != nil {
			log.Print(err)
		}
	})
	samples, err := probe.Pinger(ctx, ping)
	other.Wait()
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range samples {
		fmt.Println(s.Ping, "B:", s.Probes, "probes")
	}
	// Output:
	// 8 B: 200 probes
	// 256 B: 200 probes
	// 4096 B: 200 probes
	// 32768 B: 200 probes
	// 131072 B: 200 probes
	// 262144 B: 200 probes
}

func ExampleReport_Apply() {
	g := topology.Local(2)
	report, err := probe.ParseReport([]byte(`{"tiers":[{"level":"host","alpha":1e-6,"beta":2e-10,"pairs":1,"probes":600,"residual":0.02}]}`))
	if err != nil {
		log.Fatal(err)
	}
	measured, err := report.Apply(g)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.1f µs before, %.1f µs after\n", 1e6*g.Link(0, 1).Alpha, 1e6*measured.Link(0, 1).Alpha)
	// Output: 0.3 µs before, 1.0 µs after
}

func ExampleCache() {
	dir, err := os.MkdirTemp("", "ringtree")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cache := &probe.Cache{Dir: dir}
	key := probe.Key{Hosts: []string{probe.Host().Identity()}, Transports: []string{"mem"}}
	_, err = cache.Load(key)
	fmt.Println("nothing yet:", errors.Is(err, probe.ErrNoEntry))
	if err := cache.Store(key, &probe.Report{}); err != nil {
		log.Fatal(err)
	}
	_, err = cache.Load(key)
	fmt.Println("stored:", err == nil)
	// Output:
	// nothing yet: true
	// stored: true
}

func ExamplePairs() {
	g := topology.Local(8)
	for _, p := range probe.Pairs(g) {
		fmt.Println(p.Level, p.A, p.B)
	}
	// Output:
	// host 0 1
	// host 1 3
	// host 2 6
}
