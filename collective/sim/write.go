package sim

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/ringtree/ringtree/topology"
)

// TextHeader is the head of the columns that [Result.Text] fills: those of nccl-tests that a simulation has.
const TextHeader = "#       size         count    time   algbw   busbw   spread  method\n" +
	"#        (B)    (elements)    (us)  (GB/s)  (GB/s)     (us)\n"

// Text returns the result as a line of nccl-tests' columns.
func (r *Result) Text() string {
	return fmt.Sprintf("%12d  %12d %7s %7.2f %7.2f %8s  %s\n", r.Bytes, r.Bytes/max(r.elements, 1), micros(r.Time), r.AlgBW()/1e9, r.BusBW()/1e9,
		micros(r.Spread()), r.Method)
}

// micros writes a time in microseconds with about four figures.
func micros(t Time) string {
	us := float64(t) / float64(Microsecond)
	switch {
	case us < 10:
		return strconv.FormatFloat(us, 'f', 3, 64)
	case us < 1000:
		return strconv.FormatFloat(us, 'f', 2, 64)
	}
	return strconv.FormatFloat(us, 'f', 0, 64)
}

// jsonTier is a tier's traffic in JSON.
type jsonTier struct {
	Tier     string `json:"tier"`
	Messages int64  `json:"messages"`
	Bytes    int64  `json:"bytes"`
}

type jsonLayer struct {
	Layer string  `json:"layer"`
	Wires int     `json:"wires"`
	Used  int     `json:"used"`
	Bytes int64   `json:"bytes"`
	Mean  float64 `json:"mean_busy"`
	Most  float64 `json:"most_busy"`
	Heat  [10]int `json:"heat"`
}

type jsonWire struct {
	From  string  `json:"from"`
	To    string  `json:"to"`
	Bytes int64   `json:"bytes"`
	Busy  float64 `json:"busy"`
}

type jsonPort struct {
	Rank int     `json:"rank"`
	Port string  `json:"port"`
	Busy float64 `json:"busy_us"`
}

// MarshalJSON writes the result with times in microseconds and bandwidths in GB/s.
func (r *Result) MarshalJSON() ([]byte, error) {
	var tiers []jsonTier
	for l, t := range r.Tiers {
		if t.Messages > 0 {
			tiers = append(tiers, jsonTier{topology.Level(l).String(), t.Messages, t.Bytes})
		}
	}
	var ports []jsonPort
	for _, p := range r.Ports {
		ports = append(ports, jsonPort{int(p.Rank), p.name(), float64(p.Busy) / 1e6})
	}
	var layers []jsonLayer
	for _, l := range r.Layers {
		layers = append(layers, jsonLayer{l.Layer.Span.String(), l.Wires, l.Used, l.Bytes, l.Mean, l.Most, l.Heat})
	}
	var wires []jsonWire
	for _, w := range r.Wires {
		wires = append(wires, jsonWire{w.From, w.To, w.Bytes, w.Busy})
	}
	return json.Marshal(struct {
		Collective string      `json:"collective"`
		Ranks      int         `json:"ranks"`
		Bytes      int64       `json:"bytes"`
		Time       float64     `json:"time_us"`
		AlgBW      float64     `json:"algbw_gbs"`
		BusBW      float64     `json:"busbw_gbs"`
		First      float64     `json:"first_us"`
		Bound      float64     `json:"bound_us"`
		Level      string      `json:"level"`
		Method     string      `json:"method"`
		Classes    int         `json:"classes"`
		Checked    string      `json:"checked"`
		Messages   int64       `json:"messages"`
		Tiers      []jsonTier  `json:"tiers"`
		Ports      []jsonPort  `json:"busiest_ports"`
		Layers     []jsonLayer `json:"layers,omitempty"`
		Wires      []jsonWire  `json:"busiest_wires,omitempty"`
		Digest     string      `json:"digest"`
	}{
		r.Contract.String(), r.Ranks, r.Bytes, float64(r.Time) / 1e6, r.AlgBW() / 1e9, r.BusBW() / 1e9, float64(r.First) / 1e6, float64(r.Bound) / 1e6,
		r.Level.String(), r.Method, r.Classes, string(r.Checked), r.Messages(), tiers, ports, layers, wires, fmt.Sprintf("%016x", r.Digest),
	})
}

func (p Port) name() string {
	if p.Near {
		return "host"
	}
	return "network"
}

// CSVHeader names the columns of [Result.CSV].
func CSVHeader() []string {
	return []string{"collective", "ranks", "bytes", "time_us", "algbw_gbs", "busbw_gbs", "first_us", "bound_us", "level", "method", "messages", "digest"}
}

// CSV returns the result as a row for a [csv.Writer].
func (r *Result) CSV() []string {
	f := func(x float64) string { return strconv.FormatFloat(x, 'g', 9, 64) }
	return []string{
		r.Contract.String(), strconv.Itoa(r.Ranks), strconv.FormatInt(r.Bytes, 10), f(float64(r.Time) / 1e6), f(r.AlgBW() / 1e9), f(r.BusBW() / 1e9),
		f(float64(r.First) / 1e6), f(float64(r.Bound) / 1e6), r.Level.String(), r.Method, strconv.FormatInt(r.Messages(), 10), fmt.Sprintf("%016x", r.Digest),
	}
}

// WriteCSV writes results with a header.
func WriteCSV(w io.Writer, results []*Result) error {
	c := csv.NewWriter(w)
	_ = c.Write(CSVHeader())
	for _, r := range results {
		_ = c.Write(r.CSV())
	}
	c.Flush()
	return c.Error()
}
