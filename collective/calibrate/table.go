package calibrate

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A Row is one measurement of an all-reduce.
type Row struct {
	Bytes   int64
	Seconds float64
}

// A Table is what was measured of one group, in ascending order of lengths.
type Table struct {
	Name  string
	Shape Shape
	Rows  []Row
}

// Halves deals the rows out in turn: the first table gets those at even places for half 0, at odd ones for half 1,
// and the second the others. Neither shares memory with t.
func (t *Table) Halves(half int) (train, rest *Table) {
	train, rest = &Table{Name: t.Name, Shape: t.Shape}, &Table{Name: t.Name, Shape: t.Shape}
	for i, r := range t.Rows {
		to := rest
		if i%2 == half {
			to = train
		}
		to.Rows = append(to.Rows, r)
	}
	return train, rest
}

// add appends a row of the smaller of the times that are there, in microseconds. Rows without bytes or time are left
// out: they measure the timer.
func (t *Table) add(size int64, micros ...float64) {
	least := math.Inf(1)
	for _, us := range micros {
		if us > 0 {
			least = min(least, us)
		}
	}
	if size > 0 && !math.IsInf(least, 0) {
		t.Rows = append(t.Rows, Row{size, least * 1e-6})
	}
}

// finish sorts the rows, keeps the quickest of each length, and fills in what the caller knows.
func (t *Table) finish(s Shape) error {
	if s.Ranks != 0 {
		t.Shape.Ranks = s.Ranks
	}
	if s.Hosts != 0 {
		t.Shape.Hosts = s.Hosts
	}
	if len(t.Rows) == 0 {
		return &TableError{Reason: "no rows"}
	}
	if err := t.Shape.check(); err != nil {
		return &TableError{Reason: "what the text says of the group, or was told, is no group: " + err.Error()}
	}
	slices.SortFunc(t.Rows, func(a, b Row) int {
		if a.Bytes != b.Bytes {
			if a.Bytes < b.Bytes {
				return -1
			}
			return 1
		}
		return int(math.Copysign(1, a.Seconds-b.Seconds))
	})
	t.Rows = slices.CompactFunc(t.Rows, func(a, b Row) bool { return a.Bytes == b.Bytes })
	return nil
}

// maxTable bounds what is read of a table, in bytes.
const maxTable = 64 << 20

