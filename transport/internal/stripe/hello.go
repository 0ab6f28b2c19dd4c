package stripe

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/ringtree/ringtree/transport"
)

// A Nonce names an endpoint: no two are alike, not even successive ones of a rank.
type Nonce [8]byte

// NewNonce returns a random nonce.
func NewNonce() (n Nonce) {
	rand.Read(n[:]) // never fails
	return n
}

// String returns the nonce as 16 hexadecimal digits.
func (n Nonce) String() string { return hex.EncodeToString(n[:]) }

// ParseNonce is the inverse of String.
func ParseNonce(text string) (n Nonce, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(n) {
		return n, fmt.Errorf("endpoint %.40q: want 16 hexadecimal digits", text)
	}
	return Nonce(b), nil
}

const (
	version    = 3
	helloSize  = 96
	answerSize = 8
)

var magic = [4]byte{'r', 't', 's', 't'}

// A hello is the first thing that the dialling side says on a connection.
type hello struct {
	index, conns uint8 // which connection of how many, at first
	most         uint8 // and of how many with time
	window       uint16
	from, to     uint32 // ranks
	fromNonce    Nonce
	toNonce      Nonce
	session      [16]byte
	group        [32]byte // hash of its name
	silent       uint32   // timeout in milliseconds
	why          why      // this carrier
	clear        bool     // Carrier.Clear
}

func (h *hello) append(b []byte) []byte {
	le := binary.LittleEndian
	b = append(b, magic[:]...)
	b = le.AppendUint16(b, version)
	b = append(b, h.index, h.conns)
	b = le.AppendUint16(b, h.window)
	b = append(b, byte(h.why), flag(h.clear))
	b = le.AppendUint32(b, h.from)
	b = le.AppendUint32(b, h.to)
	b = append(b, h.fromNonce[:]...)
	b = append(b, h.toNonce[:]...)
	b = append(b, h.session[:]...)
	b = append(b, h.group[:]...)
	b = le.AppendUint32(b, h.silent)
	return append(b, h.most, 0, 0, 0, 0, 0, 0, 0)
}

func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}

// parse reads h from b. It fails with a [*transport.FrameError] when that is no hello, and with a
// [*transport.RefusedError] when it is of another version.
func (h *hello) parse(b []byte) error {
	if len(b) < helloSize || [4]byte(b) != magic {
		return &transport.FrameError{Reason: "not a hello"}
	}
	le := binary.LittleEndian
	if le.Uint16(b[4:]) != version {
		return &transport.RefusedError{Why: transport.RefusedSettings}
	}
	*h = hello{
		index: b[6], conns: b[7], window: le.Uint16(b[8:]), from: le.Uint32(b[12:]), to: le.Uint32(b[16:]),
		fromNonce: Nonce(b[20:]), toNonce: Nonce(b[28:]), session: [16]byte(b[36:]), group: [32]byte(b[52:]), silent: le.Uint32(b[84:]),
		why: why(b[10]), clear: b[11] == 1, most: b[88],
	}
	reserved := b[11] &^ 1
	for _, c := range b[89:helloSize] {
		reserved |= c
	}
	if reserved != 0 || h.conns < 1 || h.conns > h.most || h.most > MaxConns || h.index >= h.most || h.from > MaxRank || h.to > MaxRank || h.why > whyLast {
		return &transport.FrameError{Reason: "malformed hello"}
	}
	return nil
}

// MaxRank is the highest rank that a hello can name.
const MaxRank = 1<<31 - 1

// An answer is what the accepting side says to a hello: welcome, one of the two that ask for patience, or a
// transport.Refusal.
type answer uint8

const (
	welcome answer = 200 + iota
	notYet         // it does not know the members yet: ask again
	yield          // it dials, too, and its session goes before
)

func (a answer) append(b []byte) []byte {
	b = append(b, magic[:]...)
	b = binary.LittleEndian.AppendUint16(b, version)
	return append(b, byte(a), 0)
}

// parse reads an answer. A refusal is returned as an answer, too.
func (a *answer) parse(b []byte) error {
	if len(b) < answerSize || [4]byte(b) != magic || b[7] != 0 {
		return &transport.FrameError{Reason: "not an answer to a hello"}
	}
	*a = answer(b[6])
	switch {
	case *a == answer(transport.RefusedSettings): // whatever the version
	case binary.LittleEndian.Uint16(b[4:]) != version:
		return &transport.RefusedError{Why: transport.RefusedSettings}
	case *a >= welcome && *a <= yield:
	case transport.Refusal(*a) >= transport.RefusedStranger && transport.Refusal(*a) <= transport.RefusedExists:
	default:
		return &transport.FrameError{Reason: fmt.Sprintf("unknown answer %d to a hello", b[6])}
	}
	return nil
}
