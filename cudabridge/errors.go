package cudabridge

import (
	"errors"
	"fmt"
)

// What an error of this package may be, for errors.Is.
var (
	// ErrNotBuilt is a program that was built without the bridge: without cgo, or for another system.
	ErrNotBuilt = errors.New("cudabridge: the bridge is not in this program")
	// ErrNoDriver is a machine on which the driver's library cannot be loaded, or lacks a function.
	ErrNoDriver = errors.New("cudabridge: no NVIDIA driver")
	// ErrNoDevice is a driver without a device that it can use.
	ErrNoDevice = errors.New("cudabridge: no CUDA device")
	// ErrOutOfMemory is a lack of device memory or of pinned host memory.
	ErrOutOfMemory = errors.New("cudabridge: out of memory")
	// ErrSticky is a context that a kernel or the hardware has broken: every later call on the device fails with the same
	// error, until the process ends.
	ErrSticky = errors.New("cudabridge: the device's context is broken for good")
	// ErrNotSupported is something that this driver or device cannot do.
	ErrNotSupported = errors.New("cudabridge: not supported by this driver or device")
	// ErrArgument is an argument that cannot be.
	ErrArgument = errors.New("cudabridge: bad argument")
	// ErrClosed is the use of something after its Close.
	ErrClosed = errors.New("cudabridge: closed")
)

// An Error is a result of the driver other than success. It Is [ErrOutOfMemory], [ErrNoDevice], [ErrSticky] or
// [ErrNotSupported] where its code says so.
type Error struct {
	Call string // the driver's function
	Code int    // its result
	Name string // CUDA_ERROR_…
	Text string // what the driver says about it
}

func (e *Error) Error() string {
	return fmt.Sprintf("cudabridge: %s: %s (%d): %s", e.Call, e.Name, e.Code, e.Text)
}

// Is reports whether the code is one of those that target stands for.
func (e *Error) Is(target error) bool {
	switch e.Code {
	case outOfMemory:
		return target == ErrOutOfMemory
	case noDevice, stubLibrary:
		return target == ErrNoDevice
	case notSupported:
		return target == ErrNotSupported
	case eccUncorrectable, nvlinkUncorrectable, illegalAddress, launchTimeout, contextIsDestroyed, assertFailed, hardwareStackError,
		illegalInstruction, misalignedAddress, invalidAddressSpace, invalidPC, launchFailed:
		return target == ErrSticky
	}
	return false
}
