package cudabridge

import (
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
)

// A Device is one GPU (or one instance of a partitioned one) and this process's primary context on it. Several ranks of a
// process may share a Device. Its methods may be called from any goroutine: each call of the driver makes the context current
// on its thread and takes it away again, so that neither a goroutine that moves between threads nor a caller's own
// context is ever in the way.
type Device struct {
	driver  *Driver
	index   int
	handle  uint64
	context uint64
	info    Info

	mu      sync.Mutex
	closed  bool
	modules map[string]*module
	peers   map[int]error         // by index: what enabling the access to it gave
	pinned  map[int][]*HostBuffer // by class, free
	kept    []*HostBuffer
	ipc     importTable
}

// Info describes a device.
type Info struct {
	Name            string
	UUID            string // "GPU-" and 32 hexadecimal digits in groups, as nvidia-smi prints it
	PCI             string // "0000:41:00.0"
	Major, Minor    int    // compute capability: 9 and 0 for sm_90
	Multiprocessors int
	Memory          int64 // bytes
	Pools           bool  // stream-ordered allocation
}

// Device returns device number index, from 0, with its primary context retained. Each call returns a new Device, to be
// closed.
func (d *Driver) Device(index int) (*Device, error) {
	if index < 0 || index >= d.count {
		return nil, fmt.Errorf("cudabridge: device %d of %d: %w", index, d.count, ErrArgument)
	}
	a := arguments{uint64(index)}
	if err := d.lib.do(cuDeviceGet, 0, &a, nil); err != nil {
		return nil, err
	}
	dev := &Device{
		driver: d, index: index, handle: a[0], modules: make(map[string]*module), peers: make(map[int]error), pinned: make(map[int][]*HostBuffer),
	}
	var err error
	if dev.info, err = d.describe(dev.handle); err != nil {
		return nil, err
	}
	a = arguments{dev.handle}
	if err := d.lib.do(cuDevicePrimaryCtxRetain, 0, &a, nil); err != nil {
		return nil, err
	}
	dev.context = a[0]
	return dev, nil
}

// describe asks the driver about a device.
func (d *Driver) describe(handle uint64) (Info, error) {
	var info Info
	text := make([]byte, 128)
	for _, q := range []struct {
		f  function
		to func()
	}{
		{cuDeviceGetName, func() { info.Name = cString(text) }},
		{cuDeviceGetUuid, func() { info.UUID = uuid(text[:16]) }},
		{cuDeviceGetPCIBusId, func() { info.PCI = cString(text) }},
	} {
		clear(text)
		if err := d.lib.do(q.f, 0, &arguments{handle, uint64(len(text))}, text); err != nil {
			return info, err
		}
		q.to()
	}
	pools, unified := 0, 0
	for attribute, to := range map[int]*int{
		attributeMajor: &info.Major, attributeMinor: &info.Minor, attributeMultiprocessors: &info.Multiprocessors, attributePools: &pools,
		attributeUnified: &unified,
	} {
		a := arguments{uint64(attribute), handle}
		if err := d.lib.do(cuDeviceGetAttribute, 0, &a, nil); err != nil {
			return info, err
		}
		*to = int(int32(a[0]))
	}
	info.Pools = pools != 0
	if unified == 0 || info.Major < 7 {
		return info, fmt.Errorf("cudabridge: %s has compute capability %d.%d, want 7.0 or more: %w", info.Name, info.Major, info.Minor, ErrNotSupported)
	}
	a := arguments{handle}
	if err := d.lib.do(cuDeviceTotalMem, 0, &a, nil); err != nil {
		return info, err
	}
	info.Memory = int64(a[0])
	return info, nil
}

// Info describes device number index, from 0, without a context on it.
func (d *Driver) Info(index int) (Info, error) {
	if index < 0 || index >= d.count {
		return Info{}, fmt.Errorf("cudabridge: device %d of %d: %w", index, d.count, ErrArgument)
	}
	a := arguments{uint64(index)}
	if err := d.lib.do(cuDeviceGet, 0, &a, nil); err != nil {
		return Info{}, err
	}
	return d.describe(a[0])
}

// uuid formats 16 bytes as nvidia-smi does.
func uuid(b []byte) string {
	h := hex.EncodeToString(b)
	return "GPU-" + h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Index returns the device's number.
func (d *Device) Index() int { return d.index }

// Info returns the device's description.
func (d *Device) Info() Info { return d.info }

// do calls the driver with the device's context.
func (d *Device) do(f function, a *arguments, text []byte) error {
	return d.driver.lib.do(f, d.context, a, text)
}

// Free returns how many bytes of the device's memory are free.
func (d *Device) Free() (int64, error) {
	var a arguments
	err := d.do(cuMemGetInfo, &a, nil)
	return int64(a[0]), err
}

// CanAccess reports whether the device can read the memory of device number peer in place.
func (d *Device) CanAccess(peer int) bool {
	if peer == d.index {
		return true
	}
	if peer < 0 || peer >= d.driver.count {
		return false
	}
	a := arguments{uint64(peer)}
	if d.driver.lib.call(cuDeviceGet, 0, &a, nil) != 0 {
		return false
	}
	b := arguments{d.handle, a[0]}
	return d.driver.lib.call(cuDeviceCanAccessPeer, 0, &b, nil) == 0 && b[0] != 0
}

// EnablePeer lets kernels and copies of this device reach the memory that peer's process-wide context owns. Doing it again is
// no error.
func (d *Device) EnablePeer(peer *Device) error {
	if peer.index == d.index {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err, done := d.peers[peer.index]; done {
		return err
	}
	err := d.do(cuCtxEnablePeerAccess, &arguments{peer.context}, nil)
	if e, ok := errors.AsType[*Error](err); ok && e.Code == peerAccessAlreadyEnabled {
		err = nil
	}
	d.peers[peer.index] = err
	return err
}

// Close unloads the kernels, frees cached pinned memory and releases the primary context. Whoever closes a Device has closed
// what was made from it.
func (d *Device) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	pinned, modules := d.pinned, d.modules
	pinned[0] = d.kept
	d.pinned, d.kept, d.modules = nil, nil, nil
	d.mu.Unlock()
	var errs []error
	errs = append(errs, d.ipc.close(d))
	for _, class := range pinned {
		for _, h := range class {
			errs = append(errs, h.Close())
		}
	}
	for _, m := range modules {
		errs = append(errs, d.do(cuModuleUnload, &arguments{m.handle}, nil))
	}
	errs = append(errs, d.driver.lib.do(cuDevicePrimaryCtxRelease, 0, &arguments{d.handle}, nil))
	return errors.Join(errs...)
}
