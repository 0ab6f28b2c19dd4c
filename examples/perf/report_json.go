package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"time"
)

// The JSON report has nccl-tests' fields in its order and with its types: truth values are the strings "true" and
// "false", root is a padded string, numbers have six decimals. What has no counterpart there stands in "ringtree".

const (
	jsonVersion = 2 // nccl-tests' JSON_FILE_VERSION
	timeFormat  = "2006-01-02 15:04:05"
)

type jsonReport struct {
	Version   int          `json:"version"`
	StartTime string       `json:"start_time"`
	Args      []string     `json:"args"`
	Env       []string     `json:"env"`
	NCCL      int          `json:"nccl_version"` // 0: there is none here
	Library   string       `json:"ringtree_version"`
	Config    jsonConfig   `json:"config"`
	Results   []jsonResult `json:"results"`
	Bounds    struct {
		Count int64    `json:"count"`
		Okay  jsonBool `json:"okay"`
	} `json:"out_of_bounds"`
	Average struct {
		Bandwidth decimal `json:"bandwidth"`
		Okay      string  `json:"okay"`
	} `json:"average_bus_bandwidth"`
	Errors  []string `json:"errors"`
	EndTime string   `json:"end_time"`
}

type jsonConfig struct {
	Threads    int      `json:"nthreads"`
	GPUs       int      `json:"ngpus"`
	MinBytes   int64    `json:"minimum_bytes"`
	MaxBytes   int64    `json:"maximum_bytes"`
	StepFactor int64    `json:"step_factor,omitempty"`
	StepBytes  int64    `json:"step_bytes,omitempty"`
	Warmup     int      `json:"warmup_iters"`
	Iters      int      `json:"iterations"`
	Agg        int      `json:"aggregated_iterations"`
	Check      int      `json:"validation"`
	Graph      int      `json:"graph"`
	Blocking   jsonBool `json:"blocking_collectives"`
	PerIter    jsonBool `json:"per_iter_timing"`
	Parallel   jsonBool `json:"parallel_init"`
	Devices    []device `json:"devices"`
	Ringtree   struct {
		Ranks     int    `json:"ranks"`
		Processes int    `json:"processes"`
		Hosts     int    `json:"hosts"`
		Transport string `json:"transport"`
		Algorithm string `json:"algorithm"`
		Alloc     string `json:"alloc"`
		Device    string `json:"device,omitempty"` // "": the processor
		// Copy is what a copy within the device achieves, in GB/s.
		Copy decimal `json:"device_copy_gbs,omitempty"`
	} `json:"ringtree"`
}

type jsonResult struct {
	Size              int64     `json:"size"`
	Count             int64     `json:"count"`
	Type              string    `json:"type"`
	Op                string    `json:"redop"`
	Root              string    `json:"root"`
	OutOfPlace        jsonHalf  `json:"out_of_place"`
	OutOfPlacePerIter *jsonIter `json:"out_of_place_per_iter,omitempty"`
	InPlace           jsonHalf  `json:"in_place"`
	InPlacePerIter    *jsonIter `json:"in_place_per_iter,omitempty"`
	Iterations        int       `json:"actual_iterations"`
	Experiment        string    `json:"experiment_name"`
}

type jsonHalf struct {
	Time   decimal  `json:"time"` // microseconds
	AlgBW  decimal  `json:"alg_bw"`
	BusBW  decimal  `json:"bus_bw"`
	NWrong *decimal `json:"nwrong"` // null: not checked
}

type jsonIter struct {
	Min        decimal     `json:"min_us"`
	Max        decimal     `json:"max_us"`
	Avg        decimal     `json:"avg_us"`
	P50        decimal     `json:"p50_us"`
	P95        decimal     `json:"p95_us"`
	P99        decimal     `json:"p99_us"`
	Stdev      decimal     `json:"stdev_us"`
	CV         decimal     `json:"cv_pct"`
	Times      []decimal   `json:"times_us"`
	PerProcess [][]decimal `json:"per_process_max_times_us,omitempty"`
}

// decimal is written as C's %lf.
type decimal float64

func (d decimal) MarshalJSON() ([]byte, error) {
	if f := float64(d); math.IsNaN(f) || math.IsInf(f, 0) {
		return json.Marshal(strconv.FormatFloat(f, 'f', -1, 64))
	}
	return strconv.AppendFloat(nil, float64(d), 'f', 6, 64), nil
}

