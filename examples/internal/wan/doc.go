// Package wan makes a network of hosts on one Linux machine: network namespaces, joined by a switch in user space that gives
// every host a line of some rate, delay, loss and queue. It is for tests and measurements of programs that believe they
// are far from each other, on kernels that have no netem as well.
//
//	n, err := wan.New(wan.Config{Hosts: 3, Delay: 5 * time.Millisecond, Loss: 0.001})
//	…
//	defer n.Close()
//	err = n.Host(1).Start(exec.Command("perf", "-join", invitation))
//
// From a shell, wanlab does the same for the time of one command:
//
//	go run ./examples/internal/wan/wanlab -hosts 2 -rate 200 -rtt 20ms -loss 0.1 -- ./measure.sh
//
// # The line of a host
//
// A frame waits in the host's queue, takes its bytes' time on the line up, travels for the delay, and takes its
// time on the line down of the other host, where frames of several hosts meet in another queue. Both lines have
// the rate; a frame that finds a queue full is dropped. Loss is independent, for each packet of IPv4, on the way up. Sizes
// count 24 bytes a packet for preamble, checksum and gap, as Ethernet has them.
//
// Hosts hand over TCP and UDP data in frames of up to 64 KiB, as to a card that segments (TSO, USO). The switch counts, loses
// and queues their packets one by one, and what is left travels in as few frames as possible, which is what makes
// 1 Gbit/s cheap: a frame arrives when its last packet does.
//
// # What is left behind
//
// Nothing, however the process ends. A namespace lives by a thread and a descriptor of this process, and a TAP device by the
// descriptor that the switch reads; neither has a name that could outlive them. Processes that [Host.Start] started are
// killed by the kernel when the network is closed or its process dies.
//
// It needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN) and /dev/net/tun; [New] returns an [UnavailableError] that says what is
// missing. No program is needed. Addresses are IPv4; IPv6 is off.
package wan
