package cudabridge

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/cudabridge/internal/kernels"
)

// passWidth is how many operands a kernel takes at most; buffer's kernels have the same, and half-precision results depend
// on it.
const passWidth = 8

// A module is a file of kernels on a device.
type module struct {
	handle    uint64
	functions map[string]uint64
}

// function returns a kernel, loading its file at first: the driver compiles the text for the device then.
func (d *Device) function(file, name string) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return 0, ErrClosed
	}
	m := d.modules[file]
	if m == nil {
		text, err := kernels.Text(file)
		if err != nil {
			return 0, fmt.Errorf("cudabridge: no kernels %s: %w", file, ErrArgument)
		}
		var a arguments
		if err := d.do(cuModuleLoadDataEx, &a, append(text, 0)); err != nil {
			return 0, err
		}
		m = &module{handle: a[0], functions: make(map[string]uint64)}
		d.modules[file] = m
	}
	f, ok := m.functions[name]
	if !ok {
		a := arguments{m.handle}
		if err := d.do(cuModuleGetFunction, &a, append([]byte(name), 0)); err != nil {
			return 0, err
		}
		f = a[0]
		m.functions[name] = f
	}
	return f, nil
}

// threads is how many a block has.
const threads = 256

// launch starts a kernel with work for so many threads and 64-bit parameters.
func (s *Stream) launch(file, name string, work, rows int, params []uint64) error {
	f, err := s.device.function(file, name)
	if err != nil {
		return err
	}
	blocks := max(1, min((work+threads-1)/threads, 8*max(1, s.device.info.Multiprocessors)))
	text := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(params))), 8*len(params))
	return s.device.do(cuLaunchKernel, &arguments{f, uint64(blocks), uint64(rows), threads, s.handle, uint64(len(params))}, text)
}

// Reduce sets dst to what [buffer.Kernel.Reduce] makes of srcs and, for an average of more than one rank,
// [buffer.Kernel.Finish] then makes of that: the same bits, apart from the payload of NaNs. Operands lie where the device
// reaches them: in its memory, in pinned host memory, or mapped. They are aligned for their type; where all begin at the same
// place within 16 bytes it is quickest. scratch, as long as dst and 16 bytes more, is used where dst is a source after the eighth; it may
// be nil elsewhere.
func (s *Stream) Reduce(k buffer.Kernel, dst []byte, srcs [][]byte, ranks int, scratch []byte) error {
	t := k.Type()
	if err := checkOperands(t, dst, srcs); err != nil {
		return err
	}
	if len(dst) == 0 {
		return nil
	}
	final, op := "", k.Op().String()
	if k.Op() == buffer.Avg {
		if op = buffer.Sum.String(); ranks > 1 {
			final = buffer.Avg.String()
		}
	}
	if len(srcs) == 1 {
		if addressOf(dst) != addressOf(srcs[0]) {
			if err := s.Copy(dst, srcs[0]); err != nil {
				return err
			}
		}
		if final == "" {
			return nil
		}
		return s.pass(t, final, dst, [][]byte{dst}, ranks)
	}
	acc := dst
	if len(srcs) > passWidth {
		for _, src := range srcs[passWidth:] {
			if addressOf(src) == addressOf(dst) {
				skip := int(addressOf(dst)-addressOf(scratch)) & 15
				if len(scratch) < skip+len(dst) {
					return fmt.Errorf("cudabridge: Reduce without scratch: %w", ErrArgument)
				}
				acc = scratch[skip : skip+len(dst)]
			}
		}
	}
	group := make([][]byte, 0, passWidth)
	for len(srcs) > 0 {
		n := min(passWidth-len(group), len(srcs))
		group = append(group, srcs[:n]...)
		to, name := acc, op
		if srcs = srcs[n:]; len(srcs) == 0 {
			if to = dst; final != "" {
				name = final
			}
		}
		if err := s.pass(t, name, to, group, ranks); err != nil {
			return err
		}
		group = append(group[:0], acc)
	}
	return nil
}

