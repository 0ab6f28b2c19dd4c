package cudabridge

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

var (
	cudaInclude = flag.String("cuda.h", "", "compare the declarations with the cuda.h in this folder")
	realLibrary = flag.String("libcuda", "", "load this driver library of NVIDIA's")
)

var (
	functionLine = regexp.MustCompile(`(?m)^\tX\((cu\w+), ([01]), (\(.*\))\)`)
	constantLine = regexp.MustCompile(`(?m)^\tX\((CU\w+), (\d+)\)`)
)

func header(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("abi.h")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestHeader compares the Go side's numbers with those of the header that the C side is built from.
func TestHeader(t *testing.T) {
	lines := functionLine.FindAllStringSubmatch(header(t), -1)
	if len(lines) != int(functions) {
		t.Fatalf("abi.h has %d functions, calls.go %d", len(lines), functions)
	}
	for i, l := range lines {
		if name := regexp.MustCompile(`_v\d$`).ReplaceAllString(l[1], ""); name != functionNames[i] {
			t.Errorf("function %d is %s in abi.h and %s in calls.go", i, name, functionNames[i])
		}
	}
	have := map[string]int{
		"CUDA_ERROR_INVALID_VALUE": invalidValue, "CUDA_ERROR_OUT_OF_MEMORY": outOfMemory, "CUDA_ERROR_STUB_LIBRARY": stubLibrary,
		"CUDA_ERROR_NO_DEVICE": noDevice, "CUDA_ERROR_INVALID_CONTEXT": invalidContext, "CUDA_ERROR_ECC_UNCORRECTABLE": eccUncorrectable,
		"CUDA_ERROR_NVLINK_UNCORRECTABLE": nvlinkUncorrectable, "CUDA_ERROR_NOT_FOUND": notFound, "CUDA_ERROR_NOT_READY": notReady,
		"CUDA_ERROR_ILLEGAL_ADDRESS": illegalAddress, "CUDA_ERROR_LAUNCH_TIMEOUT": launchTimeout,
		"CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED": peerAccessAlreadyEnabled, "CUDA_ERROR_CONTEXT_IS_DESTROYED": contextIsDestroyed,
		"CUDA_ERROR_ASSERT": assertFailed, "CUDA_ERROR_HARDWARE_STACK_ERROR": hardwareStackError, "CUDA_ERROR_ILLEGAL_INSTRUCTION": illegalInstruction,
		"CUDA_ERROR_MISALIGNED_ADDRESS": misalignedAddress, "CUDA_ERROR_INVALID_ADDRESS_SPACE": invalidAddressSpace,
		"CUDA_ERROR_INVALID_PC": invalidPC, "CUDA_ERROR_LAUNCH_FAILED": launchFailed, "CUDA_ERROR_NOT_SUPPORTED": notSupported,
		"CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT": attributeMultiprocessors, "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR": attributeMajor,
		"CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR": attributeMinor, "CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING": attributeUnified,
		"CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED": attributePools, "CU_POINTER_ATTRIBUTE_BUFFER_ID": pointerBufferID,
		"CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL": pointerDevice, "CU_STREAM_NON_BLOCKING": streamNonBlocking, "CU_EVENT_BLOCKING_SYNC": eventBlockingSync,
		"CU_EVENT_DISABLE_TIMING": eventDisableTiming, "CU_EVENT_INTERPROCESS": eventInterprocess, "CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS": ipcLazyPeerAccess,
		"CU_MEMHOSTALLOC_PORTABLE": hostPortable, "CU_MEMHOSTALLOC_DEVICEMAP": hostDeviceMap, "CU_STREAM_WAIT_VALUE_GEQ": waitGreaterOrEqual,
		"CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD":                      rangeDMABuf,
		"CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_FLUSH_WRITES_OPTIONS": attributeFlush, "CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WRITES_ORDERING": attributeOrdering,
		"CU_FLUSH_GPU_DIRECT_RDMA_WRITES_OPTION_HOST": flushByHost, "CU_GPU_DIRECT_RDMA_WRITES_ORDERING_OWNER": orderedForOwner,
		"CU_GPU_DIRECT_RDMA_WRITES_ORDERING_ALL_DEVICES": orderedForAll, "CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TARGET_CURRENT_CTX": flushCurrent,
		"CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TO_OWNER": flushToOwner, "CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TO_ALL_DEVICES": flushToAll,
	}
	constants := constantLine.FindAllStringSubmatch(header(t), -1)
	for _, c := range constants {
		want, _ := strconv.Atoi(c[2])
		if got, ok := have[c[1]]; !ok || got != want {
			t.Errorf("%s is %d in abi.h, and %d (there: %t) here", c[1], want, got, ok)
		}
		delete(have, c[1])
	}
	for name := range have {
		t.Errorf("abi.h lacks %s", name)
	}
}

// TestCudaHeader lets a C compiler compare every declaration and number with NVIDIA's own header, where there is one.
func TestCudaHeader(t *testing.T) {
	dir := *cudaInclude
	for _, place := range []string{"/usr/include", "/usr/local/cuda/include"} {
		if _, err := os.Stat(filepath.Join(place, "cuda.h")); err == nil && dir == "" {
			dir = place
		}
	}
	cc, err := exec.LookPath("gcc")
	if dir == "" || err != nil {
		t.Skip("no cuda.h or no gcc here: give -cuda.h")
	}
	var b strings.Builder
	b.WriteString("#include <cuda.h>\n#define RINGTREE_WITH_CUDA_H\n#include \"abi.h\"\n")
	lines, constants := functionLine.FindAllStringSubmatch(header(t), -1), constantLine.FindAllStringSubmatch(header(t), -1)
	for _, l := range lines {
		fmt.Fprintf(&b, "_Static_assert(__builtin_types_compatible_p(__typeof__(%s), CUresult %s), \"%s\");\n", l[1], l[3], l[1])
	}
	for _, c := range constants {
		fmt.Fprintf(&b, "_Static_assert(%s == %s, \"%s\");\n", c[1], c[2], c[1])
	}
	b.WriteString("_Static_assert(sizeof(CUipcMemHandle) == 64 && sizeof(CUipcEventHandle) == 64 && sizeof(CUuuid) == 16 && sizeof(CUdeviceptr) == 8, \"sizes\");\n")
	check := exec.Command(cc, "-fsyntax-only", "-I"+dir, "-I.", "-xc", "-")
	check.Stdin = strings.NewReader(b.String())
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%d functions and %d constants as in %s", len(lines), len(constants), filepath.Join(dir, "cuda.h"))
}

// TestRealLibrary loads a driver of NVIDIA's and finds every function; without a device it says so.
func TestRealLibrary(t *testing.T) {
	if *realLibrary == "" {
		t.Skip("no driver of NVIDIA's: give -libcuda")
	}
	if _, err := openLibrary(*realLibrary); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Library: *realLibrary}); err != nil && !errors.Is(err, ErrNoDevice) {
		t.Errorf("got %v", err)
	} else {
		t.Logf("%s: %v", *realLibrary, err)
	}
}

