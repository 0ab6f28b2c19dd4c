package shm

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ringtree/ringtree/transport"
)

// The layout of a segment. All of it is constant: no geometry is read from memory that a peer can write.
//
//	offset  bytes
//	0       4        how the sender ended: stateOpen, stateClosed, stateFailed
//	4       4        length of the reason, valid when failed
//	64      512      the reason
//	1024    8        frames consumed; the receiver writes it, and the next word
//	1032    4        1 while the receiver holds a frame with leave to write to the sender's memory
//	4096    32*128   descriptors
//	8192    1 MiB    staging area
const (
	offState     = 0
	offReasonLen = 4
	offReason    = 64
	offConsumed  = 1024
	offHolding   = offConsumed + 8
	offSlots     = 4096
	offStage     = offSlots + window*slotSize

	slotSize    = 128
	stageSize   = 1 << 20
	segmentSize = offStage + stageSize
)

// sharedStage is how much of the staging area of a link is used where an endpoint has several peers. Every link of every
// rank cycles through its area, so all of them together should stay in a last-level cache. It takes the longest payload.
const sharedStage = stageSize / 4

var _ [sharedStage - transport.MaxPayload]struct{}

// The layout of a descriptor. A message of up to 8 bytes ends with the first cache line.
//
//	offset  bytes
//	0       8    sequence word: number of the frame, from 1; stored last
//	8       40   transport.Header
//	48      4    place: inline, staged, region
//	52      4    region's ID
//	56      8    offset in the staging area or region
//	56      72   or the payload itself
//	64      4    the offer's region, where the place has an offer of its own
//	72      8    its offset there
const (
	slotSeq    = 0
	slotHeader = 8
	slotPlace  = slotHeader + transport.HeaderSize
	slotRegion = slotPlace + 4
	slotOffset = slotRegion + 4
	slotInline = slotOffset
	slotInto   = 64
)

// The longest payload inside a descriptor fills it.
var _ [slotSize - slotInline - maxInline]struct{} = [0]struct{}{}

// How the sender of a segment has ended.
const (
	stateOpen uint32 = iota
	stateClosed
	stateFailed
)

// Where a payload is.
const (
	placeInline uint32 = iota
	placeStage
	placeRegion
)

// What may be added to placeRegion and placeStage: leave to write to memory of the sender's.
const (
	offerOwn   uint32 = 1 << 8 // to the region and offset at slotInto
	offerThere uint32 = 1 << 9 // to where the payload is, in a region
)

// A segment is one direction of a link.
type segment struct{ *mapping }

// newSegment makes a segment and returns it with its file descriptor.
func newSegment() (*segment, int, error) {
	m, fd, err := newMapping("ringtree-link", segmentSize, 0)
	if err != nil {
		return nil, -1, err
	}
	return &segment{m}, fd, nil
}

// mapSegment maps a segment of a peer. It does not close fd.
func mapSegment(fd int) (*segment, error) {
	if err := checkMemfd(fd, segmentSize); err != nil {
		return nil, err
	}
	m, err := mapFD(fd, segmentSize, 0)
	if err != nil {
		return nil, err
	}
	return &segment{m}, nil
}

func (s *segment) slot(frame uint64) []byte {
	off := offSlots + int(frame%window)*slotSize
	return s.mem[off : off+slotSize : off+slotSize]
}

func (s *segment) seq(frame uint64) *uint64 {
	return s.word64(offSlots + int(frame%window)*slotSize + slotSeq)
}

func (s *segment) consumed() *uint64 { return s.word64(offConsumed) }

func (s *segment) holding() *uint32 { return s.word32(offHolding) }

func (s *segment) state() uint32 { return atomic.LoadUint32(s.word32(offState)) }

// end tells the receiver how the sender has ended.
func (s *segment) end(state uint32, reason []byte) {
	n := copy(s.mem[offReason:offReason+transport.MaxReason], reason)
	atomic.StoreUint32(s.word32(offReasonLen), uint32(n))
	atomic.StoreUint32(s.word32(offState), state)
}

// reason returns a copy of why the sender failed.
func (s *segment) reason() []byte {
	n := min(atomic.LoadUint32(s.word32(offReasonLen)), transport.MaxReason)
	return append([]byte{}, s.mem[offReason:offReason+int(n)]...)
}

// A place is the decoded second part of a descriptor.
type place struct {
	kind   uint32
	offer  uint32
	region uint32
	offset uint64
}

func (p place) put(slot []byte) {
	le := binary.LittleEndian
	le.PutUint32(slot[slotPlace:], p.kind|p.offer)
	le.PutUint32(slot[slotRegion:], p.region)
	le.PutUint64(slot[slotOffset:], p.offset)
}

// parseSlot checks a private copy of a descriptor.
func parseSlot(slot []byte, h *transport.Header) (place, error) {
	if err := h.UnmarshalBinary(slot[slotHeader:slotPlace]); err != nil {
		return place{}, err
	}
	le := binary.LittleEndian
	p := place{kind: le.Uint32(slot[slotPlace:]), region: le.Uint32(slot[slotRegion:]), offset: le.Uint64(slot[slotOffset:])}
	p.offer, p.kind = p.kind&(offerOwn|offerThere), p.kind&^(offerOwn|offerThere)
	if p.offer != 0 && (p.kind != placeRegion && (p.kind != placeStage || p.offer != offerOwn) || p.offer == offerOwn|offerThere) {
		return p, &transport.FrameError{Reason: fmt.Sprintf("offer %#x with a payload of place %d", p.offer, p.kind)}
	}
	switch p.kind {
	case placeInline:
		if h.Carries() > maxInline {
			return p, &transport.FrameError{Reason: fmt.Sprintf("inline payload of %d bytes, at most %d", h.Length, maxInline)}
		}
	case placeStage:
		if err := within(p.offset, h.Length, stageSize); err != nil {
			return p, err
		}
	case placeRegion: // its size is known only when the region is found
	default:
		return p, &transport.FrameError{Reason: fmt.Sprintf("unknown place %d of a payload", p.kind)}
	}
	return p, nil
}

// within checks that length bytes at offset lie in an area of size bytes.
func within(offset uint64, length uint32, size uint64) error {
	if offset > size || uint64(length) > size-offset {
		return &transport.FrameError{Reason: fmt.Sprintf("payload of %d bytes at %d in %d bytes", length, offset, size)}
	}
	return nil
}

func closeFD(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}
