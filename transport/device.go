package transport

// DeviceMemory is memory of a device, as a value: an address range that this process has for it and never touches, and what can be
// done with it.
type DeviceMemory struct {
	Addr   uintptr
	Length int
	// DMABuf exports the range, for a network card to register: a descriptor, and where in it the range begins.
	DMABuf func() (fd int, offset uint64, err error)
	// CloseFD closes a descriptor of DMABuf.
	CloseFD func(fd int) error
	// Fetch copies len(dst) bytes from addr to memory of the host, and returns when they are there.
	Fetch func(dst []byte, addr uintptr) error
}

// A DeviceEndpoint is an [Endpoint] whose links can send from the memory of devices. A frame that is posted with a payload in
// registered memory borrows it as it borrows any other.
type DeviceEndpoint interface {
	Endpoint
	// RegisterDevice makes memory known to the endpoint's own device until forget is called, which frames that borrow it must
	// come before. how says which way the device reaches it. It fails where that would take a copy, and has no effect then.
	RegisterDevice(m DeviceMemory) (how string, forget func() error, err error)
}
