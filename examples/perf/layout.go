package main

import (
	"errors"

	"github.com/ringtree/ringtree/collective/buffer"
)

// buffers are a rank's source and destination, large enough for every size of the run, with room for a guard behind
// each.
type buffers struct {
	send, recv buffer.Block // of Uint64
	free       func() error

	// Where ranks have devices, the operands lie there, and send and recv are the host's copies of them.
	gpu  *gpu
	away struct{ send, recv buffer.Block }
}

// typed is the first count elements of a buffer, and the guard behind them.
func typed(b buffer.Block, dtype buffer.DType, count int64) (data buffer.Block, guard []byte) {
	n := int(count) * dtype.Size()
	return buffer.Block{Data: b.Data[:n:n], Type: dtype, Memory: b.Memory}, b.Data[n : n+guardBytes]
}

// A layout says where a call of one shape finds its operands in the buffers. In place, one lies within the other as
// nccl-tests has it: the destination of a reduce-scatter is the rank's part of the source, the source of an all-gather
// is the rank's part of the destination.
type layout struct {
	src, dst buffer.Block
	guards   [][]byte
	used     [2]int // bytes of the source and of the destination buffer, with their guards
	inPlace  bool
}

func layoutOf(b *buffers, k collKind, s shape, dtype buffer.DType, rank int, inPlace bool) layout {
	send, sendGuard := typed(b.send, dtype, s.send)
	recv, recvGuard := typed(b.recv, dtype, s.recv)
	l := layout{used: [2]int{len(send.Data) + guardBytes, len(recv.Data) + guardBytes}, inPlace: inPlace}
	each := int(s.param)
	switch {
	case !inPlace:
		l.src, l.dst, l.guards = send, recv, [][]byte{sendGuard, recvGuard}
	case k == reduceScatter:
		l.src, l.dst, l.guards = send, send.Slice(rank*each, (rank+1)*each), [][]byte{sendGuard}
	case k == allGather:
		l.src, l.dst, l.guards = recv.Slice(rank*each, (rank+1)*each), recv, [][]byte{recvGuard}
	default:
		l.src, l.dst, l.guards = recv, recv, [][]byte{recvGuard}
	}
	return l
}

// operands is where the call finds what l has in the host's memory.
func (b *buffers) operands(l *layout, k collKind, s shape, dtype buffer.DType, rank int) layout {
	if b.gpu == nil {
		return *l
	}
	return layoutOf(&buffers{send: b.away.send, recv: b.away.recv}, k, s, dtype, rank, l.inPlace)
}

// upload brings what l has to the device, guards included, and returns when it is there. Without a device there is nothing to do.
func (b *buffers) upload(l *layout) error {
	if b.gpu == nil {
		return nil
	}
	s := b.gpu.stream
	return errors.Join(s.CopyIn(b.away.send.Data[:l.used[0]], b.send.Data[:l.used[0]]),
		s.CopyIn(b.away.recv.Data[:l.used[1]], b.recv.Data[:l.used[1]]), s.Synchronize())
}

// download brings it back.
func (b *buffers) download(l *layout) error {
	if b.gpu == nil {
		return nil
	}
	s := b.gpu.stream
	return errors.Join(s.CopyOut(b.send.Data[:l.used[0]], b.away.send.Data[:l.used[0]]),
		s.CopyOut(b.recv.Data[:l.used[1]], b.away.recv.Data[:l.used[1]]), s.Synchronize())
}

// prepare writes the inputs of a checked call, and poison where results are to come.
func (l *layout) prepare(p *pattern, rank int) error {
	for _, g := range l.guards {
		fillBytes(g, poison)
	}
	if !l.inPlace {
		fillBytes(l.dst.Data, poison)
	} else if len(l.dst.Data) > len(l.src.Data) {
		fillBytes(l.dst.Data, poison) // the source is a part of it and comes next
	}
	return p.fill(l.src, rank, 0)
}

// wrong counts what is wrong after a call, as the collective's contract has it: elements of the result on this rank,
// elements of the source that out of place must not change, and bytes of the guards.
func (l *layout) wrong(p *pattern, k collKind, rank, root int, known *answers) (int64, error) {
	n, err := l.wrongResult(p, k, rank, root, known)
	if err != nil {
		return 0, err
	}
	if !l.inPlace {
		changed, err := p.wrongInput(l.src, rank, 0)
		if err != nil {
			return 0, err
		}
		n += changed
	}
	for _, g := range l.guards {
		n += wrongGuard(g)
	}
	return n, nil
}

func (l *layout) wrongResult(p *pattern, k collKind, rank, root int, known *answers) (int64, error) {
	switch k {
	case allReduce:
		return p.wrongResult(l.dst, 0, known)
	case reduceScatter:
		return p.wrongResult(l.dst, rank*l.dst.Count(), nil)
	case allGather:
		each, n := l.src.Count(), int64(0)
		for r := range p.ranks {
			m, err := p.wrongInput(l.dst.Slice(r*each, (r+1)*each), r, 0)
			if err != nil {
				return 0, err
			}
			n += m
		}
		return n, nil
	case broadcast:
		return p.wrongInput(l.dst, root, 0)
	case reduce:
		if rank == root {
			return p.wrongResult(l.dst, 0, nil)
		}
		return 0, nil // elsewhere the contract leaves the destination open
	default:
		return 0, nil
	}
}
