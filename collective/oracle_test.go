package collective_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"unsafe"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/schedule"
)

// An operation is one call of a collective with inputs made so that any order of reduction gives one result. What
// that is is computed serially, element by element, from the definition of the collective.
type operation struct {
	coll    schedule.Collective
	dtype   buffer.DType
	op      buffer.Op
	root    int
	count   int // as the caller gives it: elements of the shorter side
	inPlace bool
	seed    uint64

	// Computed once, by prepare's group size.
	inputs  []func() []byte // of each rank
	outcome func() []byte   // the whole vector as the operation leaves it
}

func (o *operation) String() string {
	place := "out of place"
	if o.inPlace {
		place = "in place"
	}
	return fmt.Sprintf("%v of %d × %v, %v, root %d, %s, values %d", o.coll, o.count, o.dtype, o.op, o.root, place, o.seed)
}

// prepare makes o ready for a group of n ranks.
func (o *operation) prepare(n int) *operation {
	o.inputs = make([]func() []byte, n)
	for r := range n {
		o.inputs[r] = sync.OnceValue(func() []byte { return o.input(r, o.inputLength(n)) })
	}
	o.outcome = sync.OnceValue(func() []byte {
		switch o.coll {
		case schedule.Barrier:
			return nil
		case schedule.Broadcast:
			return o.inputs[o.root]()
		case schedule.AllGather:
			var all []byte
			for _, in := range o.inputs {
				all = append(all, in()...)
			}
			return all
		}
		return o.reduce(n)
	})
	return o
}

// inputLength returns how many elements a rank hands in.
func (o *operation) inputLength(n int) int {
	if o.coll == schedule.ReduceScatter {
		return o.count * n
	}
	return o.count
}

// number is element i of rank r's input: an integer that every type holds, as every reduction of a few of them is.
func (o *operation) number(r, i int) int64 {
	x := o.seed + uint64(r)*0x9e3779b97f4a7c15 + uint64(i)*0xd1342543de82ef95
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	v := int64(x % 6)
	switch o.op {
	case buffer.Prod: // few twos, so that half precision does not overflow
		v = 1 + int64((x&1)&uint64(r+i))
	case buffer.Min, buffer.Max:
		v = int64(x % 100)
	}
	if signed(o.dtype) && x>>40&1 == 1 {
		v = -v
	}
	return v
}

// reduce computes the reduction of all ranks' inputs.
func (o *operation) reduce(n int) []byte {
	length := o.inputLength(n)
	out := newBlock(o.dtype, length)
	for i := range length {
		acc := o.number(0, i)
		for r := 1; r < n; r++ {
			switch v := o.number(r, i); o.op {
			case buffer.Sum, buffer.Avg:
				acc += v
			case buffer.Prod:
				acc *= v
			case buffer.Min:
				acc = min(acc, v)
			case buffer.Max:
				acc = max(acc, v)
			}
		}
		switch {
		case o.op != buffer.Avg:
			put(out, i, acc, float64(acc))
		default:
			put(out, i, acc/int64(n), float64(acc)/float64(n))
		}
	}
	return out.Data
}

// input returns the first length elements of rank r's input.
func (o *operation) input(r, length int) []byte {
	in := newBlock(o.dtype, length)
	for i := range length {
		v := o.number(r, i)
		put(in, i, v, float64(v))
	}
	return in.Data
}

// want returns what must be in the output of rank r, and whether r has one.
func (o *operation) want(r int) ([]byte, bool) {
	switch o.coll {
	case schedule.ReduceScatter:
		block := o.count * o.dtype.Size()
		return o.outcome()[r*block : (r+1)*block], true
	case schedule.Reduce:
		return o.outcome(), r == o.root
	}
	return o.outcome(), true
}

// A memory gives a rank what it calls with, and takes it back.
type memory struct {
	alloc func(c *collective.Comm, t buffer.DType, n int) (buffer.Block, error)
	free  func(c *collective.Comm, b buffer.Block) error
}

var (
	// plain is memory of the Go heap.
	plain = memory{
		func(_ *collective.Comm, t buffer.DType, n int) (buffer.Block, error) { return newBlock(t, n), nil },
		func(*collective.Comm, buffer.Block) error { return nil },
	}
	// registered is memory of the communicator.
	registered = memory{(*collective.Comm).AllocBlock, (*collective.Comm).FreeBlock}
)

// run calls o on one rank and checks what comes of it: the output, the untouched input and the bytes around both.
func (o *operation) run(ctx context.Context, c *collective.Comm, m memory) error {
	n := c.Size()
	if o.coll == schedule.Barrier {
		return collective.Barrier(ctx, c)
	}
	in, out := o.count, o.count
	switch o.coll {
	case schedule.ReduceScatter:
		in *= n
	case schedule.AllGather:
		out *= n
	}
	mem, err := m.alloc(c, o.dtype, 3*guard+in+out)
	if err != nil {
		return err
	}
	if err := o.call(ctx, c, mem, in, out); err != nil {
		return err
	}
	return m.free(c, mem)
}

// guard is how many elements before, between and behind input and output must not change.
const guard = 5

