// Package sim runs collectives under a virtual clock, on as many ranks as a user could want: 65,536 of them in a test.
//
//	g, _ := topology.Preset("llama3", 65536, nil)
//	plan, _ := plan.New(g).Choose(plan.Auto, plan.Request{Collective: schedule.AllReduce, Bytes: 1 << 30})
//	r, err := sim.Run(g, plan.Schedule, 1<<30)
//
// There is no algorithm in it. It steps through the schedules that the engine runs, by the rules of schedule.Machine (in the
// form of schedule.Fleet, which keeps the machines of all ranks in little memory), so what is simulated is what ships.
//
// # Time
//
// Time is counted in whole picoseconds. A run is one goroutine, and a function of its arguments: equal ones give the same
// [Result.Digest] on every machine.
//
// A message costs what [Cost] says (LogGPS): overheads of sender and receiver, which do one thing at a time each; a port's
// gap and time a byte; latency. A rank has one port to the network and one inside its host, each way. By default
// the graph's links are priced as the planner prices them: Alpha is the latency, topology.Gap of it the gap, Beta the time a
// byte, and a reduction of n operands topology.Nary of one two by two. A send is over when its receiver is done with it.
//
// # Levels
//
// [Messages] runs every message as an event. [Classes] finds ranks that nothing tells apart and runs one of each; and it runs
// rings, whose messages no queue could hold (8.6 thousand million of them at 65,536 ranks), as a recurrence of maxima
// and sums, in closed form where there is one. Its results are those of Messages on every rank, to the tick; the tests compare
// them.
//
// [Congestion] routes every message over the graph's [topology.Network], or one with faults ([Wired]): by hash, as one flow or several, or
// sprayed ([Routed]). Transfers under way at once share wires max-min fairly: two flows on a wire have half of it each, and
// what one of them cannot use, because it is held up elsewhere, the other has. So hashes collide, many senders to one receiver halt
// each other, and tiers that are oversubscribed are. Messages of one lane between two ranks go one after the other. Rates are worked out
// anew at every change for small runs, more rarely for larger ones ([Refresh]), and in the largest once for all messages that are as many
// steps from the beginning ([Rounds]). [Rates] answers for transfers without a schedule.
//
// # What is checked
//
// Every schedule is checked on symbols before it is run: in full up to 32 ranks, beyond by following a sample of chunks with
// all their contributions through the group. No result may be below a lower bound, or it is a [*BoundError]. A
// run that comes to a stop is a [*StuckError] that names the ranks and what they wait for, in a cycle if there is one.
//
// # What is left out
//
// Packets, their queues in switches, retransmissions and the caches of processors. But for Congestion, links have no contention beyond
// the ports of ranks; a link that many share is in the cost of its tier.
package sim
