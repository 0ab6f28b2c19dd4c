//go:build linux && cgo && (amd64 || arm64)

package cudatest

/*
#cgo CFLAGS: -D_GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

extern long standinLoad(char *);
extern int standinKernel(long, char *, int *, int *, int);
extern int standinLaunch(long, char *, unsigned, unsigned, unsigned, unsigned char *, int, int, int);

static void *library;
static void *open_library(const char *path) { return library = dlopen(path, RTLD_NOW | RTLD_LOCAL); }
static void start(int devices, int delay, unsigned seed, size_t bytes, int apart) {
	int (*f)(void *, void *, void *, int, int, unsigned, size_t, int) = dlsym(library, "standin_start");
	f((void *)standinLoad, (void *)standinKernel, (void *)standinLaunch, devices, delay, seed, bytes, apart);
}
static void fail(const char *name, int nth, int code) { ((void (*)(const char *, int, int))dlsym(library, "standin_fail"))(name, nth, code); }
static void delay(int us) { ((void (*)(int))dlsym(library, "standin_delay"))(us); }
static int violations(char *text, size_t n) { return ((int (*)(char *, size_t))dlsym(library, "standin_violations"))(text, n); }
static size_t live(void) { return ((size_t (*)(void))dlsym(library, "standin_live"))(); }
static int table(int device, uint64_t *out, int max) { return ((int (*)(int, uint64_t *, int))dlsym(library, "standin_table"))(device, out, max); }
static void direct(int flushes, int order) { ((void (*)(int, int))dlsym(library, "standin_direct"))(flushes, order); }
static void addressable(int yes) { ((void (*)(int))dlsym(library, "standin_addressable"))(yes); }
static void card(uint64_t at, size_t n, int what) { ((void (*)(uint64_t, size_t, int))dlsym(library, "standin_card"))(at, n, what); }
static void settle(void) { ((void (*)(void))dlsym(library, "standin_settle"))(); }
static void touched(int stream, uint64_t lo, uint64_t n, int write) { ((void (*)(int, uint64_t, uint64_t, int))dlsym(library, "standin_touched"))(stream, lo, n, write); }
*/
import "C"

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ringtree/ringtree/cudabridge/internal/ptx"
)

//go:embed libcuda/libcuda.c
var source string

// Options are what a test asks of the stand-in.
type Options struct {
	Devices int    // 0: 2
	Delay   int    // longest random delay before each piece of work, in microseconds
	Seed    uint32 // of the delays
	Memory  int    // bytes of each device; 0: 4 GiB
	Apart   bool   // devices cannot reach each other's memory
}

// Build compiles the library and returns its path, which is good for this process and its children while this one lives. It
// skips the test where there is no C compiler.
func Build(tb testing.TB) string {
	tb.Helper()
	path, err := build()
	if errors.Is(err, exec.ErrNotFound) {
		tb.Skipf("no C compiler: %v", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

var build = sync.OnceValues(func() (string, error) {
	cc, err := exec.LookPath("gcc")
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "standin")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	in, out := filepath.Join(dir, "libcuda.c"), filepath.Join(dir, "library")
	if err := os.WriteFile(in, []byte(source), 0o600); err != nil {
		return "", err
	}
	compile := exec.Command(cc, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers", "-O1", "-g", "-shared", "-fPIC",
		"-fvisibility=hidden", "-pthread", "-Wl,-soname,ringtree-standin", "-o", out, in, "-ldl")
	if text, err := compile.CombinedOutput(); err != nil {
		return "", fmt.Errorf("standin: %w: %s", err, text)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		return "", err
	}
	fd, err := unix.MemfdCreate("standin", unix.MFD_CLOEXEC)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), "standin")
	if _, err := f.Write(text); err != nil {
		return "", err
	}
	held = f
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd), nil
})

var held *os.File // keeps the library's file open

