// Package buffer knows what the bytes of a collective operation mean: the types of their elements, the
// reductions of them, and the code that reduces them fast.
//
// A [Block] is a run of elements whose [DType] is known at run time; [Of] and [View] lead from Go
// slices to blocks and back. A [Kernel], from [KernelFor], reduces any number of equally long operands
// into one. Nothing here allocates, blocks, or keeps what it is given.
//
// # What the reductions compute
//
// The result is defined bit for bit, apart from the payload of NaNs, and every implementation gives the same.
// Sources are taken from left to right: ((s0 ⊕ s1) ⊕ s2) ⊕ …
//
//   - Sum and Prod of integers wrap around.
//   - Sum and Prod of float32 and float64 are those of IEEE 754, rounded to nearest, ties to even, at
//     each step. Denormals are kept.
//   - Min and Max of floats give a NaN if any operand is one, and take -0 as less than +0, so the order of
//     the operands does not matter.
//   - Avg reduces like Sum. [Kernel.Finish] then divides by the number of contributions: floats are
//     divided in their own type and rounded once, half-precision types by way of float32; integers are divided
//     exactly and truncated towards zero. The divisor itself is exact up to 2^24 for float32 and the
//     half-precision types and up to 2^53 for float64.
//   - [F16] and [BF16] are accumulated in float32 and rounded once, to nearest, ties to even, at the end of a
//     pass. A pass takes up to eight sources; of more, the first eight make a pass, then the rounded
//     result and the next seven, and so on.
//   - A NaN that results is quiet. A single source is copied as it is, whatever its bits.
//
// Two operands may be exchanged without changing the result. More than two may not, for sums and
// products of floats: keep the order fixed where the bits must be the same on every rank.
//
// # Memory
//
// The bytes are in the order of the machine. Blocks are aligned for their type; kernels take operands at any
// address on machines that can load from there. A destination may be one of the sources, so sums in place
// need no second buffer. Kernels and [Copy] work in stretches of at most 64 KiB between which the
// garbage collector can stop the goroutine.
//
// # Implementations
//
// The reductions are defined in Go. On amd64 there is AVX2 assembly for all types and operations, used if the
// processor has AVX2 and F16C; the division of Avg is in assembly for floats only. The build tag purego leaves
// the assembly out. [Kernel.Implementation] names what runs. The assembly is generated, see internal/gen.
//
// # Benchmarks
//
// From BenchmarkReduce on 2 virtual cores of an AMD EPYC with 1 MiB of second-level cache each and 32 MiB of
// shared third-level cache, one thread, the machine busy with other work, best of five. Only the ratios
// travel to other machines. The figures are GB of dst per second, generic code / AVX2, in place;
// the memory traffic is 3 times as much for 2 sources and 5 times for 4. Operands of 384 KiB fit the second-level
// cache if there are 2 of them and the third-level cache if there are 4; 64 MiB fit neither.
//
//	                  384 KiB operands           64 MiB operands
//	                2 sources    4 sources    2 sources    4 sources
//	int8      sum   3.4 / 89     1.2 / 26     3.3 / 19     1.0 /  9.8
//	int32     sum    14 / 88     4.6 / 25      11 / 19     2.8 /  9.9
//	int64     sum    27 / 84     8.5 / 26      17 / 19     4.5 /  9.6
//	half      sum   0.5 / 30     0.3 / 14     0.5 / 18     0.3 /  8.8
//	bfloat16  sum   1.0 / 20     0.5 / 13     1.0 / 17     0.5 /  8.3
//	float     sum    14 / 87     4.7 / 26     8.8 / 19     2.8 / 10.1
//	double    sum    28 / 90     9.0 / 25      13 / 20     4.5 /  9.3
//	int8      max   2.7 / 83     1.0 / 22     3.0 / 11     0.8 /  5.9
//	int64     max    19 / 87     6.1 / 24      15 / 17     2.6 /  8.9
//	half      max   0.4 / 28     0.2 / 13     0.4 / 18     0.2 /  8.4
//	bfloat16  max   0.8 / 28     0.4 / 13     0.7 / 18     0.4 /  8.6
//	float     max   3.6 / 68     1.2 / 20     3.3 / 18     1.0 /  8.7
//	double    max   7.3 / 64     2.4 / 20     6.6 / 17     1.4 /  8.6
package buffer
