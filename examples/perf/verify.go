package main

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
	"sync"

	"github.com/ringtree/ringtree/collective/buffer"
)

// A pattern makes the inputs of one collective call and knows its results.
//
// Every element depends on the rank, the index and the seed, so an element of another place, rank or call is very
// probably another value. Still every order of reduction gives the same bits, because no partial result is ever
// rounded:
//
//   - integers wrap, and sums and products modulo a power of two are exact; values are arbitrary, factors odd, so
//     that no product loses its low bits;
//   - float sums add small integers: at most terms ranks contribute one of size at most span to an element, the
//     others zero, and terms*span is within the significand;
//   - float products multiply signed powers of two, whose exponents cannot leave the normal range, with one rank's
//     significand;
//   - an average is a sum, divided once at the end as package buffer defines it;
//   - minimum and maximum round nothing.
//
// The idea is that of nccl-tests' "verifiable" inputs; the construction is our own.
type pattern struct {
	dtype buffer.DType
	op    buffer.Op // 0: the call moves elements and combines none; any bits will do
	ranks int
	seed  uint64

	span  int64 // float sums: largest contribution; float products: largest exponent
	terms int   // ranks that contribute to one element
}

// answers keeps the result of the last call that was checked for all ranks of the process. Each would work out the same
// elements from the inputs of all ranks, which is a square of their number: four thousand million inputs an element at 65,536.
type answers struct {
	mu    sync.Mutex
	of    pattern
	first int
	block buffer.Block
}

// answerBytes is the longest result that is kept; to work out a longer one again takes no memory.
const answerBytes = 1 << 20

// to returns the result of a pattern, as long as b.
func (a *answers) to(p *pattern, b buffer.Block, first int) (buffer.Block, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == *p && a.first == first && len(a.block.Data) == len(b.Data) {
		return a.block, nil
	}
	words := buffer.Of(make([]uint64, (len(b.Data)+7)/8)) // aligned for every type
	a.of, a.first, a.block = *p, first, buffer.Block{Data: words.Data[:len(b.Data)], Type: b.Type}
	return a.block, p.visit(a.block, first, visitor{write: true, rank: -1})
}

// A precision is what a float type represents exactly: integers up to 1<<digits, and powers of two up to
// 1<<±exponent.
type precision struct {
	digits   int
	exponent int64
}

var precisions = map[buffer.DType]precision{
	buffer.Float16:  {11, 14},
	buffer.BFloat16: {8, 126},
	buffer.Float32:  {24, 126},
	buffer.Float64:  {53, 1022},
}

func newPattern(dtype buffer.DType, op buffer.Op, ranks int, seed uint64) pattern {
	p := pattern{dtype: dtype, op: op, ranks: ranks, seed: seed, terms: ranks}
	if f, ok := precisions[dtype]; ok {
		limit := int64(1) << f.digits
		if op == buffer.Prod {
			limit = f.exponent
		}
		p.terms = int(min(int64(ranks), limit))
		p.span = limit / int64(p.terms)
		if op == buffer.Prod {
			p.span = min(p.span, 8)
		}
	}
	return p
}

func (p *pattern) float() bool {
	_, ok := precisions[p.dtype]
	return ok && p.op != 0
}

// hash mixes seed, rank and index to 64 even bits by one wide multiplication, as wyrand does (Wang Yi, 2019): it is
// most of what a check costs.
func (p *pattern) hash(rank, index int) uint64 {
	x := p.seed*0xd1342543de82ef95 + uint64(rank+1)*0x9e3779b97f4a7c15 + uint64(index)*0xa0761d6478bd642f
	hi, lo := bits.Mul64(x, x^0xe7037ed1a0b428db)
	return hi ^ lo
}

// below maps 64 hash bits to 0 … n-1.
func below(h uint64, n int64) int64 {
	hi, _ := bits.Mul64(h, uint64(n))
	return int64(hi)
}

// position numbers the ranks from a start that moves with the index.
func (p *pattern) position(rank, index int) int {
	return (rank + index%p.ranks) % p.ranks
}

// integer is the element of a rank as bits; the type takes the low ones.
func (p *pattern) integer(rank, index int) uint64 {
	h := p.hash(rank, index)
	if p.op == buffer.Prod {
		h |= 1
	}
	return h
}

