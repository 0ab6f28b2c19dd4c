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
// internal/versus, a module of its own, times sum, prod, min and max beside the loops that a C compiler makes of the same (gcc 12, -O3, AVX2 and
// F16C), with the same results, which its tests hold both to: in turn, on the same memory, with as many samples of each, medians. Results apart from their
// sources go past the caches where all of them together are larger than the last cache. BenchmarkReduce has the
// other types. Sums on 2 virtual cores of an AMD EPYC of family 26 (Zen 5) with 1 MiB of second-level cache each and 32 MiB of third-level cache,
// one thread, GB of result per second, of four samples (16 KiB: five times four; 64 MiB: twice): ours, C's. The memory traffic is 3 times as much for 2 sources
// and 5 times for 4. Only the ratios travel to other machines.
//
//	                   16 KiB           384 KiB         64 MiB
//	                     ours      C     ours      C     ours      C
//	float    2 in place   123.5  110.7    92.1   95.2    22.9   22.6
//	float    2 apart      102.0  109.5    38.8   45.2    21.2   14.6
//	float    4 in place    50.0   52.3    28.8   29.4    10.1    9.9
//	float    4 apart       38.5   41.2    22.8   23.0    10.0    8.1
//	float    8 in place    21.9   22.5    11.9   12.7     4.4    4.4
//	float    8 apart       18.6   19.3    11.1   11.1     4.3    3.9
//	double   2 in place   124.4  110.4    92.5   96.1    20.9   22.5
//	double   2 apart      104.0  103.8    45.7   46.8    20.3   15.0
//	double   4 in place    50.7   52.7    29.2   29.7    10.2   10.0
//	double   4 apart       39.7   41.6    22.3   23.2     9.7    7.8
//	double   8 in place    21.3   22.3    12.8   12.9     4.4    4.3
//	double   8 apart       18.9   19.2     9.9   11.2     4.3    3.9
//	int32    2 in place   123.8  118.9    88.5   99.2    23.0   22.8
//	int32    2 apart      105.1  110.0    44.9   45.5    20.6   14.8
//	int32    4 in place    51.2   52.0    29.0   29.2    10.1   10.3
//	int32    4 apart       39.7   41.3    22.9   23.0     9.8    7.9
//	int32    8 in place    21.4   22.1    12.8   12.9     4.3    4.2
//	int32    8 apart       18.7   18.9    10.8   11.2     4.3    3.8
//	half     2 in place    32.1   31.8    30.8   33.1    19.8   21.2
//	half     2 apart       31.9   31.5    31.6   32.7    18.9   13.8
//	half     4 in place    16.1   16.1    14.4   16.3     9.2    9.3
//	half     4 apart       16.0   16.2    15.7   16.0     8.8    7.5
//	half     8 in place     8.0    8.1     6.9    7.8     4.1    4.0
//	half     8 apart        8.0    8.1     7.4    7.4     4.0    3.4
//	bfloat16 2 in place    21.5   12.3    20.0   12.7    19.1   12.4
//	bfloat16 2 apart       21.5   12.3    21.7   12.6    19.4   11.9
//	bfloat16 4 in place    14.9    8.3    15.2    8.5     8.9    7.9
//	bfloat16 4 apart       14.9    8.3    15.0    8.5     8.8    7.0
//	bfloat16 8 in place     9.4    5.2     8.5    5.1     3.9    3.2
//	bfloat16 8 apart        9.4    5.2     8.3    5.0     3.9    2.6
package buffer