// TestOpenWithout opens drivers that are not there, or are something else.
func TestOpenWithout(t *testing.T) {
	want, text := ErrNoDriver, "no-such-library.so.1"
	if runtime.GOOS != "linux" {
		want, text = ErrNotBuilt, runtime.GOOS
	}
	if _, err := openLibrary("/"); errors.Is(err, ErrNotBuilt) {
		want, text = ErrNotBuilt, ""
	}
	_, err := Open(Config{Library: "no-such-library.so.1"})
	if !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %v", err, want)
	}
	t.Log(err)
	if want == ErrNoDriver {
		// Some library that is no driver: the error names what it lacks.
		_, err := Open(Config{Library: "libc.so.6"})
		if err != nil && !errors.Is(err, ErrNoDriver) {
			t.Errorf("got %v", err)
		}
		t.Log(err)
	}
	if _, err := Open(Config{}); err != nil { // a machine with a GPU has none of these errors
		if !errors.Is(err, ErrNoDriver) && !errors.Is(err, ErrNoDevice) && !errors.Is(err, ErrNotBuilt) && !errors.Is(err, ErrNotSupported) {
			t.Errorf("got %v", err)
		}
		t.Log(err)
	}
}

// TestOpenText compares what Open says without CUDA with what the package's documentation says that it says.
func TestOpenText(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(Config{Library: "libcuda-nowhere.so.1"})
	if err == nil {
		t.Fatal("got no error")
	}
	text := strings.Replace(err.Error(), "libcuda-nowhere.so.1", DefaultLibrary, 1)
	text = strings.Replace(text, "for "+runtime.GOOS+"/"+runtime.GOARCH, "for darwin/arm64", 1)
	if errors.Is(err, ErrNoDriver) && !strings.Contains(text, "cannot open shared object file") {
		t.Skipf("another dynamic linker's words: %v", err)
	}
	if !strings.Contains(string(doc), "  "+text+"\n") {
		t.Errorf("the documentation does not have %q", text)
	}
	none := (&Error{Call: "cuInit", Code: noDevice, Name: "CUDA_ERROR_NO_DEVICE", Text: "no CUDA-capable device is detected"}).Error()
	if !strings.Contains(string(doc), "  "+none+"\n") {
		t.Errorf("the documentation does not have %q", none)
	}
}