// real is the element of a rank for a float type; it is exact in that type.
func (p *pattern) real(rank, index int) float64 {
	h := p.hash(rank, index)
	at := 0
	if p.ranks > 1 && (p.op == buffer.Prod || p.terms < p.ranks) {
		at = p.position(rank, index)
	}
	switch p.op {
	case buffer.Prod:
		if at >= p.terms {
			return 1
		}
		x := math.Ldexp(1, int(below(h, 2*p.span+1)-p.span))
		if at == 0 {
			// One rank's significand; its exponent is 0, because 1.99 times the largest power would overflow.
			x = 1 + float64(h>>40&0x7f)/128
		}
		if h&1 != 0 {
			x = -x
		}
		return x
	case buffer.Min, buffer.Max:
		span := p.span * int64(p.terms)
		return float64(below(h, 2*span+1) - span)
	default:
		if at >= p.terms {
			return 0
		}
		return float64(below(h, 2*p.span+1) - p.span)
	}
}

// fill writes the elements first, first+1, … of rank's input to b.
func (p *pattern) fill(b buffer.Block, rank, first int) error {
	return p.visit(b, first, visitor{write: true, rank: rank})
}

// fillRoughly writes an input that is only to be timed: it repeats after a while, which is quicker made.
func (p *pattern) fillRoughly(b buffer.Block, rank int) error {
	const period = 4096 // elements
	n := min(period, b.Count())
	if err := p.fill(b.Slice(0, n), rank, 0); err != nil {
		return err
	}
	for done := n * p.dtype.Size(); 0 < done && done < len(b.Data); done *= 2 {
		copy(b.Data[done:], b.Data[:done])
	}
	return nil
}

// wrongInput counts the elements of b that are not those of rank's input from first on.
func (p *pattern) wrongInput(b buffer.Block, rank, first int) (int64, error) {
	v := visitor{rank: rank}
	err := p.visit(b, first, v.counted())
	return *v.wrong, err
}

// wrongResult counts the elements of b that are not those of the reduced result from first on. known, which may be nil, is
// where ranks of this process that expect the same find it.
func (p *pattern) wrongResult(b buffer.Block, first int, known *answers) (int64, error) {
	if known != nil && len(b.Data) <= answerBytes {
		want, err := known.to(p, b, first)
		return differing(b.Data, want.Data, b.Type.Size()), err
	}
	v := visitor{rank: -1}
	err := p.visit(b, first, v.counted())
	return *v.wrong, err
}

// differing counts the elements in which two blocks of as many bytes differ. No input is a negative zero, so equal numbers have
// equal bits.
func differing(a, b []byte, width int) (n int64) {
	if bytes.Equal(a, b) {
		return 0
	}
	for i := 0; i < len(a); i += width {
		if !bytes.Equal(a[i:i+width], b[i:i+width]) {
			n++
		}
	}
	return n
}

// A visitor writes elements or compares them.
type visitor struct {
	write bool
	rank  int // whose input; -1: the result
	wrong *int64
}

func (v *visitor) counted() visitor {
	v.wrong = new(int64)
	return *v
}

func (p *pattern) visit(b buffer.Block, first int, v visitor) error {
	if b.Type != p.dtype {
		return fmt.Errorf("block of %v in a pattern of %v", b.Type, p.dtype)
	}
	if p.float() {
		switch p.dtype {
		case buffer.Float16:
			return visitFloats(p, b, first, v, func(x float64) buffer.F16 { return buffer.ToF16(float32(x)) })
		case buffer.BFloat16:
			return visitFloats(p, b, first, v, func(x float64) buffer.BF16 { return buffer.ToBF16(float32(x)) })
		case buffer.Float32:
			return visitFloats(p, b, first, v, func(x float64) float32 { return float32(x) })
		default:
			return visitFloats(p, b, first, v, func(x float64) float64 { return x })
		}
	}
	switch b.Type = p.integerType(); b.Type {
	case buffer.Int8:
		return visitInts[int8](p, b, first, v)
	case buffer.Uint8:
		return visitInts[uint8](p, b, first, v)
	case buffer.Int16:
		return visitInts[int16](p, b, first, v)
	case buffer.Uint16:
		return visitInts[uint16](p, b, first, v)
	case buffer.Int32:
		return visitInts[int32](p, b, first, v)
	case buffer.Uint32:
		return visitInts[uint32](p, b, first, v)
	case buffer.Int64:
		return visitInts[int64](p, b, first, v)
	default:
		return visitInts[uint64](p, b, first, v)
	}
}

