// Package rdma joins ranks on a network by remote direct memory access: the devices of two hosts write into each other's
// memory, over InfiniBand or RoCE, without their processors.
//
// It needs Linux, cgo and libibverbs.so.1, which it loads at run time: the same program runs where that, or a device, is
// not there. [Available] says what is missing.
//
// What it says there, word for word:
//
//	built without cgo  rdma: transport: not supported on this machine: this program was built without verbs: they need Linux and cgo
//	no library         rdma: transport: not supported on this machine: libibverbs cannot be loaded: libibverbs.so.1: cannot open shared object file: No such file or directory
//	no device          rdma: transport: not supported on this machine: no RDMA device
//
// A kernel that knows no RDMA at all adds ": function not implemented" to the last.
//
// # A link
//
// Every link has a control link under it, of the transport that [New] is given. That one authenticates the peer, notices
// its death, and carries the keys of queue pairs and memory, so nobody else has them. When both ends have said
// hello, connected their queue pairs and seen a first write acknowledged, frames go over the device; where that
// cannot be, because an end has no device or the two do not reach each other, the control link carries them, and
// [transport.Link.Caps] says so. What breaks later ends the link on both sides with a [*transport.LostError]: its
// cause is a [*CompletionError], a [*DeviceError] or, at the other end, a [*BrokenError].
//
//	sender                                             receiver
//	RDMA WRITE WITH IMMEDIATE (number of the frame) -> slot of the window, completion
//	                                                   Poll reads the slot in place, Release frees it
//	its count of granted frames                     <- RDMA WRITE: an immediate where the sender may wait, else a word
//
// Small frames travel inside the work request. Payloads in memory of Alloc or [Endpoint.Register] are read by the device
// where they lie; others are copied into registered memory first. A receiver reads the slot. A rank looks for completions itself while it is awake, one call
// a look, and asks for an event before it sleeps, which the runtime's poller waits for; no thread is bound.
//
// The device's data is not encrypted, and its integrity is the network's.
//
// # Placement
//
// What comes can go straight to where it is wanted (rendezvous by remote write), if that is memory of Alloc or
// [Endpoint.Register]: links are [transport.ExpectingLink].
//
//	receiver                                           sender
//	address, key, seal, for frame n: RDMA WRITE     -> offers of its window
//	place of the frame                              <- RDMA WRITE: payload, from registered memory or a copy
//	slot of the window, completion                  <- RDMA WRITE WITH IMMEDIATE: header, "placed"
//
// Nothing waits for an offer: a sender that has not got one, or one for another frame or header, uses the slot. Keys of places travel
// in these writes alone: over a queue pair whose own keys went over the authenticated control link, into memory whose key did,
// too. The device knows a whole registration by one key, which members of the group to whom some place in it was offered can use until the
// memory is freed or unregistered; whoever reads the path sees it, as it sees all keys of unencrypted RDMA. A rank that gives up
// has its memory back when [transport.Link.Quiet] says so: its queue pairs are gone then, and the device takes no write
// any more. A wrong key for a place ends the link on both sides, as any does.
//
// # Options and NCCL's names
//
//	Device, Port     NCCL_IB_HCA                      first active port
//	GIDIndex         NCCL_IB_GID_INDEX                chosen: RoCE v2, IPv4
//	QueuePairs       NCCL_IB_QPS_PER_CONNECTION       1
//	TrafficClass     NCCL_IB_TC                       0
//	ServiceLevel     NCCL_IB_SL                       0
//	PKeyIndex        NCCL_IB_PKEY                     0
//	AckTimeout       NCCL_IB_TIMEOUT                  20
//	Retries          NCCL_IB_RETRY_CNT                7
//	MTU              the lesser of both active MTUs
//
// With the defaults a path that is cut while the control link lives is noticed after half a minute; where that is too
// long, AckTimeout(14) and Retries(5) make it a second.
//
// # Memory of other devices
//
// [Endpoint.Register] takes memory of a GPU as a value: as a dma-buf, else by its address, which needs a kernel module
// such as nvidia-peermem, else by a function that copies it to the host. [Registration.Way] says which it is. A group does so with
// memory of its AllocDevice, and keeps to its own pinned slots where that would take a copy ([Endpoint.RegisterDevice]). Where the
// device may write there, too ([Registration.Receives]), a link takes places in it, and Poll returns a frame whose payload was stored there when
// the GPU sees it: at once where the GPU orders what cards store, else when the driver's call has flushed it, else when the
// device has read a byte from there behind it, over a queue pair to itself, as NCCL does. [Registration.Settles] says which, or why the memory only
// sends.
//
// # What has been verified
//
// On software RoCE (rdma_rxe) in virtual machines, by testvm/testvm.sh: the conformance suite, strangers, a killed
// process, also one that stores into this one's memory, a wrong key for a slot and for a place, reads over a queue pair to itself behind what is stored, a path that is cut, the refusal of dma-bufs and of addresses without memory, and all collectives on
// memory of a stand-in for the GPU's driver, both ways by its address and staged. On a
// stand-in that reorders, delays and breaks at will: the rest, dma-bufs of a stand-in for the GPU's driver included, what is stored in which comes only with a flush or a read. It has not run on a network card yet, nor with a GPU,
// and nothing here says how fast it is.
//
// # BENCHMARKS
//
// BenchmarkPlacement moves messages, in frames of 256 KiB at the most, to a rank that says when it is ready, and copies them out of the slots
// or has them stored in their places. The time by slots over the time by places, and the times in microseconds; medians of five interleaved
// rounds, the range in brackets. Neither is a network card: the stand-in copies once as the device and is alone with the
// messages' cost in this package; software RoCE in an emulated machine (rdma_rxe in qemu without KVM) moves 20 to 40 MB/s, by packets, and
// its rounds differ by more than the two ways do. All places were used.
//
//	                stand-in                         software RoCE, emulated
//	  4 KiB   1.03 (0.92 to 1.33)    17    16    1.16 (0.99 to 1.51)    1,620    1,180
//	  8 KiB   1.08 (0.78 to 1.46)    16    17    0.92 (0.81 to 2.46)    1,330    1,430
//	 16 KiB   0.96 (0.85 to 1.59)    18    18    1.00 (0.71 to 1.56)    1,900    1,490
//	 32 KiB   1.14 (0.97 to 1.17)    18    18    0.86 (0.82 to 0.94)    1,870    2,180
//	 64 KiB   1.16 (0.80 to 1.40)    19    18    1.00 (0.89 to 1.34)    4,140    3,080
//	128 KiB   1.34 (0.98 to 1.63)    30    26    0.97 (0.89 to 1.33)    6,610    5,270
//	256 KiB   1.87 (1.62 to 2.43)    53    31    1.11 (1.01 to 1.51)   14,600   10,500
//	  1 MiB   1.74 (1.57 to 2.38)   119    76    1.12 (1.03 to 1.28)   33,000   31,000
//	  4 MiB   2.11 (1.92 to 3.31)   622   281    1.01 (0.92 to 1.67)  120,000  120,000
//	 16 MiB   2.06 (1.87 to 2.65) 5,270 2,560    0.96 (0.62 to 1.45)  612,000  686,000
//
// On 2 cores of a virtual machine (AMD EPYC, Linux 6.18), by
//
//	go test -c -o rdma.test ./transport/rdma
//	for i in 1 2 3 4 5; do ./rdma.test -test.run '^$' -test.bench Placement -test.benchtime 20ms; done
//	transport/rdma/testvm/testvm.sh run -f rdma.test -- bash -c \
//	    'for i in 1 2 3 4 5; do ./rdma.test -test.run "^$" -test.bench Placement -test.benchtime 40ms; done'
//
// So operations give places from 16 KiB on, where a place costs no more than it saves; on a card, whose stores take no processor, what
// is saved is the whole copy.
package rdma
