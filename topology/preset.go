package topology

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Costs of a shared-memory host, measured on two cores of a virtual AMD EPYC Milan server without other work:
// a round trip of one cache line between spinning processes takes 140 ns at the median, memmove of buffers
// beyond the cache runs at 13.5 GB/s, and adding such buffers of float32 at 10 GB/s. 0.3 µs is what a small
// all-reduce of two processes takes and so covers the bookkeeping that a bare round trip leaves out; beta is a sum read
// straight out of the peer's buffer.
const (
	deviceAlpha = 7e-8
	deviceBeta  = 1 / 13.5e9
	shmAlpha    = 3e-7
	shmBeta     = 1 / 10e9
	hostReduce  = 1 / 10e9
)

// Costs of a network of ordinary servers. 17.5 µs is half the round trip of a busy-polled QUIC stream between two
// processes of the server above; the rate is the line's.
const (
	netAlpha = 17.5e-6
	netGbps  = 25
)

// Costs of hosts with eight H100 behind NVLink and one 400 Gb/s NIC each. Latencies are the per-hop constants of NCCL
// 2.30.7 for a ring with its LL protocol (src/graph/tuning.cc: 0.6 µs NVLink, 2.7 µs network); rates are what its
// topology search allows (src/graph/topo.h: 18 links of 20.6 GB/s, and 12 GB/s for each 100 Gb/s of a NIC). A GPU
// reduces by reading two operands and writing one, and copies by reading and writing, at 3.35 TB/s (H100 SXM
// data sheet).
const (
	gpuPerHost  = 8
	nvlinkAlpha = 0.6e-6
	nvlinkBeta  = 1 / (18 * 20.6e9)
	railAlpha   = 2.7e-6
	railGbps    = 400
	gpuReduce   = 3 / 3.35e12
	gpuCopy     = 2 / 3.35e12
)

// netEfficiency is the part of a NIC's rate that payload gets: NCCL's 12 GB/s for 100 Gb/s.
const netEfficiency = 0.96

// Sizes and costs of Meta's RoCE clusters. "The Llama 3 Herd of Models" (arXiv 2407.21783): racks of two hosts of eight
// H100, pods of 192 racks at full bisection, 1:7 above. "RDMA over Ethernet for Distributed AI Training
// at Meta Scale" (SIGCOMM 2024): an idle round trip of 22 µs between racks. "Collective Communication for 100k+
// GPUs" (arXiv 2510.20171): latencies of 1, 7 and 15 within a rack, between racks, and between zones.
const (
	metaHostsPerRack = 2
	metaRacksPerPod  = 192
	metaOversub      = 7
	metaRackAlpha    = 11e-6 / 7
	metaPodAlpha     = 11e-6
	metaWorldAlpha   = 11e-6 / 7 * 15
)

// Costs between sites: 100 ms there and back at 1 Gbit/s, an ordinary intercontinental path.
const (
	wanAlpha = 0.05
	wanGbps  = 1
)

// bitBeta is the seconds that a byte takes at so many gigabits a second.
func bitBeta(gbps float64) float64 { return 8 / (gbps * 1e9) }

// Local returns n ranks of one host: goroutines of one process, or processes that share memory. Links cost
// 0.3 µs and 1 s for 10 GB. It panics when n is not between 1 and MaxRanks; Preset("local", n, nil) is the
// same graph with an error instead.
func Local(n int) *Graph {
	g, err := Preset("local", n, nil)
	if err != nil {
		panic(err)
	}
	return g
}

// A preset makes the description of n ranks out of named parameters. To add one is to add it to presets.
type preset struct {
	about  string
	params []param
	build  func(n int, v values) (Spec, error)
}

// common are the parameters of every preset.
var common = []param{
	{"cores", amount, "0", "ranks of a host that can run at once, 0: not known"},
}