// integerType is the type as which the elements are looked at: floats that are only moved are bits, so that a
// comparison sees NaN and -0.
func (p *pattern) integerType() buffer.DType {
	if _, ok := precisions[p.dtype]; ok {
		return map[int]buffer.DType{2: buffer.Uint16, 4: buffer.Uint32, 8: buffer.Uint64}[p.dtype.Size()]
	}
	return p.dtype
}

func visitFloats[T buffer.Elem](p *pattern, b buffer.Block, first int, v visitor, to func(float64) T) error {
	s, err := buffer.View[T](b)
	if err != nil {
		return err
	}
	for i := range s {
		var want T
		if v.rank >= 0 {
			want = to(p.real(v.rank, first+i))
		} else {
			want = to(p.reduceReal(first + i))
		}
		if v.write {
			s[i] = want
		} else if s[i] != want {
			*v.wrong++
		}
	}
	return nil
}

// reduceReal is the result for a float type, before the one rounding of an average to that type. Double holds every
// sum and product exactly, and the quotient of an average is rounded twice without harm: 53 digits are more than
// twice 24 and two (Figueroa 1995).
func (p *pattern) reduceReal(index int) float64 {
	if p.terms == p.ranks && (p.op == buffer.Sum || p.op == buffer.Avg) {
		return p.sumReal(index)
	}
	acc := p.real(0, index)
	for r := 1; r < p.ranks; r++ {
		x := p.real(r, index)
		switch p.op {
		case buffer.Prod:
			acc *= x
		case buffer.Min:
			acc = min(acc, x)
		case buffer.Max:
			acc = max(acc, x)
		default:
			acc += x
		}
	}
	if p.op == buffer.Avg {
		acc /= float64(p.ranks)
	}
	return acc
}

// sumReal is reduceReal for the common case, in integers.
func (p *pattern) sumReal(index int) float64 {
	sum := -p.span * int64(p.ranks)
	for r := range p.ranks {
		sum += below(p.hash(r, index), 2*p.span+1)
	}
	if p.op == buffer.Avg {
		return float64(sum) / float64(p.ranks)
	}
	return float64(sum)
}

type integers interface {
	int8 | uint8 | int16 | uint16 | int32 | uint32 | int64 | uint64
}

func visitInts[T integers](p *pattern, b buffer.Block, first int, v visitor) error {
	s, err := buffer.View[T](b)
	if err != nil {
		return err
	}
	for i := range s {
		var want T
		if v.rank >= 0 {
			want = T(p.integer(v.rank, first+i))
		} else {
			want = reduceInteger[T](p, first+i)
		}
		if v.write {
			s[i] = want
		} else if s[i] != want {
			*v.wrong++
		}
	}
	return nil
}

func reduceInteger[T integers](p *pattern, index int) T {
	acc := T(p.integer(0, index))
	for r := 1; r < p.ranks; r++ {
		x := T(p.integer(r, index))
		switch p.op {
		case buffer.Prod:
			acc *= x
		case buffer.Min:
			acc = min(acc, x)
		case buffer.Max:
			acc = max(acc, x)
		default:
			acc += x
		}
	}
	if p.op == buffer.Avg {
		acc = quotient(acc, p.ranks)
	}
	return acc
}

// quotient divides in 64 bits: n need not fit the type.
func quotient[T integers](x T, n int) T {
	if ^T(0) > 0 { // unsigned
		return T(uint64(x) / uint64(n))
	}
	return T(int64(x) / int64(n))
}

// The byte that destinations hold before a checked call, and that the guard behind them holds for good.
const poison = 0xdb

// guardBytes lie behind every buffer; a call that writes there is wrong.
const guardBytes = 64

func fillBytes(b []byte, value byte) {
	for i := range b {
		b[i] = value
	}
}

// wrongGuard counts the bytes of a guard that were written.
func wrongGuard(guard []byte) int64 {
	return int64(len(guard) - bytes.Count(guard, []byte{poison}))
}