// checkOperands refuses what the kernels cannot take.
func checkOperands(t buffer.DType, dst []byte, srcs [][]byte) error {
	bad := len(srcs) == 0 || len(dst)%t.Size() != 0
	mask := uint64(t.Size() - 1)
	for _, src := range srcs {
		bad = bad || len(src) != len(dst) || addressOf(src)&mask != 0
	}
	if bad || addressOf(dst)&mask != 0 {
		return fmt.Errorf("cudabridge: Reduce of %d operands of %v, into %d bytes: lengths or alignments do not fit: %w", len(srcs), t, len(dst), ErrArgument)
	}
	return nil
}

// pass is one launch over at most passWidth sources.
func (s *Stream) pass(t buffer.DType, name string, dst []byte, srcs [][]byte, ranks int) error {
	var params [4 + passWidth]uint64
	operands(params[:], t, dst, srcs)
	params[3] = scalarInt(t, ranks)
	return s.launch("reduce_"+t.String(), name+"_"+t.String(), len(dst)/16+1, 1, params[:])
}

func operands(params []uint64, t buffer.DType, dst []byte, srcs [][]byte) {
	params[0], params[1], params[2] = addressOf(dst), uint64(len(dst)/t.Size()), uint64(len(srcs))
	for i, src := range srcs {
		params[4+i] = addressOf(src)
	}
}

// scalarInt returns a number as the kernels of a type take it: in the type that they accumulate in.
func scalarInt(t buffer.DType, n int) uint64 {
	switch t {
	case buffer.Float16, buffer.BFloat16, buffer.Float32:
		return uint64(math.Float32bits(float32(n)))
	case buffer.Float64:
		return math.Float64bits(float64(n))
	}
	return uint64(n)
}

// ReduceScaled sets dst to scales[0]·srcs[0] + scales[1]·srcs[1] + …, of at most eight sources, element by element and from
// left to right: NCCL's pre-multiplied sum. Half-precision types are worked on in float32 and rounded once; for float32 and float64
// each product and each sum is rounded; integers wrap around, and their factors are truncated to whole numbers.
func (s *Stream) ReduceScaled(t buffer.DType, dst []byte, srcs [][]byte, scales []float64) error {
	if !t.Valid() || len(srcs) > passWidth || len(scales) != len(srcs) {
		return fmt.Errorf("cudabridge: ReduceScaled of %d sources with %d factors: %w", len(srcs), len(scales), ErrArgument)
	}
	if err := checkOperands(t, dst, srcs); err != nil {
		return err
	}
	if len(dst) == 0 {
		return nil
	}
	var params [4 + 2*passWidth]uint64
	operands(params[:], t, dst, srcs)
	for i, x := range scales {
		switch t {
		case buffer.Float16, buffer.BFloat16, buffer.Float32:
			params[4+passWidth+i] = uint64(math.Float32bits(float32(x)))
		case buffer.Float64:
			params[4+passWidth+i] = math.Float64bits(x)
		default:
			params[4+passWidth+i] = uint64(int64(x))
		}
	}
	return s.launch("reduce_"+t.String(), "premulsum_"+t.String(), len(dst)/16+1, 1, params[:])
}

// A Piece is one tensor's place in a bucket.
type Piece struct {
	Tensor []byte // on the device
	Offset int    // of its copy in the bucket, in bytes
}

// A BucketTable is a list of pieces on a device, for [Stream.Pack] and [Stream.Unpack].
type BucketTable struct {
	table  *Buffer
	pieces int
	most   int // bytes of the longest
	extent int // where the last one ends in the bucket
}