var presets = map[string]preset{
	"local": {
		about: "ranks of one host that share memory",
		params: []param{
			{"alpha", cost, formatFloat(shmAlpha), "seconds a message"},
			{"beta", cost, formatFloat(shmBeta), "seconds a byte"},
		},
		build: func(n int, v values) (Spec, error) {
			return Spec{
				Shape: Shape{Ranks: n},
				Tiers: []Link{
					{Device, deviceAlpha, deviceBeta},
					{Host, v.float("alpha"), v.float("beta")},
				},
				Reduce: hostReduce,
			}, nil
		},
	},
	"hosts": {
		about: "hosts of one network, each with an equal share of the ranks, give or take one",
		params: []param{
			{"hosts", count, "", "number of hosts (default: one for every 8 ranks)"},
			{"gbps", factor, formatFloat(netGbps), "rate of the network in Gbit/s"},
			{"alpha", cost, formatFloat(netAlpha), "seconds a message on the network"},
		},
		build: func(n int, v values) (Spec, error) {
			hosts, err := v.parts("hosts", n, (n+7)/8)
			if err != nil {
				return Spec{}, err
			}
			places := make([]Place, n)
			for r := range places {
				places[r] = Place{Host: "h" + strconv.Itoa(block(r, n, hosts)), Rack: "r0", Site: "s0"}
			}
			return Spec{Places: places, Tiers: serverTiers(v.float("gbps"), v.float("alpha")), Reduce: hostReduce}, nil
		},
	},
	"rail": {
		about: "hosts of 8 GPUs on NVLink with a 400 Gb/s NIC each, at full bisection",
		params: []param{
			{"hosts-per-rack", count, "32", "hosts behind one set of rail switches"},
			{"gbps", factor, formatFloat(railGbps), "rate of a NIC in Gbit/s"},
			{"alpha", cost, formatFloat(railAlpha), "seconds a message through one switch"},
			{"spine-alpha", cost, formatFloat(2 * railAlpha), "seconds a message through the spine (an estimate: twice alpha)"},
		},
		build: func(n int, v values) (Spec, error) {
			beta := bitBeta(v.float("gbps") * netEfficiency)
			return Spec{
				Shape: Shape{Ranks: n, PerHost: gpuPerHost, HostsPerRack: v.int("hosts-per-rack")},
				Tiers: []Link{
					{Device, 0, gpuCopy},
					{Host, nvlinkAlpha, nvlinkBeta},
					{Rack, v.float("alpha"), beta},
					{Site, v.float("spine-alpha"), beta},
				},
				Reduce: gpuReduce,
			}, nil
		},
	},
	"racks": {
		about: "hosts of 8 GPUs in racks of two and pods of 192 racks, after Meta's 24K-GPU RoCE cluster",
		params: []param{
			{"hosts-per-rack", count, strconv.Itoa(metaHostsPerRack), "hosts of a rack"},
			{"racks-per-pod", count, strconv.Itoa(metaRacksPerPod), "racks of a pod, which is the site here"},
			{"oversub", factor, formatFloat(metaOversub), "how many times less bandwidth a rank has between pods"},
			{"gbps", factor, formatFloat(railGbps), "rate of a NIC in Gbit/s"},
		},
		build: func(n int, v values) (Spec, error) {
			beta := bitBeta(v.float("gbps") * netEfficiency)
			return Spec{
				Shape: Shape{
					Ranks:        n,
					PerHost:      gpuPerHost,
					HostsPerRack: v.int("hosts-per-rack"),
					RacksPerSite: v.int("racks-per-pod"),
				},
				Tiers: []Link{
					{Device, 0, gpuCopy},
					{Host, nvlinkAlpha, nvlinkBeta},
					{Rack, metaRackAlpha, beta},
					{Site, metaPodAlpha, beta},
					{World, metaWorldAlpha, beta * v.float("oversub")},
				},
				Reduce: gpuReduce,
			}, nil
		},
	},
	"wan": {
		about: "sites far from each other, each with an equal share of the ranks, give or take one, on hosts of one network",
		params: []param{
			{"sites", count, "", "number of sites (default: 2, or 1 for one rank)"},
			{"per-host", count, "8", "ranks of a host"},
			{"alpha", cost, formatFloat(wanAlpha), "seconds a message between sites"},
			{"beta", cost, formatFloat(bitBeta(wanGbps)), "seconds a byte between sites"},
		},
		build: func(n int, v values) (Spec, error) {
			sites, err := v.parts("sites", n, min(2, n))
			if err != nil {
				return Spec{}, err
			}
			perHost := v.int("per-host")
			places := make([]Place, n)
			host, inHost, last := -1, 0, -1
			for r := range places {
				site := block(r, n, sites)
				if site != last || inHost == perHost {
					host, inHost, last = host+1, 0, site
				}
				inHost++
				s := strconv.Itoa(site)
				places[r] = Place{Host: "h" + strconv.Itoa(host), Rack: "r" + s, Site: "s" + s}
			}
			tiers := append(serverTiers(netGbps, netAlpha), Link{World, v.float("alpha"), v.float("beta")})
			return Spec{Places: places, Tiers: tiers, Reduce: hostReduce}, nil
		},
	},
}

