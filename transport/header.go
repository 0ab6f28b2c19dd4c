package transport

import (
	"encoding/binary"
	"fmt"
)

// HeaderSize is the length of an encoded [Header] in bytes.
const HeaderSize = 40

// MaxPayload is the largest payload of one frame in bytes. Every transport carries it, so every rank of
// a group cuts chunks into the same slices whatever its links are.
const MaxPayload = 256 << 10

// Kind says what a frame is.
type Kind uint8

// The kinds of frame.
const (
	// Data carries one slice of one operation of a schedule.
	Data Kind = iota + 1
	// Placed says that Length bytes have been stored where the receiver offered; it has no payload.
	Placed
)

// A Header precedes every frame. The receiver compares it with what its own schedule expects, so ranks
// that call different collectives find out from the first frame that meets.
//
// Coll, DType, Op and Algo are the numbers that the collective layer gave them: a transport carries them
// and does not read them.
type Header struct {
	Epoch   uint32 // membership generation; frames of another one are dropped
	Seq     uint32 // which operation of the communicator; how the number is made is the engine's affair
	Count   uint64 // elements of the operation, as its caller gave them
	Kind    Kind
	Coll    uint8
	DType   uint8
	Op      uint8
	Channel uint16
	Algo    uint16 // which schedule the sender runs, so that two plans never meet unnoticed
	Root    int32
	Step    uint32 // index of the sending operation in the sender's out lane
	Slice   uint32 // slice of the chunk
	Length  uint32 // payload bytes
}

// AppendBinary appends the 40 bytes of h, little endian, to b.
func (h *Header) AppendBinary(b []byte) ([]byte, error) {
	var text [HeaderSize]byte
	h.Put(&text)
	return append(b, text[:]...), nil
}

// Put writes what AppendBinary appends.
func (h *Header) Put(b *[HeaderSize]byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], h.Epoch)
	le.PutUint32(b[4:], h.Seq)
	le.PutUint64(b[8:], h.Count)
	b[16], b[17], b[18], b[19] = byte(h.Kind), h.Coll, h.DType, h.Op
	le.PutUint16(b[20:], h.Channel)
	le.PutUint16(b[22:], h.Algo)
	le.PutUint32(b[24:], uint32(h.Root))
	le.PutUint32(b[28:], h.Step)
	le.PutUint32(b[32:], h.Slice)
	le.PutUint32(b[36:], h.Length)
}

// UnmarshalBinary reads h from the first HeaderSize bytes of b. It fails with a [*FrameError] when b is
// short, the kind is unknown or the length is over [MaxPayload]; h is unspecified then.
func (h *Header) UnmarshalBinary(b []byte) error {
	if len(b) < HeaderSize {
		return &FrameError{Reason: fmt.Sprintf("header of %d bytes, want %d", len(b), HeaderSize)}
	}
	b = b[:HeaderSize]
	le := binary.LittleEndian
	*h = Header{
		Epoch: le.Uint32(b), Seq: le.Uint32(b[4:]), Count: le.Uint64(b[8:]),
		Kind: Kind(b[16]), Coll: b[17], DType: b[18], Op: b[19],
		Channel: le.Uint16(b[20:]), Algo: le.Uint16(b[22:]), Root: int32(le.Uint32(b[24:])),
		Step: le.Uint32(b[28:]), Slice: le.Uint32(b[32:]), Length: le.Uint32(b[36:]),
	}
	return h.Check()
}

// Carries returns how many bytes of payload follow h.
func (h *Header) Carries() int {
	if h.Kind == Placed {
		return 0
	}
	return int(h.Length)
}

// Check reports whether h can stand before a frame: a known kind, a length within [MaxPayload].
func (h *Header) Check() error {
	if h.Kind != Data && h.Kind != Placed {
		return &FrameError{Reason: fmt.Sprintf("unknown kind %d", h.Kind)}
	}
	if h.Length > MaxPayload {
		return &FrameError{Reason: fmt.Sprintf("length %d over %d", h.Length, MaxPayload)}
	}
	return nil
}