// NewBucketTable puts a list of pieces, at most 65,535, on the device. It waits until it is there.
func (d *Device) NewBucketTable(pieces []Piece) (*BucketTable, error) {
	if len(pieces) == 0 || len(pieces) > 65535 {
		return nil, fmt.Errorf("cudabridge: a bucket of %d pieces: %w", len(pieces), ErrArgument)
	}
	t := &BucketTable{pieces: len(pieces)}
	host, err := d.takePinned(24 * len(pieces))
	if err != nil {
		return nil, err
	}
	words := unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(host.data))), 3*len(pieces))
	for i, p := range pieces {
		if p.Offset < 0 || p.Offset > math.MaxInt/2 {
			_ = d.givePinned(host)
			return nil, fmt.Errorf("cudabridge: piece %d at byte %d of a bucket: %w", i, p.Offset, ErrArgument)
		}
		words[3*i], words[3*i+1], words[3*i+2] = addressOf(p.Tensor), uint64(p.Offset), uint64(len(p.Tensor))
		t.most, t.extent = max(t.most, len(p.Tensor)), max(t.extent, p.Offset+len(p.Tensor))
	}
	s, err := d.NewStream()
	if err == nil {
		if t.table, err = d.Alloc(24 * len(pieces)); err == nil {
			if err = s.CopyIn(t.table.data, host.data[:24*len(pieces)]); err == nil {
				err = s.Synchronize()
			}
		}
		_ = s.Close()
	}
	if err != nil {
		return nil, err
	}
	return t, d.givePinned(host)
}

// Close frees the table. No Pack or Unpack with it may be in flight.
func (t *BucketTable) Close() error { return t.table.Close() }

// Pack copies the tensors of a table to their places in bucket; Unpack copies them back. Each is one launch.
func (s *Stream) Pack(bucket []byte, t *BucketTable) error { return s.bucket("pack", bucket, t) }

// Unpack copies every piece of the bucket to its tensor.
func (s *Stream) Unpack(bucket []byte, t *BucketTable) error { return s.bucket("unpack", bucket, t) }

func (s *Stream) bucket(name string, bucket []byte, t *BucketTable) error {
	if len(bucket) < t.extent {
		return fmt.Errorf("cudabridge: a bucket of %d bytes for pieces up to %d: %w", len(bucket), t.extent, ErrArgument)
	}
	return s.launch("bucket", name, t.most/16+1, t.pieces, []uint64{addressOf(t.table.data), addressOf(bucket)})
}

// QuantBlock is how many numbers share one scale in [Stream.Quantise].
const QuantBlock = 32

// Quantise turns the float32 of src into int8, with a float32 scale for every QuantBlock of them: scale is the largest absolute
// value of the block divided by 127, or NaN when a number of the block is not finite, and q is x divided by scale, rounded to
// nearest, ties to even (0 where scale is 0 or NaN). src and q begin on 16 bytes.
func (s *Stream) Quantise(q, scales, src []byte) error {
	n, err := quantised(q, scales, src)
	if err != nil || n == 0 {
		return err
	}
	return s.launch("quantise", "quantise", (n+QuantBlock-1)/QuantBlock, 1, []uint64{addressOf(q), addressOf(scales), addressOf(src), uint64(n)})
}

// DequantiseAdd adds q·scale to the float32 of dst: the product is rounded, then the sum. dst begins on 16 bytes and q on 4.
func (s *Stream) DequantiseAdd(dst, q, scales []byte) error {
	n, err := quantised(q, scales, dst)
	if err != nil || n == 0 {
		return err
	}
	return s.launch("quantise", "dequantise_add", n/4+1, 1, []uint64{addressOf(dst), addressOf(q), addressOf(scales), uint64(n)})
}

func quantised(q, scales, wide []byte) (int, error) {
	n := len(q)
	if len(wide) != 4*n || len(scales) != 4*((n+QuantBlock-1)/QuantBlock) || addressOf(wide)&15 != 0 || addressOf(q)&15 != 0 || addressOf(scales)&3 != 0 {
		return 0, fmt.Errorf("cudabridge: %d int8, %d bytes of scales and %d of float32 do not fit: %w", n, len(scales), len(wide), ErrArgument)
	}
	return n, nil
}
