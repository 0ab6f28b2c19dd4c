// Package nvml asks NVIDIA's management library, libnvidia-ml.so.1, where the GPUs of this host sit and what joins them: PCI
// addresses, NVLink and the parts of divided GPUs (MIG). It knows no more of the library than that.
//
// Nothing of NVIDIA's is needed to build: the library is loaded when [Open] is called, and its functions are declared here. Package
// topology/probe takes what is found as values: its Order puts GPUs in a ring by it.
//
//	l, err := nvml.Open(nvml.Config{})   // says what is missing, where something is
//	devices, err := l.Devices()
//
// It is tested on a stand-in for the library, and NVIDIA's own is loaded and found to have every function; it has not seen a GPU yet.
package nvml

import (
	"errors"
	"fmt"
	"strings"
)

// DefaultLibrary is the name under which the dynamic linker finds the library.
const DefaultLibrary = "libnvidia-ml.so.1"

// What an error of this package may be, for errors.Is.
var (
	// ErrNotBuilt is a program that was built without cgo, or for another system.
	ErrNotBuilt = errors.New("nvml: not in this program")
	// ErrNoLibrary is a machine on which the library cannot be loaded, or lacks a function.
	ErrNoLibrary = errors.New("nvml: no NVIDIA management library")
	// ErrNoDriver is a library without a kernel driver under it.
	ErrNoDriver = errors.New("nvml: the NVIDIA driver is not loaded")
	// ErrNotSupported is something that this library or device cannot tell.
	ErrNotSupported = errors.New("nvml: not supported by this library or device")
	// ErrPermission is something that this user may not ask.
	ErrPermission = errors.New("nvml: no permission")
	// ErrLost is a device that has fallen off the bus.
	ErrLost = errors.New("nvml: the GPU is lost")
	// ErrClosed is the use of a Library after its Close.
	ErrClosed = errors.New("nvml: closed")
)

// An Error is a result of the library other than success. It Is [ErrNoDriver], [ErrNotSupported], [ErrPermission] or [ErrLost]
// where its code says so.
type Error struct {
	Call string // the library's function
	Code int    // its result
	Text string // what the library says about it
}

func (e *Error) Error() string { return fmt.Sprintf("nvml: %s: %s (%d)", e.Call, e.Text, e.Code) }

// Is reports whether the code is one of those that target stands for.
func (e *Error) Is(target error) bool {
	switch e.Code {
	case driverNotLoaded:
		return target == ErrNoDriver
	case notSupported, functionNotFound:
		return target == ErrNotSupported
	case noPermission:
		return target == ErrPermission
	case gpuIsLost:
		return target == ErrLost
	}
	return false
}

// Config says which library to open.
type Config struct {
	// Library is a name for the dynamic linker, or a path. "": DefaultLibrary.
	Library string
}

// A Library is the management library, initialised. It is for one goroutine at a time.
type Library struct {
	lib    *library
	closed bool
}

// Open loads the library and initialises it; Close ends that. The error Is [ErrNotBuilt], [ErrNoLibrary] or [ErrNoDriver] and says
// what is missing.
func Open(cfg Config) (*Library, error) {
	if cfg.Library == "" {
		cfg.Library = DefaultLibrary
	}
	lib, err := openLibrary(cfg.Library)
	if err != nil {
		return nil, err
	}
	if _, err := lib.do(nvmlInit, &arguments{}); err != nil {
		return nil, err
	}
	return &Library{lib: lib}, nil
}

// Close ends the use of the library. Doing it again is no error.
func (l *Library) Close() error {
	if l.closed {
		return nil
	}
	l.closed = true
	_, err := l.lib.do(nvmlShutdown, &arguments{})
	return err
}

// Version returns the driver's version, such as "535.183.01".
func (l *Library) Version() (string, error) {
	if l.closed {
		return "", ErrClosed
	}
	return l.lib.do(nvmlSystemGetDriverVersion, &arguments{})
}

// A Device is a GPU of this host, whether or not this process sees it through CUDA.
type Device struct {
	Index        int // the library's number, which CUDA_VISIBLE_DEVICES does not change
	Name         string
	UUID         string // "GPU-…", as the CUDA bridge gives it
	PCI          string // "0000:41:00.0", as /sys has it
	Major, Minor int    // compute capability
	Links        []Link // of NVLink, those that are up
	Divided      bool   // by MIG
	Parts        []Part // of a divided one
}

// A Link is one NVLink that is up.
type Link struct {
	Number  int
	Version int // generation: 4 on Hopper
	To      Far
	PCI     string // of what is at the far end; "": the library does not say
}

// Far is what a link leads to.
type Far uint8

// The far ends.
const (
	FarUnknown Far = iota
	FarGPU         // another GPU
	FarSwitch      // an NVSwitch
	FarCPU         // a processor with NVLink
)

func (f Far) String() string {
	if names := []string{"unknown", "GPU", "switch", "CPU"}; int(f) < len(names) {
		return names[f]
	}
	return fmt.Sprintf("far end %d", uint8(f))
}

// A Part is a compute instance of a divided GPU: a device of CUDA of its own. Parts have no NVLink, and do not reach each other's memory.
type Part struct {
	Index int
	Name  string
	UUID  string // "MIG-…"
}

