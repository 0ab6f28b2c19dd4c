package cudabridge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/cudabridge/internal/kernels"
	"github.com/ringtree/ringtree/cudabridge/internal/ptx"
)

// operation is a kernel's row in the table: its name, and the reduction that it is, if it is one of package buffer's.
type operation struct {
	name string
	op   buffer.Op
}

var operations = []operation{
	{"sum", buffer.Sum}, {"prod", buffer.Prod}, {"min", buffer.Min}, {"max", buffer.Max}, {"avg", buffer.Avg}, {"premulsum", 0},
}

// hostArray is memory for the interpreter from an address on that is a multiple of 256.
type hostArray []byte

const arrayAt = 1 << 20

var errOutside = errors.New("outside of the operands")

func (a hostArray) At(address uint64, n int, _ bool) (unsafe.Pointer, error) {
	if address < arrayAt || address-arrayAt > uint64(len(a)) || uint64(n) > uint64(len(a))-(address-arrayAt) {
		return nil, errOutside
	}
	return unsafe.Pointer(&a[address-arrayAt]), nil
}

func kernelOf(t *testing.T, file, name string) *ptx.Kernel {
	t.Helper()
	text, err := kernels.Text(file)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ptx.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	k := m.Kernels[name]
	if k == nil {
		t.Fatalf("%s.ptx has no kernel %s", file, name)
	}
	return k
}

// A layout says where the operands of a case begin, in bytes within 16, and how many elements they have.
type layout struct {
	name  string
	at    func(operand, size int) int // operand 0 is dst
	count func(size int) int
}

var layouts = []layout{
	{"aligned", func(int, int) int { return 0 }, func(size int) int { return 160 / size }},
	{"misaligned", func(_, size int) int { return size % 16 }, func(size int) int { return 160/size + 16/size - 1 }},
	{"apart", func(operand, size int) int { return operand * size % 16 }, func(size int) int { return 160 / size }},
	{"tail", func(int, int) int { return 0 }, func(size int) int { return 160/size + 1 }},
	{"short", func(_, size int) int { return (16 - size) % 16 }, func(int) int { return 1 }},
}

// element is how a type's numbers look: for making special ones and telling NaNs.
func fraction(t buffer.DType) int {
	return map[buffer.DType]int{buffer.Float16: 10, buffer.BFloat16: 7, buffer.Float32: 23, buffer.Float64: 52}[t]
}

func quietNaN(t buffer.DType, bits uint64) (nan, quiet bool) {
	f := fraction(t)
	if f == 0 {
		return false, false
	}
	width := 8 * t.Size()
	inf := uint64(1)<<(width-1) - 1<<f
	return bits&(1<<(width-1)-1) > inf, bits>>(f-1)&1 == 1
}

// fillWith writes elements, among them every special one.
func fillWith(t buffer.DType, data []byte, rng *rand.Rand) {
	width, f := 8*t.Size(), fraction(t)
	sign := uint64(1) << (width - 1)
	special := []uint64{0, 1, 2, sign - 1, sign, sign + 1, sign<<1 - 1}
	if f > 0 {
		inf := sign - 1<<f
		special = []uint64{0, 1, 1<<f - 1, 1 << f, inf - 1, inf, inf + 1, inf | 1<<(f-1)}
		for _, s := range special {
			special = append(special, s|sign)
		}
	}
	for i := range len(data) / t.Size() {
		bits := rng.Uint64()
		switch n := rng.IntN(4); {
		case n == 0:
			bits = special[rng.IntN(len(special))]
		case f > 0: // numbers of moderate size, or every sum and product is infinite
			switch x := rng.NormFloat64() * 4; t {
			case buffer.Float64:
				bits = math.Float64bits(x)
			case buffer.Float32:
				bits = uint64(math.Float32bits(float32(x)))
			case buffer.BFloat16:
				bits = uint64(buffer.ToBF16(float32(x)))
			default:
				bits = uint64(buffer.ToF16(float32(x)))
			}
		}
		put(t, data, i, bits)
	}
}

func put(t buffer.DType, data []byte, i int, bits uint64) {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], bits)
	copy(data[i*t.Size():], b[:t.Size()])
}

func get(t buffer.DType, data []byte, i int) uint64 {
	var b [8]byte
	copy(b[:], data[i*t.Size():][:t.Size()])
	return binary.NativeEndian.Uint64(b[:])
}

