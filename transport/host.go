package transport

// A HostEndpoint is an [Endpoint] that can treat memory of the host as if it were of its own Alloc.
type HostEndpoint interface {
	Endpoint
	// RegisterHost makes memory, of another endpoint's Alloc for one, known to the endpoint's own device until forget is called, which frames
	// that borrow it, or are expected there, must come before. It fails where that has no use: then it has no effect, and the
	// memory can be sent from all the same, as any other.
	RegisterHost(mem []byte) (forget func() error, err error)
}