// maxLinks is how many NVLinks a GPU may have: 18 on Hopper and Blackwell. Numbers that a device does not have end the search.
const maxLinks = 64

// Devices returns the GPUs by index. What a device does not support is left empty; any other failure is an error.
func (l *Library) Devices() ([]Device, error) {
	if l.closed {
		return nil, ErrClosed
	}
	var a arguments
	if _, err := l.lib.do(nvmlDeviceGetCount, &a); err != nil {
		return nil, err
	}
	devices := make([]Device, a[0])
	for i := range devices {
		a := arguments{uint64(i)}
		if _, err := l.lib.do(nvmlDeviceGetHandleByIndex, &a); err != nil {
			return nil, err
		}
		d, err := l.device(a[0])
		if err != nil {
			return nil, fmt.Errorf("nvml: device %d: %w", i, err)
		}
		d.Index = i
		devices[i] = d
	}
	return devices, nil
}

func (l *Library) device(handle uint64) (d Device, err error) {
	for _, text := range []struct {
		to *string
		f  function
	}{{&d.Name, nvmlDeviceGetName}, {&d.UUID, nvmlDeviceGetUUID}, {&d.PCI, nvmlDeviceGetPciInfo}} {
		if *text.to, err = l.lib.do(text.f, &arguments{handle}); err != nil {
			return d, err
		}
	}
	d.PCI = address(d.PCI)
	a := arguments{handle}
	if _, err := l.lib.do(nvmlDeviceGetCudaComputeCapability, &a); err != nil {
		return d, err
	}
	d.Major, d.Minor = int(int32(a[0])), int(int32(a[1]))
	if d.Links, err = l.links(handle); err != nil {
		return d, err
	}
	d.Divided, d.Parts, err = l.parts(handle)
	return d, err
}

// address turns the library's "00000000:3B:00.0" into the "0000:3b:00.0" of /sys.
func address(s string) string {
	domain, rest, ok := strings.Cut(strings.ToLower(s), ":")
	if !ok {
		return strings.ToLower(s)
	}
	if len(domain) > 4 && strings.Trim(domain[:len(domain)-4], "0") == "" {
		domain = domain[len(domain)-4:]
	}
	return domain + ":" + rest
}

// links returns the NVLinks of a device that are up.
func (l *Library) links(handle uint64) (links []Link, err error) {
	for n := range maxLinks {
		a := arguments{handle, uint64(n)}
		if _, err := l.lib.do(nvmlDeviceGetNvLinkState, &a); err != nil {
			if code := codeOf(err); code == invalidArgument || code == notSupported {
				break // there is no such link
			}
			return nil, err
		}
		if a[0] == 0 {
			continue
		}
		link := Link{Number: n}
		a = arguments{handle, uint64(n)}
		if _, err := l.lib.do(nvmlDeviceGetNvLinkVersion, &a); err == nil {
			link.Version = int(a[0])
		} else if codeOf(err) != notSupported {
			return nil, err
		}
		if link.PCI, err = l.lib.do(nvmlDeviceGetNvLinkRemotePciInfo, &arguments{handle, uint64(n)}); err != nil && codeOf(err) != notSupported {
			return nil, err
		}
		link.PCI = address(link.PCI)
		a = arguments{handle, uint64(n)}
		if _, err := l.lib.do(nvmlDeviceGetNvLinkRemoteDeviceType, &a); err == nil {
			link.To = far(a[0])
		} else if code := codeOf(err); code != notSupported && code != functionNotFound {
			return nil, err
		}
		links = append(links, link)
	}
	return links, nil
}

// far is the library's nvmlIntNvLinkDeviceType_t.
func far(kind uint64) Far {
	switch kind {
	case 0:
		return FarGPU
	case 1:
		return FarCPU
	case 2:
		return FarSwitch
	}
	return FarUnknown
}

// parts returns the instances of a divided device.
func (l *Library) parts(handle uint64) (divided bool, parts []Part, err error) {
	missing := func(err error) bool {
		code := codeOf(err)
		return code == notSupported || code == functionNotFound
	}
	a := arguments{handle}
	if _, err := l.lib.do(nvmlDeviceGetMigMode, &a); err != nil || a[0] == 0 {
		if missing(err) {
			err = nil
		}
		return false, nil, err
	}
	count := arguments{handle}
	if _, err := l.lib.do(nvmlDeviceGetMaxMigDeviceCount, &count); err != nil {
		return true, nil, err
	}
	for i := range int(count[0]) {
		a := arguments{handle, uint64(i)}
		if _, err := l.lib.do(nvmlDeviceGetMigDeviceHandleByIndex, &a); err != nil {
			if codeOf(err) == notFound || codeOf(err) == invalidArgument {
				continue // no instance has the number
			}
			return true, nil, err
		}
		p := Part{Index: i}
		if p.Name, err = l.lib.do(nvmlDeviceGetName, &arguments{a[0]}); err != nil {
			return true, nil, err
		}
		if p.UUID, err = l.lib.do(nvmlDeviceGetUUID, &arguments{a[0]}); err != nil {
			return true, nil, err
		}
		parts = append(parts, p)
	}
	return true, parts, nil
}

// codeOf returns the library's code of an error, 0 for none.
func codeOf(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return 0
}
