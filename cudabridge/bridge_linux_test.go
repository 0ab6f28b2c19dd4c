//go:build linux && cgo && (amd64 || arm64)

package cudabridge

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/cudabridge/cudatest"
)

// libraryVariable tells a child process of a test where the stand-in is.
const libraryVariable = "CUDABRIDGE_TEST_LIBRARY"

// device returns a device of the stand-in, and checks at the end that the bridge did nothing that a correct program never does.
func device(t *testing.T, index int) *Device {
	t.Helper()
	path := os.Getenv(libraryVariable)
	if path == "" {
		path = cudatest.Build(t)
	}
	if err := cudatest.Start(path, cudatest.Options{Devices: 3, Delay: 200, Seed: 1, Memory: 1 << 28}); err != nil {
		t.Fatal(err)
	}
	driver, err := Open(Config{Library: path})
	if err != nil {
		t.Fatal(err)
	}
	d, err := driver.Device(index)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil && !errors.Is(err, ErrSticky) {
			t.Error(err)
		}
		if n, text := cudatest.Violations(); n > 0 {
			t.Errorf("the stand-in noted %d violations:\n%s", n, text)
		}
	})
	return d
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func get1[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// upload returns a buffer with data in it.
func upload(t *testing.T, d *Device, data []byte) *Buffer {
	t.Helper()
	b := get1[*Buffer](t)(d.Alloc(len(data)))
	h := get1[*HostBuffer](t)(d.AllocHost(len(data)))
	s := get1[*Stream](t)(d.NewStream())
	copy(h.Bytes(), data)
	must(t, s.CopyIn(b.Bytes(), h.Bytes()))
	must(t, s.Synchronize())
	must(t, s.Close())
	must(t, h.Close())
	return b
}

// download returns what place names.
func download(t *testing.T, d *Device, place []byte) []byte {
	t.Helper()
	h := get1[*HostBuffer](t)(d.AllocHost(len(place)))
	s := get1[*Stream](t)(d.NewStream())
	must(t, s.CopyOut(h.Bytes(), place))
	must(t, s.Synchronize())
	out := bytes.Clone(h.Bytes())
	must(t, s.Close())
	must(t, h.Close())
	return out
}

func TestDevice(t *testing.T) {
	d := device(t, 1)
	if d.driver.Devices() != 3 || d.driver.Version() < 12000 || d.Index() != 1 {
		t.Errorf("got %d devices, version %d, index %d", d.driver.Devices(), d.driver.Version(), d.Index())
	}
	info := d.Info()
	if info.Name != "Stand-in 1" || info.PCI != "0000:11:00.0" || info.Major != 8 || !strings.HasPrefix(info.UUID, "GPU-72696e67-7472-") || len(info.UUID) != 40 || info.Memory != 1<<28 {
		t.Errorf("got %+v", info)
	}
	if same, err := d.driver.Info(1); err != nil || same != info {
		t.Errorf("got %+v, %v, want what the open device says", same, err)
	}
	if free, err := d.Free(); err != nil || free > 1<<28 {
		t.Errorf("got %d bytes free, %v", free, err)
	}
	for _, i := range []int{-1, 3} {
		if _, err := d.driver.Device(i); !errors.Is(err, ErrArgument) {
			t.Errorf("device %d: got %v", i, err)
		}
		if _, err := d.driver.Info(i); !errors.Is(err, ErrArgument) {
			t.Errorf("description of device %d: got %v", i, err)
		}
	}
	if !d.CanAccess(1) || !d.CanAccess(0) || d.CanAccess(7) || d.CanAccess(-1) {
		t.Error("CanAccess is wrong")
	}
}

// TestGoroutines uses a device from many goroutines that move between threads, none of which has a context of its own.
func TestGoroutines(t *testing.T) {
	d := device(t, 0)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				b, err := d.Alloc(1000 + i)
				if err != nil {
					t.Error(err)
					return
				}
				runtime.Gosched()
				if err := b.Close(); err != nil {
					t.Error(i, j, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestStreamsAndEvents(t *testing.T) {
	d := device(t, 0)
	const n = 100_000
	a, b := get1[*Buffer](t)(d.Alloc(n)), get1[*Buffer](t)(d.Alloc(n))
	h := get1[*HostBuffer](t)(d.AllocHost(n))
	first, second := get1[*Stream](t)(d.NewStream()), get1[*Stream](t)(d.NewStream())
	e := get1[*Event](t)(d.NewEvent(false))
	if done, err := e.Done(); !done || err != nil {
		t.Errorf("an event that was never recorded: got %v, %v", done, err)
	}
	for round := range 20 {
		must(t, first.Fill(a.Bytes(), byte(round)))
		must(t, first.Record(e))
		must(t, second.Wait(e))
		must(t, second.Copy(b.Bytes(), a.Bytes()))
		must(t, second.CopyOut(h.Bytes(), b.Bytes()))
		must(t, second.Synchronize())
		for i, x := range h.Bytes() {
			if x != byte(round) {
				t.Fatalf("round %d: byte %d is %d", round, i, x)
			}
		}
	}
	must(t, first.Record(e))
	must(t, e.Synchronize())
	if done, err := first.Done(); !done || err != nil {
		t.Errorf("got %v, %v", done, err)
	}
	pooled := get1[*Buffer](t)(first.AllocAsync(4096))
	must(t, first.Fill(pooled.Bytes(), 7))
	must(t, first.FreeAsync(pooled))
	must(t, first.Synchronize())
	if err := first.Copy(a.Bytes()[:3], b.Bytes()[:2]); !errors.Is(err, ErrArgument) {
		t.Errorf("copy of different lengths: got %v", err)
	}
	peer := device(t, 1)
	far := get1[*Buffer](t)(peer.Alloc(n))
	across := get1[*Stream](t)(peer.NewStream())
	must(t, peer.EnablePeer(d))
	must(t, peer.EnablePeer(d))
	must(t, across.CopyPeer(far.Bytes(), a.Bytes(), d))
	must(t, across.Synchronize())
	must(t, errors.Join(across.Close(), far.Close(), e.Close(), first.Close(), second.Close(), h.Close(), a.Close(), b.Close(), a.Close()))
}

// TestReduceOnDevice runs reductions through the driver's interface: more sources than a kernel takes, dst at any place
// among them, averages.
func TestReduceOnDevice(t *testing.T) {
	d := device(t, 0)
	s := get1[*Stream](t)(d.NewStream())
	rng := rand.New(rand.NewPCG(1, 2))
	for _, dtype := range []buffer.DType{buffer.BFloat16, buffer.Float32, buffer.Int8} {
		for _, sources := range []int{1, 2, 8, 9, 17} {
			for _, alias := range []int{-1, 0, sources - 1} {
				n := 333 * dtype.Size()
				stride := (n + 255) &^ 255
				host := make([]byte, (sources+2)*stride)
				fillWith(dtype, host, rng)
				b := upload(t, d, host)
				pick := func(from []byte, i int) []byte { return from[i*stride : i*stride+n] }
				var srcs, places [][]byte
				for j := range sources {
					srcs, places = append(srcs, bytes.Clone(pick(host, 1+j))), append(places, pick(b.Bytes(), 1+j))
				}
				dst := pick(b.Bytes(), 0)
				if alias >= 0 {
					dst = places[alias]
				}
				k, err := buffer.KernelFor(dtype, buffer.Avg)
				must(t, err)
				want := make([]byte, n)
				k.Reduce(want, srcs)
				k.Finish(want, sources+1)
				scratch := get1[*Buffer](t)(d.Alloc(n + 16))
				must(t, s.Reduce(k, dst, places, sources+1, scratch.Bytes()))
				must(t, s.Synchronize())
				if err := differs(dtype, download(t, d, dst), want); err != nil {
					t.Fatalf("%v, %d sources, dst is number %d: %v", dtype, sources, alias, err)
				}
				must(t, errors.Join(scratch.Close(), b.Close()))
			}
		}
	}
	k, _ := buffer.KernelFor(buffer.Float32, buffer.Sum)
	b := get1[*Buffer](t)(d.Alloc(64))
	for name, err := range map[string]error{
		"no sources":    s.Reduce(k, b.Bytes(), nil, 1, nil),
		"lengths":       s.Reduce(k, b.Bytes(), [][]byte{b.Bytes()[:32]}, 1, nil),
		"half elements": s.Reduce(k, b.Bytes()[:6], [][]byte{b.Bytes()[:6]}, 1, nil),
		"misaligned":    s.Reduce(k, b.Bytes()[2:6], [][]byte{b.Bytes()[:4]}, 1, nil),
		"no scratch": s.Reduce(k, b.Bytes()[:4], [][]byte{b.Bytes()[4:8], b.Bytes()[8:12], b.Bytes()[8:12], b.Bytes()[8:12], b.Bytes()[8:12], b.Bytes()[8:12],
			b.Bytes()[8:12], b.Bytes()[8:12], b.Bytes()[:4]}, 1, nil),
		"nine scaled": s.ReduceScaled(buffer.Float32, b.Bytes(), make([][]byte, 9), make([]float64, 9)),
		"quantised":   s.Quantise(b.Bytes()[:8], b.Bytes()[:4], b.Bytes()[:4]),
	} {
		if !errors.Is(err, ErrArgument) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	must(t, errors.Join(b.Close(), s.Close()))
}

// float8OnDevice runs both kinds of 8-bit kernels on a device and compares with the definition.
func float8OnDevice(t *testing.T, d *Device) {
	t.Helper()
	s := get1[*Stream](t)(d.NewStream())
	for _, f := range []Float8{E4M3, E5M2} {
		const n, room = 1001, 1024
		host := make([]byte, 4*room)
		for i := range host {
			host[i] = byte(i * 37 >> 2)
		}
		b := upload(t, d, host)
		pick := func(from []byte, i int) []byte { return from[i*room : i*room+n] }
		srcs, places := [][]byte{pick(host, 1), pick(host, 2), pick(host, 3)}, [][]byte{pick(b.Bytes(), 1), pick(b.Bytes(), 2), pick(b.Bytes(), 3)}
		for _, op := range buffer.Ops() {
			must(t, s.ReduceFloat8(f, op, pick(b.Bytes(), 0), places, 3))
			must(t, s.Synchronize())
			if err := differs8(f, download(t, d, pick(b.Bytes(), 0)), float8Oracle(f, op, srcs, 3, nil)); err != nil {
				t.Errorf("%v of %v: %v", op, f, err)
			}
		}
		scales := []float32{0.5, -3, 0.01}
		must(t, s.ReduceFloat8Scaled(f, places[0], places, scales))
		must(t, s.Synchronize())
		if err := differs8(f, download(t, d, places[0]), float8Oracle(f, 0, srcs, 3, scales)); err != nil {
			t.Errorf("scaled %v: %v", f, err)
		}
		must(t, b.Close())
	}
	must(t, s.Close())
}

func TestFloat8OnDevice(t *testing.T) { float8OnDevice(t, device(t, 0)) }

func TestBucketAndQuantiseOnDevice(t *testing.T) {
	d := device(t, 0)
	s := get1[*Stream](t)(d.NewStream())
	data := make([]byte, 4096)
	for i := range data {
		data[i] = byte(i * 7)
	}
	tensors, bucket := upload(t, d, data), upload(t, d, make([]byte, 4096))
	table := get1[*BucketTable](t)(d.NewBucketTable([]Piece{{tensors.Bytes()[:100], 0}, {tensors.Bytes()[512:1512], 112}, {tensors.Bytes()[2000:2001], 1201}}))
	must(t, s.Pack(bucket.Bytes(), table))
	must(t, s.Synchronize())
	got := download(t, d, bucket.Bytes())
	if !bytes.Equal(got[:100], data[:100]) || !bytes.Equal(got[112:1112], data[512:1512]) || got[1201] != data[2000] || got[100] != 0 {
		t.Error("the bucket is not what the tensors are")
	}
	must(t, s.Fill(tensors.Bytes(), 0))
	must(t, s.Unpack(bucket.Bytes(), table))
	must(t, s.Synchronize())
	if got := download(t, d, tensors.Bytes()); !bytes.Equal(got[512:1512], data[512:1512]) {
		t.Error("the tensors are not what the bucket is")
	}
	if err := s.Pack(bucket.Bytes()[:1000], table); !errors.Is(err, ErrArgument) {
		t.Errorf("a short bucket: got %v", err)
	}
	if _, err := d.NewBucketTable(nil); !errors.Is(err, ErrArgument) {
		t.Errorf("no pieces: got %v", err)
	}
	if _, err := d.NewBucketTable([]Piece{{tensors.Bytes(), -1}}); !errors.Is(err, ErrArgument) {
		t.Errorf("a negative offset: got %v", err)
	}
	x := make([]byte, 4*64)
	for i := range 64 {
		put(buffer.Float32, x, i, uint64(0x40000000+i<<18))
	}
	wide, q, scales := upload(t, d, x), upload(t, d, make([]byte, 64)), upload(t, d, make([]byte, 8))
	must(t, s.Quantise(q.Bytes(), scales.Bytes(), wide.Bytes()))
	must(t, s.Fill(wide.Bytes(), 0))
	must(t, s.DequantiseAdd(wide.Bytes(), q.Bytes(), scales.Bytes()))
	must(t, s.ReduceScaled(buffer.Float32, wide.Bytes(), [][]byte{wide.Bytes()}, []float64{1}))
	must(t, s.Synchronize())
	back := download(t, d, wide.Bytes())
	for i := range 64 {
		got, want := get(buffer.Float32, back, i), get(buffer.Float32, x, i)
		if max(got, want)-min(got, want) > 1<<17 {
			t.Fatalf("element %d: got %#x, want about %#x", i, got, want)
		}
	}
	must(t, errors.Join(table.Close(), tensors.Close(), bucket.Close(), wide.Close(), q.Close(), scales.Close(), s.Close()))
}

// TestFailures lets calls of the driver fail one after the other: each comes back as an error of that name and code, and
// nothing is lost.
func TestFailures(t *testing.T) {
	d := device(t, 0)
	defer cudatest.Fail("", 0, 0)
	for _, tt := range []struct {
		function string
		code     int
		is       error
		call     func() error
	}{
		{"cuMemAlloc_v2", outOfMemory, ErrOutOfMemory, func() error { _, err := d.Alloc(16); return err }},
		{"cuMemHostAlloc", outOfMemory, ErrOutOfMemory, func() error { _, err := d.AllocHost(16); return err }},
		{"cuStreamCreateWithPriority", invalidValue, nil, func() error { _, err := d.NewStream(); return err }},
		{"cuEventCreate", launchFailed, ErrSticky, func() error { _, err := d.NewEvent(false); return err }},
		{"cuMemGetInfo_v2", notSupported, ErrNotSupported, func() error { _, err := d.Free(); return err }},
		{"cuModuleLoadDataEx", invalidValue, nil, func() error { _, err := d.function("reduce_float", "sum_float"); return err }},
		{"cuModuleGetFunction", notFound, nil, func() error { _, err := d.function("reduce_float", "sum_float"); return err }},
		{"cuDevicePrimaryCtxRetain", outOfMemory, ErrOutOfMemory, func() error { _, err := d.driver.Device(0); return err }},
	} {
		cudatest.Fail(tt.function, 1, tt.code)
		err := tt.call()
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != tt.code || !strings.HasPrefix(tt.function, e.Call) || !strings.HasPrefix(e.Name, "CUDA_ERROR_") || e.Text == "" {
			t.Errorf("%s: got %v", tt.function, err)
		}
		if tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %v is not %v", tt.function, err, tt.is)
		}
	}
	cudatest.Fail("", 0, 0)
	if _, err := d.function("reduce_float", "no_such"); err == nil {
		t.Error("a kernel that is not there: got no error")
	}
	if _, err := d.function("no_such", "x"); !errors.Is(err, ErrArgument) {
		t.Errorf("a file that is not there: got %v", err)
	}
	if _, err := d.Alloc(1 << 29); !errors.Is(err, ErrOutOfMemory) {
		t.Errorf("more memory than there is: got %v", err)
	}
	for _, n := range []int{0, -1} {
		if _, err := d.Alloc(n); !errors.Is(err, ErrArgument) {
			t.Errorf("Alloc(%d): got %v", n, err)
		}
	}
}

// TestOtherProcess shares memory and events with a child both ways.
func TestOtherProcess(t *testing.T) {
	if text := os.Getenv("CUDABRIDGE_TEST_HANDLE"); text != "" {
		child(t, text)
		return
	}
	d := device(t, 0)
	data := []byte(strings.Repeat("there", 1000))
	b := upload(t, d, data)
	h := get1[BufferHandle](t)(b.Handle())
	e := get1[*Event](t)(d.NewEvent(true))
	s := get1[*Stream](t)(d.NewStream())
	must(t, s.Record(e))
	must(t, s.Synchronize())
	eh := get1[EventHandle](t)(e.Handle())
	if _, err := d.OpenBuffer(h, len(data)); err == nil {
		t.Error("a process opened its own handle")
	}
	m := d.Memory(MemoryConfig{})
	q := get1[buffer.Queue](t)(m.NewQueue())
	ref := get1[[]byte](t)(q.Export(nil, b.Bytes()[5:15]))
	own := get1[[]byte](t)(q.Import(ref, 10))
	if addressOf(own) != addressOf(b.Bytes()[5:]) {
		t.Error("a reference within the process leads elsewhere")
	}
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe, "-test.run", "^TestOtherProcess$", "-test.v")
	cmd.Env = append(os.Environ(), libraryVariable+"="+cudatest.Build(t), "CUDABRIDGE_TEST_HANDLE="+hex.EncodeToString(append(append(h[:], eh[:]...), ref...)))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := download(t, d, b.Bytes()[:10]); string(got) != "HELLOthere" {
		t.Errorf("the child's store: got %q", got)
	}
	must(t, errors.Join(q.Close(), e.Close(), s.Close(), b.Close()))
}

func child(t *testing.T, text string) {
	d := device(t, 1) // another device: its memory is reached across
	raw, err := hex.DecodeString(text)
	must(t, err)
	m := get1[*Mapping](t)(d.OpenBuffer(BufferHandle(raw[:64]), 5000))
	e := get1[*Event](t)(d.OpenEvent(EventHandle(raw[64:128])))
	s := get1[*Stream](t)(d.NewStream())
	must(t, s.Wait(e))
	if got := download(t, d, m.Bytes()[:10]); string(got) != "therethere" {
		t.Errorf("got %q", got)
	}
	q := get1[buffer.Queue](t)(d.Memory(MemoryConfig{}).NewQueue())
	place := get1[[]byte](t)(q.Import(raw[128:], 10))
	if got := download(t, d, place); string(got) != "therethere" {
		t.Errorf("by reference: got %q", got)
	}
	if _, err := q.Import(raw[128:], 11); !errors.Is(err, ErrArgument) {
		t.Errorf("a reference of another length: got %v", err)
	}
	hello := upload(t, d, []byte("HELLO"))
	must(t, s.Copy(m.Bytes()[:5], hello.Bytes()))
	must(t, s.Synchronize())
	must(t, errors.Join(q.Close(), hello.Close(), e.Close(), s.Close(), m.Close()))
}
