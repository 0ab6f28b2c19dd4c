package transport

import (
	"context"
	"time"
)

// A Link is one end of an ordered, reliable, two-way path of frames to one peer, for one channel of one
// communicator.
//
// Nothing blocks: Post and Poll say at once what they can do now, and the rank's [Bell] rings when that may
// have changed. Payloads are borrowed, not copied, wherever the transport can: a sender's payload must stay
// unchanged until Completed has counted its frame, and a receiver reads a polled frame only until Release.
//
// A Link belongs to one goroutine at a time (the engine of its rank). Fail, Close and Err may be called
// from any goroutine at any time.
type Link interface {
	// Post offers one frame, Header.Length bytes of payload behind h; h is copied, payload is borrowed.
	// It returns false when the window is full: look again after the bell. A link accepts at least one
	// frame of MaxPayload bytes while nothing is posted, whether or not the peer has opened its end yet. A
	// link that has ended returns the error of Err, and ErrPeerClosed as soon as the peer's Close is known, also
	// while its last frames are unread. A frame that breaks the rules is a [*FrameError] and harms nothing.
	Post(h *Header, payload []byte) (bool, error)

	// Offer lets the peer answer in place: the next frame that Post accepts carries leave to write to mem, as long as
	// the frame's payload, until the peer releases it. It returns false, and nothing is offered, where the link cannot: mem must be
	// memory of Endpoint.Alloc, and the link's Caps say Placement. A payload that Post copies into its descriptor cannot
	// carry an offer either. An offer that Post does not accept is to be made again.
	Offer(mem []byte) bool

	// Quiet reports whether no peer can write to memory that this end has offered: every such frame has been released, or,
	// once this end has failed or closed the link, the peer does not hold one, and gets no offer any more. A rank
	// whose operation fails waits for it before its caller has the memory back. It belongs to the link's goroutine.
	Quiet() bool

	// Completed returns how many frames posted so far, oldest first, no longer borrow their payload. On
	// transports that copy, that is every posted frame; where the peer reads by reference it is every frame
	// that the peer has released. It never goes back.
	Completed() uint64

	// Poll returns the oldest frame not yet released, or nil when there is none yet. It does not take the
	// frame: two calls without a Release return the same one. The Frame and its Payload are valid until
	// Release. Frames that arrived before the link ended are still returned; then comes the error of Err.
	Poll() (*Frame, error)

	// Release gives back the frame that Poll returned. Calling it without one is a bug and panics.
	Release()

	// Err returns nil while the link can still do something, else why it ended: a [*RemoteError] when the
	// peer called Fail, an error that Is [ErrPeerClosed] or [ErrPeerLost], or [ErrClosed] after this end's
	// own Close or Fail.
	Err() error

	// Fail ends the link abnormally and hands reason (at most MaxReason bytes, cut if longer) to the peer,
	// whose Err then returns a [*RemoteError] at once, ahead of frames that it has not read.
	Fail(reason []byte)

	// Close ends the link in good order; the peer can still read what was posted before. It does not wait
	// for that, returns nil the second time, and rings the peer's bell.
	Close() error

	// Caps says what this link is.
	Caps() Caps
}

// MaxReason is the longest reason that [Link.Fail] carries, in bytes.
const MaxReason = 512

// A Frame is a header and its borrowed payload.
type Frame struct {
	Header
	Payload []byte // Length bytes; none in a frame of kind Placed
	// Into is memory of the peer's, Length bytes, that the peer wants the answer to this frame stored in; nil if it
	// made no such offer. It may be written until Release. Who has stored there says so by a frame of kind Placed.
	Into []byte
}

// Scope says how far a transport reaches.
type Scope uint8

// The scopes, nearest first.
const (
	ScopeProcess Scope = iota + 1 // peers in the same process
	ScopeHost                     // peers on the same host
	ScopeNetwork                  // peers that share a network
)

