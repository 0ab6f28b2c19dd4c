package engine

import (
	"context"
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/transport"
)

// A board spares ranks of one host the frames of a small operation. Every rank has memory that all others read; it writes its
// part of a one-shot operation there once, whoever reads it, with the header that a frame would have and a number, which is
// stored last. Then it waits for the numbers of the others, and reduces straight out of their boards, in the order of ranks.
//
// Two slots take turns. A rank that writes to a slot again has seen everybody's number of the operation between, which
// they stored when they had read the slot. So nobody says that he has read anything.
//
// The boards reach the others as the payloads of frames on a channel of their own, which are never released: as long as a frame
// is held, its payload is mapped. All ranks of a group exchange them before the first small operation, or say that they have
// none; then frames do it.
type board struct {
	tried  bool
	ready  bool
	own    []byte
	all    [][]byte // by rank, this one's included
	turn   uint64   // number of the operation among those on boards
	fence  atomic.Uint32
	part   [boardPad]byte // this rank's, if it is short and padded
	result [boardPad]byte
}

// boardChannel is the channel on which ranks show each other their boards.
const boardChannel = 0xfffd

// wakeStep in the Step of a frame on controlChannel says that it only wakes the peer.
const wakeStep = 1

// The layout of a board.
//
//	offset  bytes
//	0       4      1 while the rank may be asleep
//	128     2*…    the slots
//
// and of a slot:
//
//	0       8      number of the operation; stored last
//	8       40     transport.Header
//	48      …      the part, if it is short: then a cache line holds all of a slot
//	64      …      or a longer one
const (
	boardPart    = topology.BoardBytes // the longest part
	boardShort   = 16
	boardPad     = 64 // shorter parts are reduced in whole blocks of the kernels, which need no tail then
	boardBlock   = 32
	boardSlots   = 128
	boardSlot    = 128 + boardPart
	boardSize    = boardSlots + 2*boardSlot
	boardHeader  = 8
	headerWords  = transport.HeaderSize / 8
	boardLow     = boardHeader + transport.HeaderSize
	boardAligned = 64
)

var (
	_ [transport.MaxPayload - boardSize]struct{}
	_ [boardAligned - boardLow - boardShort]struct{} = [0]struct{}{}
)

// tryBoards runs sc's operation if it is one for boards, which all ranks know alike. The first one exchanges them.
func (e *Engine) tryBoards(ctx context.Context, sc *Script, m *Operands) (did bool, err error) {
	b := &e.board
	if !sc.shot.whole || sc.length*sc.size > boardPart || e.cfg.Size > topology.BoardRanks || b.tried && !b.ready {
		return false, nil
	}
	if err := e.Err(); err != nil {
		return true, e.conclude(err)
	}
	if !b.tried {
		b.tried = true
		if err := e.showBoards(ctx, sc); err != nil || !b.ready {
			return false, e.conclude(err)
		}
	}
	if err := e.runOnBoards(ctx, sc, m); err != nil {
		return true, e.conclude(err)
	}
	return true, nil
}

// showBoards exchanges the boards. They are used if all ranks have one.
func (e *Engine) showBoards(ctx context.Context, sc *Script) error {
	b := &e.board
	able := true
	for _, c := range sc.shot.from {
		able = able && c.direct
	}
	if able {
		mem, err := e.cfg.Alloc(boardSize)
		if err != nil {
			return err
		}
		b.own = mem
	}
	b.all = make([][]byte, e.cfg.Size)
	b.all[e.cfg.Rank] = b.own
	h := sc.head
	h.Seq, h.Channel, h.Length = e.now.stamp, boardChannel, uint32(len(b.own))
	for _, x := range sc.shot.from {
		c, err := e.conn(x.peer, boardChannel)
		if err != nil {
			return err
		}
		if _, err := c.Post(&h, b.own); err != nil { // an empty link takes it
			return e.blame(c, sc, 0, -1, err)
		}
	}
	for _, x := range sc.shot.from {
		c, err := e.conn(x.peer, boardChannel)
		if err != nil {
			return err
		}
		f, err := e.poll(sc, c, 0, -1)
		for ; f == nil && err == nil; f, err = e.poll(sc, c, 0, -1) {
			e.reader = c
			if err := e.wait(ctx, sc); err != nil {
				return err
			}
		}
		e.reader = nil
		if err != nil {
			return err
		}
		if f.Length != 0 && f.Length != boardSize {
			return e.blame(c, sc, 0, -1, &transport.FrameError{Reason: "no board of this version"})
		}
		able = able && f.Length != 0
		b.all[x.peer] = f.Payload
	}
	b.ready = able
	return nil
}

// words is a header as a board has it, but for the operation's stamp.
func words(h *transport.Header) (w [headerWords]uint64) {
	var text [transport.HeaderSize]byte
	h.Put(&text)
	for i := range w {
		w[i] = binary.NativeEndian.Uint64(text[8*i:])
	}
	return w
}

// The number of the slot at p, and its header.
func numberAt(p *byte) *uint64 { return (*uint64)(unsafe.Pointer(p)) }
func headerAt(p *byte) *[headerWords]uint64 {
	return (*[headerWords]uint64)(unsafe.Add(unsafe.Pointer(p), boardHeader))
}

