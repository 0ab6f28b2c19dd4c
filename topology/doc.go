// Package topology describes the machines that a group of ranks runs on: which ranks share a device, a
// host, a rack or a site, and what it costs to send bytes between any two of them.
//
// A [Graph] is immutable, so any number of goroutines may read it, and small: 12 bytes a rank and a name a
// host, so that 65,536 ranks and more fit in a unit test. Ranks are the leaves of a tree of five tiers, and
// the nearest tier that two ranks share is the [Level] of their [Link]:
//
//	Device   the same device or process, and every rank with itself
//	Host     the same host
//	Rack     the same rack, or whatever else sits behind one switch
//	Site     the same site: a building, a data centre, a pod
//	World    different sites
//
// A message of m bytes takes Alpha + Beta·m seconds on a link (R. Hockney, "The communication challenge for
// MPP", Parallel Computing 20, 1994). Every tier has one such cost. Between sites, where paths differ and
// are not symmetric, a [Path] gives one directed pair of sites a measured cost of its own.
//
// Build a graph with [New] from a [Spec], with [Local] or [Uniform], by name with [Preset], or from text with
// [Parse]. [Graph.RingOrder] lays a ring through it.
//
// # Wiring
//
// A link is a pair of costs and knows nothing of contention, nor of who shares a wire. That is what the graph's [Layer]s
// are for: how the ranks of a host, a rack, a site and the world are joined, by switches, by rails, all-to-all or as a
// torus. [Graph.Network] turns them into nodes and directed wires with a rate and a latency, and into routes, with hashed
// flows, spraying, and dead or slow parts. A graph without layers has the wiring that its tiers stand for: every rank
// with a port of its own in each. What is left out: packets, buffers and flow control; routes on a dragonfly and a torus
// other than minimal ones; and what a tier of the graph averages away (the link of two ranks on different rails
// costs what the link of two ranks on one rail costs).
//
// # Text form
//
// A graph has a text form that is made to be read, edited and reviewed. [Graph.String] writes it and [Parse]
// reads it back to an equal graph: floats are written with the fewest digits that keep every bit.
//
//	topology v1
//	cores 2
//	reduce 1e-10
//	tier device 7e-08 7.4e-11
//	tier host 3e-07 1e-10
//	tier rack 1.75e-05 3.2e-10
//	tier site 1.75e-05 3.2e-10
//	tier world 0.05 8e-09
//	path paris tokyo 0.12 1.6e-08    # measured; the way back has the cost of tier world
//	layer host star 1 1e+10 ports
//	layer site star 1 3.125e+09
//	layer world mesh 1 1.25e+08
//	ranks 0-15 host a0/8 rack r0 site paris
//	ranks 16-19 host b rack r1 site tokyo
//
// A line is words between spaces or tabs; # and what follows it is a comment; empty lines mean nothing. In
// the grammar below [x] is optional, {x} is repeated, and | separates alternatives:
//
//	text     = "topology" "v1" { line }
//	line     = cores | reduce | tier | path | layer | ranks
//	cores    = "cores" integer                    ranks of one host that can run at once, 0: not known
//	reduce   = "reduce" float                     seconds a byte of a two-operand reduction
//	tier     = "tier" level float float           alpha in seconds, beta in seconds a byte
//	level    = "device" | "host" | "rack" | "site" | "world"
//	path     = "path" name name float float       from site, to site, alpha, beta
//	layer    = "layer" span wiring float [ "ports" ]    bytes a second of a wire
//	span     = "socket" "/" integer | "host" | "rack" | "site" | "region" "/" integer | "world"
//	wiring   = ( "star" | "rail" | "mesh" ) integer | "torus" integer "x" integer "x" integer
//	ranks    = "ranks" range { column }
//	range    = integer [ "-" integer ]            first and last rank, both included
//	column   = "host" series | "device" series | "rack" series | "site" series
//	series   = name [ "/" integer [ "%" integer ] ]
//
// The header is the first line that is not empty or a comment. Each of cores and reduce stands at most once,
// each tier and each pair of sites likewise. Lines of ranks follow each other without gaps, starting at rank 0,
// and name a host; a missing device is a device of the rank's own, a missing site is the site "s0", and
// a missing rack is one named after the site. Layers stand in the order of their spans and end with the world's. A host has one rack and a rack one site; names of devices belong to
// their host. A tier that two ranks need must be given, others may be left out (see [Spec]).
//
// A series is what keeps a regular machine short. A plain name holds for every rank of the line. With /n the
// number at the end of the name goes up by one every n ranks: "host h0/8" is h0 for the first eight ranks of
// the line, h1 for the next eight, and so on. With /n%m the number starts again after m values, so "host
// h0/1%4" deals ranks to four hosts in turn, as launchers that place ranks round-robin do.
//
// A name is 1 to 255 bytes of printable text without spaces and without the three characters # / and %.
package topology