// ParseTable reads the output of nccl-tests' all_reduce_perf, or of this project's perf, as text or as JSON. The size of the
// group is what the text's list of devices says; fields of s that are not 0 take its place. Of the out-of-place and in-place
// times the smaller is taken. It fails with a [*TableError].
func ParseTable(r io.Reader, s Shape) (*Table, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxTable+1))
	if err != nil {
		return nil, &TableError{Reason: err.Error()}
	}
	if len(text) > maxTable {
		return nil, &TableError{Reason: fmt.Sprintf("longer than %d bytes", maxTable)}
	}
	var t *Table
	if trimmed := bytes.TrimSpace(text); len(trimmed) > 0 && trimmed[0] == '{' {
		t, err = parseJSON(trimmed)
	} else {
		t, err = parseText(text)
	}
	if err == nil {
		err = t.finish(s)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func parseText(text []byte) (*Table, error) {
	t := &Table{}
	hosts := make(map[string]bool)
	sc := bufio.NewScanner(bytes.NewReader(text))
	sc.Buffer(nil, 1<<20)
	number := 0
	for sc.Scan() {
		number++
		w := strings.Fields(sc.Text())
		switch {
		case len(w) == 0:
		case w[0] == "#":
			// "#  Rank  0 Group  0 Pid   4711 on      alpha device  0 [...] ..."
			if on := slices.Index(w, "on"); len(w) > 2 && w[1] == "Rank" && on > 0 && on+1 < len(w) {
				t.Shape.Ranks++
				hosts[w[on+1]] = true
			}
			if len(w) > 5 && w[1] == "Collective" && w[3] == "starting:" {
				t.Name = w[4]
			}
			if len(w) == 5 && w[1] == "Collective" && w[3] == "starting:" {
				t.Name = w[4]
			}
		case strings.HasPrefix(w[0], "#"):
		default:
			// size count type redop root time algbw busbw wrong time algbw busbw wrong
			if len(w) < 9 || len(w) < 13 && len(w) != 9 {
				continue // not a row: programs print between the rows
			}
			size, err := strconv.ParseInt(w[0], 10, 64)
			if err != nil {
				continue
			}
			if size < 0 {
				return nil, &TableError{number, fmt.Sprintf("%d bytes", size)}
			}
			var times []float64
			for _, at := range []int{5, 9} {
				if at >= len(w) {
					break
				}
				us, err := strconv.ParseFloat(w[at], 64)
				if err != nil || us < 0 || math.IsNaN(us) || us > 1e15 {
					return nil, &TableError{number, fmt.Sprintf("%q is not a time", w[at])}
				}
				times = append(times, us)
			}
			t.add(size, times...)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, &TableError{number + 1, err.Error()}
	}
	t.Shape.Hosts = len(hosts)
	return t, nil
}

func parseJSON(text []byte) (*Table, error) {
	type half struct {
		Time *float64 `json:"time"`
		CPU  *float64 `json:"cpu_time"`
	}
	type device struct {
		Host string `json:"hostname"`
	}
	var report struct {
		Devices []device `json:"devices"`
		Config  struct {
			Devices  []device `json:"devices"`
			Ringtree struct {
				Ranks int `json:"ranks"`
				Hosts int `json:"hosts"`
			} `json:"ringtree"`
		} `json:"config"`
		Results []struct {
			Size       int64 `json:"size"`
			OutOfPlace half  `json:"out_of_place"`
			InPlace    half  `json:"in_place"`
		} `json:"results"`
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return nil, &TableError{Reason: err.Error()}
	}
	t := &Table{}
	hosts := make(map[string]bool)
	for _, d := range append(report.Devices, report.Config.Devices...) {
		t.Shape.Ranks++
		hosts[d.Host] = true
	}
	t.Shape.Hosts = len(hosts)
	if own := report.Config.Ringtree; own.Ranks > 0 {
		t.Shape = Shape{own.Ranks, own.Hosts}
	}
	for _, r := range report.Results {
		if r.Size < 0 {
			return nil, &TableError{Reason: fmt.Sprintf("%d bytes", r.Size)}
		}
		var times []float64
		for _, us := range []*float64{r.OutOfPlace.Time, r.OutOfPlace.CPU, r.InPlace.Time, r.InPlace.CPU} {
			if us == nil {
				continue
			}
			if *us < 0 || *us > 1e15 {
				return nil, &TableError{Reason: fmt.Sprintf("a time of %g", *us)}
			}
			times = append(times, *us)
		}
		t.add(r.Size, times...)
	}
	return t, nil
}

// ParseTables reads tables of many groups out of comma-separated values with a header that has case, ranks, nodes,
// bytes, time_us and perhaps time_inplace_us, in the order in which the cases first come. It fails with a
// [*TableError].
func ParseTables(r io.Reader) ([]*Table, error) {
	c := csv.NewReader(io.LimitReader(r, maxTable))
	header, err := c.Read()
	if err != nil {
		return nil, &TableError{Reason: err.Error()}
	}
	column := make(map[string]int)
	for i, name := range header {
		column[name] = i
	}
	for _, name := range []string{"case", "ranks", "nodes", "bytes", "time_us"} {
		if _, ok := column[name]; !ok {
			return nil, &TableError{1, fmt.Sprintf("no column %q", name)}
		}
	}
	var tables []*Table
	byName := make(map[string]*Table)
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, &TableError{Reason: err.Error()}
		}
		number, _ := c.FieldPos(0)
		name := record[column["case"]]
		t := byName[name]
		if t == nil {
			ranks, err1 := strconv.Atoi(record[column["ranks"]])
			hosts, err2 := strconv.Atoi(record[column["nodes"]])
			if err1 != nil || err2 != nil {
				return nil, &TableError{number, "ranks and nodes are not numbers"}
			}
			t = &Table{Name: name, Shape: Shape{ranks, hosts}}
			byName[name] = t
			tables = append(tables, t)
		}
		size, err := strconv.ParseInt(record[column["bytes"]], 10, 64)
		if err != nil || size < 0 {
			return nil, &TableError{number, fmt.Sprintf("%q is not a length", record[column["bytes"]])}
		}
		var times []float64
		for _, name := range []string{"time_us", "time_inplace_us"} {
			at, ok := column[name]
			if !ok || record[at] == "" && name != "time_us" {
				continue
			}
			us, err := strconv.ParseFloat(record[at], 64)
			if err != nil || !(us >= 0 && us <= 1e15) {
				return nil, &TableError{number, fmt.Sprintf("%q is not a time", record[at])}
			}
			times = append(times, us)
		}
		t.add(size, times...)
	}
	if len(tables) == 0 {
		return nil, &TableError{Reason: "no rows"}
	}
	for _, t := range tables {
		if err := t.finish(Shape{}); err != nil {
			return nil, err
		}
	}
	return tables, nil
}
