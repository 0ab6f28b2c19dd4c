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
	// Ordered says that the device's own work sees what a network card has stored in the range as soon as the card has said so.
	Ordered bool
	// Flush, of memory that is not Ordered, returns when work that begins later sees all that cards had stored by the time of the call. nil:
	// there is no such call, and a card reads from the range, which comes behind what it has stored there.
	Flush func() error
}

// DeviceWay says how a network card reaches memory of a device.
type DeviceWay struct {
	// How is one or two words: "dma-buf".
	How string
	// Receives says that links of the endpoint take places in the memory: see [ExpectingLink]. Settles is then what is done
	// before Poll returns such a frame, so that the device's work sees its payload: "ordered", which is nothing, "flushed by the
	// driver", or "flushed by a read". Otherwise Settles is why not.
	Receives bool
	Settles  string
	// Forget lets the endpoint forget the memory. Frames that borrow it, and places in it, must be over.
	Forget func() error
}

// A DeviceEndpoint is an [Endpoint] whose links can send from the memory of devices, and receive into it. A frame that is posted with
// a payload in registered memory borrows it as it borrows any other. When Poll has returned a frame whose payload was stored
// there, work that the device begins from then on sees it.
type DeviceEndpoint interface {
	Endpoint
	// RegisterDevice makes memory known to the endpoint's own device until Forget is called. It fails where reaching it would take a
	// copy, and has no effect then.
	RegisterDevice(m DeviceMemory) (DeviceWay, error)
}
