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
// Time is counted in whole picoseconds. A run is a function of its arguments: equal ones give the same [Result.Digest] on every machine,
// however many processors share it.
//
// A message costs what [Cost] says (LogGPS): overheads of sender and receiver, which do one thing at a time each; a port's
// gap and time a byte; latency. A rank has one port to the network and one inside its host, each way. By default
// the graph's links are priced as the planner prices them: Alpha is the latency, topology.Gap of it the gap, Beta the time a
// byte, and a reduction of n operands topology.Nary of one two by two. A send is over when its receiver is done with it.
//
// # Levels
//
// [Messages] runs every message of every rank. Where nothing disturbs ranks it takes them host by host through windows of time that are as
// long as the quickest message between hosts takes (what happens to a host in a window concerns no other in that window, so that
// processors share the hosts); else every message is an event in a queue. [Classes] finds ranks that nothing tells apart and runs one of
// each; and it runs rings, whose messages no queue could hold (8.6 thousand million of them at 65,536 ranks), as a recurrence of maxima
// and sums, in closed form where there is one. Results are the same, to the tick, whichever way a run takes; the tests compare them.
//
// A schedule can say how it looks the same from many ranks ([schedule.Turner]: all-to-all patterns, and hosts reduced first with such a pattern
// or a ring between them). Where the links of the graph repeat themselves as well, ranks are known to be alike before they are read, and one of
// each class is read and run: 16 of any number on racks of 16 that the group fills, and of those one of each host where its ranks do the same, too
// ([schedule.Fleet.Rotates]). What a schedule says is compared with what one more rank of
// each kind does, drawn by lot, and a run in full stands in where chunks differ in length, messages ask first or something is disturbed.
// Where every rank sends to many at once ([InVolleys]), arrivals are known before anything is done with them, and no queue is needed.
//
// Double trees have no classes that could be told from the schedule. Their trees meet in the ports of every rank, and who comes first there
// depends on the way that both took to it; so the order at a port is not known before the times are, and no recurrence in a fixed order gives
// them. But most hosts are like many others for a while, and many to the end: of 8,192 hosts of llama3, in 64 slices, 3,256 are different at
// last. So [Classes] goes by windows with one host of each class of those to which, so far, the same has come at the same times
// ([ByLikeness]): all of one program at first, and a class comes apart in the window in which its members get different messages. What only goes
// down within a host, and nothing outside waits for, is put down as it enters and run at the end, when mostly the same has been seen before, only
// at another time. So of 1.6 million times that a host gets something in a window, 0.5 million are put down, and 0.2 million are run.
//
// [Congestion] routes every message over the graph's [topology.Network], or one with faults ([Wired]): by hash, as one flow or several, or
// sprayed ([Routed]). Transfers under way at once share wires max-min fairly: two flows on a wire have half of it each, and
// what one of them cannot use, because it is held up elsewhere, the other has. So hashes collide, many senders to one receiver halt
// each other, and tiers that are oversubscribed are. Messages of one lane between two ranks go one after the other. Rates are worked out
// anew at every change for small runs, more rarely for larger ones ([Refresh]), and in the largest once for all messages that are as many
// steps from the beginning ([Rounds]); there, where all ranks do the same, rates are worked out before times, several rounds at once
// ([InStep]). [Rates] answers for transfers without a schedule.
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
//
// # BENCHMARKS
//
// On two cores of an AMD EPYC virtual machine whose host others use too (a row varies by half from hour to hour; medians of three runs in a quick
// one, on Zen 5, the slowest of several runs in slow ones, on Zen 3, in brackets), from reading the schedule to the result, by
//
//	go test -c ./collective/sim
//	/usr/bin/time -v ./sim.test -test.run '^$' -test.benchtime 1x -test.bench 'Large/ROW$'
//
// for 1 GiB over 65,536 ranks of the llama3 preset (ring-exact to hd-congestion-16):
//
//	ROW                        seconds       peak memory
//	ring-exact                 0.04 (0.13)    30 MB   every link its own cost, closed form
//	ring-jitter                2.1  (4.6)     24 MB   8.6 thousand million messages stepped; 12.1 s with -tags purego in a slow hour
//	hd-messages                0.45 (1.0)    144 MB   halving-doubling, every message, by windows
//	hier-hd                    0.43 (0.8)    128 MB   reduced in hosts of 8, halving-doubling between 8,192
//	tree-64-messages           1.4  (3.9)    106 MB   double binary tree in 64 slices, every message, by windows
//	tree-64-classes            0.24           78 MB   the same, hosts alike run as one, what goes down within them at the end; in turn
//	                                                  with what went down run like all else: 0.35
//	ring-congestion            0.25           95 MB   on wires that all links share at once, in a slow hour
//	hd-congestion-1            0.46 (1.2)    260 MB   on wires shared 1:7, one flow a pair
//	hd-congestion-16           2.9  (8.1)    387 MB   sixteen flows a pair
//	ring-exact-262144          0.16 (0.4)    101 MB   262,144 ranks, as the rows below
//	hd-messages-262144         1.6  (5.2)    571 MB
//	hier-hd-262144             1.3  (3.3)    458 MB
//	hd-congestion-1-262144     5.5           889 MB   in a slow hour
//
// In a slow hour hd-congestion took 1.15 s for one flow and 8.0 s for sixteen, in turn with what ran rounds rank by rank: that took 2.1 to 2.4 and
// 9.7 s. Of the time of processors for one flow, three tenths go into reading the schedule, half into routes and rates, and a tenth into what the
// ranks do.
//
// Benchmark Messages, million messages a second on one core (-test.cpu 1), of a simulation that has run before: the tree 10, a ring of 256 9.5,
// halving-doubling 8.7, hosts reduced first 6.3, direct 6.0. In a quick
// hour, on the code as it is, 18, 17, 16, 16 and 12. Where every operation is one message, following links takes as long as a run; a
// simulation does that once for all sizes (anew for each, halving-doubling has 5.8, hosts reduced first 4.1, direct 4.1). By events all have 2.9 to
// 4.5. On both cores the tree has up to 16. The recurrence alone, over the same messages in a fixed order from flat arrays, takes 4 to 6 ns a
// message: what remains is putting arrivals in order, and what operations wait for.
//
// Benchmark Small, what a test over 1,024 ranks of the rail preset takes in all, milliseconds, in a quick hour and a slow one: ring 0.8 to 1.5,
// halving-doubling 2.2 to 2.9, with hosts reduced first 2.9 to 5, direct 6.3 to 10, a ring of hosts 2.8 to 6, a tree of hosts 6.5 to 17, direct between
// hosts 4.7 to 10, the tree in slices 6 to 8. Message by message ten milliseconds are 80,000 messages a core at 8 million a second, where the tree has
// 262,000 and a tree of hosts a million. Of the tree's, 115,000 go down within hosts, of which some thousands are run, as all others go down as those
// did; in turn with every one of them run, by two goroutines that meet after each window, it took 9 (22 while others used the machine). Of a tree
// of hosts an eighth is run: one rank of each host of a tree stands for its half that are a leaf there, and for the other half in the host in the
// same place of the twin. Of a ring of hosts one of each host of a rack is run, 32, which all differ: the links at
// the rack's end are slower, so that no host of it is in time with another. In turn with every rank of a host on a channel of its own, all beginning
// with the first, so that none were alike, a ring of hosts took 25, a tree of hosts 90, and halving-doubling with hosts reduced first 5.5.
//
// One-shot all-reduces, of 16 KiB, and barriers, which go in volleys, take 3 to 4 (in turn with every message an event 67). Of the other
// collectives most take less than 6 in a quick hour: over hosts reduce-scatter and all-gather 5 to 11 (470 when all ranks were run), broadcast by
// halving-doubling 6 to 13 and with hosts 5 to 9, a tree's all-gather 7 to 12, a direct barrier 7 to 12, direct broadcast and
// reduce 5.4 and 6.7. Half of what is done in those is of the root, so that one goroutine runs them (in turn with two that share windows
// with a message or two each, 8.2 and 9.1).
package sim
