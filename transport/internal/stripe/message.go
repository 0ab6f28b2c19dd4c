package stripe

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/ringtree/ringtree/transport"
)

// kind says what a message is.
type kind uint8

const (
	kindFrame   kind = iota + 1 // a transport.Header and its payload follow
	kindCredit                  // nothing but the credit
	kindClose                   // the sender's end of the link is closed
	kindFail                    // the sender's end has failed; length bytes of reason follow
	kindBye                     // the sender says nothing more on this connection
	kindPulse                   // the sender is there
	kindMore                    // the sender, who has not begun the session, wants it to have length connections
	kindArrived                 // seq bytes have arrived on the connections that share the bulk, when the sender's clock said credit nanoseconds
)

// messageSize is the length of a message without what follows it, in bytes.
const messageSize = 32

// frameSize is the length of a message and the header of its frame.
const frameSize = messageSize + transport.HeaderSize

// A message is the unit of a connection.
type message struct {
	kind   kind
	link   transport.LinkID
	length uint32 // of a reason; of a bye, the connections on which one will come, a bit each; of a more, how many
	seq    uint64 // of a frame, its number within the link; of a close or fail, how many frames the sender has sent; of an arrived, bytes
	credit uint64 // how many frames of this link the sender has released; of an arrived, nanoseconds
}

// append appends the 32 bytes of m, little endian.
func (m *message) append(b []byte) []byte {
	le := binary.LittleEndian
	b = append(b, byte(m.kind), 0)
	b = le.AppendUint16(b, m.link.Channel)
	b = le.AppendUint32(b, m.length)
	b = le.AppendUint64(b, m.link.Comm)
	b = le.AppendUint64(b, m.seq)
	return le.AppendUint64(b, m.credit)
}

// parse reads m from b, which has messageSize bytes. It fails with a [*transport.FrameError] when the kind is
// unknown or a field has a value that this kind cannot have.
func (m *message) parse(b []byte) error {
	if len(b) < messageSize {
		return &transport.FrameError{Reason: fmt.Sprintf("message of %d bytes, want %d", len(b), messageSize)}
	}
	le := binary.LittleEndian
	*m = message{
		kind: kind(b[0]), link: transport.LinkID{Channel: le.Uint16(b[2:]), Comm: le.Uint64(b[8:])},
		length: le.Uint32(b[4:]), seq: le.Uint64(b[16:]), credit: le.Uint64(b[24:]),
	}
	bad := b[1] != 0
	switch m.kind {
	case kindFrame, kindClose:
		bad = bad || m.length != 0
	case kindCredit:
		bad = bad || m.length != 0 || m.seq != 0
	case kindFail:
		bad = bad || m.length > transport.MaxReason
	case kindPulse:
		bad = bad || *m != message{kind: kindPulse}
	case kindMore:
		bad = bad || m.length < 1 || m.length > MaxConns || *m != message{kind: kindMore, length: m.length}
	case kindArrived:
		bad = bad || m.credit > math.MaxInt64 || *m != message{kind: kindArrived, seq: m.seq, credit: m.credit}
	case kindBye:
		bad = bad || m.length == 0 || m.link != transport.LinkID{} || m.seq != 0 || m.credit != 0
	default:
		return &transport.FrameError{Reason: fmt.Sprintf("unknown message %d", b[0])}
	}
	if bad {
		return &transport.FrameError{Reason: fmt.Sprintf("malformed message %x", b[:messageSize])}
	}
	return nil
}
