// Package calibrate fits a model of an all-reduce library to what was measured of it, and says how good the fit is.
//
// The model is NCCL's own (src/graph/tuning.cc of 2.30.7), with its constants as a starting point: an all-reduce runs by
// one of two algorithms, tree and ring, and one of three protocols, LL, LL128 and Simple, and takes
//
//	latency + bytes/rate + fill
//
// The latency is that of the chain of hops which the algorithm has at the group's size, inside hosts and between them. The
// rate is the part that a protocol's flags leave of the rate of the narrowest link. The fill is what a pipeline of chunks
// takes to fill and to drain: with chunks as long as is best for a length, it grows with the square root of
// latency × bytes/rate (the sum of d·(a + c·b) and m/c·a at its least, d hops, m bytes, chunks of c). The quickest pair of
// algorithm and protocol is the one that runs. NCCL's constants describe one machine, so factors stand before them, and setting more
// threads to work for longer vectors costs a little: eleven numbers, see [Model]. None depends on the length, and with each is known how far it may plausibly be from 1, so a few rows
// are enough. A fit for one size of group also predicts another one on the same kind of machine, with less certainty.
//
// [Fit] takes a [Table], which [ParseTable] reads from the output of nccl-tests, as text or JSON, and of this project's perf.
// [Compare] says how far a model is from a table.
//
// # Accuracy
//
// On four published tables (testdata/SOURCES.md), fitted on every other row, the rest is predicted with a median error of 1
// to 5 % and a 90th percentile of 7 to 15 %; the tests hold it to 5 % and 15 %. Tables of others are single runs: they have
// rows that are wrong by half, and the smaller of the out-of-place and in-place times is used.
package calibrate