// runOnBoards is a one-shot operation.
func (e *Engine) runOnBoards(ctx context.Context, sc *Script, m *Operands) error {
	b, x := &e.board, sc.shot
	b.turn++
	slot := boardSlots + int(b.turn&1)*boardSlot
	data := m.span(x.src, 0, sc.length, sc.size)
	n := len(data)
	at := slot + boardLow
	if n > boardShort {
		at = slot + boardAligned
	}
	// The rank itself does not read its slot: the stores may be waiting for the cache line, and the loads would wait for them.
	part, padded := data, n
	if n&(boardBlock-1) != 0 && n < boardPad {
		padded = (n + boardBlock - 1) &^ (boardBlock - 1)
		part = b.part[:padded]
		copy(part, data)
	}
	first := stamped(x.words[0], e.now.stamp)
	mine := &b.own[slot]
	copy(b.own[at:at+n], data)
	*headerAt(mine) = [headerWords]uint64{first, x.words[1], x.words[2], x.words[3], x.words[4]}
	publish(numberAt(mine), b.turn)
	if len(x.from) == 1 {
		// Whoever sleeps waits for this number alone, and the look for him takes no time: the peer's number is still on its way.
		if err := e.wakeSleepers(x); err != nil {
			return err
		}
	}

	srcs := e.srcs[:0]
	resting := false
	for i, c := range x.from {
		if i == x.own {
			srcs = append(srcs, part)
		}
		mem := b.all[c.peer]
		theirs := &mem[slot]
		if !e.waiter.glance(numberAt(theirs), b.turn) {
			if err := e.awaitOnBoard(ctx, sc, c, numberAt(theirs), &resting); err != nil {
				return err
			}
		}
		if !same(headerAt(theirs), &x.words, first) {
			return e.differsOnBoard(sc, c, mem[slot+boardHeader:slot+boardLow])
		}
		srcs = append(srcs, mem[at:at+padded:at+padded])
	}
	if x.own == len(x.from) {
		srcs = append(srcs, part)
	}
	e.srcs = srcs
	if len(x.from) > 1 {
		if err := e.wakeSleepers(x); err != nil {
			return err
		}
	}
	if resting {
		atomic.StoreUint32(b.asleep(e.cfg.Rank), 0)
		e.waiter.begin(e.cfg.Bell)
	}
	if n == 0 {
		return nil
	}
	dst := m.span(x.dst, 0, sc.length, sc.size)
	out := dst
	if padded != n {
		out = b.result[:padded]
	}
	sc.kernel.Reduce(out, srcs)
	if x.final && m.Finish {
		sc.kernel.Finish(out[:n], e.cfg.Size)
	}
	if padded != n {
		copy(dst, out[:n])
	}
	return nil
}

// asleep returns the word that says whether a rank may be asleep.
func (b *board) asleep(rank int) *uint32 {
	return (*uint32)(unsafe.Pointer(unsafe.SliceData(b.all[rank])))
}

// awaitOnBoard waits for a peer's part. resting says, and is told, that this rank has said that it may sleep.
func (e *Engine) awaitOnBoard(ctx context.Context, sc *Script, c *conn, number *uint64, resting *bool) error {
	b := &e.board
	w := &e.waiter
	if !*resting {
		w.turn = 0
	}
	for atomic.LoadUint64(number) != b.turn {
		if !*resting && w.turn >= w.spins+w.yields {
			// Whoever stores a number later than the look that follows sees this and rings.
			*resting = true
			if err := e.rest(sc); err != nil {
				return err
			}
			continue
		}
		if *resting {
			// The end of a link is seen after all that its peer stored before.
			if err := c.Err(); err != nil && atomic.LoadUint64(number) != b.turn {
				return e.blame(c, sc, 0, -1, err)
			}
		}
		e.reader = c
		err := e.wait(ctx, sc)
		e.reader = nil
		if err != nil {
			return err
		}
	}
	return nil
}

// rest says that this rank may be asleep, and takes the frames that woke it before.
func (e *Engine) rest(sc *Script) error {
	atomic.StoreUint32(e.board.asleep(e.cfg.Rank), 1)
	for _, x := range sc.shot.from {
		c, err := e.conn(x.peer, controlChannel)
		if err != nil {
			return err
		}
		if err := e.hear(c); err != nil {
			return err
		}
	}
	return nil
}

// wakeSleepers rings the peers that may be asleep. Only the last to store its number need do it, but who that was nobody knows.
func (e *Engine) wakeSleepers(x *oneShot) error {
	b := &e.board
	settled(&b.fence)
	for _, p := range x.from {
		if atomic.LoadUint32(b.asleep(p.peer)) == 0 {
			continue
		}
		c, err := e.conn(p.peer, controlChannel)
		if err != nil {
			return err
		}
		e.head = transport.Header{Epoch: e.epoch, Kind: transport.Data, Seq: e.now.stamp, Channel: controlChannel, Step: wakeStep}
		_, _ = c.Post(&e.head, nil) // a peer that is gone, or that has been woken many times, needs none
	}
	return nil
}

// differsOnBoard is the error of a peer whose slot has the right number and another header.
func (e *Engine) differsOnBoard(sc *Script, c *conn, text []byte) error {
	var h transport.Header
	if err := h.UnmarshalBinary(append([]byte(nil), text...)); err != nil {
		return e.blame(c, sc, 0, -1, err)
	}
	if err := e.failed(c); err != nil { // it knows better
		return err
	}
	if h.Epoch == e.epoch && e.now.differs(&h) {
		return e.mismatch(&e.now, c.peer, &h)
	}
	return e.blame(c, sc, 0, -1, &transport.FrameError{Reason: "not the next one of the schedule"})
}

// same reports whether a header is that of these words but for the first. Comparing arrays by == would be a call for every peer.
func same(a, b *[headerWords]uint64, first uint64) bool {
	return (a[0]^first)|(a[1]^b[1])|(a[2]^b[2])|(a[3]^b[3])|(a[4]^b[4]) == 0
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// stamped is the first word of a header that has no stamp yet, with the operation's. By way of memory it would take longer.
func stamped(first uint64, stamp uint32) uint64 {
	if littleEndian {
		return first | uint64(stamp)<<32
	}
	return first | uint64(bits.ReverseBytes32(stamp))
}
