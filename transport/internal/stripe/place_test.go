package stripe

import (
	"bytes"
	"context"
	"fmt"
	"syscall"
	"testing"

	"github.com/ringtree/ringtree/transport"
)

// A trickle is a connection that gives what has come in portions of at most step bytes, and takes all that is written.
type trickle struct {
	come []byte
	step int
}

func (c *trickle) TryRead(a, b []byte) (int, error) {
	n := 0
	for _, to := range [][]byte{a, b} {
		m := copy(to, c.come[:min(len(c.come), c.step-n)])
		c.come = c.come[m:]
		n += m
	}
	return n, nil
}

func (c *trickle) TryWrite([][]byte) ([][]byte, bool, error) { return nil, true, nil }

func (c *trickle) SyscallConn() (syscall.RawConn, error) { return nil, nil }

// placing returns a link whose session's first connection is c.
func placing(t *testing.T, c *trickle) (placingLink, *wire) {
	t.Helper()
	v := newVictim(t, Defaults(), 0)
	carrier := &v.ep.cfg.Carriers[0]
	carrier.Prompt = true
	carrier.Dial = func(ctx context.Context, _, _ string, _ Nonce) (Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	l, err := v.ep.Open(transport.Peer{Rank: 1, Addr: FormatAddr(NewNonce(), []Place{{At: "nobody:1"}})}, transport.LinkID{Comm: 1})
	if err != nil {
		t.Fatal(err)
	}
	own, ok := l.(placingLink)
	if !ok {
		t.Fatalf("got a %T", l)
	}
	w := own.peer.wires[0]
	w.prompt = c
	w.attached.Store(true)
	return own, w
}

// numbered returns a frame with a payload of its own.
func numbered(seq uint64, length int) (h transport.Header, b []byte) {
	m := message{kind: kindFrame, link: transport.LinkID{Comm: 1}, seq: seq}
	h = transport.Header{Kind: transport.Data, Step: uint32(seq), Length: uint32(length)}
	b, _ = h.AppendBinary(m.append(nil))
	for i := range length {
		b = append(b, byte(i*7+int(seq)))
	}
	return h, b
}

// In whatever portions and order frames come, those with places are there, and nothing else is written to.
func TestPlacedFrames(t *testing.T) {
	const frames, longest, gap = 8, 70_000, 64
	for _, step := range []int{31, 71, 72, 1000, readBuffer, readBuffer + 1, 100_001, 1 << 20} {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			c := &trickle{step: step}
			l, w := placing(t, c)
			mem := bytes.Repeat([]byte{0xa5}, frames*(longest+gap))
			place := func(seq uint64, length int) []byte { return mem[int(seq)*(longest+gap):][:length] }
			length := func(seq uint64) int { return []int{longest, readBuffer, readBuffer - 1, 5000}[seq%4] }
			for seq := range uint64(frames) {
				h, _ := numbered(seq, length(seq))
				switch {
				case seq == 3: // no place
					continue
				case seq == 4: // that of another frame
					h.Step++
				}
				if !l.Expect(int(seq), &h, place(seq, length(seq))) {
					t.Fatalf("no place taken for frame %d", seq)
				}
			}
			for _, seq := range []uint64{1, 0, 2, 4, 3, 7, 6, 5} {
				_, b := numbered(seq, length(seq))
				c.come = append(c.come, b...)
			}
			w.intake.mu.Lock()
			if w.drain(nil) {
				t.Error(w.intake.err)
			}
			w.intake.mu.Unlock()
			for seq := range uint64(frames) {
				f, err := l.Poll()
				if f == nil {
					t.Fatalf("frame %d: %v", seq, err)
				}
				_, b := numbered(seq, length(seq))
				if !bytes.Equal(f.Payload, b[frameSize:]) {
					t.Errorf("frame %d is wrong", seq)
				}
				if placed := &f.Payload[0] == &place(seq, 1)[0]; placed != (seq != 3 && seq != 4) {
					t.Errorf("frame %d in its place: %v", seq, placed)
				} else if !placed {
					copy(place(seq, len(f.Payload)), f.Payload)
				}
				l.Release()
			}
			if !l.Quiet() {
				t.Error("not quiet, although nothing is expected")
			}
			for seq := range uint64(frames) {
				if rest := place(seq, longest+gap)[length(seq):]; !bytes.Equal(rest, bytes.Repeat([]byte{0xa5}, len(rest))) {
					t.Errorf("written behind the place of frame %d", seq)
				}
			}
		})
	}
}

// A place that a frame is half in is left alone once its link is quiet, and so are those of frames that come later.
func TestPlaceLeft(t *testing.T) {
	c := &trickle{step: 1 << 20}
	l, w := placing(t, c)
	const length = 50_000
	mem := make([]byte, 2*length)
	var stream []byte
	for seq := range uint64(2) {
		h, b := numbered(seq, length)
		if !l.Expect(int(seq), &h, mem[int(seq)*length:][:length]) {
			t.Fatal("no place taken")
		}
		stream = append(stream, b...)
	}
	drain := func(b []byte) {
		t.Helper()
		c.come = b
		w.intake.mu.Lock()
		defer w.intake.mu.Unlock()
		if w.drain(nil) {
			t.Error(w.intake.err)
		}
	}
	drain(stream[:length/2])
	if bytes.Equal(mem[:length/4], make([]byte, length/4)) {
		t.Error("nothing has come to the place of the first frame")
	}
	if l.Quiet() {
		t.Error("quiet in the middle of a frame")
	}
	l.Fail(nil)
	if !l.Quiet() || l.Expecting() != 0 {
		t.Errorf("quiet %v and expecting %d after Fail", l.Quiet(), l.Expecting())
	}
	untouched := bytes.Repeat([]byte{0xa5}, len(mem))
	copy(mem, untouched)
	drain(stream[length/2:])
	if !bytes.Equal(mem, untouched) {
		t.Error("memory has been written to after Quiet")
	}
	if got := l.arrived.Load(); got != 2 {
		t.Errorf("%d frames counted, want 2", got)
	}
}
