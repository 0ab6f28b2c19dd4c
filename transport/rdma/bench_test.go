package rdma

import (
	"errors"
	"fmt"
	"testing"
	"unsafe"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// BenchmarkPlacement takes messages out of the slots of a link and copies them to where they belong, and has them stored there by the
// device; on verbs where there is a device, else on the stand-in, which says nothing of any device.
func BenchmarkPlacement(b *testing.B) {
	var net *softNet
	name := "verbs"
	if Available() != nil {
		net, name = newSoftNet(), "stand-in"
	}
	g, from, to := newGroup(b, net, AckTimeout(14), Retries(3))
	sendAndCheck(b, g, from, to, []byte("hello"), []byte("hello"))
	m := &mover{g: g, from: from, to: to.(transport.ExpectingLink)}
	if err := transporttest.Await(g.Bells[1], "places", func() bool { return m.to.Expecting() > 0 }); err != nil {
		b.Fatal(err)
	}
	const longest = 16 << 20
	for rank, mem := range []*[]byte{&m.src, &m.dst} {
		var err error
		if *mem, err = g.Endpoints[rank].Alloc(longest); err != nil {
			b.Fatal(err)
		}
		defer g.Endpoints[rank].Free(*mem)
	}
	for size := 4 << 10; size <= longest; size *= 2 {
		for _, way := range []string{"slots", "placed"} {
			b.Run(fmt.Sprintf("%s/%dKiB/%s", name, size>>10, way), func(b *testing.B) {
				b.SetBytes(int64(size))
				m.placed, m.frames = 0, 0
				for b.Loop() {
					if err := m.move(size, way == "placed"); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(100*float64(m.placed)/float64(m.frames), "%placed")
			})
		}
	}
}

// A mover moves messages from rank 0 to rank 1.
type mover struct {
	g              *transporttest.Group
	from           transport.Link
	to             transport.ExpectingLink
	src, dst       []byte
	seq            uint32
	placed, frames int
}

// head returns the header of frame i of a message, and where its payload is.
func (m *mover) head(mem []byte, size, i int) (transport.Header, []byte) {
	part := mem[i*transport.MaxPayload : min(size, (i+1)*transport.MaxPayload)]
	return transport.Header{Kind: transport.Data, Seq: m.seq, Slice: uint32(i), Length: uint32(len(part))}, part
}

// move moves one message. Rank 1 says when it is ready, as it does in an operation by the message that rank 0 waits for: then the first
// places have been given.
func (m *mover) move(size int, places bool) error {
	m.seq++
	count := (size + transport.MaxPayload - 1) / transport.MaxPayload
	wanted := 0
	expect := func(done int) {
		for wanted = max(wanted, done); places && wanted < count && wanted-done < m.to.Expecting(); wanted++ {
			h, mem := m.head(m.dst, size, wanted)
			m.to.Expect(wanted-done, &h, mem)
		}
	}
	expect(0)
	ready := transport.Header{Kind: transport.Data, Seq: m.seq}
	var failed error
	if err := transporttest.Await(m.g.Bells[1], "room", func() bool {
		var ok bool
		ok, failed = m.to.Post(&ready, nil)
		return ok || failed != nil
	}); err != nil || failed != nil {
		return errors.Join(err, failed)
	}
	sent := make(chan error, 1)
	go func() {
		sent <- func() (failed error) {
			wait := func(what string, done func() (bool, error)) error {
				err := transporttest.Await(m.g.Bells[0], what, func() bool {
					var ok bool
					ok, failed = done()
					return ok || failed != nil
				})
				return errors.Join(err, failed)
			}
			if err := wait("a word", func() (bool, error) { f, err := m.from.Poll(); return f != nil, err }); err != nil {
				return err
			}
			m.from.Release()
			for i := range count {
				h, mem := m.head(m.src, size, i)
				if err := wait("room", func() (bool, error) { return m.from.Post(&h, mem) }); err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	for i := range count {
		var f *transport.Frame
		var failed error
		if err := transporttest.Await(m.g.Bells[1], "a frame", func() bool { f, failed = m.to.Poll(); return f != nil || failed != nil }); err != nil || failed != nil {
			return errors.Join(err, failed)
		}
		_, mem := m.head(m.dst, size, i)
		if m.frames++; unsafe.SliceData(f.Payload) == unsafe.SliceData(mem) {
			m.placed++
		} else {
			copy(mem, f.Payload)
		}
		m.to.Release()
		expect(i + 1)
	}
	return <-sent
}
