// Package cudabridge is the library's way to NVIDIA GPUs: devices, streams, events, memory, the memory of other processes,
// and kernels that reduce as package buffer does, over the CUDA driver's own interface.
//
// Nothing of NVIDIA's is needed to build: the driver's library is loaded when [Open] is called, and its functions are declared
// here. Without cgo, or on other systems than linux/amd64 and linux/arm64, everything compiles and Open says what is missing. Devices need compute
// capability 7.0.
//
// # Memory and order
//
// A [Buffer] is memory of a device. Its Bytes name places in it, for copies, kernels and operations; the Go program itself must not
// touch them. Work on a [Stream] happens in order and later: operands belong to it until the stream, or an [Event] behind it,
// has come past. Asynchronous copies take pinned host memory only, a [HostBuffer]. Package collective takes a device's memory
// by its [Memory].
//
// Contexts are the library's concern: each call of the driver makes the device's primary context current on the thread that it
// happens to run on, and takes it away again before it returns. So goroutines need no locked thread, and a caller's own
// current context is never changed.
//
// [Memory.DMABuf] exports a device's memory for network cards that read it by themselves (GPUDirect). Operations use that for memory of
// AllocDevice over transport/rdma, which says which way it took: dma-buf, else by address (nvidia-peermem), else staged through pinned
// memory of the host.
//
// # Kernels
//
// The kernels are PTX text, generated from the table of types and operations and kept in internal/kernels. The driver compiles a
// file when a kernel of it is first needed, and keeps the result in its cache, ~/.nv/ComputeCache unless CUDA_CACHE_PATH says
// otherwise; the first use on a machine takes some tenths of a second a type, later ones milliseconds.
//
// Every type of package buffer has sum, product, minimum, maximum, average and pre-multiplied sum of up to eight sources in one pass,
// [Stream.Reduce] and [Stream.ReduceScaled]. Beyond those types there are 8-bit floats, which programs exchange on their own terms
// ([Stream.ReduceFloat8]), int8 in blocks that share a scale ([Stream.Quantise], [Stream.DequantiseAdd]), and the packing of tensors
// into buckets ([Stream.Pack], [Stream.Unpack]).
//
// # Errors
//
// Every result of the driver is checked. What is not a success is an [*Error]; [ErrNoDriver], [ErrNoDevice],
// [ErrOutOfMemory] and [ErrSticky] are what it may be. After a sticky error the device is of no use to the process any more.
//
// What [Open] says where there is no CUDA, word for word; nothing else of a program changes:
//
//	no driver here           cudabridge: no NVIDIA driver: libcuda.so.1: cannot open shared object file: No such file or directory
//	a driver, no GPU         cudabridge: cuInit: CUDA_ERROR_NO_DEVICE (100): no CUDA-capable device is detected
//	built without cgo        cudabridge: the bridge is not in this program: this program was built with CGO_ENABLED=0; build it with cgo and a C compiler
//	built for other systems  cudabridge: the bridge is not in this program: it is for linux/amd64 and linux/arm64, this program is for darwin/arm64
//
// # What has been tried
//
// The bridge and its kernels are tested on a strict stand-in for the driver, with the kernels executed by an interpreter, and every
// kernel is assembled by NVIDIA's ptxas. They have not run on a GPU yet. On a machine that has one, go test -tags gpu ./cudabridge/... ./collective/... is for that, and
// go run ./examples/perf -device cuda measures it.
package cudabridge