func (o *operation) call(ctx context.Context, c *collective.Comm, mem buffer.Block, in, out int) error {
	n, r := c.Size(), c.Rank()
	fill(mem.Data)
	src, dst := mem.Slice(guard, guard+in), mem.Slice(2*guard+in, 2*guard+in+out)
	if o.inPlace {
		switch o.coll {
		case schedule.ReduceScatter:
			dst = src.Slice(r*out, (r+1)*out)
		case schedule.AllGather:
			src = dst.Slice(r*in, (r+1)*in)
		case schedule.Broadcast:
			src = dst
		default:
			dst = src
		}
	}
	contributes := o.coll != schedule.Broadcast || r == o.root
	if contributes {
		copy(src.Data, o.inputs[r]())
	}
	before := bytes.Clone(mem.Data)
	var err error
	switch o.coll {
	case schedule.AllReduce:
		err = c.AllReduceBlock(ctx, dst, src, o.op)
	case schedule.ReduceScatter:
		err = c.ReduceScatterBlock(ctx, dst, src, o.op)
	case schedule.AllGather:
		err = c.AllGatherBlock(ctx, dst, src)
	case schedule.Broadcast:
		err = c.BroadcastBlock(ctx, dst, src, o.root)
	case schedule.Reduce:
		err = c.ReduceBlock(ctx, dst, src, o.op, o.root)
	}
	if err != nil {
		return fmt.Errorf("%v: %w", o, err)
	}
	if want, ok := o.want(r); ok {
		if err := same(dst, want); err != nil {
			return fmt.Errorf("rank %d of %d: %v: %w", r, n, o, err)
		}
		copy(dst.Data, before[offset(mem, dst):]) // the rest must be as it was
	}
	if o.inPlace && o.coll == schedule.ReduceScatter {
		return nil // the rest of src is scratch by tradition; nothing is promised of it
	}
	if !bytes.Equal(mem.Data, before) {
		return fmt.Errorf("rank %d of %d: %v: memory outside of the output has changed", r, n, o)
	}
	return nil
}

// same returns where got differs from want.
func same(got buffer.Block, want []byte) error {
	if bytes.Equal(got.Data, want) {
		return nil
	}
	w := buffer.Block{Type: got.Type, Data: want}
	for i := range got.Count() {
		if g, w := show(got, i), show(w, i); g != w {
			return fmt.Errorf("element %d of %d: got %s, want %s", i, got.Count(), g, w)
		}
	}
	return fmt.Errorf("got %d bytes, want %d", len(got.Data), len(want))
}

func signed(t buffer.DType) bool {
	return t != buffer.Uint8 && t != buffer.Uint16 && t != buffer.Uint32 && t != buffer.Uint64
}

func newBlock(t buffer.DType, n int) buffer.Block {
	words := make([]uint64, (n*t.Size()+7)/8)
	return buffer.Block{Type: t, Data: buffer.Of(words).Data[:n*t.Size()]}
}

// fill makes memory recognisable.
func fill(b []byte) {
	for n := copy(b, "\xa5\x5a\xc3\x3c\x96\x69\xf0\x0f\xff\x01\x7f"); n > 0 && n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

// offset returns where part begins in whole, in bytes.
func offset(whole, part buffer.Block) int {
	if len(part.Data) == 0 {
		return 0
	}
	return int(uintptr(unsafe.Pointer(&part.Data[0])) - uintptr(unsafe.Pointer(&whole.Data[0])))
}

// put stores a number, which is v where the type is an integer and f where it is not, as element i.
func put(b buffer.Block, i int, v int64, f float64) {
	at := b.Data[i*b.Type.Size():]
	ne := binary.NativeEndian
	switch b.Type {
	case buffer.Float16:
		ne.PutUint16(at, uint16(buffer.ToF16(float32(f))))
	case buffer.BFloat16:
		ne.PutUint16(at, uint16(buffer.ToBF16(float32(f))))
	case buffer.Float32:
		ne.PutUint32(at, math.Float32bits(float32(f)))
	case buffer.Float64:
		ne.PutUint64(at, math.Float64bits(f))
	default:
		switch b.Type.Size() {
		case 1:
			at[0] = byte(v)
		case 2:
			ne.PutUint16(at, uint16(v))
		case 4:
			ne.PutUint32(at, uint32(v))
		case 8:
			ne.PutUint64(at, uint64(v))
		}
	}
}

// float returns element i of a block of a floating-point type.
func float(b buffer.Block, i int) float64 {
	at := b.Data[i*b.Type.Size():]
	ne := binary.NativeEndian
	switch b.Type {
	case buffer.Float16:
		return float64(buffer.F16(ne.Uint16(at)).Float32())
	case buffer.BFloat16:
		return float64(buffer.BF16(ne.Uint16(at)).Float32())
	case buffer.Float32:
		return float64(math.Float32frombits(ne.Uint32(at)))
	default:
		return math.Float64frombits(ne.Uint64(at))
	}
}

// show returns element i as text.
func show(b buffer.Block, i int) string {
	switch b.Type {
	case buffer.Float16, buffer.BFloat16, buffer.Float32, buffer.Float64:
		return fmt.Sprint(float(b, i))
	}
	size := b.Type.Size()
	return fmt.Sprintf("%#x", b.Data[i*size:(i+1)*size])
}