// differs compares results: the same bits, or a quiet NaN where a NaN is wanted.
func differs(t buffer.DType, got, want []byte) error {
	for i := range len(want) / t.Size() {
		g, w := get(t, got, i), get(t, want, i)
		wantNaN, _ := quietNaN(t, w)
		if nan, quiet := quietNaN(t, g); g != w && !(wantNaN && nan && quiet) {
			return fmt.Errorf("element %d: got %#x, want %#x", i, g, w)
		}
	}
	return nil
}

// scaledOracle is the pre-multiplied sum, by package buffer's own kernels for the sums: every product by itself, then the sum.
// Half-precision types are converted to float32 first and rounded at the end.
func scaledOracle(t buffer.DType, srcs [][]byte, scales []float64) []byte {
	n := len(srcs[0]) / t.Size()
	out := make([]byte, len(srcs[0]))
	for i := range n {
		switch t {
		case buffer.Float64:
			acc := 0.0
			for j, src := range srcs {
				p := float64(math.Float64frombits(get(t, src, i)) * scales[j])
				if acc += p; j == 0 {
					acc = p
				}
			}
			put(t, out, i, math.Float64bits(acc))
		case buffer.Float32, buffer.Float16, buffer.BFloat16:
			var acc float32
			for j, src := range srcs {
				var x float32
				switch bits := get(t, src, i); t {
				case buffer.Float32:
					x = math.Float32frombits(uint32(bits))
				case buffer.Float16:
					x = buffer.F16(bits).Float32()
				default:
					x = buffer.BF16(bits).Float32()
				}
				p := float32(x * float32(scales[j]))
				if acc = float32(acc + p); j == 0 {
					acc = p
				}
			}
			switch t {
			case buffer.Float32:
				put(t, out, i, uint64(math.Float32bits(acc)))
			case buffer.Float16:
				put(t, out, i, uint64(buffer.ToF16(acc)))
			default:
				put(t, out, i, uint64(buffer.ToBF16(acc)))
			}
		default:
			acc := uint64(0)
			for j, src := range srcs {
				acc += get(t, src, i) * uint64(int64(scales[j]))
			}
			put(t, out, i, acc)
		}
	}
	return out
}

// TestKernelTable executes every kernel of the table on every layout and number of sources, and compares the result with package
// buffer's.
func TestKernelTable(t *testing.T) {
	cases := 0
	for _, dtype := range buffer.DTypes() {
		size := dtype.Size()
		for _, o := range operations {
			k := kernelOf(t, "reduce_"+dtype.String(), o.name+"_"+dtype.String())
			for _, l := range layouts {
				for width := 2; width <= passWidth; width++ {
					cases++
					rng := rand.New(rand.NewPCG(uint64(cases), 1))
					const room = 512
					arena := make(hostArray, (passWidth+1)*room)
					fillWith(dtype, arena, rng)
					place := func(i int) []byte {
						return arena[i*room+16+l.at(i, size):][:l.count(size)*size]
					}
					params := make([]uint64, 4+2*passWidth)
					dst := place(0)
					address := func(b []byte) uint64 {
						return arrayAt + uint64(uintptr(unsafe.Pointer(&b[0]))-uintptr(unsafe.Pointer(&arena[0])))
					}
					params[0], params[1], params[2], params[3] = address(dst), uint64(l.count(size)), uint64(width), scalarInt(dtype, 3)
					var srcs, list [][]byte
					scales := make([]float64, width)
					for j := range width {
						src := place(1 + j)
						if j == width-1 && l.name != "apart" && cases%2 == 0 {
							src = dst // in place
						}
						params[4+j] = address(src)
						srcs, list = append(srcs, bytes.Clone(src)), append(list, src)
						scales[j] = float64(j) - 1.5
						switch dtype {
						case buffer.Float64:
							params[4+passWidth+j] = math.Float64bits(scales[j])
						case buffer.Float16, buffer.BFloat16, buffer.Float32:
							params[4+passWidth+j] = uint64(math.Float32bits(float32(scales[j])))
						default:
							params[4+passWidth+j] = uint64(int64(scales[j]))
						}
					}
					want := make([]byte, len(dst))
					if o.op == 0 {
						want = scaledOracle(dtype, srcs, scales)
					} else {
						kernel, err := buffer.KernelFor(dtype, o.op)
						if err != nil {
							t.Fatal(err)
						}
						kernel.Reduce(want, srcs)
						kernel.Finish(want, 3)
					}
					before := bytes.Clone(arena)
					text := unsafe.Slice((*byte)(unsafe.Pointer(&params[0])), 8*len(params))
					if err := k.Launch(arena, [2]int{2, 1}, 32, text[:k.ParamBytes()]); err != nil {
						t.Fatalf("%s %s of %d, %v: %v", l.name, k.Name, width, list == nil, err)
					}
					if err := differs(dtype, dst, want); err != nil {
						t.Fatalf("%s %s of %d sources: %v", l.name, k.Name, width, err)
					}
					at := int(address(dst) - arrayAt)
					copy(before[at:], dst)
					if !bytes.Equal(before, arena) {
						t.Fatalf("%s %s of %d sources: it wrote outside of dst", l.name, k.Name, width)
					}
				}
			}
		}
	}
	t.Logf("%d cases: %d types × %d operations × %d layouts × %d numbers of sources", cases, len(buffer.DTypes()), len(operations), len(layouts), passWidth-1)
}

