package nvml

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

var (
	nvmlInclude = flag.String("nvml.h", "", "compare the declarations with the nvml.h in this folder")
	realLibrary = flag.String("libnvml", "", "load this management library of NVIDIA's")
)

var functionLine = regexp.MustCompile(`(?m)^\tX\((nvml\w+), ([01]), (\(.*\))\)`)

func functionLines(t *testing.T) [][]string {
	t.Helper()
	text, err := os.ReadFile("abi.h")
	if err != nil {
		t.Fatal(err)
	}
	return functionLine.FindAllStringSubmatch(string(text), -1)
}

// TestHeader compares the Go side's numbers with those of the header that the C side is built from.
func TestHeader(t *testing.T) {
	lines := functionLines(t)
	if len(lines) != int(functions) {
		t.Fatalf("abi.h has %d functions, calls.go %d", len(lines), functions)
	}
	for i, l := range lines {
		if name := regexp.MustCompile(`_v\d$`).ReplaceAllString(l[1], ""); name != functionNames[i] {
			t.Errorf("function %d is %s in abi.h and %s in calls.go", i, name, functionNames[i])
		}
	}
}

// TestNVMLHeader lets a C compiler compare every declaration with NVIDIA's own header, where there is one.
func TestNVMLHeader(t *testing.T) {
	dir := *nvmlInclude
	for _, place := range []string{"/usr/include", "/usr/local/cuda/include"} {
		if _, err := os.Stat(filepath.Join(place, "nvml.h")); err == nil && dir == "" {
			dir = place
		}
	}
	cc, err := exec.LookPath("gcc")
	if dir == "" || err != nil {
		t.Skip("no nvml.h or no gcc here: give -nvml.h")
	}
	var b strings.Builder
	b.WriteString("#include <nvml.h>\n#define RINGTREE_WITH_NVML_H\n#include \"abi.h\"\n")
	for _, l := range functionLines(t) {
		result := "nvmlReturn_t"
		if l[1] == "nvmlErrorString" {
			result = "const char *"
		}
		fmt.Fprintf(&b, "_Static_assert(__builtin_types_compatible_p(__typeof__(%s), %s %s), \"%s\");\n", l[1], result, l[3], l[1])
	}
	fmt.Fprintf(&b, "_Static_assert(sizeof(nvmlPciInfo_t) == 68 && offsetof(nvmlPciInfo_t, busId) == 36, \"nvmlPciInfo_t\");\n")
	for name, value := range map[string]int{
		"NVML_ERROR_INVALID_ARGUMENT": invalidArgument, "NVML_ERROR_NOT_SUPPORTED": notSupported, "NVML_ERROR_NO_PERMISSION": noPermission,
		"NVML_ERROR_NOT_FOUND": notFound, "NVML_ERROR_DRIVER_NOT_LOADED": driverNotLoaded, "NVML_ERROR_FUNCTION_NOT_FOUND": functionNotFound,
		"NVML_ERROR_GPU_IS_LOST": gpuIsLost, "NVML_NVLINK_DEVICE_TYPE_GPU": 0, "NVML_NVLINK_DEVICE_TYPE_IBMNPU": 1, "NVML_NVLINK_DEVICE_TYPE_SWITCH": 2,
	} {
		fmt.Fprintf(&b, "_Static_assert(%s == %d, \"%s\");\n", name, value, name)
	}
	check := exec.Command(cc, "-fsyntax-only", "-I"+dir, "-I.", "-xc", "-")
	check.Stdin = strings.NewReader(b.String())
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestRealLibrary loads NVIDIA's library and finds every function; without a driver it says so.
func TestRealLibrary(t *testing.T) {
	if *realLibrary == "" {
		t.Skip("no management library of NVIDIA's: give -libnvml")
	}
	if _, err := openLibrary(*realLibrary); err != nil {
		t.Fatal(err)
	}
	l, err := Open(Config{Library: *realLibrary})
	if err != nil {
		if t.Log(err); !errors.Is(err, ErrNoDriver) {
			t.Errorf("got %v, want no driver", err)
		}
		return
	}
	defer l.Close()
	devices, err := l.Devices()
	if err != nil {
		t.Error(err)
	}
	t.Logf("%+v", devices)
}

// TestOpenWithout opens libraries that are not there, or are something else.
func TestOpenWithout(t *testing.T) {
	want, text := ErrNoLibrary, "nvml: no NVIDIA management library: no-such-library.so.1: cannot open shared object file"
	if _, err := openLibrary("/"); errors.Is(err, ErrNotBuilt) {
		want, text = ErrNotBuilt, "built with CGO_ENABLED=0; build it with cgo and a C compiler"
		if runtime.GOOS != "linux" {
			text = runtime.GOOS
		}
	}
	if _, err := Open(Config{Library: "no-such-library.so.1"}); !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %v: %s", err, want, text)
	}
	if want == ErrNoLibrary {
		if _, err := Open(Config{Library: "libc.so.6"}); !errors.Is(err, ErrNoLibrary) {
			t.Errorf("got %v", err)
		}
	}
	if l, err := Open(Config{}); err == nil { // a machine with a driver
		l.Close()
	} else if !errors.Is(err, ErrNoLibrary) && !errors.Is(err, ErrNoDriver) && !errors.Is(err, ErrNotBuilt) {
		t.Errorf("got %v", err)
	}
}

func TestErrors(t *testing.T) {
	all := []error{ErrNoDriver, ErrNotSupported, ErrPermission, ErrLost, ErrNoLibrary}
	for code, want := range map[int]error{
		driverNotLoaded: ErrNoDriver, notSupported: ErrNotSupported, functionNotFound: ErrNotSupported, noPermission: ErrPermission, gpuIsLost: ErrLost, 999: nil,
	} {
		err := error(&Error{Call: "nvmlX", Code: code, Text: "x"})
		for _, other := range all {
			if errors.Is(err, other) != (other == want) {
				t.Errorf("code %d, %v: got %v", code, other, errors.Is(err, other))
			}
		}
		if got := err.Error(); got != fmt.Sprintf("nvml: nvmlX: x (%d)", code) {
			t.Errorf("got %q", got)
		}
	}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{"00000000:3B:00.0": "0000:3b:00.0", "00010002:3B:00.0": "00010002:3b:00.0", "0000:3b:00.0": "0000:3b:00.0", "": "", "X": "x"} {
		if got := address(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
