package shm

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/ringtree/ringtree/transport"
)

// The control messages. A connection begins with msgHello from the side that dialled; all others but msgAck
// and msgGoodbye go in that direction only.
const (
	msgHello    = iota + 1 // who dials, with its bell's file descriptor
	msgSegment             // a link's segment, with its file descriptor
	msgRegion              // memory of Alloc, with its file descriptor
	msgUnregion            // that memory was freed
	msgGoodbye             // the endpoint closes in good order; nothing follows
	msgAck                 // the answer to it: everything before it has been taken in
)

// version is of the messages and of the layout of segments.
const version = 1

// maxMessage is the longest message; maxAddr the longest address of a Unix socket on Linux.
const (
	maxMessage = 256
	maxAddr    = 108
)

// A message is what one packet of a control connection says.
type message struct {
	kind   uint8
	group  [32]byte // hello: hash of the group's name
	rank   int      // hello: who dials
	to     int      // hello: who is dialled
	addr   string   // hello: where the one who dials listens
	id     transport.LinkID
	region uint32
	size   uint64 // region: bytes
}

// wantsFD says whether a file descriptor comes with the message.
func (m *message) wantsFD() bool {
	return m.kind == msgHello || m.kind == msgSegment || m.kind == msgRegion
}

// append appends the packet: kind, version, then the fields of the kind, little endian.
func (m *message) append(b []byte) []byte {
	le := binary.LittleEndian
	b = append(b, m.kind, version)
	switch m.kind {
	case msgHello:
		b = append(b, m.group[:]...)
		b = le.AppendUint32(b, uint32(m.rank))
		b = le.AppendUint32(b, uint32(m.to))
		b = append(b, m.addr...)
	case msgSegment:
		b = le.AppendUint64(b, m.id.Comm)
		b = le.AppendUint16(b, m.id.Channel)
	case msgRegion:
		b = le.AppendUint32(b, m.region)
		b = le.AppendUint64(b, m.size)
	case msgUnregion:
		b = le.AppendUint32(b, m.region)
	}
	return b
}

// parseMessage reads a packet.
func parseMessage(b []byte) (message, error) {
	if len(b) < 2 || len(b) > maxMessage {
		return message{}, &transport.FrameError{Reason: fmt.Sprintf("control message of %d bytes", len(b))}
	}
	m := message{kind: b[0]}
	if b[1] != version {
		return message{}, &transport.FrameError{Reason: fmt.Sprintf("control message of version %d, want %d", b[1], version)}
	}
	body := b[2:]
	want := map[uint8]int{msgSegment: 10, msgRegion: 12, msgUnregion: 4, msgGoodbye: 0, msgAck: 0}
	if n, known := want[m.kind]; m.kind != msgHello && (!known || len(body) != n) || m.kind == msgHello && len(body) < 40 {
		return message{}, &transport.FrameError{Reason: fmt.Sprintf("control message of kind %d with %d bytes", m.kind, len(b))}
	}
	le := binary.LittleEndian
	switch m.kind {
	case msgHello:
		copy(m.group[:], body)
		rank, to := le.Uint32(body[32:]), le.Uint32(body[36:])
		if rank > maxRank || to > maxRank {
			return message{}, &transport.FrameError{Reason: "control message with a rank out of range"}
		}
		m.rank, m.to, m.addr = int(rank), int(to), string(body[40:])
		if !validAddr(m.addr) {
			return message{}, &transport.FrameError{Reason: fmt.Sprintf("control message with address %q", m.addr)}
		}
	case msgSegment:
		m.id = transport.LinkID{Comm: le.Uint64(body), Channel: le.Uint16(body[8:])}
	case msgRegion:
		m.region, m.size = le.Uint32(body), le.Uint64(body[4:])
	case msgUnregion:
		m.region = le.Uint32(body)
	}
	return m, nil
}

// addrPrefix begins every address: an abstract name, in Go's notation.
const addrPrefix = "@ringtree-"

func validAddr(addr string) bool {
	return strings.HasPrefix(addr, addrPrefix) && len(addr) <= maxAddr
}
