// Package launch starts the ranks of an example as processes of this machine and sees that they end together.
//
// A program that uses it is both the parent and the ranks: it asks [FromEnv] first, and becomes a rank when that
// says so; else it calls [Local], which starts the same program once for every rank.
//
//	if rank, size, group, ok := launch.FromEnv(); ok {
//		return runRank(rank, size, group)
//	}
//	return launch.Local(ctx, launch.Options{NP: 4, Args: os.Args[1:]})
//
// # How the ranks end
//
// No rank outlives its parent, however the parent ends. Every rank has a pipe from the parent as its standard
// input. Nothing is ever written to it; the kernel closes it when the parent is gone, kill -9 included, and the
// rank then exits with status [ExitOrphaned]. On Linux the kernel is also asked to kill the rank when its parent
// dies (PR_SET_PDEATHSIG), which holds even when the rank's program is stuck.
//
// When one rank fails, the others have [Options.Grace] to find out by themselves and to say which rank they miss;
// then they are ended by process id. On Ctrl-C the parent ends the ranks; they themselves ignore it, so that one
// process decides.
package launch