func TestReference(t *testing.T) {
	r := reference{process: strings.Repeat("a", processLength), device: 2, base: 4096, id: 7, size: 100, offset: 10, length: 90}
	for i := range r.handle {
		r.handle[i] = byte(i)
	}
	if got, err := parseReference(r.append(nil)); err != nil || got != r {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, change := range map[string]func(r *reference){
		"too long":    func(r *reference) { r.length++ },
		"behind it":   func(r *reference) { r.offset = 101 },
		"overflows":   func(r *reference) { r.offset = 1 << 63; r.length = 1 << 63 },
		"nowhere":     func(r *reference) { r.base = 0 },
		"wraps":       func(r *reference) { r.base = ^uint64(0) },
		"empty":       func(r *reference) { r.size, r.offset, r.length = 0, 0, 0 },
		"device":      func(r *reference) { r.device = 1 << 17 },
		"unlikely":    func(r *reference) { r.size = 1 << 60 },
		"zero length": func(r *reference) { r.offset = 200; r.length = 0 },
	} {
		bad := r
		change(&bad)
		if _, err := parseReference(bad.append(nil)); !errors.Is(err, ErrArgument) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := parseReference(r.append(nil)[1:]); !errors.Is(err, ErrArgument) {
		t.Errorf("short: got %v", err)
	}
}

func FuzzReference(f *testing.F) {
	r := reference{process: strings.Repeat("a", processLength), base: 4096, id: 7, size: 100, offset: 10, length: 90}
	f.Add(r.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseReference(b)
		if err == nil && (r.offset+r.length > r.size || r.base+r.size < r.base || string(r.append(nil)) != string(b)) {
			t.Errorf("got %+v", r)
		}
	})
}

func TestErrorKinds(t *testing.T) {
	for code, want := range map[int]error{outOfMemory: ErrOutOfMemory, noDevice: ErrNoDevice, stubLibrary: ErrNoDevice, illegalAddress: ErrSticky, eccUncorrectable: ErrSticky, notSupported: ErrNotSupported} {
		err := error(&Error{Call: "cuX", Code: code, Name: "CUDA_ERROR_X", Text: "x"})
		for _, other := range []error{ErrOutOfMemory, ErrNoDevice, ErrSticky, ErrNotSupported, ErrNoDriver} {
			if errors.Is(err, other) != (other == want) {
				t.Errorf("code %d, %v: got %v", code, other, errors.Is(err, other))
			}
		}
		if got := err.Error(); got != fmt.Sprintf("cudabridge: cuX: CUDA_ERROR_X (%d): x", code) {
			t.Errorf("got %q", got)
		}
	}
}