// TestKernelSpecials brings every pair of 8-bit numbers, and every half-precision number with special ones, into the kernels.
func TestKernelSpecials(t *testing.T) {
	for _, dtype := range []buffer.DType{buffer.Int8, buffer.Uint8, buffer.Float16, buffer.BFloat16} {
		size := dtype.Size()
		const n = 1 << 16
		arena := make(hostArray, 3*n*size)
		a, b := arena[n*size:2*n*size], arena[2*n*size:]
		for i := range n {
			x, y := uint64(i), []uint64{0x8000, 1, 0x3c00, 0x3f80, 0x7c00, 0x7f80, 0x7e01, 0xfbff, 0x0001}[i%9]
			if size == 1 {
				x, y = uint64(i&0xff), uint64(i>>8)
			}
			put(dtype, a, i, x)
			put(dtype, b, i, y)
		}
		for _, o := range operations[:5] {
			kernel, err := buffer.KernelFor(dtype, o.op)
			if err != nil {
				t.Fatal(err)
			}
			want := make([]byte, n*size)
			kernel.Reduce(want, [][]byte{a, b})
			kernel.Finish(want, 7)
			params := [4 + passWidth]uint64{arrayAt, n, 2, scalarInt(dtype, 7), arrayAt + uint64(n*size), arrayAt + uint64(2*n*size)}
			k := kernelOf(t, "reduce_"+dtype.String(), o.name+"_"+dtype.String())
			if err := k.Launch(arena, [2]int{1, 1}, 32, unsafe.Slice((*byte)(unsafe.Pointer(&params)), 8*len(params))); err != nil {
				t.Fatal(err)
			}
			if err := differs(dtype, arena[:n*size], want); err != nil {
				t.Errorf("%s: %v", k.Name, err)
			}
		}
	}
}

// TestQuantise compares with the definition, in Go, on blocks with every special number, and on a short last block.
func TestQuantise(t *testing.T) {
	for _, n := range []int{1, 31, 32, 33, 64, 1000} {
		rng := rand.New(rand.NewPCG(uint64(n), 3))
		blocks := (n + QuantBlock - 1) / QuantBlock
		arena := make(hostArray, 16384)
		src, q, scales := arena[:4*n], arena[4096:4096+n], arena[8192:8192+4*blocks]
		dst := arena[12288 : 12288+4*n]
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64() * 10)
			switch b := i / QuantBlock; {
			case b%5 == 1:
				x[i] = 0
			case b%5 == 2:
				x[i] = float32(math.Ldexp(float64(x[i]), -140)) // denormal
			case b%5 == 3 && i%QuantBlock == 7:
				x[i] = float32([]float64{math.NaN(), math.Inf(1), math.Inf(-1)}[rng.IntN(3)])
			case i%9 == 0:
				x[i] = float32(rng.IntN(255)-127) / 2 // ties
			}
			put(buffer.Float32, src, i, uint64(math.Float32bits(x[i])))
			put(buffer.Float32, dst, i, uint64(math.Float32bits(float32(i))))
		}
		at := func(offset int) uint64 { return arrayAt + uint64(offset) }
		run := func(name string, params ...uint64) {
			t.Helper()
			k := kernelOf(t, "quantise", name)
			if err := k.Launch(arena, [2]int{2, 1}, 32, unsafe.Slice((*byte)(unsafe.Pointer(&params[0])), 8*len(params))); err != nil {
				t.Fatal(err)
			}
		}
		run("quantise", at(4096), at(8192), at(0), uint64(n))
		run("dequantise_add", at(12288), at(4096), at(8192), uint64(n))
		for b := range blocks {
			block := x[b*QuantBlock : min(n, (b+1)*QuantBlock)]
			largest, finite := float32(0), true
			for _, v := range block {
				finite = finite && v-v == 0
				largest = max(largest, float32(math.Abs(float64(v))))
			}
			scale := largest / 127
			if !finite {
				scale = float32(math.NaN())
			}
			got := math.Float32frombits(uint32(get(buffer.Float32, scales, b)))
			if got != scale && !(got != got && scale != scale) {
				t.Fatalf("n %d, block %d: got scale %v, want %v", n, b, got, scale)
			}
			for i, v := range block {
				want := int8(0)
				if scale > 0 {
					want = int8(max(-127, min(127, math.RoundToEven(float64(v/scale)))))
				}
				j := b*QuantBlock + i
				if got := int8(q[j]); got != want {
					t.Fatalf("n %d, element %d, %v by %v: got %d, want %d", n, j, v, scale, got, want)
				}
				sum := float32(j) + float32(float32(want)*scale)
				if got := math.Float32frombits(uint32(get(buffer.Float32, dst, j))); got != sum && !(got != got && sum != sum) {
					t.Fatalf("n %d, element %d: got %v, want %v", n, j, got, sum)
				}
			}
		}
	}
}

