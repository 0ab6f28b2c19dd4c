package topology_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/ringtree/ringtree/topology"
)

// Two hosts of one rack, by name.
func ExampleNew() {
	g, err := topology.New(topology.Spec{
		Places: []topology.Place{
			{Host: "alpha", Rack: "r7"}, {Host: "alpha", Rack: "r7"},
			{Host: "beta", Rack: "r7"}, {Host: "beta", Rack: "r7"},
		},
		Tiers: []topology.Link{
			{Level: topology.Host, Alpha: 0.3e-6, Beta: 1 / 10e9},
			{Level: topology.Rack, Alpha: 20e-6, Beta: 8 / 25e9}, // 25 Gbit/s
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(g.Size(), "ranks on", g.Hosts(), "hosts")
	l := g.Link(1, 2)
	fmt.Printf("rank 1 to rank 2: %v, %.0f µs for 1 MB\n", l.Level, 1e6*l.Time(1e6))
	for r := range g.HostRanks(1) {
		fmt.Println("rank", r, "is number", g.LocalIndex(r), "on", g.HostName(g.Host(r)))
	}
	// Output:
	// 4 ranks on 2 hosts
	// rank 1 to rank 2: rack, 340 µs for 1 MB
	// rank 2 is number 0 on beta
	// rank 3 is number 1 on beta
}

func ExampleUniform() {
	g, err := topology.Uniform(1024, 64,
		topology.Link{Level: topology.Host, Alpha: 1e-6, Beta: 1e-10},
		topology.Link{Level: topology.Rack, Alpha: 5e-6, Beta: 2e-11})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(g.Size(), g.HostRank(1023, 0), g.Link(63, 64).Level)
	// Output: 65536 65472 rack
}

func ExampleLocal() {
	g := topology.Local(8)
	fmt.Println(g.Hosts(), g.HostSize(0), g.Link(0, 7).Level)
	// Output: 1 8 host
}

// A machine of 65,536 ranks is one line of ranks.
func ExamplePreset() {
	g, err := topology.Preset("llama3", 65536, map[string]string{"oversub": "2.8"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(g.Hosts(), "hosts,", g.Racks(), "racks,", g.Sites(), "pods")
	lines := strings.Split(strings.TrimSpace(g.String()), "\n")
	fmt.Println(lines[len(lines)-1])
	// Output:
	// 8192 hosts, 4096 racks, 22 pods
	// ranks 0-65535 host h0/8 rack r0/16 site s0/3072
}

// The way from one rack of a rail-optimised cluster to another, around a dead switch of the spine.
func ExampleGraph_Network() {
	g, err := topology.PresetFor("rail,hosts-per-rack=4,oversub=8", 512)
	if err != nil {
		log.Fatal(err)
	}
	n, err := g.Network()
	if err != nil {
		log.Fatal(err)
	}
	for _, fault := range []string{"", "rank3-rack0.3"} {
		if fault != "" {
			f, err := n.ParseFault(fault)
			if err != nil {
				log.Fatal(err)
			}
			if n, err = n.With(f...); err != nil {
				log.Fatal(err)
			}
		}
		route, _ := n.Route(nil, 3, 131, topology.Choice{})
		for _, w := range route {
			fmt.Print(" > ", n.NodeName(n.Wire(w).To))
		}
		fmt.Printf("  %.0f GB/s\n", n.Rate(route)/1e9)
	}
	// Output:
	//  > rack0.3 > world0.0 > rack4.3 > rank131  24 GB/s
	//  > host0.0 > rank0 > rack0.0 > world0.0 > rack4.0 > rank128 > host16.0 > rank131  24 GB/s
}

func ExamplePresetHelp() {
	help, err := topology.PresetHelp("wan")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(help)
	// Output:
	// wan: sites far from each other, each with an equal share of the ranks, give or take one, on hosts of one network
	//   sites: number of sites (default: 2, or 1 for one rank)
	//   per-host=8: ranks of a host
	//   alpha=0.05: seconds a message between sites
	//   beta=8e-09: seconds a byte between sites
	//   cores=0: ranks of a host that can run at once, 0: not known
}

func ExampleParse() {
	g, err := topology.Parse(strings.NewReader(`topology v1
tier host 3e-7 1e-10
tier world 0.05 8e-9
path paris tokyo 0.12 1.6e-8   # measured
ranks 0-3 host a site paris
ranks 4-7 host b site tokyo
`))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(g.Link(0, 4).Alpha, "there,", g.Link(4, 0).Alpha, "back")

	_, err = topology.Parse(strings.NewReader("topology v1\nranks 0-3 host a\nranks 5 host b\n"))
	fmt.Println(err)
	// Output:
	// 0.12 there, 0.05 back
	// topology: line 3, column 7: ranks go on at 4, not at 5
}

// Ranks that were dealt to hosts in turn are brought together.
func ExampleGraph_RingOrder() {
	g, err := topology.Parse(strings.NewReader(`topology v1
tier host 3e-7 1e-10
tier rack 2e-5 1e-9
ranks 0-7 host h0/1%2
`))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(g.RingOrder())
	// Output: [0 2 4 6 1 3 5 7]
}

// Four sites whose links are cheap in one direction only.
func ExampleGraph_RingOrderFor() {
	g, err := topology.Parse(strings.NewReader(`topology v1
tier world 0.2 0
path a c 0.01 0
path c b 0.01 0
path b d 0.01 0
path d a 0.01 0
ranks 0 host h0 site a
ranks 1 host h1 site b
ranks 2 host h2 site c
ranks 3 host h3 site d
`))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(g.RingOrderFor(1 << 20))
	// Output: [0 2 1 3]
}

func ExampleGraph_Sub() {
	g, err := topology.Uniform(2, 4,
		topology.Link{Level: topology.Host, Alpha: 1e-6},
		topology.Link{Level: topology.Rack, Alpha: 5e-6})
	if err != nil {
		log.Fatal(err)
	}
	odd, err := g.Sub([]topology.Rank{1, 3, 5, 7})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(odd.Size(), odd.HostSize(0), odd.Link(1, 2).Level)
	// Output: 4 2 rack
}