// Caps describes a transport or link. It is a value, so that a wrapper cannot lose a part of it.
type Caps struct {
	Scope       Scope
	ByReference bool // payloads in memory of Endpoint.Alloc (or, in one process, anywhere) are read in place, never copied
	Placement   bool // frames can carry leave to write to the peer's memory: see Link.Offer
	Encrypted   bool
	Window      int  // frames that can be posted before the peer releases one
	Device      bool // payloads in memory of a DeviceEndpoint's RegisterDevice are sent from there
	Inline      int  // payloads of up to so many bytes are always copied by Post, which no longer borrows them
	// Via is the transport under this link where its transport has a choice, such as "tcp", once that is decided; else "".
	// Why says why it is not the best one; else "". Both ends say the same. A transport's own Caps have neither.
	Via, Why string
	// Note says what a link has been doing about its path, such as repairing losses; "": nothing. The ends differ.
	Note string
}

// LinkID names a link between two endpoints: both open the same ID.
type LinkID struct {
	Comm    uint64 // communicator
	Channel uint16
}

// A Peer is another rank's endpoint as group formation made it known.
type Peer struct {
	Rank    int    // in the group in which the endpoint was made (not in a part split off later)
	Host    string // equal for ranks on one host
	Process string // equal for ranks in one process; no two processes share one, on any host
	Addr    string // Endpoint.Addr of the same transport; "" when that rank does not offer it
	ID      string // identity of the rank's process; "" where nothing is authenticated
}

// A Transport makes endpoints. Implementations hold configuration only and are safe for concurrent use.
type Transport interface {
	// Name is one lower-case word: "mem", "shm", "quic".
	Name() string
	// Caps describes the links that it makes.
	Caps() Caps
	// NewBell makes the bell of one rank, one on which the peers that this transport reaches can ring without
	// a goroutine in between. An endpoint takes any Bell, but is quickest with its own.
	NewBell() (Bell, error)
	// Listen makes one rank's endpoint in a group. The endpoint rings bell when any of its links may have news.
	Listen(ctx context.Context, group string, rank int, bell Bell) (Endpoint, error)
	// Reaches says whether a rank described by self can open links to peer.
	Reaches(self, peer Peer) bool
}

// An Endpoint is one rank's door on one transport in one group. It is safe for concurrent use.
type Endpoint interface {
	// Addr is what peers need to reach this endpoint; formation hands it to them.
	Addr() string
	// Admit says who the members are, this rank among them. Until then, and from anybody else afterwards, endpoints
	// on the network refuse connections. A later call replaces the list; sessions that are open stay open. Within a
	// host there is nothing to admit.
	Admit(peers []Peer)
	// Open returns this rank's end of the link id to peer, at once; connecting goes on behind it and a
	// failure to connect ends the link. The two ends may be opened in any order. Each end opens an id once.
	Open(peer Peer, id LinkID) (Link, error)
	// Alloc returns size bytes of zeroed, page-aligned memory that links of this endpoint send by reference
	// where they can; Free gives it back (it must be the very slice that Alloc returned).
	Alloc(size int) ([]byte, error)
	Free(mem []byte) error
	// Close ends all links in good order and frees everything but memory of Alloc that was not given back: that
	// stays valid, so that a late reader meets no fault, and can still be given to Free. It is idempotent, and
	// returns within a second, but for peers that are still taking what was posted; those it may wait for ten seconds.
	Close() error
}

// A Bell wakes one rank. Its rank, and nobody else, calls Arm, Sleep and Disarm:
//
//	bell.Arm()
//	if nothing to do after one more look { bell.Sleep(ctx, limit) } else { bell.Disarm() }
//
// A Ring after Arm ends the Sleep, whether it comes before Sleep is entered or after.
type Bell interface {
	// Ring wakes the rank. It never blocks, and while the rank is not armed it costs one load. Whoever rings
	// has first published, with a sequentially consistent store, what the rank is to see.
	Ring()
	Arm()
	Disarm()
	// Sleep returns when the bell was rung since Arm, ctx is done, or limit has passed (0: no limit); the bell is
	// then no longer armed. It may return early for no reason. It does not allocate.
	Sleep(ctx context.Context, limit time.Duration)
	// Close frees the bell; nobody rings or sleeps any more.
	Close() error
}