// TestBucketKernels packs pieces of every alignment and length and gets them back.
func TestBucketKernels(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	arena := make(hostArray, 64<<10)
	table, tensors, bucket := arena[:4096], arena[4096:32<<10], arena[32<<10:]
	var from, into, rows int
	want := make([]byte, len(bucket))
	type piece struct{ from, into, n int }
	var pieces []piece
	for _, n := range []int{0, 1, 3, 15, 16, 17, 64, 100, 257} {
		for _, shift := range [][2]int{{0, 0}, {4, 4}, {4, 8}, {1, 1}, {1, 2}, {15, 0}} {
			from, into = (from+15)&^15+shift[0], (into+15)&^15+shift[1]
			for i := range n {
				tensors[from+i] = byte(rng.Uint32())
				want[into+i] = tensors[from+i]
			}
			for i, v := range []int{arrayAt + 4096 + from, into, n} {
				binary.NativeEndian.PutUint64(table[24*rows+8*i:], uint64(v))
			}
			pieces = append(pieces, piece{from, into, n})
			from, into, rows = from+n, into+n, rows+1
		}
	}
	original := bytes.Clone(tensors)
	params := [2]uint64{arrayAt, arrayAt + 32<<10}
	text := unsafe.Slice((*byte)(unsafe.Pointer(&params)), 16)
	if err := kernelOf(t, "bucket", "pack").Launch(arena, [2]int{2, rows}, 32, text); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bucket, want) {
		t.Fatal("pack: the bucket is not what the tensors are")
	}
	for _, p := range pieces {
		clear(tensors[p.from : p.from+p.n])
	}
	if err := kernelOf(t, "bucket", "unpack").Launch(arena, [2]int{2, rows}, 32, text); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(tensors, original) {
		t.Fatal("unpack: the tensors are not what they were")
	}
}

// TestGenerated runs the generator and compares its output with the files here.
func TestGenerated(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the generator")
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("no go tool: %v", err)
	}
	dir := t.TempDir()
	if out, err := exec.Command(tool, "run", "./internal/gen", "-out", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	names, _ := filepath.Glob("internal/kernels/*.ptx")
	made, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(names) != len(made) {
		t.Errorf("%d files here, the generator writes %d", len(names), len(made))
	}
	for _, path := range made {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join("internal/kernels", filepath.Base(path)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("internal/kernels/%s is not what the generator writes: run go generate", filepath.Base(path))
		}
	}
}

// ptxas is NVIDIA's assembler, for TestAssemble; the CI fetches it.
var ptxas = flag.String("ptxas", "", "assemble every kernel with this ptxas")

// TestAssemble lets NVIDIA's assembler judge every file for every generation of devices that it knows.
func TestAssemble(t *testing.T) {
	path := *ptxas
	if path == "" {
		var err error
		if path, err = exec.LookPath("ptxas"); err != nil {
			t.Skip("no ptxas here: give -ptxas, or put it in the path")
		}
	}
	files, err := filepath.Glob("internal/kernels/*.ptx")
	if err != nil || len(files) == 0 {
		t.Fatal("no kernels", err)
	}
	targets := []string{"sm_70", "sm_75", "sm_80", "sm_86", "sm_89", "sm_90"}
	assembled := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, sm := range targets {
			if strings.Contains(string(text), "\n.target sm_90\n") && sm != "sm_90" {
				continue
			}
			if out, err := exec.Command(path, "-arch="+sm, "--warning-as-error", file, "-o", os.DevNull).CombinedOutput(); err != nil {
				t.Errorf("%s for %s: %v: %s", file, sm, err, out)
			}
			assembled += strings.Count(string(text), ".visible .entry")
		}
	}
	t.Logf("%d kernels assembled: %d files for each of %v", assembled, len(files), targets)
}
