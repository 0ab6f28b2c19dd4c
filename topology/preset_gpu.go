package topology

import (
	"fmt"
	"math"
	"strconv"
)

// Costs of hosts with eight H100 behind NVLink and one 400 Gb/s NIC each. Latencies are the per-hop constants of NCCL
// 2.30.7 for a ring with its LL protocol (src/graph/tuning.cc: 0.6 µs NVLink, 1 µs PCI Express, 2.7 µs network); rates
// are what its topology search allows (src/graph/topo.h: 18 links of 20.6 GB/s, 40.1 GB/s on Blackwell, 12 GB/s
// for each 16 lanes of PCI Express 3 and so 24 for 4, 22 between sockets of Sapphire Rapids, and 12 GB/s for each
// 100 Gb/s of a NIC). A GPU reduces by reading two operands and writing one, and copies by reading and writing, at
// 3.35 TB/s (H100 SXM data sheet).
const (
	gpuPerHost  = 8
	nvlinkAlpha = 0.6e-6
	nvlinkRate  = 18 * 20.6e9
	nvl72Rate   = 18 * 40.1e9
	pciAlpha    = 1e-6
	pciRate     = 24e9
	socketRate  = 22e9
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
// GPUs" (arXiv 2510.20171): latencies of 1, 7, 15 and 30 within a rack, between racks, zones, and buildings, the last
// two oversubscribed 1:2.8; 38 zones in five buildings.
const (
	metaHostsPerRack     = 2
	metaRacksPerPod      = 192
	metaOversub          = 7
	metaRackAlpha        = 11e-6 / 7
	metaPodAlpha         = 11e-6
	metaWorldAlpha       = 11e-6 / 7 * 15
	metaBuildingAlpha    = 11e-6 / 7 * 30
	metaBuildingOversub  = 2.8
	metaZonesPerBuilding = 8
)

// Sizes of a Slingshot-like dragonfly, whose routers have 64 ports: 16 down to ranks, 31 to the rest of a group of 32,
// and 17 out, of which 16 are used (Kim, Dally, Scott and Abts, "Technology-Driven, Highly-Scalable Dragonfly
// Topology", ISCA 2008, has the shape). Half a microsecond a hop is an estimate.
const (
	routerRanks  = 16
	groupRouters = 32
	routerGlobal = 16
	routerGbps   = 200
	hopAlpha     = 0.5e-6
)

// Costs of a torus of accelerators. 50 GB/s each way in each of six directions is of the order of TPU v4's links,
// and a microsecond a hop an estimate.
const (
	torusGbps  = 400
	torusAlpha = 1e-6
)

func gpuTiers(more ...Link) []Link {
	return append([]Link{{Device, 0, gpuCopy}, {Host, nvlinkAlpha, 1.0 / nvlinkRate}}, more...)
}

// nicRate is what payload gets of a NIC, in bytes a second.
func nicRate(gbps float64) float64 { return gbps * netEfficiency * 1e9 / 8 }

// upward is the layer above switches whose wires down bring each of them the given rate in all: as many switches as
// wires would carry that rate, less the oversubscription, and wires that make up exactly the rest.
func upward(span Span, down int, rate, oversub float64) Layer {
	width := min(max(int(math.Round(float64(down)/oversub)), 1), maxWidth)
	return Layer{Span: span, Wiring: Star, Width: width, Rate: float64(down) * rate / oversub / float64(width)}
}

// closing makes the last of some layers the layer of the world.
func closing(layers ...Layer) []Layer {
	layers[len(layers)-1].Span = SpanWorld
	return layers
}

func hostLayer(rate float64) Layer {
	return Layer{Span: SpanHost, Wiring: Star, Width: 1, Rate: rate, Ports: true}
}

// clos lays hosts of GPUs out in racks and pods, one NIC a GPU.
func clos(n int, hostsPerRack, racksPerPod int, rate, overRack, overPod float64, alphas [3]float64) Spec {
	perRack := gpuPerHost * hostsPerRack
	leaf := Layer{Span: SpanRack, Wiring: Star, Width: 1, Rate: rate, Ports: true}
	pod := upward(SpanSite, perRack, rate, overRack)
	layers := []Layer{hostLayer(nvlinkRate), leaf, pod}
	tiers := gpuTiers(Link{Rack, alphas[0], 1 / rate}, Link{Site, alphas[1], max(overRack, 1) / rate})
	if racksPerPod > 0 {
		layers = append(layers, upward(SpanWorld, racksPerPod, pod.Rate, overPod))
		tiers = append(tiers, Link{World, alphas[2], max(overRack*overPod, 1) / rate})
	}
	return Spec{
		Shape:  Shape{Ranks: n, PerHost: gpuPerHost, HostsPerRack: hostsPerRack, RacksPerSite: racksPerPod},
		Tiers:  tiers,
		Layers: closing(layers...),
		Reduce: gpuReduce,
	}
}

var (
	gbpsParam = param{"gbps", factor, formatFloat(railGbps), "rate of a NIC in Gbit/s"}

	nvlinkPreset = preset{
		about: "GPUs of one host, all to all through NVLink switches",
		params: []param{
			{"gbs", factor, formatFloat(nvlinkRate / 1e9), "GB/s each way of a GPU"},
			{"alpha", cost, formatFloat(nvlinkAlpha), "seconds a message"},
		},
		build: func(n int, v values) (Spec, error) {
			rate := v.float("gbs") * 1e9
			return Spec{
				Shape:  Shape{Ranks: n},
				Tiers:  []Link{{Device, 0, gpuCopy}, {Host, v.float("alpha"), 1 / rate}},
				Layers: closing(hostLayer(rate)),
				Reduce: gpuReduce,
			}, nil
		},
	}

	pciePreset = preset{
		about: "GPUs of one host on PCI Express, half of them on each of two sockets",
		params: []param{
			{"gbs", factor, formatFloat(pciRate / 1e9), "GB/s each way of a GPU"},
			{"socket-gbs", factor, formatFloat(socketRate / 1e9), "GB/s each way between the sockets"},
			{"alpha", cost, formatFloat(pciAlpha), "seconds a message"},
		},
		build: func(n int, v values) (Spec, error) {
			rate, between := v.float("gbs")*1e9, v.float("socket-gbs")*1e9
			return Spec{
				Shape: Shape{Ranks: n},
				Tiers: []Link{{Device, 0, gpuCopy}, {Host, v.float("alpha"), 1 / min(rate, between)}},
				Layers: closing(
					Layer{Span: SpanSocket, Count: (n + 1) / 2, Wiring: Star, Width: 1, Rate: rate, Ports: true},
					Layer{Span: SpanHost, Wiring: Mesh, Width: 1, Rate: between},
				),
				Reduce: gpuReduce,
			}, nil
		},
	}

	nvl72Preset = preset{
		about: "NVLink domains of 72 GPUs, which count as hosts, and rails between them",
		params: []param{
			{"domain", count, "72", "GPUs of a domain"},
			{"rails", count, "4", "rails, one for each GPU of a tray"},
			{"domains-per-rack", count, "16", "domains behind one set of rail switches"},
			{"gbs", factor, formatFloat(nvl72Rate / 1e9), "GB/s each way of a GPU inside a domain"},
			gbpsParam,
			{"oversub", factor, "1", "how many times less bandwidth a rank has through the spine"},
		},
		build: func(n int, v values) (Spec, error) {
			s, err := rails(n, v, v.int("domain"), v.int("rails"), v.int("domains-per-rack"), v.float("gbs")*1e9, railAlpha, 2*railAlpha)
			return s, err
		},
	}

	railPreset = preset{
		about: "hosts of 8 GPUs on NVLink with a 400 Gb/s NIC each, GPU k of every host on rail k, and a spine above the rails",
		params: []param{
			{"hosts-per-rack", count, "32", "hosts behind one set of rail switches"},
			gbpsParam,
			{"alpha", cost, formatFloat(railAlpha), "seconds a message through one switch"},
			{"spine-alpha", cost, formatFloat(2 * railAlpha), "seconds a message through the spine (an estimate: twice alpha)"},
			{"oversub", factor, "1", "how many times less bandwidth a rank has through the spine"},
		},
		build: func(n int, v values) (Spec, error) {
			return rails(n, v, gpuPerHost, gpuPerHost, v.int("hosts-per-rack"), nvlinkRate, v.float("alpha"), v.float("spine-alpha"))
		},
	}

	clos2Preset = preset{
		about: "hosts of 8 GPUs with a 400 Gb/s NIC each, in racks behind one switch, and a spine",
		params: []param{
			{"hosts-per-rack", count, "4", "hosts of a rack"},
			{"oversub", factor, "1", "how many times less bandwidth a rank has out of its rack"},
			gbpsParam,
			{"alpha", cost, formatFloat(railAlpha), "seconds a message through one switch"},
		},
		build: func(n int, v values) (Spec, error) {
			a := v.float("alpha")
			return clos(n, v.int("hosts-per-rack"), 0, nicRate(v.float("gbps")), v.float("oversub"), 1, [3]float64{a, 2 * a}), nil
		},
	}

	clos3Preset = preset{
		about: "hosts of 8 GPUs with a 400 Gb/s NIC each, in racks, pods of racks, and a core above the pods",
		params: []param{
			{"hosts-per-rack", count, "4", "hosts of a rack"},
			{"racks-per-pod", count, "32", "racks of a pod, which is the site here"},
			{"oversub-rack", factor, "1", "how many times less bandwidth a rank has out of its rack"},
			{"oversub-pod", factor, "1", "how many times less of that it has out of its pod"},
			gbpsParam,
			{"alpha", cost, formatFloat(railAlpha), "seconds a message through one switch"},
		},
		build: func(n int, v values) (Spec, error) {
			a := v.float("alpha")
			return clos(n, v.int("hosts-per-rack"), v.int("racks-per-pod"), nicRate(v.float("gbps")),
				v.float("oversub-rack"), v.float("oversub-pod"), [3]float64{a, 2 * a, 3 * a}), nil
		},
	}

	llama3Preset = preset{
		about: "hosts of 8 GPUs in racks of two and pods of 192 racks, after Meta's 24K-GPU RoCE cluster",
		params: []param{
			{"hosts-per-rack", count, strconv.Itoa(metaHostsPerRack), "hosts of a rack"},
			{"racks-per-pod", count, strconv.Itoa(metaRacksPerPod), "racks of a pod, which is the site here"},
			{"oversub", factor, formatFloat(metaOversub), "how many times less bandwidth a rank has between pods"},
			gbpsParam,
		},
		build: func(n int, v values) (Spec, error) {
			return clos(n, v.int("hosts-per-rack"), v.int("racks-per-pod"), nicRate(v.float("gbps")),
				1, v.float("oversub"), [3]float64{metaRackAlpha, metaPodAlpha, metaWorldAlpha}), nil
		},
	}

	meta100kPreset = preset{
		about: "Meta's cluster of zones of 192 racks in several buildings; a zone is the site here",
		params: []param{
			{"zones-per-building", count, strconv.Itoa(metaZonesPerBuilding), "zones of a building"},
			{"oversub", factor, formatFloat(metaBuildingOversub), "how many times less bandwidth a rank has between zones"},
			gbpsParam,
		},
		build: func(n int, v values) (Spec, error) {
			rate, over, zones := nicRate(v.float("gbps")), v.float("oversub"), v.int("zones-per-building")
			s := clos(n, metaHostsPerRack, metaRacksPerPod, rate, 1, over, [3]float64{metaRackAlpha, metaPodAlpha, metaBuildingAlpha})
			building := s.Layers[3]
			building.Span, building.Count = SpanRegion, zones
			// Above a building nothing narrows: the paper has the same 1:2.8 between buildings.
			links := zones * s.Layers[2].Width
			s.Layers = append(s.Layers[:3], building, upward(SpanWorld, links, building.Rate, 1))
			perZone := gpuPerHost * metaHostsPerRack * metaRacksPerPod
			count := (n + perZone - 1) / perZone
			if count/zones > maxPathSites || zones > maxPathSites && count > maxPathSites {
				return Spec{}, &PresetError{Preset: v.preset, Param: "zones-per-building", Reason: fmt.Sprintf("%d zones are more than the preset can pair", count)}
			}
			for a := range count {
				for b := a / zones * zones; b < min(count, a/zones*zones+zones); b++ {
					if a != b {
						s.Paths = append(s.Paths, Path{
							From: "s" + strconv.Itoa(a), To: "s" + strconv.Itoa(b), Alpha: metaWorldAlpha, Beta: max(over, 1) / rate,
						})
					}
				}
			}
			return s, nil
		},
	}

	torusPreset = preset{
		about: "a torus of x × y × z, one rank a node, and hosts of four neighbours",
		params: []param{
			{"x", count, "", "nodes in the first dimension (default: so many that the torus is nearly a cube)"},
			{"y", count, "", "nodes in the second"},
			{"z", count, "", "nodes in the third"},
			{"gbps", factor, formatFloat(torusGbps), "rate of a wire in Gbit/s, each way"},
			{"alpha", cost, formatFloat(torusAlpha), "seconds a hop"},
		},
		build: func(n int, v values) (Spec, error) {
			dims, err := torusDims(n, v)
			if err != nil {
				return Spec{}, err
			}
			rate, hop := v.float("gbps")*1e9/8, v.float("alpha")
			return Spec{
				Shape: Shape{Ranks: n, PerHost: 4},
				// A rank has six wires, and half of a neighbour's traffic goes through it: the tier keeps one wire's rate.
				Tiers:  []Link{{Device, 0, gpuCopy}, {Host, hop, 1 / rate}, {Rack, max(hop, hop*meanDistance(dims)), 1 / rate}},
				Layers: []Layer{{Span: SpanWorld, Wiring: Torus, Dims: dims, Rate: rate, Ports: true}},
				Reduce: gpuReduce,
			}, nil
		},
	}

	dragonflyPreset = preset{
		about: "hosts of 8 GPUs on routers of 16 ranks, groups of routers joined all-to-all, and groups likewise",
		params: []param{
			{"routers", count, strconv.Itoa(groupRouters), "routers of a group, which is the site here"},
			{"global", count, strconv.Itoa(routerGlobal), "wires of a router to other groups"},
			{"gbps", factor, formatFloat(routerGbps), "rate of a wire in Gbit/s, each way"},
			{"alpha", cost, formatFloat(hopAlpha), "seconds a hop"},
		},
		build: func(n int, v values) (Spec, error) {
			rate, hop := nicRate(v.float("gbps")), v.float("alpha")
			routers, global := v.int("routers"), v.int("global")
			perGroup := min(routerRanks*routers, MaxRanks)
			groups := (n + perGroup - 1) / perGroup
			out := float64(routers) * float64(global) // wires out of a group
			width := 1
			if groups > 1 {
				width = int(min(max(out/float64(groups-1), 1), float64(routers), maxWidth))
			}
			between := rate
			if groups > 1 {
				between = min(rate*out/float64(groups-1)/float64(width), maxRate)
			}
			share := max(1, routerRanks/out*float64(routers)) // ranks for each wire out
			return Spec{
				Shape: Shape{Ranks: n, PerHost: gpuPerHost, HostsPerRack: routerRanks / gpuPerHost, RacksPerSite: routers},
				Tiers: gpuTiers(Link{Rack, 2 * hop, 1 / rate}, Link{Site, 3 * hop, 1 / rate}, Link{World, 5 * hop, share / rate}),
				Layers: []Layer{
					hostLayer(nvlinkRate),
					{Span: SpanRack, Wiring: Star, Width: 1, Rate: rate, Ports: true},
					{Span: SpanSite, Wiring: Mesh, Width: 1, Rate: rate},
					{Span: SpanWorld, Wiring: Mesh, Width: width, Rate: between},
				},
				Reduce: gpuReduce,
			}, nil
		},
	}
)

// maxPathSites bounds the pairs of zones of a building, which have paths of their own.
const maxPathSites = 512

// rails lays hosts out behind sets of rail switches under a spine.
func rails(n int, v values, perHost, width, hostsPerRack int, inside, alpha, spineAlpha float64) (Spec, error) {
	rate, over := nicRate(v.float("gbps")), v.float("oversub")
	if width > maxWidth {
		return Spec{}, &PresetError{Preset: v.preset, Param: "rails", Reason: fmt.Sprintf("%d are more than %d", width, maxWidth)}
	}
	down := hostsPerRack * max(1, perHost/width)
	return Spec{
		Shape: Shape{Ranks: n, PerHost: perHost, HostsPerRack: hostsPerRack},
		Tiers: []Link{
			{Device, 0, gpuCopy}, {Host, nvlinkAlpha, 1 / inside},
			{Rack, alpha, 1 / rate}, {Site, spineAlpha, max(over, 1) / rate},
		},
		Layers: closing(
			hostLayer(inside),
			Layer{Span: SpanRack, Wiring: Rail, Width: width, Rate: rate, Ports: true},
			upward(SpanSite, down, rate, over),
		),
		Reduce: gpuReduce,
	}, nil
}

// torusDims returns the dimensions asked for, the others chosen so that the torus is nearly a cube.
func torusDims(n int, v values) ([3]int, error) {
	var dims [3]int
	left := 3
	rest := float64(n)
	for i, name := range [...]string{"x", "y", "z"} {
		if _, ok := v.of[name]; ok {
			dims[i] = v.int(name)
			rest /= float64(dims[i])
			left--
		}
	}
	nodes := 1
	for i := range dims {
		if dims[i] == 0 {
			dims[i] = max(1, int(math.Ceil(math.Pow(rest, 1/float64(left))-1e-9)))
			rest /= float64(dims[i])
			left--
		}
		if nodes > MaxRanks/dims[i] {
			return dims, &PresetError{Preset: v.preset, Param: "x", Reason: fmt.Sprintf("a torus of %v has more than %d nodes", dims, MaxRanks)}
		}
		nodes *= dims[i]
	}
	if nodes < n {
		return dims, &PresetError{Preset: v.preset, Param: "x", Reason: fmt.Sprintf("a torus of %v has fewer than %d nodes", dims, n)}
	}
	return dims, nil
}
