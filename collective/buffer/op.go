package buffer

import "strings"

// An Op is a reduction: what becomes of the elements that the ranks contribute. The zero value is
// invalid. The package comment states each operation exactly.
type Op uint8

// The reductions. Their order is part of the wire format of frames and must not change.
const (
	Sum Op = 1 + iota
	Prod
	Min
	Max
	Avg

	opEnd // one past the last operation
)

var opNames = [opEnd]string{Sum: "sum", Prod: "prod", Min: "min", Max: "max", Avg: "avg"}

// Ops returns every valid operation, in the order of their values. The slice is the caller's.
func Ops() []Op { return []Op{Sum, Prod, Min, Max, Avg} }

// Valid reports whether op is one of the constants of this package.
func (op Op) Valid() bool { return op-1 < opEnd-1 }

// String returns the name that nccl-tests uses: sum, prod, min, max or avg.
func (op Op) String() string {
	if !op.Valid() {
		return "invalid"
	}
	return opNames[op]
}

// ParseOp returns the operation whose [Op.String] is s. Case does not matter. The error is a
// *[ParseError].
func ParseOp(s string) (Op, error) {
	for op := Sum; op < opEnd; op++ {
		if strings.EqualFold(s, opNames[op]) {
			return op, nil
		}
	}
	return 0, &ParseError{What: "reduction", Text: s}
}
