// Command perf measures the collectives of this library the way nccl-tests measures NCCL's: the same flags, the
// same table, the same JSON, the same definitions of algorithm and bus bandwidth. Tools that read the output of
// all_reduce_perf read this one's.
//
//	go run ./examples/perf -np 4
//
// starts four ranks as processes of this machine and measures all-reduce of floats from 8 B to 64 MiB, out of
// place and in place, and checks every element of the results on every rank. See -h for the flags.
//
// On a machine with GPUs, -device cuda gives each rank one of them in turn, and -device cuda:0 lets several share one; a line
// at the end says what a copy within a device achieves.
//
//	go run ./examples/perf -np 8 -device cuda
//	go run ./examples/perf -np 2 -device cuda:0
//
// The exit status is 0 when all went well and no element was wrong, 1 when an element was wrong or a rank failed,
// 2 for a command line that cannot be used, and 130 after Ctrl-C.
package main