type jsonBool bool

func (b jsonBool) MarshalJSON() ([]byte, error) { return json.Marshal(strconv.FormatBool(bool(b))) }

// makeJSON builds the report. failure is the error that ended the run, nil when it came to its end.
func makeJSON(h header, rows []row, failure error, end time.Time) *jsonReport {
	r := &jsonReport{
		Version: jsonVersion, StartTime: h.start.Format(timeFormat), Args: h.args, Env: h.env, Library: h.version,
		Results: []jsonResult{}, Errors: []string{}, EndTime: end.Format(timeFormat),
	}
	c := jsonConfig{
		Threads: h.threads, GPUs: 1, MinBytes: h.sweep.First, MaxBytes: h.sweep.Last, Warmup: h.warmup, Iters: h.iters, Agg: h.agg,
		Check: h.check, PerIter: jsonBool(h.perIter), Parallel: true, Devices: h.devices,
	}
	if h.sweep.Factor > 1 {
		c.StepFactor = h.sweep.Factor
	} else {
		c.StepBytes = h.sweep.Step
	}
	c.Ringtree.Ranks, c.Ringtree.Processes, c.Ringtree.Hosts = h.ranks, h.processes, h.hosts
	c.Ringtree.Transport, c.Ringtree.Algorithm, c.Ringtree.Alloc = h.transport, h.algo, h.alloc
	if h.placement.cuda {
		c.Ringtree.Device, c.Ringtree.Copy = h.placement.String(), decimal(h.copied)
	}
	r.Config = c
	for _, row := range rows {
		r.Results = append(r.Results, jsonResult{
			Size: row.size, Count: row.count, Type: row.dtype, Op: row.op, Root: fmt.Sprintf("%6d", row.root),
			OutOfPlace: makeHalf(row.outOfPlace), OutOfPlacePerIter: makeIter(row.outOfPlace.times),
			InPlace: makeHalf(row.inPlace), InPlacePerIter: makeIter(row.inPlace.times),
			Iterations: row.iters, Experiment: h.experiment,
		})
	}
	r.Bounds.Count = totalWrong(rows)
	r.Bounds.Okay = r.Bounds.Count == 0
	r.Average.Bandwidth, r.Average.Okay = decimal(averageBus(rows)), "unchecked"
	if failure != nil {
		r.Errors = append(r.Errors, failure.Error())
	}
	return r
}

func makeHalf(m measurement) jsonHalf {
	h := jsonHalf{Time: decimal(m.seconds * 1e6), AlgBW: decimal(m.algbw), BusBW: decimal(m.busbw)}
	if m.checked {
		h.NWrong = new(decimal)
		*h.NWrong = decimal(m.wrong)
	}
	return h
}

func makeIter(times [][]float64) *jsonIter {
	if times == nil {
		return nil
	}
	worst := slowest(times)
	s := summarise(worst)
	micro := func(row []float64) []decimal {
		out := make([]decimal, len(row))
		for i, t := range row {
			out[i] = decimal(t * 1e6)
		}
		return out
	}
	us := func(seconds float64) decimal { return decimal(seconds * 1e6) }
	j := &jsonIter{
		Min: us(s.min), Max: us(s.max), Avg: us(s.avg), P50: us(s.p50), P95: us(s.p95), P99: us(s.p99),
		Stdev: us(s.stdev), CV: decimal(s.cv()), Times: micro(worst),
	}
	if len(times) > 1 {
		for _, row := range times {
			j.PerProcess = append(j.PerProcess, micro(row))
		}
	}
	return j
}

// createReport makes the file of the JSON report. Like nccl-tests it never overwrites one: when path is there it
// takes path.0, path.1 and so on.
func createReport(path string) (*os.File, error) {
	name := path
	for n := 0; ; n++ {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, fs.ErrExist) || n == math.MaxInt32 {
			return f, err
		}
		name = fmt.Sprintf("%s.%d", path, n)
	}
}

// writeJSON makes the report the content of f.
func writeJSON(f *os.File, r *jsonReport) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if _, err := f.WriteAt(text, 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(text)))
}
