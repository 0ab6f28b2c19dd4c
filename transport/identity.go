package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// Identity is who a process is towards network peers. It is a value, so that transports need not know where
// identities come from.
type Identity struct {
	// ID names the identity: what other processes call this one.
	ID string
	// TLS returns a fresh TLS 1.3 configuration that authenticates both sides, for use as client or server.
	// peer is the only identity to accept, "" any. The caller sets NextProtos.
	TLS func(peer string) *tls.Config
	// PeerID returns the identity that the other side of a connection has proved. It looks at the peer's
	// certificates only.
	PeerID func(tls.ConnectionState) (string, error)
}

// Check reports whether the identity is complete.
func (id Identity) Check() error {
	if id.ID == "" || id.TLS == nil || id.PeerID == nil {
		return errors.New("transport: incomplete identity: ID, TLS and PeerID must be set")
	}
	return nil
}

// An IdentityError is a peer that has proved to be somebody else than it should be. On a link it is the cause
// of a [*LostError].
type IdentityError struct {
	Want  string // the identity that was asked for
	Got   string // the identity that was proved; "" when none was
	Cause error  // what the verification said; nil when it was a comparison only
}

func (e *IdentityError) Error() string {
	got := e.Got
	if got == "" {
		got = "nobody"
	}
	if e.Cause != nil {
		return fmt.Sprintf("transport: peer is %s, want %s: %v", got, e.Want, e.Cause)
	}
	return fmt.Sprintf("transport: peer is %s, want %s", got, e.Want)
}

// Unwrap returns the cause.
func (e *IdentityError) Unwrap() error { return e.Cause }

// A Refusal is why an endpoint does not accept a connection.
type Refusal uint8

// The refusals.
const (
	RefusedStranger Refusal = iota + 1 // not a member of the group, or not with this identity
	RefusedGroup                       // another group
	RefusedGone                        // the endpoint that was meant is not there any more
	RefusedSettings                    // another protocol version, or settings that both ends must share
	RefusedExists                      // the two endpoints are connected already, or were before
)

func (r Refusal) String() string {
	switch r {
	case RefusedStranger:
		return "not a member"
	case RefusedGroup:
		return "another group"
	case RefusedGone:
		return "the endpoint is gone"
	case RefusedSettings:
		return "different settings or version"
	case RefusedExists:
		return "connected before"
	}
	return fmt.Sprintf("refusal %d", uint8(r))
}

// A RefusedError is a connection that a peer's endpoint did not accept. On a link it is the cause of a
// [*LostError].
type RefusedError struct{ Why Refusal }

func (e *RefusedError) Error() string {
	return "transport: the peer refused the connection: " + e.Why.String()
}