// Start loads the library at path, of Build in this process or its parent, and lets it work. A process starts it once;
// later calls change only the options that may change: Delay.
func Start(path string, o Options) error {
	started.Lock()
	defer started.Unlock()
	if started.path == path {
		C.delay(C.int(o.Delay))
		return nil
	}
	if started.path != "" {
		return errors.New("standin: started before, from another library")
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	if C.open_library(name) == nil {
		return errors.New("standin: " + C.GoString(C.dlerror()))
	}
	if o.Devices == 0 {
		o.Devices = 2
	}
	apart := 0
	if o.Apart {
		apart = 1
	}
	C.start(C.int(o.Devices), C.int(o.Delay), C.unsigned(o.Seed), C.size_t(o.Memory), C.int(apart))
	started.path = path
	return nil
}

var started struct {
	sync.Mutex
	path string
}

// Fail lets the nth call from now on of a function of the driver, by its exported name, return code. nth 0 ends that.
func Fail(function string, nth, code int) {
	name := C.CString(function)
	defer C.free(unsafe.Pointer(name))
	C.fail(name, C.int(nth), C.int(code))
}

// Violations returns how many things that a correct program never does were noted since the last call, and what.
func Violations() (int, string) {
	text := (*C.char)(C.calloc(1, 8192))
	defer C.free(unsafe.Pointer(text))
	n := C.violations(text, 8192)
	return int(n), C.GoString(text)
}

// Live returns how many bytes of device memory are allocated.
func Live() int { return int(C.live()) }

// Direct sets what the devices say of stores by network cards: the options for flushing them, and for whom they are ordered, as the
// driver's attributes 117 and 118 have them. At the start both are 0.
func Direct(flush, ordering int) { C.direct(C.int(flush), C.int(ordering)) }

// Addressable says whether memory that is allocated from now on has addresses that the rest of the machine reaches, too, as where the
// processor and its GPU share their tables of pages: then a network card can be given memory by its address. At the start it has not.
func Addressable(yes bool) {
	n := C.int(0)
	if yes {
		n = 1
	}
	C.addressable(n)
}

// A Store is something that a network card does to a place in a device's memory.
type Store int

// A place that a card may store in counts as written to by work that no stream has waited for, until [Settle] or the driver's call that
// flushes. Work of the device that touches it before is noted, and so is a place that work still uses.
const (
	Wanted    Store = iota // it may store there from now on
	Stored                 // it has
	Abandoned              // it will not
)

// Card notes what a network card does.
func Card(place []byte, s Store) {
	C.card(C.uint64_t(uintptr(unsafe.Pointer(unsafe.SliceData(place)))), C.size_t(len(place)), C.int(s))
}

// Settle lets what cards have stored so far be seen by work that begins from now on, as a read by the card does, or a device that orders.
func Settle() { C.settle() }

// modules are the loaded modules by number.
var modules struct {
	sync.Mutex
	list []*ptx.Module
}

//export standinLoad
func standinLoad(text *C.char) C.long {
	m, err := ptx.Parse(C.GoString(text))
	if err != nil {
		return -1
	}
	modules.Lock()
	defer modules.Unlock()
	modules.list = append(modules.list, m)
	return C.long(len(modules.list) - 1)
}

func kernel(module C.long, name *C.char) *ptx.Kernel {
	modules.Lock()
	defer modules.Unlock()
	return modules.list[module].Kernels[C.GoString(name)]
}

//export standinKernel
func standinKernel(module C.long, name *C.char, offsets, sizes *C.int, most C.int) C.int {
	k := kernel(module, name)
	if k == nil || len(k.Params) > int(most) {
		return -1
	}
	o, s := unsafe.Slice(offsets, most), unsafe.Slice(sizes, most)
	for i, p := range k.Params {
		o[i], s[i] = C.int(p.Offset), C.int(p.Size)
	}
	return C.int(len(k.Params))
}

//export standinLaunch
func standinLaunch(module C.long, name *C.char, bx, by, threads C.unsigned, params *C.uchar, n, device, stream C.int) C.int {
	m := newMemory(int(device))
	err := kernel(module, name).Launch(m, [2]int{int(bx), int(by)}, int(threads), unsafe.Slice((*byte)(params), n))
	for write, list := range m.touched {
		for _, s := range merge(list) {
			C.touched(stream, C.uint64_t(s.lo), C.uint64_t(s.hi-s.lo), C.int(write))
		}
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ptx.ErrMisaligned):
		return 716
	case errors.Is(err, errIllegal):
		return 700
	}
	return 719
}

// memory is what a device reaches during one launch, and what the launch touched.
type memory struct {
	list    []allocation
	last    *allocation
	touched [2][]stretch // read, written
}

type allocation struct {
	lo, hi uint64
	back   uint64
}

type stretch struct{ lo, hi uint64 }

var errIllegal = errors.New("standin: illegal address")

func newMemory(device int) *memory {
	buf := make([]C.uint64_t, 3*64)
	n := int(C.table(C.int(device), &buf[0], C.int(len(buf)/3)))
	for 3*n > len(buf) {
		buf = make([]C.uint64_t, 3*(n+16))
		n = int(C.table(C.int(device), &buf[0], C.int(len(buf)/3)))
	}
	m := &memory{}
	for i := range n {
		lo := uint64(buf[3*i])
		m.list = append(m.list, allocation{lo, lo + uint64(buf[3*i+1]), uint64(buf[3*i+2])})
	}
	return m
}

// At is ptx.Memory's.
func (m *memory) At(address uint64, n int, write bool) (unsafe.Pointer, error) {
	a := m.last
	if a == nil || address < a.lo || address+uint64(n) > a.hi {
		i := slices.IndexFunc(m.list, func(a allocation) bool { return address >= a.lo && address+uint64(n) <= a.hi })
		if i < 0 {
			return nil, fmt.Errorf("%w %#x", errIllegal, address)
		}
		a = &m.list[i]
		m.last = a
	}
	which := 0
	if write {
		which = 1
	}
	if list := m.touched[which]; len(list) > 0 && list[len(list)-1].hi == address {
		list[len(list)-1].hi += uint64(n)
	} else {
		m.touched[which] = append(list, stretch{address, address + uint64(n)})
	}
	at := uintptr(a.back + address - a.lo)
	return *(*unsafe.Pointer)(unsafe.Pointer(&at)), nil
}

// merge joins stretches that overlap or meet.
func merge(list []stretch) []stretch {
	slices.SortFunc(list, func(a, b stretch) int {
		if a.lo < b.lo {
			return -1
		}
		return 1
	})
	var out []stretch
	for _, s := range list {
		if n := len(out); n > 0 && s.lo <= out[n-1].hi {
			out[n-1].hi = max(out[n-1].hi, s.hi)
		} else {
			out = append(out, s)
		}
	}
	return out
}
