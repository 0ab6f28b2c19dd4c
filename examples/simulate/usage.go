package main

const usage = `simulate runs collectives on machines that need not exist: the schedules of this library under a virtual clock, on up to
65,536 ranks and more, with the time, where it goes, and what is busiest.

Example: 1 KiB to 1 GiB on the cluster of Llama 3, by every algorithm:

    go run ./examples/simulate -topo llama3 -ranks 1024 -algo all -b 1K -e 1G -f 32

The machine
  -topo NAME[,key=value…]    a preset (-topo help lists them, -topo help,NAME its parameters), or a file in the text form of
                             package topology (default rail)
  -ranks N                   number of ranks (default 64; of a file, what it says)
  -calibration FILE          costs of links: a report of topology/probe; or a model from -calibrate, whose prediction is shown beside
                             the simulated time
  -fault WHAT                something is wrong; may be given several times. rank5 is dead; rank5@2ms dies then; rank5+1ms comes late;
                             rank5*0.5 is half as fast; rank5>rank6 messages are lost. With -level congestion also nodes and wires of
                             the network, as topology names them: site0.3, rank5-rack0.1*0.5
  -jitter PART               every message takes up to PART times longer, at random (default 0)
  -seed N                    of jitter and of hashed routes (default 0)

The collective
  -coll NAME                 all_reduce (default), reduce_scatter, all_gather, broadcast, reduce, barrier
  -root RANK                 of broadcast and reduce (default 0)
  -algo NAME[,NAME…]         auto (default: what the planner chooses for each size), all, or ring, tree, hd, direct, one-shot, hier,
                             hier/ring, hier/tree, hier/hd, hier/direct, leaders/hd, leaders/direct
  -b SIZE -e SIZE -f N -i SIZE  sizes in bytes, with K, M, G: from -b (default 1M) to -e (default -b), each N times the one before
                             (default 2) or, with -i, that much more

How closely
  -level NAME                auto (default), classes (ranks that nothing tells apart run as one, exact), messages (each an event),
                             congestion (transfers share the wires of the network)
  -flows K                   congestion: hashed flows between two ranks (default 1)
  -spray                     congestion: flows are dealt over all switches instead of hashed

What to tell
  -explain                   also what the planner thought, the critical path, traffic of the tiers, the busiest ports and wires
  -json FILE, -csv FILE      the results; - is standard output, instead of the table
  -trace FILE                messages in the format of Chrome's tracing and of Perfetto (of the last size and algorithm)
  -plot FOLDER               pictures, instead of the table: size.svg, ranks.svg, choice.svg, heat.svg, and chart.svg up to 64 ranks
  -draw FILE.svg             the network
  -goal FILE, -msccl FILE, -chakra PREFIX
                             the schedule for LogGOPSim and ATLAHS, for MSCCL, and for ASTRA-sim

Models of measured libraries
  -validate FILE             hold predictions against a table of nccl-tests or perf (text, JSON, CSV) and print the errors by size: with
                             -topo what is simulated there by -algo; with -calibration a fitted model; else half of the rows predict the
                             other half
  -calibrate FILE [-o FILE]  fit a model to a table, and save it
  -group RANKSxHOSTS         of the table, if that does not say
  -scenario llama3           a training step of Llama 3 405B from its published parallelism

Columns are those of nccl-tests: size, count, type, redop, root, time (us), algbw = size/time and busbw (GB/s); #wrong is 0 where every
contribution was followed on symbols, in full up to 32 ranks and by a sample of chunks beyond. Then: how long after the first rank
the last was done (us), the algorithm, and how the time was worked out.

Exit status: 0 all well, 1 failed, 2 bad command line.
`
