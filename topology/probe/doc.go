// Package probe finds out what a machine and a group of ranks really are: what one host has, and what the links between
// ranks cost.
//
// # The host
//
// [Host] reads which machine this process runs on, which of its cores it may use, and what caches and memory nodes they
// have. Two processes whose [HostInfo.Identity] are equal share a kernel and a network namespace, so the abstract
// sockets over which shared memory is handed around reach from one to the other; two containers of one machine often
// do not.
//
// # Cards and GPUs
//
// [PCIDevices] reads from /sys where network cards and GPUs sit, [PCIDevice.To] says what lies between two of them, and
// [Rails] gives each GPU the card that is nearest, as NCCL does (its src/graph/paths.cc). NVLinks are not in /sys:
// who asks a management library for them (package cudabridge/nvml) gives them as values in a [GPU], and [Order] puts GPUs in a ring.
//
// # The links
//
// [Measure] is called by every rank of a formed group and returns the same [Report] on all of them: alpha and beta of
// each tier of a graph, and of each directed pair of sites. It asks few ranks: [Pairs] chooses a number of pairs that
// grows with the logarithm of the machine, and no two pairs that share a machine run at the same time, so they do not
// measure each other.
//
//	rank 0          start ->  tree of ranks                            knows what to do
//	pair 0, 1, 2 …  ping, pong, ping, pong … end; then a token to the next pair of the machine
//	tree            samples -> rank 0, fit, report -> all ranks
//
// A round trip of p bytes there and q bytes back takes 2·alpha + beta·p + beta'·q (R. Hockney, "The communication
// challenge for MPP", Parallel Computing 20, 1994). Sizes run from 8 B to the longest frame. Noise only ever adds
// to a time, so the lowest decile of the probes of one size stands for that size; the costs are the non-negative least
// squares fit of relative errors over sizes, by QR decomposition (C. Lawson and R. Hanson, "Solving Least Squares
// Problems", 1974, chapter 23: with two or three unknowns every set of positive ones is tried). What the fit does not
// explain is the residual. The two directions of a path share one alpha, half the round trip, because ranks have no
// common clock; their betas are told apart.
//
// The receiver copies what it gets, as one that reduces out of the sender's memory would read it, so a link that passes
// frames by reference has its true beta. Senders go round a buffer that common caches do not hold ([Config].Memory):
// beta counts most for long vectors.
//
// [Report.Apply] puts the costs into a graph. A [Cache] keeps reports in a file, so that the next run need not measure.
package probe
