package calibrate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
)

// A Shape is the size of the group that was measured: the counts of hops come from it.
type Shape struct {
	Ranks int `json:"ranks"`
	Hosts int `json:"hosts"`
}

// PerHost returns the ranks of a host, of the largest where they differ.
func (s Shape) PerHost() int { return (s.Ranks + s.Hosts - 1) / s.Hosts }

func (s Shape) check() error {
	if s.Ranks < 2 || s.Hosts < 1 || s.Hosts > s.Ranks || s.Ranks > 1<<22 {
		return &FitError{fmt.Sprintf("%d ranks on %d hosts: want at least two ranks and at most one host a rank", s.Ranks, s.Hosts)}
	}
	return nil
}

// A Protocol is how NCCL moves data between two GPUs.
type Protocol uint8

// The protocols: words with a flag each, lines of 128 bytes with a flag each, and plain stores behind a fence.
const (
	LL Protocol = iota
	LL128
	Simple
)

const protocols = int(Simple) + 1

var protocolNames = [protocols]string{"LL", "LL128", "Simple"}

func (p Protocol) String() string {
	if int(p) < protocols {
		return protocolNames[p]
	}
	return fmt.Sprintf("Protocol(%d)", uint8(p))
}

// An Algorithm is one of NCCL's for all-reduce.
type Algorithm uint8

// The algorithms.
const (
	Tree Algorithm = iota
	Ring
)

var algorithmNames = [...]string{"tree", "ring"}

func (a Algorithm) String() string {
	if int(a) < len(algorithmNames) {
		return algorithmNames[a]
	}
	return fmt.Sprintf("Algorithm(%d)", uint8(a))
}

// A cost is a pair of algorithm and protocol with the constants of NCCL 2.30.7 (src/graph/tuning.cc).
type cost struct {
	algorithm Algorithm
	protocol  Protocol
	base      float64 // µs an operation
	inside    float64 // µs a hop inside a host, by NVLink
	beyond    float64 // µs a hop between hosts
	part      float64 // of the rate of the link that payload gets
}

var costs = []cost{
	{Tree, LL, 6.8, 0.6, 5, 0.92 / 3.8},
	{Tree, LL128, 14, 1.25, 8.5, 0.92 * 120 / 128},
	{Tree, Simple, 8.4, 4, 14, 0.92},
	{Ring, LL, 6.6, 0.6, 2.7, 0.5},
	{Ring, LL128, 14, 1.9, 4, 0.92},
	{Ring, Simple, 8.4, 3.4, 14, 1},
}

// hops returns how many hops inside hosts and between them the longest chain of an all-reduce has, as NCCL counts
// them.
func (s Shape) hops(a Algorithm) (inside, beyond float64) {
	if a == Ring {
		beyond = 2 * float64(s.Hosts-1)
		return 2*float64(s.Ranks-1) - beyond, beyond
	}
	return 2 * float64(s.PerHost()-1), 2 * math.Log2(float64(s.Hosts))
}

// A factorPrior is what is known of a factor before anything is measured: its
// logarithm is taken to be normal around that of likely, with the deviation spread.
type factorPrior struct {
	name   string
	likely float64
	spread float64
}

// The factors of a Model, in the order of the fit.
const (
	fHost = iota
	fNetwork
	fRate
	fTree
	fRateLL
	fRateLL128
	fLatencyLL128
	fLatencySimple
	fFillFlags
	fFillSimple
	fThreads
	factors
)

var priors = [factors]factorPrior{
	fHost:          {"host", 1, 0.5},
	fNetwork:       {"network", 1, 1.5}, // NICs differ most: InfiniBand 1, EFA 15
	fRate:          {"rate", 1.03, 0.3}, // of the best bus bandwidth that was measured
	fTree:          {"tree", 1, 0.5},
	fRateLL:        {"rate LL", 1, 0.7},
	fRateLL128:     {"rate LL128", 1, 0.7},
	fLatencyLL128:  {"latency LL128", 1, 0.7},
	fLatencySimple: {"latency Simple", 1, 0.7},
	fFillFlags:     {"fill flags", 0.05, 2},
	fFillSimple:    {"fill Simple", 0.3, 1.5},
	fThreads:       {"threads", 0.05, 2},
}

