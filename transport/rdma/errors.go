package rdma

import (
	"errors"
	"fmt"
	"time"
)

// The reasons why there is no RDMA. [Available] wraps them, together with [transport.ErrNotSupported].
var (
	// ErrNotBuilt is a program without cgo, or for another system than Linux.
	ErrNotBuilt = errors.New("this program was built without verbs: they need Linux and cgo")
	// ErrNoLibrary is a machine without libibverbs.so.1 (the package libibverbs1 or rdma-core).
	ErrNoLibrary = errors.New("libibverbs cannot be loaded")
	// ErrNoDevice is a machine without a device, or without the one that [Device] names.
	ErrNoDevice = errors.New("no RDMA device")
	// ErrPortDown is a port that is not active.
	ErrPortDown = errors.New("the port is not active")
	// ErrDeviceLost is a device that has failed or has been removed.
	ErrDeviceLost = errors.New("the device has failed or is gone")
	// ErrNoGID is a port without an address that suits its network, or without the one that [GIDIndex] names.
	ErrNoGID = errors.New("no suitable GID")
)

// A DeviceError is something that a device or its driver does not do.
type DeviceError struct {
	Device string
	Port   int // 0: the device as a whole
	Op     string
	Err    error // of the system, as a rule
}

func (e *DeviceError) Error() string {
	if e.Port == 0 {
		return fmt.Sprintf("rdma: %s: %s: %v", e.Device, e.Op, e.Err)
	}
	return fmt.Sprintf("rdma: %s port %d: %s: %v", e.Device, e.Port, e.Op, e.Err)
}

// Unwrap returns the cause.
func (e *DeviceError) Unwrap() error { return e.Err }

// Status says how a transfer ended: the numbers are those of enum ibv_wc_status.
type Status uint32

// The statuses that say the most.
const (
	StatusOK               Status = 0
	StatusLocalProtection  Status = 4  // memory that is not registered, or not any more
	StatusFlushed          Status = 5  // the connection had failed before
	StatusRemoteInvalid    Status = 9  // a request that the peer's device does not take
	StatusRemoteAccess     Status = 10 // a wrong key, or memory that it does not cover
	StatusRetryExceeded    Status = 12 // the peer's device does not answer
	StatusReceiverNotReady Status = 13 // the peer's device has nowhere to put it
)

var statusTexts = map[Status]string{
	StatusOK: "success", StatusLocalProtection: "local protection error", StatusFlushed: "flushed",
	StatusRemoteInvalid: "remote invalid request", StatusRemoteAccess: "remote access error",
	StatusRetryExceeded: "transport retry counter exceeded", StatusReceiverNotReady: "receiver not ready",
}

func (s Status) String() string {
	if text, ok := statusTexts[s]; ok {
		return text
	}
	return fmt.Sprintf("status %d", uint32(s))
}

// A CompletionError is a transfer that failed. On a link it is the cause of a [*transport.LostError].
type CompletionError struct {
	Device string
	Status Status
	Vendor uint32 // what the device's maker has to say
}

func (e *CompletionError) Error() string {
	return fmt.Sprintf("rdma: %s: %v (vendor error %#x)", e.Device, e.Status, e.Vendor)
}

// A BrokenError is what the peer says of its end when that has failed. On a link it is the cause of a
// [*transport.LostError].
type BrokenError struct{ Text string }

func (e *BrokenError) Error() string { return fmt.Sprintf("rdma: the peer's end failed: %q", e.Text) }

// past ends waits at once.
var past = time.Unix(1, 0)
