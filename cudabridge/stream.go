package cudabridge

import (
	"errors"
	"sync"
	"unsafe"
)

// A Stream is a queue of work of a device: what is given to it happens in order, while the caller goes on.
type Stream struct {
	device *Device
	handle uint64
	own    bool
	once   sync.Once
	err    error
}

// NewStream returns a new stream, which does not wait for the legacy default stream.
func (d *Device) NewStream() (*Stream, error) {
	a := arguments{streamNonBlocking, 0}
	if err := d.do(cuStreamCreateWithPriority, &a, nil); err != nil {
		return nil, err
	}
	return &Stream{device: d, handle: a[0], own: true}, nil
}

// ForeignStream is a stream that another library of this process made in the device's primary context: its CUstream, or
// cudaStream_t, as a number. 0 is the legacy default stream. Close leaves it alone.
func (d *Device) ForeignStream(handle uintptr) *Stream {
	return &Stream{device: d, handle: uint64(handle)}
}

// CopyIn copies src, in pinned host memory, to dst on the device. Both belong to the copy until the stream has come past it.
func (s *Stream) CopyIn(dst, src []byte) error {
	return s.copy(cuMemcpyHtoDAsync, dst, src)
}

// CopyOut copies src, on the device, to dst in pinned host memory, under CopyIn's rules.
func (s *Stream) CopyOut(dst, src []byte) error {
	return s.copy(cuMemcpyDtoHAsync, dst, src)
}

// Copy copies between any two places that the device can reach: its own memory, pinned host memory, and mapped or
// peer-enabled memory of other devices.
func (s *Stream) Copy(dst, src []byte) error {
	return s.copy(cuMemcpyAsync, dst, src)
}

func (s *Stream) copy(f function, dst, src []byte) error {
	if len(dst) != len(src) {
		return errLengths
	}
	if len(src) == 0 {
		return nil
	}
	return s.device.do(f, &arguments{addressOf(dst), addressOf(src), uint64(len(src)), s.handle}, nil)
}

// CopyPeer copies src on another device of this process to dst on this one, also where neither can reach the other in place.
func (s *Stream) CopyPeer(dst []byte, src []byte, from *Device) error {
	if len(dst) != len(src) {
		return errLengths
	}
	if len(src) == 0 {
		return nil
	}
	return s.device.do(cuMemcpyPeerAsync, &arguments{addressOf(dst), s.device.context, addressOf(src), from.context, uint64(len(src)), s.handle}, nil)
}

// Fill sets every byte of dst, on the device, to value.
func (s *Stream) Fill(dst []byte, value byte) error {
	if len(dst) == 0 {
		return nil
	}
	return s.device.do(cuMemsetD8Async, &arguments{addressOf(dst), uint64(value), uint64(len(dst)), s.handle}, nil)
}

// Record makes e stand for what is on the stream now.
func (s *Stream) Record(e *Event) error {
	return s.device.do(cuEventRecord, &arguments{e.handle, s.handle}, nil)
}

// Wait lets later work on the stream wait until what e stood for, at this call, has happened.
func (s *Stream) Wait(e *Event) error {
	return s.device.do(cuStreamWaitEvent, &arguments{s.handle, e.handle}, nil)
}

// waitValue lets later work on the stream wait until the word at address, compared as signed differences, is at least value.
func (s *Stream) waitValue(address []byte, value uint32) error {
	return s.device.do(cuStreamWaitValue32, &arguments{s.handle, addressOf(address), uint64(value), waitGreaterOrEqual}, nil)
}

// Done reports whether everything on the stream has happened. The error is that of the work.
func (s *Stream) Done() (bool, error) { return s.device.query(cuStreamQuery, s.handle) }

// Synchronize waits for everything on the stream and returns the error of the work.
func (s *Stream) Synchronize() error {
	return s.device.do(cuStreamSynchronize, &arguments{s.handle}, nil)
}

// AllocAsync is Alloc in the order of the stream: the memory may be used by later work on it, and other streams that have
// waited for it. Peers cannot map it. The error Is [ErrNotSupported] on devices without memory pools.
func (s *Stream) AllocAsync(n int) (*Buffer, error) {
	if err := size("AllocAsync", n); err != nil {
		return nil, err
	}
	if !s.device.info.Pools {
		return nil, ErrNotSupported
	}
	a := arguments{uint64(n), s.handle}
	if err := s.device.do(cuMemAllocAsync, &a, nil); err != nil {
		return nil, err
	}
	return &Buffer{device: s.device, data: place(a[0], n)}, nil
}

// FreeAsync frees what AllocAsync returned once the stream has come past it. b must not be closed.
func (s *Stream) FreeAsync(b *Buffer) error {
	b.once.Do(func() { b.err = s.device.do(cuMemFreeAsync, &arguments{addressOf(b.data), s.handle}, nil) })
	return b.err
}

// Close ends a stream of NewStream; what is on it still happens.
func (s *Stream) Close() error {
	if !s.own {
		return nil
	}
	s.once.Do(func() { s.err = s.device.do(cuStreamDestroy, &arguments{s.handle}, nil) })
	return s.err
}

var errLengths = errors.Join(ErrArgument, errors.New("cudabridge: the two sides of a copy differ in length"))

// query turns "not ready" into false.
func (d *Device) query(f function, handle uint64) (bool, error) {
	a := arguments{handle}
	switch r := d.driver.lib.call(f, d.context, &a, nil); r {
	case 0:
		return true, nil
	case notReady:
		return false, nil
	default:
		return false, d.driver.lib.failure(f, r)
	}
}

// An Event stands for a place in a stream.
type Event struct {
	device *Device
	handle uint64
	once   sync.Once
	err    error
}

// NewEvent returns an event. One that is shared can be opened by other processes, by its Handle.
func (d *Device) NewEvent(shared bool) (*Event, error) {
	flags := uint64(eventDisableTiming | eventBlockingSync)
	if shared {
		flags |= eventInterprocess
	}
	a := arguments{flags}
	if err := d.do(cuEventCreate, &a, nil); err != nil {
		return nil, err
	}
	return &Event{device: d, handle: a[0]}, nil
}

// Done reports whether what the event was last recorded for has happened. An event that was never recorded is done.
func (e *Event) Done() (bool, error) { return e.device.query(cuEventQuery, e.handle) }

// Synchronize waits until Done, asleep.
func (e *Event) Synchronize() error {
	return e.device.do(cuEventSynchronize, &arguments{e.handle}, nil)
}

// Close frees the event. Streams that wait for it still do.
func (e *Event) Close() error {
	e.once.Do(func() { e.err = e.device.do(cuEventDestroy, &arguments{e.handle}, nil) })
	return e.err
}

// An EventHandle names a shared event to another process of this host.
type EventHandle [64]byte

// Handle returns the name under which other processes open a shared event.
func (e *Event) Handle() (EventHandle, error) {
	var h EventHandle
	err := e.device.do(cuIpcGetEventHandle, &arguments{e.handle}, h[:])
	return h, err
}

// OpenEvent opens another process's shared event.
func (d *Device) OpenEvent(h EventHandle) (*Event, error) {
	var a arguments
	if err := d.do(cuIpcOpenEventHandle, &a, h[:]); err != nil {
		return nil, err
	}
	return &Event{device: d, handle: a[0]}, nil
}

// store32 stores to a word of pinned memory that a stream may be waiting for.
func store32(word []byte) *uint32 { return (*uint32)(unsafe.Pointer(unsafe.SliceData(word))) }