// A Model predicts the time of an all-reduce. Its numbers are factors before NCCL's constants, 1 being NCCL's own, except
// Rate, the fills and Threads. The zero Model predicts nothing; make one with [Fit] or [ParseModel].
type Model struct {
	Host    float64 `json:"host"`    // latency of an operation and of hops inside a host
	Network float64 `json:"network"` // latency of hops between hosts
	Rate    float64 `json:"rate"`    // bytes a second of the narrowest link: the limit of the bus bandwidth
	Tree    float64 `json:"tree"`    // rate of trees

	RateLL        float64 `json:"rate_ll"`        // rate of LL
	RateLL128     float64 `json:"rate_ll128"`     // rate of LL128
	LatencyLL128  float64 `json:"latency_ll128"`  // all latencies of LL128
	LatencySimple float64 `json:"latency_simple"` // all latencies of Simple
	FillFlags     float64 `json:"fill_flags"`     // fill of LL and LL128; 1 is that of one pipeline over all hops
	FillSimple    float64 `json:"fill_simple"`    // fill of Simple
	Threads       float64 `json:"threads"`        // µs for each doubling of the threads at work

	// Error50 and Error90 are the median and the 90th percentile of the relative errors on rows that a fit had not seen:
	// a fit on every other row of the table, held against the rest, both ways.
	Error50 float64 `json:"error_50"`
	Error90 float64 `json:"error_90"`
	Fitted  Shape   `json:"fitted"` // the group that was measured
}

func (m *Model) vector() [factors]float64 {
	return [factors]float64{m.Host, m.Network, m.Rate, m.Tree, m.RateLL, m.RateLL128, m.LatencyLL128, m.LatencySimple, m.FillFlags, m.FillSimple, m.Threads}
}

func (m *Model) set(v [factors]float64) {
	m.Host, m.Network, m.Rate, m.Tree, m.RateLL, m.RateLL128 = v[0], v[1], v[2], v[3], v[4], v[5]
	m.LatencyLL128, m.LatencySimple, m.FillFlags, m.FillSimple, m.Threads = v[6], v[7], v[8], v[9], v[10]
}

// NCCL returns the model that NCCL tunes itself by, for a link of so many bytes a second, with no pipeline to fill.
func NCCL(rate float64) *Model {
	return &Model{
		Host: 1, Network: 1, Rate: rate, Tree: 1, RateLL: 1, RateLL128: 1, LatencyLL128: 1, LatencySimple: 1,
	}
}

// A Prediction is the time that a model gives.
type Prediction struct {
	Seconds   float64
	Low, High float64 // seconds; nine of ten measurements should lie between
	Algorithm Algorithm
	Protocol  Protocol
}

// A line is a candidate at one shape: latency + bytes·perByte + root·√bytes, in seconds.
type line struct {
	latency, perByte, root float64
}

// lines computes the candidates of a model once for all lengths.
func (m *Model) lines(s Shape, dst *[6]line) {
	n := float64(s.Ranks)
	for i, c := range costs {
		inside, beyond := s.hops(c.algorithm)
		latency := ((c.base+inside*c.inside)*m.Host + beyond*c.beyond*m.Network) * 1e-6
		rate, fill, limit := m.Rate*c.part, m.FillSimple, 1.0
		switch c.protocol {
		case LL: // four bytes of eight are a flag
			rate *= m.RateLL
			fill, limit = m.FillFlags, 1.0/2
		case LL128: // eight of 128
			rate *= m.RateLL128
			latency *= m.LatencyLL128
			fill, limit = m.FillFlags, 120.0/128
		case Simple:
			latency *= m.LatencySimple
		}
		if c.algorithm == Tree {
			rate *= m.Tree
		}
		perByte := 2 * (n - 1) / n / min(rate, limit*m.Rate)
		dst[i] = line{latency, perByte, 2 * fill * math.Sqrt(latency*perByte)}
	}
}

