// Command topo shows what a group of ranks looks like to the planner: it starts the ranks, measures the links between
// them, draws them, and explains which schedule an all-reduce would use and why.
//
//	go run ./examples/topo -np 4 -size 1M -plot topo.png
//
// With -topo it starts nothing and shows a described machine instead: a preset such as racks or wan:sites=3, or a file in
// the text form of package topology.
//
//	go run ./examples/topo -np 64 -topo llama3 -plot llama3.svg
//
// The exit status is 0 when all went well, 1 when a rank failed, 2 for a command line that cannot be used, and 130 after
// Ctrl-C.
package main
