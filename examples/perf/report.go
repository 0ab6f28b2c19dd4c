package main

import (
	"cmp"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/ringtree/ringtree/examples/internal/sizes"
)

// A header is what a report says once, before the results.
type header struct {
	version, goVersion string
	program            string
	threads            int // ranks per process
	sweep              sizes.Sweep
	warmup, iters, agg int
	check              int
	perIter            bool
	devices            []device
	experiment         string // name of the measurement in the JSON
	args               []string
	env                []string
	ranks, processes   int
	transport, algo    string
	hosts              int
	alloc              string
	placement          placement
	copied             float64 // GB/s of a copy within the device; 0: not measured
	start              time.Time
}

// A device is one rank as the report names it. nccl-tests' words are kept: the device is the rank's index in its
// process, Hex is what holds its buffers.
type device struct {
	Rank   int    `json:"rank"`
	Group  int    `json:"group"`
	PID    int    `json:"pid"`
	Host   string `json:"hostname"`
	Device int    `json:"device"`
	Hex    string `json:"device_hex"`
	Info   string `json:"device_info"`
}

// A measurement is one half of a row.
type measurement struct {
	seconds      float64 // per call
	algbw, busbw float64 // GB/s
	checked      bool
	wrong        int64       // elements, over all ranks and checks
	times        [][]float64 // seconds per call; by process, then iteration; nil without -I
}

// A row is the result for one size.
type row struct {
	size, count         int64 // bytes, elements
	dtype, op           string
	root                int // -1: the collective has none
	outOfPlace, inPlace measurement
	iters               int
}

// averageBus is the mean bus bandwidth of all rows, out of place and in place, in GB/s.
func averageBus(rows []row) float64 {
	if len(rows) == 0 {
		return 0
	}
	sum := 0.0
	for _, r := range rows {
		sum += r.outOfPlace.busbw + r.inPlace.busbw
	}
	return sum / float64(2*len(rows))
}

// bestBus is the largest bus bandwidth of all rows, in GB/s.
func bestBus(rows []row) float64 {
	best := 0.0
	for _, r := range rows {
		best = max(best, r.outOfPlace.busbw, r.inPlace.busbw)
	}
	return best
}

// totalWrong is the number of wrong elements of all rows.
func totalWrong(rows []row) int64 {
	n := int64(0)
	for _, r := range rows {
		n += r.outOfPlace.wrong + r.inPlace.wrong
	}
	return n
}

// version is the module version that this program was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return cmp.Or(info.Main.Version, "(devel)")
	}
	return "(devel)"
}

func programName() string { return filepath.Base(os.Args[0]) }
