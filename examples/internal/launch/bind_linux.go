package launch

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Bind keeps this process on a core of its own if the ranks of this machine are no more than the cores that it may use, and
// reports whether it did. That is what mpirun does with two processes; without it the kernel may let two ranks share a core for
// as long as another program is busy on the next one. Call it early: threads that start later are bound as the one that
// starts them is. Go then runs one goroutine at a time, too, unless GOMAXPROCS is set: with more, a thread that waits for the network takes
// the core from the rank at each packet. (The runtime comes to that by itself, but only a while later.)
func Bind(rank, size int) (bool, error) {
	var may, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return false, fmt.Errorf("launch: bind: %w", err)
	}
	if size > may.Count() {
		return false, nil
	}
	for cpu, nth := 0, 0; ; cpu++ {
		if !may.IsSet(cpu) {
			continue
		}
		if nth == rank {
			one.Set(cpu)
			break
		}
		nth++
	}
	// A thread that comes while this looks may be missed by the first round, not by the second: all that could start it are bound.
	for range 2 {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return false, fmt.Errorf("launch: bind: %w", err)
		}
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				continue
			}
			if err := unix.SchedSetaffinity(id, &one); err != nil && !errors.Is(err, unix.ESRCH) {
				return false, fmt.Errorf("launch: bind: %w", err)
			}
		}
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	return true, nil
}