// threadBytes and mostThreads say how many threads work on a length: NCCL gives each eight bytes at least, with LL,
// and has 16 channels of 512.
const (
	threadBytes = 8
	mostThreads = 16 * 512
)

// start returns the seconds that it takes to set the threads for a length to work.
func (m *Model) start(bytes float64) float64 {
	return m.Threads * 1e-6 * math.Log2(min(1+bytes/threadBytes, mostThreads))
}

func quickest(lines *[6]line, bytes float64) (seconds float64, index int) {
	root := math.Sqrt(bytes)
	seconds = math.Inf(1)
	for i := range lines {
		l := &lines[i]
		if t := l.latency + l.perByte*bytes + l.root*root; t < seconds {
			seconds, index = t, i
		}
	}
	return seconds, index
}

// Predict returns the time of an all-reduce of so many bytes over a group of the given shape. It fails with a
// [*FitError] when there is no such group or the length is negative.
func (m *Model) Predict(s Shape, bytes int64) (Prediction, error) {
	if err := s.check(); err != nil {
		return Prediction{}, err
	}
	if bytes < 0 {
		return Prediction{}, &FitError{fmt.Sprintf("%d bytes", bytes)}
	}
	var lines [6]line
	m.lines(s, &lines)
	t, i := quickest(&lines, float64(bytes))
	t += m.start(float64(bytes))
	return Prediction{
		Seconds: t, Low: t / (1 + m.Error90), High: t * (1 + m.Error90),
		Algorithm: costs[i].algorithm, Protocol: costs[i].protocol,
	}, nil
}

// Seconds returns the time of one algorithm and protocol, whether or not it is the quickest. It fails as Predict does.
func (m *Model) Seconds(a Algorithm, p Protocol, s Shape, bytes int64) (float64, error) {
	if err := s.check(); err != nil {
		return 0, err
	}
	for i, c := range costs {
		if c.algorithm == a && c.protocol == p && bytes >= 0 {
			var lines [6]line
			m.lines(s, &lines)
			l := lines[i]
			return l.latency + l.perByte*float64(bytes) + l.root*math.Sqrt(float64(bytes)) + m.start(float64(bytes)), nil
		}
	}
	return 0, &FitError{fmt.Sprintf("no %v with %v of %d bytes", a, p, bytes)}
}

// MarshalText returns the model as JSON that [ParseModel] reads back to an equal one.
func (m *Model) MarshalText() ([]byte, error) {
	type plain Model // without this method
	b, err := json.MarshalIndent((*plain)(m), "", "  ")
	return append(b, '\n'), err
}

// ParseModel reads a model. It fails with a [*ModelError] when the text is not one, or a factor is missing or out of
// range.
func ParseModel(text []byte) (*Model, error) {
	type plain Model
	var m plain
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return nil, &ModelError{err.Error()}
	}
	if d.More() {
		return nil, &ModelError{"more than one"}
	}
	out := Model(m)
	for i, v := range out.vector() {
		low, high := 1e-6, 1e6
		switch i {
		case fRate:
			low, high = 1, 1e15
		case fFillFlags, fFillSimple, fThreads:
			low = 0
		}
		if !(v >= low && v <= high) {
			return nil, &ModelError{fmt.Sprintf("%s is %g, not between %g and %g", priors[i].name, v, low, high)}
		}
	}
	for _, v := range []float64{out.Error50, out.Error90} {
		if !(v >= 0 && v <= 1e6) {
			return nil, &ModelError{fmt.Sprintf("an error of %g", v)}
		}
	}
	if out.Fitted != (Shape{}) {
		if err := out.Fitted.check(); err != nil {
			return nil, &ModelError{err.Error()}
		}
	}
	return &out, nil
}
