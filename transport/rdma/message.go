package rdma

import (
	"encoding/binary"
	"fmt"

	"github.com/ringtree/ringtree/transport"
)

// kind says what a message on the control link is.
type kind uint8

const (
	kindHello   kind = iota + 1 // where the sender's queue pairs and slots are, or that there are none
	kindReady                   // the sender's queue pairs are connected
	kindUp                      // the sender's queue pairs have carried something there and back
	kindRelay                   // the sender's frames come on the control link; with why, "": because the peer's do. Nothing but frames follows
	kindClosing                 // the sender's end is closed; with the number of its frames
	kindBroken                  // the sender's end has failed; with a text
)

const (
	messageVersion = 3
	messageHead    = 8
	helloFixed     = messageHead + 40
	maxText        = 256
)

var magic = [4]byte{'r', 't', 'r', 'd'}

func head(k kind, extra int) []byte {
	b := make([]byte, 0, messageHead+extra)
	b = append(b, magic[:]...)
	b = binary.LittleEndian.AppendUint16(b, messageVersion)
	return append(b, byte(k), 0)
}

// parseHead returns the kind of a message and what follows its head.
func parseHead(b []byte) (kind, []byte, error) {
	if len(b) < messageHead || [4]byte(b) != magic || b[7] != 0 {
		return 0, nil, &transport.FrameError{Reason: "not a control message of RDMA"}
	}
	if v := binary.LittleEndian.Uint16(b[4:]); v != messageVersion {
		return 0, nil, &transport.RefusedError{Why: transport.RefusedSettings}
	}
	k, rest := kind(b[6]), b[messageHead:]
	bad := false
	switch k {
	case kindHello: // parseHello looks
	case kindReady, kindUp:
		bad = len(rest) != 0
	case kindClosing:
		bad = len(rest) != 8
	case kindBroken, kindRelay:
		bad = len(rest) > maxText
	default:
		bad = true
	}
	if bad {
		return 0, nil, &transport.FrameError{Reason: fmt.Sprintf("malformed control message %d of %d bytes", b[6], len(b))}
	}
	return k, rest, nil
}

// A hello is what the other end has to know to write into this one's slots.
type hello struct {
	window int    // slots
	slots  uint64 // address of the first
	key    uint32 // of all slots
	place  place
	pairs  []helloPair // none: this end has no device
	why    string      // it has none
}

type helloPair struct{ number, psn uint32 }

func (h *hello) append() []byte {
	le := binary.LittleEndian
	b := head(kindHello, helloFixed-messageHead+8*len(h.pairs))
	b = append(b, byte(len(h.pairs)), flag(h.place.ethernet), h.place.mtu, 0)
	b = le.AppendUint16(b, uint16(h.window))
	b = le.AppendUint16(b, h.place.lid)
	b = append(b, h.place.gid[:]...)
	b = le.AppendUint64(b, h.slots)
	b = le.AppendUint32(b, h.key)
	b = append(b, 0, 0, 0, 0)
	for _, p := range h.pairs {
		b = le.AppendUint32(b, p.number)
		b = le.AppendUint32(b, p.psn)
	}
	return append(b, h.why...)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// parseHello reads what follows the head of a hello. It fails with a [*transport.FrameError].
func parseHello(b []byte) (*hello, error) {
	const fixed = helloFixed - messageHead
	if len(b) < fixed || b[0] > 0 && len(b) != fixed+8*int(b[0]) || len(b) > fixed+max(maxText, 8*MaxQueuePairs) {
		return nil, &transport.FrameError{Reason: fmt.Sprintf("hello of %d bytes", len(b))}
	}
	le := binary.LittleEndian
	h := &hello{
		window: int(le.Uint16(b[4:])), slots: le.Uint64(b[24:]), key: le.Uint32(b[32:]),
		place: place{ethernet: b[1] == 1, mtu: b[2], lid: le.Uint16(b[6:]), gid: [16]byte(b[8:])},
	}
	bad := b[1] > 1 || b[3] != 0 || le.Uint32(b[36:]) != 0
	if n := int(b[0]); n > 0 {
		bad = bad || n > MaxQueuePairs || h.window < 1 || h.window > MaxWindow || h.place.mtu < 1 || h.place.mtu > 5
		bad = bad || h.slots > 1<<63
	} else {
		bad = bad || h.window != 0 || h.slots != 0 || h.key != 0 || h.place != place{} || len(b) > fixed+maxText
		h.why = string(b[fixed:])
		b = b[:fixed]
	}
	for at := fixed; at < len(b); at += 8 {
		p := helloPair{le.Uint32(b[at:]), le.Uint32(b[at+4:])}
		bad = bad || p.number >= 1<<24 || p.psn >= 1<<24
		h.pairs = append(h.pairs, p)
	}
	if bad {
		return nil, &transport.FrameError{Reason: fmt.Sprintf("malformed hello %x", b)}
	}
	return h, nil
}

func closingMessage(final uint64) []byte {
	return binary.LittleEndian.AppendUint64(head(kindClosing, 8), final)
}

func brokenMessage(cause error) []byte {
	return append(head(kindBroken, maxText), cutText(cause.Error())...)
}

func relayMessage(why string) []byte { return append(head(kindRelay, maxText), why...) }

// cutText returns as much of a text as goes into a message.
func cutText(text string) string { return text[:min(len(text), maxText)] }
