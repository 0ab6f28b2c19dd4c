package main

import (
	"context"
	"fmt"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
)

// join makes this rank a member of the group.
func (p *process) join(ctx context.Context, rank int, g *gpu) (*collective.Comm, error) {
	algo, err := plan.ParseAlgorithm(p.o.algo)
	if err != nil {
		return nil, err
	}
	config := p.links.Config(rank, p.o.ranks(), p.group)
	config.Algorithm = algo
	if p.o.hosts > 1 {
		config.Host = fmt.Sprintf("host%d", p.o.hostOf(rank))
	}
	if g != nil {
		config.Memory = g.memory
	}
	return collective.Join(ctx, config)
}

// newBuffers takes the memory from the library (registered) or from Go or the driver (plain). Bytes are those of the largest
// source and destination. Without a device they lie in the host's memory.
func newBuffers(comm *collective.Comm, g *gpu, alloc string, sendBytes, recvBytes int64) (*buffers, error) {
	if g != nil {
		return newGPUBuffers(comm, g, alloc, sendBytes, recvBytes)
	}
	if alloc == "plain" {
		plain := func(n int) buffer.Block { return buffer.Of(make([]uint64, n)) }
		return &buffers{send: plain(wordsFor(sendBytes)), recv: plain(wordsFor(recvBytes)), free: func() error { return nil }}, nil
	}
	send, err := comm.AllocBlock(buffer.Uint64, wordsFor(sendBytes))
	if err != nil {
		return nil, err
	}
	recv, err := comm.AllocBlock(buffer.Uint64, wordsFor(recvBytes))
	if err != nil {
		return nil, err
	}
	return &buffers{send: send, recv: recv, free: func() error {
		err := comm.FreeBlock(send)
		if err2 := comm.FreeBlock(recv); err == nil {
			err = err2
		}
		return err
	}}, nil
}

// A caller makes one collective call. Its operands are fixed beforehand, so that a call costs nothing of its own.
type caller struct {
	comm     *collective.Comm
	coll     collKind
	op       buffer.Op
	root     int
	dst, src buffer.Block
}

func (c *caller) call(ctx context.Context) error {
	switch c.coll {
	case allReduce:
		return c.comm.AllReduceBlock(ctx, c.dst, c.src, c.op)
	case reduceScatter:
		return c.comm.ReduceScatterBlock(ctx, c.dst, c.src, c.op)
	case allGather:
		return c.comm.AllGatherBlock(ctx, c.dst, c.src)
	case broadcast:
		return c.comm.BroadcastBlock(ctx, c.dst, c.src, c.root)
	case reduce:
		return c.comm.ReduceBlock(ctx, c.dst, c.src, c.op, c.root)
	default:
		return collective.Barrier(ctx, c.comm)
	}
}

// explain is what the planner chose for a call whose larger side has so many bytes, and why.
func explain(comm *collective.Comm, k collKind, root int, bytes int64) (string, error) {
	names := [...]schedule.Collective{
		allReduce: schedule.AllReduce, reduceScatter: schedule.ReduceScatter, allGather: schedule.AllGather,
		broadcast: schedule.Broadcast, reduce: schedule.Reduce, barrier: schedule.Barrier,
	}
	return comm.Explain(names[k], root, bytes)
}
