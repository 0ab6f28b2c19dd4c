//go:build linux && cgo && (amd64 || arm64)

package nvml

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var folder string // of the stand-in

func TestMain(m *testing.M) {
	code := m.Run()
	if folder != "" {
		os.RemoveAll(folder)
	}
	os.Exit(code)
}

// build compiles the stand-in, once.
var build = sync.OnceValues(func() (string, error) {
	cc, err := exec.LookPath("gcc")
	if err != nil {
		return "", err
	}
	if folder, err = os.MkdirTemp("", "nvml"); err != nil {
		return "", err
	}
	path := filepath.Join(folder, "library")
	if out, err := exec.Command(cc, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-soname,ringtree-nvml", "-o", path, "testdata/libnvidia-ml.c").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// standIn opens a stand-in that is a host of that name.
func standIn(t *testing.T, host string) *Library {
	t.Helper()
	path, err := build()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("RINGTREE_NVML_HOST", host)
	l, err := Open(Config{Library: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestDevices(t *testing.T) {
	l := standIn(t, "cube")
	if v, err := l.Version(); v != "535.1" || err != nil {
		t.Errorf("got %q, %v", v, err)
	}
	devices := get(t, l, 8)
	link := func(n int, pci string) Link {
		return Link{Number: n, Version: 2, To: FarGPU, PCI: "0000:" + pci + ":00.0"}
	}
	want := Device{
		Index: 5, Name: "Stand-in", UUID: "GPU-00000005-0000-0000-0000-000000000000", PCI: "0000:1f:00.0", Major: 7,
		Links: []Link{link(0, "1b"), link(1, "1b"), link(2, "1e"), link(3, "20"), link(4, "20"), link(5, "21")},
	}
	if diff := cmp.Diff(want, devices[5]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Devices(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: got %v", err)
	}
	if _, err := l.Version(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: got %v", err)
	}
}

func get(t *testing.T, l *Library, n int) []Device {
	t.Helper()
	devices, err := l.Devices()
	if err != nil || len(devices) != n {
		t.Fatalf("got %d devices, %v, want %d", len(devices), err, n)
	}
	return devices
}

func TestSwitched(t *testing.T) {
	for i, d := range get(t, standIn(t, "switched"), 8) {
		want := 18
		if i == 3 {
			want = 17 // one is down
		}
		if len(d.Links) != want || d.Links[0].To != FarSwitch || d.Links[0].Version != 4 || d.Divided {
			t.Errorf("device %d: got %+v", i, d)
		}
	}
}

func TestParts(t *testing.T) {
	d := get(t, standIn(t, "mig"), 1)[0]
	if !d.Divided || len(d.Parts) != 6 || d.Links != nil {
		t.Fatalf("got %+v", d)
	}
	if want := (Part{2, "Stand-in part", "MIG-00000000-0000-0000-0000-000000000003"}); d.Parts[1] != want {
		t.Errorf("got %+v, want %+v", d.Parts[1], want)
	}
}

// TestFailures lets each function fail in turn: it is an error of that name, or the value is left out where the library says that
// it cannot tell.
func TestFailures(t *testing.T) {
	for f := nvmlSystemGetDriverVersion; f < functions; f++ {
		host := "switched"
		if f >= nvmlDeviceGetMaxMigDeviceCount {
			host = "mig"
		}
		t.Run(functionNames[f], func(t *testing.T) {
			l := standIn(t, host)
			name := map[function]string{
				nvmlDeviceGetCount: "nvmlDeviceGetCount_v2", nvmlDeviceGetHandleByIndex: "nvmlDeviceGetHandleByIndex_v2",
				nvmlDeviceGetPciInfo: "nvmlDeviceGetPciInfo_v3", nvmlDeviceGetNvLinkRemotePciInfo: "nvmlDeviceGetNvLinkRemotePciInfo_v2",
			}[f]
			if name == "" {
				name = functionNames[f]
			}
			ask := func() error {
				_, err := l.Devices()
				if f == nvmlSystemGetDriverVersion {
					_, err = l.Version()
				}
				return err
			}
			t.Setenv("RINGTREE_NVML_FAIL", name+":15")
			e, ok := errors.AsType[*Error](ask())
			if !ok || e.Call != functionNames[f] || !errors.Is(e, ErrLost) || e.Text != "GPU is lost" {
				t.Errorf("got %v, want the loss of the GPU", e)
			}
			t.Setenv("RINGTREE_NVML_FAIL", name+":3")
			err := ask()
			optional := f >= nvmlDeviceGetNvLinkState && f <= nvmlDeviceGetMigMode
			if optional != (err == nil) || !optional && !errors.Is(err, ErrNotSupported) {
				t.Errorf("not supported: got %v", err)
			}
		})
	}
}

func TestNoDriver(t *testing.T) {
	l := standIn(t, "none")
	get(t, l, 0)
	t.Setenv("RINGTREE_NVML_FAIL", "nvmlInit_v2:9")
	if _, err := l.lib.do(nvmlInit, &arguments{}); !errors.Is(err, ErrNoDriver) || err.Error() != "nvml: nvmlInit: Driver Not Loaded (9)" {
		t.Errorf("got %v", err)
	}
}
