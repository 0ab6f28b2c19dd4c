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
	"nvlink": nvlinkPreset, "pcie": pciePreset, "nvl72": nvl72Preset,
	"rail": railPreset, "clos2": clos2Preset, "clos3": clos3Preset, "llama3": llama3Preset, "meta100k": meta100kPreset,
	"torus3d": torusPreset, "dragonfly": dragonflyPreset,
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
			gbps := v.float("gbps")
			layers := serverLayers(gbps)
			layers[1].Span = SpanWorld
			return Spec{Places: places, Tiers: serverTiers(gbps, v.float("alpha")), Layers: layers, Reduce: hostReduce}, nil
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
			layers := append(serverLayers(netGbps), Layer{Span: SpanWorld, Wiring: Mesh, Width: 1, Rate: rateOf(v.float("beta"))})
			return Spec{Places: places, Tiers: tiers, Layers: layers, Reduce: hostReduce}, nil
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

// serverLayers are hosts of shared memory behind a port each to a switch of their site.
func serverLayers(gbps float64) []Layer {
	return []Layer{
		{Span: SpanHost, Wiring: Star, Width: 1, Rate: rateOf(shmBeta), Ports: true},
		{Span: SpanSite, Wiring: Star, Width: 1, Rate: rateOf(bitBeta(gbps))},
	}
}

// rateOf is the rate of a wire on which a byte takes so many seconds.
func rateOf(beta float64) float64 { return min(1/beta, maxRate) }

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

// PresetFor reads "NAME" or "NAME,key=value,…" and returns that [Preset] for n ranks. It fails with a
// [*PresetError].
func PresetFor(text string, n int) (*Graph, error) {
	name, rest, more := strings.Cut(text, ",")
	params := make(map[string]string)
	for more {
		var setting string
		setting, rest, more = strings.Cut(rest, ",")
		key, value, ok := strings.Cut(setting, "=")
		if !ok {
			return nil, &PresetError{Preset: name, Param: setting, Reason: "want key=value"}
		}
		if _, twice := params[key]; twice {
			return nil, &PresetError{Preset: name, Param: key, Reason: "given twice"}
		}
		params[key] = value
	}
	return Preset(name, n, params)
}

// Preset returns a machine of n ranks by name. Its parameters are named in [PresetHelp]; those not given keep
// their defaults, whose sources stand beside them in the source. It fails with a [*PresetError] when there is no
// such preset or parameter, or a value is out of range.
//
//	local      n ranks of one host that share memory
//	hosts      hosts=H machines on a network of gbps=25 Gbit/s
//	nvlink     GPUs of one host, all to all through NVLink switches
//	pcie       GPUs of one host on PCI Express, in two sockets
//	nvl72      domains of 72 GPUs on NVLink, and a network of rails between them
//	rail       hosts of 8 GPUs, rail-optimised: GPU k of each host on the switch of rail k
//	clos2      hosts of 8 GPUs in racks under a spine
//	clos3      the same in pods of racks, with an oversubscription for each layer
//	llama3     the 24,576-GPU cluster that Llama 3 was trained on
//	meta100k   Meta's cluster of zones in several buildings
//	torus3d    a torus of x × y × z, each rank a node
//	dragonfly  groups of routers, all-to-all inside and between
//	wan        sites=S sites with links of alpha seconds and beta seconds a byte
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
