package main

const usage = `perf measures a collective as nccl-tests does: time, algorithm bandwidth and bus bandwidth for a row of
sizes, out of place and in place, every result checked.

Example: four processes on this machine, 1 KiB to 16 MiB, with a picture of the result:

    go run ./examples/perf -np 4 -b 1K -e 16M -f 4 -plot busbw.png

What to measure
  -coll NAME                 all_reduce (default), reduce_scatter, all_gather, broadcast, reduce or barrier (time only)
  -o, --op NAME              sum (default), prod, min, max, avg, or all of them in turn
  -d, --datatype NAME        int8 uint8 int16 uint16 int32 uint32 int64 uint64 half bfloat16 float (default) double, or all
  -r, --root RANK            root of broadcast and reduce; all or -1: every rank in turn (default 0)
  -algo NAME                 auto (default: the planner chooses), ring, tree, hd (halving-doubling), direct or hier
  -alloc KIND                registered (default: buffers come from the library, as nccl-tests takes them from NCCL) or plain

Sizes in bytes, with K, M, G, T for powers of 1024
  -b, --minbytes SIZE        first size (default 8)
  -e, --maxbytes SIZE        last size (default 64M)
  -f, --stepfactor N         next size = size x N (default 2); after size 0 comes one element
  -i, --stepbytes SIZE       next size = size + SIZE, unless -f is given too (default 1M; in use when -f is 1)
                             (nccl-tests measures 32M alone by default: -b 32M -e 32M)

How to measure
  -n, --iters N              timed iterations per size (default 20)
  -w, --warmup_iters N       iterations before each measurement that do not count (default 5)
  -m, --agg_iters N          calls per iteration (default 1)
  -N, --run_cycles N         run the whole row N times; 0: until interrupted (default 1)
  -c, --check N              checked calls per measurement; 0: none, #wrong is N/A (default 1)
  -a, --average N            the time shown: 0 rank 0's, 1 mean of ranks (default), 2 the fastest rank's, 3 the slowest's
  -I, --per_iter_timing      also time each iteration: i_min, i_max, i_p99 (us) and i_cv% of the slowest rank
  -timeout DURATION          a call that takes longer fails the run, 90s or a number of seconds (default
                             60s, or 20 ms for each rank of the process if that is more)

Who takes part
  -device PLACE              cpu (default); cuda: a rank has a device of its host, in an order in which neighbours are near by
                             NVLink or PCI; cuda:0,0 or cuda:0,1,2,3: these devices in turn, so that -np 2 -device cuda:0 is
                             two ranks on one. Ranks of a host read each other's memory in place (IPC between processes)
                             where they can. The end says what a copy within a device achieves, in bytes copied a second,
                             and what part of it the best busbw is
  -staged                    with -device cuda: all that ranks exchange goes through pinned memory of the host
  -libcuda FILE              with -device cuda: the driver's library (default libcuda.so.1)
  -np N                      processes to start on this machine; 1: this process alone (default 2). Without -np, a process
                             that torchrun, mpirun, srun or a Kubernetes indexed job has started is a rank of that job
  -bind                      give each process a core of its own if there are enough, as mpirun does with two, and one
                             goroutine at a time unless GOMAXPROCS says otherwise (Linux)
  -t, --nthreads N           ranks per process, as goroutines (default 1)
  -transport NAME            auto (default: the best there is between two ranks), mem (within a process), shm (shared
                             memory), quic or tcp (a network; both encrypted), quic,tcp (quic,
                             and tcp to whom that does not reach), rdma (a network with devices; data is not encrypted)
  -conns N                   quic and tcp: connections between two ranks, 1 to 32 (default 4, by quic more if they help); rdma: queue pairs a link, 1
                             to 16 (default 1)
  -plaindata                 with -transport tcp: send data in clear, as rdma does; who takes part is proved all the same
  -invite N                  make a group of N ranks on a network, say how to join, and take part with -t ranks
  -join INVITATION           take part in the group of an invitation, with -t ranks; the other flags as its other processes
  -hosts N                   count the processes (with -np 1: the goroutines) as if on N hosts (default 1); with quic, tcp
                             or rdma they use shared memory inside a host and the network between
  -g, --ngpus 1              accepted, as scripts for nccl-tests give it

Results
  -J, --output_file FILE     also write nccl-tests' JSON; never overwrites: FILE.0, FILE.1 … when FILE is there
  -topology FILE             write the machine as the planner sees it, with the costs that were measured, for examples/simulate
  -plot FILE.png|.svg        draw bus bandwidth and time against size
  -explain                   say for each size what the planner chose and why
  -h, --help                 this text

Columns: size (bytes of the larger buffer), count (elements per call), type, redop, root (-1: none), then for out of
place and for in place: time of one call in us, algbw = size/time and busbw in GB/s (1e9 B/s), and the elements that
were wrong on any rank. busbw is algbw x 2(n-1)/n for all-reduce, x (n-1)/n for gather and scatter, x 1 for
broadcast and reduce, n being the number of ranks: what each rank's link carries, so it compares across n.

Exit status: 0 all well, 1 wrong elements or a failed rank, 2 bad command line, 130 interrupted.
`
