package quic

import "math"

const (
	// residual is how often a group may stay broken although its losses are those of chance.
	residual = 2e-4
	// maxLoss is the rate of random loss beyond which more parity is not sent.
	maxLoss = 0.05
	// cleanLoss is the rate below which no parity is sent, and cleanPackets after how many packets without a random loss numbers
	// end, too.
	cleanLoss    = 5e-5
	cleanPackets = 1 << 14
	// firstLoss is what a sender supposes when a connection has lost its first packets.
	firstLoss = 0.002
)

// redundancies are the rates up to which 0, 1, … parities are enough.
var redundancies = func() (upTo [maxParity]float64) {
	for r := range upTo {
		lo, hi := 0.0, maxLoss
		for range 40 {
			if mid := (lo + hi) / 2; broken(mid, r) < residual {
				lo = mid
			} else {
				hi = mid
			}
		}
		upTo[r] = lo
	}
	upTo[0] = cleanLoss
	return upTo
}()

// broken returns how often more than r packets of a full group with r parities are lost, where each is with probability p: the
// tail of the binomial distribution.
func broken(p float64, r int) float64 {
	n := groupData + r
	term, head := math.Pow(1-p, float64(n)), 0.0
	for i := 0; i <= r; i++ {
		head += term
		term *= p / (1 - p) * float64(n-i) / float64(i+1)
	}
	return 1 - head
}

// redundancy returns how many parities a full group needs where packets are lost independently at rate p, so that all but a
// share of residual can be repaired. It is never more than chance explains: what a full queue drops must reach QUIC.
func redundancy(p float64) int {
	for r, upTo := range redundancies {
		if p < upTo {
			return r
		}
	}
	return maxParity
}

// A lossMeter estimates the rate of random loss from the reports of the receiver.
type lossMeter struct {
	rate  float64
	last  report
	known bool
	// Since the beginning:
	seen, missed uint64 // packets sent, and those of them that have not come by themselves
	clean        uint32 // packets since the last random loss
}

// take adds a report. Losses in runs do not count, and where they outnumber the rest a queue overflows, and the rest does
// not add to the rate.
func (m *lossMeter) take(r report) {
	if !m.known {
		m.known, m.last = true, r
		return
	}
	sent := int32(r.top - m.last.top)
	if sent <= 0 {
		return // overtaken
	}
	single := max(int32(r.isolated-m.last.isolated), 0)
	run := max(int32(r.runs-m.last.runs), 0)
	m.last = r
	m.seen += uint64(sent)
	m.missed += uint64(single + run)
	sample := min(float64(single)/float64(sent), maxLoss)
	if run > single {
		sample = min(sample, m.rate)
	}
	// Reports come every few hundred packets, and it takes many packets to see rare losses at all.
	weight := min(float64(sent)/16384, 0.5)
	if sample > m.rate {
		weight = min(4*weight, 0.5)
	}
	m.rate += weight * (sample - m.rate)
	if m.clean += uint32(sent); single > 0 {
		m.clean = 0
	}
}
