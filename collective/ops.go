package collective

import (
	"context"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/schedule"
)

// AllReduce replaces data, on every rank, by the element-wise reduction of all ranks' data. All ranks give the same
// number of elements, of the same type, and get the same bits; for one schedule they are the same in every run.
//
// Like every operation it returns when this rank's data is complete and no peer reads it any more. An error ends the
// communicator on all ranks: [*ConfigError] for arguments that cannot be (and then only the call has failed),
// [*MismatchError], [*PeerError], [*AbortError], or one that Is [ErrClosed]; what data holds then is unspecified.
// When ctx ends first the operation is aborted on all ranks.
func AllReduce[T buffer.Elem](ctx context.Context, c *Comm, data []T, op buffer.Op, opts ...Option) error {
	b := buffer.Of(data)
	var k call
	if err := c.allReduce(&k, &b, &b, op); err != nil {
		return err
	}
	return c.do(ctx, &k, opts)
}

// ReduceScatter reduces all ranks' src and leaves block r of the result, of n equal ones, in dst of rank r.
// len(src) is n·len(dst). dst may be this rank's own block of src; otherwise the two must not overlap.
func ReduceScatter[T buffer.Elem](ctx context.Context, c *Comm, dst, src []T, op buffer.Op, opts ...Option) error {
	return c.ReduceScatterBlock(ctx, buffer.Of(dst), buffer.Of(src), op, opts...)
}

// AllGather puts the src of rank r into block r of dst, on every rank. len(dst) is n·len(src). src may be this rank's
// own block of dst; otherwise the two must not overlap.
func AllGather[T buffer.Elem](ctx context.Context, c *Comm, dst, src []T, opts ...Option) error {
	return c.AllGatherBlock(ctx, buffer.Of(dst), buffer.Of(src), opts...)
}

// Broadcast replaces data on every rank by that of root. All give the same number of elements.
func Broadcast[T buffer.Elem](ctx context.Context, c *Comm, data []T, root int, opts ...Option) error {
	b := buffer.Of(data)
	return c.BroadcastBlock(ctx, b, b, root, opts...)
}

// Reduce puts the element-wise reduction of all ranks' src into dst of root. dst is not looked at elsewhere and may be
// nil there; on root it has src's length and may be src itself.
func Reduce[T buffer.Elem](ctx context.Context, c *Comm, dst, src []T, op buffer.Op, root int, opts ...Option) error {
	return c.ReduceBlock(ctx, buffer.Of(dst), buffer.Of(src), op, root, opts...)
}

// Barrier returns when every rank has called it.
func Barrier(ctx context.Context, c *Comm, opts ...Option) error {
	var k call
	k.barrier()
	return c.do(ctx, &k, opts)
}

func (k *call) barrier() {
	k.coll, k.op, k.dst.Type, k.src.Type = schedule.Barrier, buffer.Sum, buffer.Uint8, buffer.Uint8
}

// StartAllReduce starts an [AllReduce] and returns at once. The data belongs to the operation until the Work is done.
// Operations run one at a time in the order in which they are called or started.
func StartAllReduce[T buffer.Elem](ctx context.Context, c *Comm, data []T, op buffer.Op, opts ...Option) (*Work, error) {
	b := buffer.Of(data)
	return c.StartAllReduceBlock(ctx, b, b, op, opts...)
}

// StartReduceScatter starts a [ReduceScatter]; see [StartAllReduce].
func StartReduceScatter[T buffer.Elem](ctx context.Context, c *Comm, dst, src []T, op buffer.Op, opts ...Option) (*Work, error) {
	return c.StartReduceScatterBlock(ctx, buffer.Of(dst), buffer.Of(src), op, opts...)
}

// StartAllGather starts an [AllGather]; see [StartAllReduce].
func StartAllGather[T buffer.Elem](ctx context.Context, c *Comm, dst, src []T, opts ...Option) (*Work, error) {
	return c.StartAllGatherBlock(ctx, buffer.Of(dst), buffer.Of(src), opts...)
}

// StartBroadcast starts a [Broadcast]; see [StartAllReduce].
func StartBroadcast[T buffer.Elem](ctx context.Context, c *Comm, data []T, root int, opts ...Option) (*Work, error) {
	b := buffer.Of(data)
	return c.StartBroadcastBlock(ctx, b, b, root, opts...)
}

// StartReduce starts a [Reduce]; see [StartAllReduce].
func StartReduce[T buffer.Elem](ctx context.Context, c *Comm, dst, src []T, op buffer.Op, root int, opts ...Option) (*Work, error) {
	return c.StartReduceBlock(ctx, buffer.Of(dst), buffer.Of(src), op, root, opts...)
}

// StartBarrier starts a [Barrier]; see [StartAllReduce].
func StartBarrier(ctx context.Context, c *Comm, opts ...Option) (*Work, error) {
	var k call
	k.barrier()
	return c.start(ctx, k, opts)
}

func (c *Comm) startChecked(ctx context.Context, k call, err error, opts []Option) (*Work, error) {
	if err != nil {
		return nil, err
	}
	return c.start(ctx, k, opts)
}
