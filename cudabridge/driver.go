package cudabridge

import (
	"fmt"
	"sync"
)

// DefaultLibrary is the name under which the dynamic linker finds the driver.
const DefaultLibrary = "libcuda.so.1"

// Config says which driver to open.
type Config struct {
	// Library is the driver's library: a name for the dynamic linker, or a path, for machines that keep it in an unusual
	// place (a compatibility package, WSL). "": DefaultLibrary.
	Library string
}

// A Driver is the CUDA driver of this process. Its methods may be called from any goroutine.
type Driver struct {
	lib     *library
	version int
	count   int
}

// drivers are the libraries that this process has loaded. A driver cannot be unloaded, so there is one of each.
var drivers struct {
	sync.Mutex
	byLibrary map[string]*Driver
}

// Open loads the driver and initialises it; later calls return the same Driver. The error Is [ErrNotBuilt] when this program
// has no bridge in it, [ErrNoDriver] when the library cannot be loaded, [ErrNoDevice] when it finds no device, and says
// what is missing.
func Open(cfg Config) (*Driver, error) {
	if cfg.Library == "" {
		cfg.Library = DefaultLibrary
	}
	drivers.Lock()
	defer drivers.Unlock()
	if d := drivers.byLibrary[cfg.Library]; d != nil {
		return d, nil
	}
	lib, err := openLibrary(cfg.Library)
	if err != nil {
		return nil, err
	}
	d := &Driver{lib: lib}
	if err := lib.do(cuInit, 0, &arguments{}, nil); err != nil {
		return nil, err
	}
	var a arguments
	if err := lib.do(cuDriverGetVersion, 0, &a, nil); err != nil {
		return nil, err
	}
	d.version = int(a[0])
	if err := lib.do(cuDeviceGetCount, 0, &a, nil); err != nil {
		return nil, err
	}
	if d.count = int(a[0]); d.count == 0 {
		return nil, fmt.Errorf("%w: the driver is there, and counts none", ErrNoDevice)
	}
	if drivers.byLibrary == nil {
		drivers.byLibrary = make(map[string]*Driver)
	}
	drivers.byLibrary[cfg.Library] = d
	return d, nil
}

// Version returns the version of CUDA that the driver is for: 12040 is 12.4.
func (d *Driver) Version() int { return d.version }

// Devices returns how many devices the driver has.
func (d *Driver) Devices() int { return d.count }
