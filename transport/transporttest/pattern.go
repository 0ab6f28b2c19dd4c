package transporttest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/ringtree/ringtree/transport"
)

// header returns the header of frame i of a test's stream, with a value of its own in every field.
func header(seed uint64, i uint32, length int) transport.Header {
	r := rand.New(rand.NewPCG(seed, uint64(i)))
	return transport.Header{
		Epoch: r.Uint32(), Seq: r.Uint32(), Count: r.Uint64(), Kind: transport.Data,
		Coll: uint8(r.Uint32()), DType: uint8(r.Uint32()), Op: uint8(r.Uint32()),
		Channel: uint16(r.Uint32()), Algo: uint16(r.Uint32()), Root: int32(r.Uint32()),
		Step: i, Slice: r.Uint32(), Length: uint32(length),
	}
}

// fill writes the bytes of frame i of a test's stream.
func fill(payload []byte, seed uint64, i uint32) {
	x := seed*0x9e3779b97f4a7c15 + uint64(i) + 1
	next := func() uint64 { // a simple hash of a counter: quick, and no two words alike
		x += 0x9e3779b97f4a7c15
		return (x ^ x>>30) * 0xbf58476d1ce4e5b9
	}
	for ; len(payload) >= 8; payload = payload[8:] {
		binary.LittleEndian.PutUint64(payload, next())
	}
	var tail [8]byte
	binary.LittleEndian.PutUint64(tail[:], next())
	copy(payload, tail[:])
}

// payload returns frame i's bytes in memory of their own.
func payload(seed uint64, i uint32, length int) []byte {
	b := make([]byte, length)
	fill(b, seed, i)
	return b
}

// check compares a received frame with frame i of the stream.
func check(f *transport.Frame, seed uint64, i uint32, length int) error {
	if want := header(seed, i, length); f.Header != want {
		return fmt.Errorf("frame %d (seed %d): header\n got %+v\nwant %+v", i, seed, f.Header, want)
	}
	if len(f.Payload) != length {
		return fmt.Errorf("frame %d (seed %d): payload of %d bytes, want %d", i, seed, len(f.Payload), length)
	}
	if want := payload(seed, i, length); !bytes.Equal(f.Payload, want) {
		for k := range want {
			if f.Payload[k] != want[k] {
				return fmt.Errorf("frame %d (seed %d): byte %d of %d is %#x, want %#x", i, seed, k, length, f.Payload[k], want[k])
			}
		}
	}
	return nil
}

// lengthOf returns the payload length of frame i: all small lengths, all powers of two and their
// neighbours, and random ones.
func lengthOf(seed uint64, i uint32) int {
	r := rand.New(rand.NewPCG(seed, uint64(i)|1<<40))
	switch r.IntN(4) {
	case 0:
		return r.IntN(200)
	case 1:
		return max(0, min(transport.MaxPayload, 1<<r.IntN(19)+r.IntN(3)-1))
	case 2:
		return r.IntN(8192)
	default:
		return r.IntN(transport.MaxPayload + 1)
	}
}

// Exercise sends frames with the contents that seed determines over one end of a link, receives as many from
// the other end, which must run Exercise with the same seed and count in its own goroutine or process, and
// checks every bit of them. It sleeps on bell whenever neither direction can move. It returns when all its
// own frames have been completed and all the peer's been read, or with the first error.
func Exercise(ctx context.Context, l transport.Link, bell transport.Bell, seed uint64, frames int) error {
	e := exercise{link: l, seed: seed, total: uint32(frames), pool: make(map[uint32][]byte)}
	for !e.done() {
		moved, err := e.step()
		if err != nil {
			return err
		}
		if moved {
			continue
		}
		bell.Arm()
		if moved, err = e.step(); moved || err != nil {
			bell.Disarm()
			if err != nil {
				return err
			}
			continue
		}
		bell.Sleep(ctx, 0)
		if err := ctx.Err(); err != nil && !e.done() {
			return fmt.Errorf("seed %d: %d frames sent, %d completed, %d received of %d: %w",
				seed, e.sent, e.completed, e.received, frames, err)
		}
	}
	return nil
}

// exercise is the state of Exercise.
type exercise struct {
	link                      transport.Link
	seed                      uint64
	total                     uint32
	sent, completed, received uint32
	pool                      map[uint32][]byte // payloads that are lent to the link, by frame
}

func (e *exercise) done() bool {
	return e.sent == e.total && e.completed == e.total && e.received == e.total
}

// step does what can be done at once and says whether that was anything.
func (e *exercise) step() (moved bool, err error) {
	if e.sent < e.total {
		length := lengthOf(e.seed, e.sent)
		p, ok := e.pool[e.sent]
		if !ok {
			p = payload(e.seed, e.sent, length)
			e.pool[e.sent] = p
		}
		h := header(e.seed, e.sent, length)
		switch ok, err := e.link.Post(&h, p); {
		case err != nil:
			return false, fmt.Errorf("seed %d: post of frame %d: %w", e.seed, e.sent, err)
		case ok:
			e.sent++
			moved = true
			h = transport.Header{} // the link has copied it
		}
	}
	done := e.link.Completed()
	if done < uint64(e.completed) || done > uint64(e.sent) {
		return false, fmt.Errorf("seed %d: completed %d after %d, with %d sent", e.seed, done, e.completed, e.sent)
	}
	for ; uint64(e.completed) < done; e.completed++ {
		clear(e.pool[e.completed]) // given back: spoiling it must not show either
		delete(e.pool, e.completed)
		moved = true
	}
	if e.received < e.total {
		f, err := e.link.Poll()
		if err != nil {
			return false, fmt.Errorf("seed %d: poll for frame %d: %w", e.seed, e.received, err)
		}
		if f != nil {
			if err := check(f, e.seed, e.received, lengthOf(e.seed, e.received)); err != nil {
				return false, err
			}
			e.link.Release()
			e.received++
			moved = true
		}
	}
	return moved, nil
}
