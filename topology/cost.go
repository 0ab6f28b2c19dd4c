package topology

// Gap is the part of a link's Alpha that the sender is busy with and cannot overlap with its next message. The planner and
// the simulator price bursts to many peers by it.
const Gap = 0.5

// Nary returns what part of the cost of two-operand reductions one reduction of n operands has: each operand is read
// and the result written once, where a chain reads and writes the partial result every time. So n operands of m bytes cost
// (n-1)·m·Nary(n) = m·(n+1)/3 times [Graph.Reduce].
func Nary(n float64) float64 { return (n + 1) / (3 * (n - 1)) }

// Up to BoardRanks ranks of one host run an operation of up to BoardBytes out of memory that all of them read, without a message.
const (
	BoardRanks = 32
	BoardBytes = 32 << 10
)
