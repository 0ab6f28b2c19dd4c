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
// [Kernel.ReduceStream] and [CopyStream] are for results that are much larger than the caches and apart from their sources.
//
// # Benchmarks
//
// internal/versus, a module of its own, times sums beside the loops that a C compiler makes of the same (gcc 12, -O3, AVX2 and F16C), in turn,
// medians of three rounds. BenchmarkReduce has the other operations. On 2 virtual cores of an AMD EPYC with 512 KiB of second-level
// cache each and 32 MiB of third-level cache, one thread, GB of result per second: ours, ours past the caches, C's. The memory traffic
// is 3 times as much for 2 sources and 5 times for 4. Only the ratios travel to other machines.
//
//	                      16 KiB operands         384 KiB operands          64 MiB operands
//	                     ours   past      C     ours   past      C     ours   past      C
//	float    2 in place   30.3      -   15.7    33.0      -   29.5     4.9      -    4.7
//	float    2 apart      25.1   19.7   14.4    22.2   18.7   20.4     2.7    4.8    3.2
//	float    4 in place   18.3      -   10.4    16.2      -   14.8     2.6      -    2.6
//	float    4 apart      17.5   14.3    9.8    12.1   12.0   11.7     2.5    3.0    2.6
//	double   2 in place   58.1      -   26.1    31.6      -   23.3     5.0      -    4.5
//	double   2 apart      31.5   22.8   19.8    16.1   14.3   20.1     3.0    4.6    3.3
//	double   4 in place   15.8      -   11.4    12.2      -   12.0     2.8      -    3.0
//	double   4 apart      17.9   15.2   12.1    13.0   12.9   12.8     2.3    2.6    2.5
//	int32    2 in place   46.8      -   11.7    31.6      -   20.0     4.9      -    4.3
//	int32    2 apart      32.4   20.9   19.4    15.4   13.4   14.6     3.1    4.6    3.6
//	int32    4 in place   22.0      -   13.2    14.8      -   14.3     2.9      -    3.2
//	int32    4 apart      17.8   15.9   12.2    12.2   11.7   12.0     2.4    2.8    2.5
//	half     2 in place   19.4      -    7.8    19.2      -    6.2     3.6      -    3.2
//	half     2 apart      17.6   14.0    5.0    15.1   14.1    6.2     3.1    3.9    2.1
//	half     4 in place    9.7      -    2.9     8.1      -    4.0     2.0      -    1.9
//	half     4 apart      10.4    9.3    3.1     9.1    9.1    3.7     2.3    2.8    2.4
//	bfloat16 2 in place   12.1      -    4.8    12.3      -    6.0     3.5      -    3.2
//	bfloat16 2 apart      11.8   11.7    4.9    13.6   13.1    6.0     3.1    3.8    2.7
//	bfloat16 4 in place    7.1      -    3.2     8.2      -    3.2     2.3      -    2.2
//	bfloat16 4 apart       7.7    6.9    3.4     7.0    7.4    3.1     2.1    2.1    1.8
package buffer
