// Command wanlab makes a network of hosts on this machine, runs a command, and removes the network when the command ends.
//
//	go run ./examples/internal/wan/wanlab -hosts 2 -rate 200 -rtt 20ms -loss 0.1 -- bash -c '
//		nsenter --net=$WAN_NS0 ./perf -invite 2 -transport quic 2>invitation & …
//		nsenter --net=$WAN_NS1 ./perf -join …'
//
// The command itself runs outside the network. Its environment has WAN_HOSTS, the number of hosts, and for each of
// them WAN_NS0, WAN_NS1, …, its network namespace, and WAN_ADDR0, …, its address. With -each the command runs once
// on every host at the same time instead, with WAN_HOST, its number.
//
// At the end it prints for every host what has happened to its packets. The exit status is the command's, or 125 if there is
// no network. See -h and package wan.
package main