// serverTiers are the costs of shared memory and of a network that is the same everywhere in a site.
func serverTiers(gbps, alpha float64) []Link {
	beta := bitBeta(gbps)
	return []Link{
		{Device, deviceAlpha, deviceBeta},
		{Host, shmAlpha, shmBeta},
		{Rack, alpha, beta},
		{Site, alpha, beta},
	}
}

// block returns in which of k contiguous parts, whose sizes differ by at most one, member i of n is. The
// larger parts come first.
func block(i, n, k int) int {
	size, larger := n/k, n%k
	if i < larger*(size+1) {
		return i / (size + 1)
	}
	return larger + (i-larger*(size+1))/size
}

// Presets returns the names that [Preset] takes, sorted.
func Presets() []string { return slices.Sorted(maps.Keys(presets)) }

// PresetHelp describes a preset and its parameters with their defaults, one a line. It fails with a
// [*PresetError] when there is none of that name.
func PresetHelp(name string) (string, error) {
	p, err := findPreset(name)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", name, p.about)
	for _, q := range slices.Concat(p.params, common) {
		value := ""
		if q.value != "" {
			value = "=" + q.value
		}
		fmt.Fprintf(&b, "  %s%s: %s\n", q.name, value, q.about)
	}
	return b.String(), nil
}

// Preset returns a machine of n ranks by name. Its parameters are named in [PresetHelp]; those not given keep
// their defaults, whose sources stand beside them in the source. It fails with a [*PresetError] when there is no
// such preset or parameter, or a value is out of range.
//
//	local    n ranks of one host that share memory
//	hosts    hosts=H machines on a network of gbps=25 Gbit/s
//	rail     hosts of 8 GPUs with a 400 Gb/s NIC each
//	racks    the same in racks and oversubscribed pods
//	wan      sites=S sites with links of alpha seconds and beta seconds a byte
func Preset(name string, n int, params map[string]string) (*Graph, error) {
	p, err := findPreset(name)
	if err != nil {
		return nil, err
	}
	if n < 1 || n > MaxRanks {
		return nil, &PresetError{Preset: name, Reason: fmt.Sprintf("%d ranks are not between 1 and %d", n, MaxRanks)}
	}
	v, err := newValues(name, slices.Concat(p.params, common), params)
	if err != nil {
		return nil, err
	}
	spec, err := p.build(n, v)
	if err != nil {
		return nil, err
	}
	spec.Cores = v.int("cores")
	return New(spec)
}

func findPreset(name string) (preset, error) {
	p, ok := presets[name]
	if !ok {
		return preset{}, &PresetError{Preset: name, Reason: "not one of " + strings.Join(Presets(), ", ")}
	}
	return p, nil
}
