package rdma

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/ringtree/ringtree/transport"
)

// A receiver that wants the payload of a frame somewhere says so by an offer: it writes the address and the key of that place
// into its peer's window, without an immediate. The sender looks there when it posts the frame, and then writes the payload
// straight to its place and, behind it, the header to the slot. It waits for no offer: what comes too late, or
// is for another frame, is not used.
//
// Keys of such places travel in these writes only: over a queue pair whose own keys went over the authenticated control
// link, into memory whose key went there, too. So whoever learns a key is the peer, or stands on the path, where the device's
// packets show all keys that are used. A key is good for the whole registration, and as long as that lasts.
//
//	0   address
//	8   key (4 bytes), 4 unused
//	16  seal: of the above, the number of the frame and its header
//	24  unused
//
// The seal is no secret. It tells an offer that is whole from one that is being written, or overwritten; and the one for this frame,
// with this header, from that for an earlier one, or for another operation than the sender's.
const offerSize = 32

// placedBit in the count of released frames that stands before a header says that the payload is where the receiver wanted it.
const placedBit = 1 << 63

// offersOf returns how many offers there are for a window of so many frames: the receiver may be as far ahead of the sender, which
// waits for the frames of a window to be released, as a window, and the offers are under way meanwhile.
func offersOf(frames int) int { return 2 * frames }

// offersAt returns where in a window's memory they begin.
func offersAt(frames int) int { return wordSize + frames*slotSize }

// expected is the place of a frame.
type expected struct {
	mem      []byte // nil: there is none
	write    uint64 // number of the write that told the peer
	at       remote
	settling settling
	flush    func() error
}

// remote is a place in the peer's memory.
type remote struct {
	addr uintptr
	key  uint32
}

var _ transport.ExpectingLink = (*link)(nil)

// Expecting implements [transport.ExpectingLink].
func (l *link) Expecting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if course(l.course.Load()) != direct || l.refusal() != nil {
		return 0
	}
	return len(l.expects)
}

// Expect implements [transport.ExpectingLink]. The memory must be of Alloc or registered.
func (l *link) Expect(ahead int, h *transport.Header, mem []byte) bool {
	if h.Kind != transport.Data || h.Check() != nil || len(mem) == 0 || int64(h.Length) != int64(len(mem)) {
		return false
	}
	s, ok := l.ep.memory.find(mem)
	if !ok || !s.writable {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if course(l.course.Load()) != direct || l.refusal() != nil || ahead < 0 || ahead >= len(l.expects) {
		return false
	}
	frame := l.released.Load() + uint64(ahead)
	if ahead < len(l.in) && l.in[frame%uint64(len(l.in))].Load() == frame+1 {
		return false // it is there
	}
	i := frame % uint64(len(l.expects))
	x := &l.expects[i]
	d := l.ends[0]
	if x.mem != nil || !d.room(1, l.sendDepth()-l.forCredits()) {
		return false
	}
	inline := d.pair.inline() >= offerSize
	if !inline && x.write > d.reaped.Load() {
		return false // the offer before may not have been read yet
	}
	cell := l.cells[(len(l.in)+1)*cellSize+int(i)*offerSize:][:offerSize]
	*x = expected{mem: mem, write: d.posts + 1, at: remote{addressOf(mem), s.remote}, settling: s.settling, flush: s.flush}
	putOffer(cell, frame, x.at, h)
	l.wanted++
	l.w = write{
		to: uintptr(l.theirs.slots) + uintptr(offersAt(l.theirs.window)) + uintptr(i)*offerSize, toKey: l.theirs.key,
		head: addressOf(cell), headLength: offerSize, headKey: l.cellKey, inline: inline,
	}
	if err := l.write(d, false); err != nil {
		l.broke(err)
	}
	return true
}

// putOffer writes an offer to the first bytes of b.
func putOffer(b []byte, frame uint64, at remote, h *transport.Header) {
	le := binary.LittleEndian
	le.PutUint64(b, uint64(at.addr))
	le.PutUint64(b[8:], uint64(at.key))
	le.PutUint64(b[16:], seal(frame, at, h))
}

// seal sums up an offer. Two that differ in one word of 64 bits never have the same.
func seal(frame uint64, at remote, h *transport.Header) uint64 {
	var text [transport.HeaderSize]byte
	h.Put(&text)
	x := mix(mix(mix(0, frame+1), uint64(at.addr)), uint64(at.key))
	for i := 0; i < len(text); i += 8 {
		x = mix(x, binary.LittleEndian.Uint64(text[i:]))
	}
	return x
}

// mix is one to one in either argument.
func mix(x, word uint64) uint64 {
	x = (x ^ word) * 0x9e3779b97f4a7c15
	return x ^ x>>29
}

// offered returns where the peer wants the payload of a frame that is about to be sent, if it does. mu is held.
func (l *link) offered(frame uint64, h *transport.Header) (remote, bool) {
	if h.Kind != transport.Data || h.Length == 0 {
		return remote{}, false
	}
	i := int(frame % uint64(len(l.expects)))
	words := (*[3]uint64)(unsafe.Pointer(unsafe.SliceData(l.window[offersAt(len(l.in))+i*offerSize:])))
	at := remote{uintptr(fromLittle(atomic.LoadUint64(&words[0]))), uint32(fromLittle(atomic.LoadUint64(&words[1])))}
	return at, fromLittle(atomic.LoadUint64(&words[2])) == seal(frame, at, h)
}

// place returns the place of a frame of n bytes that is to be there, nil if none was given. mu is held.
func (l *link) place(frame uint64, n int) []byte {
	if x := &l.expects[frame%uint64(len(l.expects))]; len(x.mem) == n {
		return x.mem
	}
	return nil
}

// forgetPlace forgets the place of a frame that is released. mu is held.
func (l *link) forgetPlace(frame uint64) {
	if len(l.expects) == 0 {
		return
	}
	if x := &l.expects[frame%uint64(len(l.expects))]; x.mem != nil {
		x.mem = nil
		l.wanted--
	}
}

// Quiet reports whether the peer's device cannot write to memory of Expect: nothing is expected, or the queue pairs are gone. Once
// this end has failed the link, or its device has, it takes them apart. In a link that was closed meanwhile they stay until the peer has closed its
// end, too.
func (l *link) Quiet() bool {
	l.mu.Lock()
	relays, wanted, there := course(l.course.Load()) == relayed, l.wanted, len(l.ends) > 0
	l.mu.Unlock()
	end := l.over.Load()
	switch {
	case relays:
		return l.control.Quiet()
	case wanted == 0 || !there:
		return true
	case l.ended.Load() == endedFail || end != nil && !end.drain:
		l.dismantle()
		return true
	}
	return false
}
