package p2p

import "fmt"

// An IdentityFileError is an identity file that cannot be used.
type IdentityFileError struct {
	Path   string
	Reason string
	Err    error // may be nil
}

func (e *IdentityFileError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("p2p: identity file %s: %s: %v", e.Path, e.Reason, e.Err)
	}
	return fmt.Sprintf("p2p: identity file %s: %s", e.Path, e.Reason)
}

// Unwrap returns what the system said.
func (e *IdentityFileError) Unwrap() error { return e.Err }

// An AddrError is an address that cannot be read, does not say whose it is, or belongs to somebody else than
// the other addresses of the list.
type AddrError struct {
	Addr   string
	Reason string
}

func (e *AddrError) Error() string { return fmt.Sprintf("p2p: address %q: %s", e.Addr, e.Reason) }

// A DialError is a peer that cannot be reached at any of its addresses, or is somebody else.
type DialError struct {
	Peer string
	Err  error
}

func (e *DialError) Error() string { return fmt.Sprintf("p2p: cannot reach %s: %v", e.Peer, e.Err) }

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// A ProtocolError is a peer that has been reached and does not serve the protocol.
type ProtocolError struct {
	Peer     string
	Protocol string
	Err      error
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("p2p: peer %s does not serve %s", e.Peer, e.Protocol)
}

// Unwrap returns the cause.
func (e *ProtocolError) Unwrap() error { return e.Err }

// A StrangerError is a peer that the gate keeps out.
type StrangerError struct{ Peer string }

func (e *StrangerError) Error() string { return fmt.Sprintf("p2p: %s is not a member", e.Peer) }
