package launch

import (
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync"
)

// The variables that tell a process its place. A cluster's own launcher may set the first three by hand.
const (
	EnvRank   = "RINGTREE_RANK"   // 0 … size-1
	EnvSize   = "RINGTREE_SIZE"   // number of ranks that were started
	EnvGroup  = "RINGTREE_GROUP"  // name under which the ranks find each other
	EnvParent = "RINGTREE_PARENT" // process id of the parent; set by Local only
)

// ExitOrphaned is the exit status of a rank whose parent is gone.
const ExitOrphaned = 75

var watch sync.Once

// FromEnv returns the place that the environment gives to this process. ok is false when the process was not
// started as a rank: a variable is missing, or rank and size are not numbers with 0 <= rank < size.
//
// In a process that [Local] started, the first call also ties the process to its parent: from then on standard
// input belongs to this package, Ctrl-C is left to the parent, and the process exits with status [ExitOrphaned] as
// soon as the parent is gone.
func FromEnv() (rank, size int, group string, ok bool) {
	rank, size, group, ok = parse(os.Getenv)
	if ok && os.Getenv(EnvParent) != "" {
		watch.Do(func() {
			signal.Ignore(os.Interrupt)
			go exitAtEOF(os.Stdin, os.Exit)
		})
	}
	return rank, size, group, ok
}

func parse(getenv func(string) string) (rank, size int, group string, ok bool) {
	rank, err1 := strconv.Atoi(getenv(EnvRank))
	size, err2 := strconv.Atoi(getenv(EnvSize))
	group = getenv(EnvGroup)
	if err1 != nil || err2 != nil || group == "" || rank < 0 || rank >= size {
		return 0, 0, "", false
	}
	return rank, size, group, true
}

// exitAtEOF calls exit when r ends. What arrives before is dropped: the parent writes nothing.
func exitAtEOF(r io.Reader, exit func(int)) {
	_, _ = io.Copy(io.Discard, r)
	exit(ExitOrphaned)
}
