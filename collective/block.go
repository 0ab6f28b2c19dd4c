package collective

import (
	"context"
	"unsafe"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// AllReduceBlock is [AllReduce] for elements whose type is known at run time only, out of place: dst becomes the
// reduction of all ranks' src. dst and src have one type and length and may be the very same memory; otherwise they must
// not overlap.
func (c *Comm) AllReduceBlock(ctx context.Context, dst, src buffer.Block, op buffer.Op, opts ...Option) error {
	k, err := c.allReduce(dst, src, op)
	if err != nil {
		return err
	}
	return c.do(ctx, &k, opts)
}

// ReduceScatterBlock is [ReduceScatter] for elements whose type is known at run time only.
func (c *Comm) ReduceScatterBlock(ctx context.Context, dst, src buffer.Block, op buffer.Op, opts ...Option) error {
	k, err := c.reduceScatter(dst, src, op)
	if err != nil {
		return err
	}
	return c.do(ctx, &k, opts)
}

// AllGatherBlock is [AllGather] for elements whose type is known at run time only.
func (c *Comm) AllGatherBlock(ctx context.Context, dst, src buffer.Block, opts ...Option) error {
	k, err := c.allGather(dst, src)
	if err != nil {
		return err
	}
	return c.do(ctx, &k, opts)
}

// BroadcastBlock is [Broadcast] for elements whose type is known at run time only, out of place: dst of every rank
// becomes src of root. src is not looked at elsewhere; on root it may be dst itself.
func (c *Comm) BroadcastBlock(ctx context.Context, dst, src buffer.Block, root int, opts ...Option) error {
	k, err := c.broadcast(dst, src, root)
	if err != nil {
		return err
	}
	return c.do(ctx, &k, opts)
}

// ReduceBlock is [Reduce] for elements whose type is known at run time only.
func (c *Comm) ReduceBlock(ctx context.Context, dst, src buffer.Block, op buffer.Op, root int, opts ...Option) error {
	k, err := c.reduce(dst, src, op, root)
	if err != nil {
		return err
	}
	return c.do(ctx, &k, opts)
}

// StartAllReduceBlock is [StartAllReduce] of blocks, as AllReduceBlock takes them.
func (c *Comm) StartAllReduceBlock(ctx context.Context, dst, src buffer.Block, op buffer.Op, opts ...Option) (*Work, error) {
	k, err := c.allReduce(dst, src, op)
	return c.startChecked(ctx, k, err, opts)
}

// StartReduceScatterBlock is [StartReduceScatter] of blocks.
func (c *Comm) StartReduceScatterBlock(ctx context.Context, dst, src buffer.Block, op buffer.Op, opts ...Option) (*Work, error) {
	k, err := c.reduceScatter(dst, src, op)
	return c.startChecked(ctx, k, err, opts)
}

// StartAllGatherBlock is [StartAllGather] of blocks.
func (c *Comm) StartAllGatherBlock(ctx context.Context, dst, src buffer.Block, opts ...Option) (*Work, error) {
	k, err := c.allGather(dst, src)
	return c.startChecked(ctx, k, err, opts)
}

// StartBroadcastBlock is [StartBroadcast] of blocks.
func (c *Comm) StartBroadcastBlock(ctx context.Context, dst, src buffer.Block, root int, opts ...Option) (*Work, error) {
	k, err := c.broadcast(dst, src, root)
	return c.startChecked(ctx, k, err, opts)
}

// StartReduceBlock is [StartReduce] of blocks.
func (c *Comm) StartReduceBlock(ctx context.Context, dst, src buffer.Block, op buffer.Op, root int, opts ...Option) (*Work, error) {
	k, err := c.reduce(dst, src, op, root)
	return c.startChecked(ctx, k, err, opts)
}

// The checks of each collective: a call, or why there can be none.

func (c *Comm) allReduce(dst, src buffer.Block, op buffer.Op) (call, error) {
	n := src.Count()
	k := call{coll: schedule.AllReduce, op: op, dst: dst, src: src, count: n, length: n}
	return k, c.check(&k, n, n)
}

func (c *Comm) reduceScatter(dst, src buffer.Block, op buffer.Op) (call, error) {
	n := dst.Count()
	k := call{coll: schedule.ReduceScatter, op: op, dst: dst, src: src, count: n, length: n * c.cfg.Size}
	return k, c.check(&k, n, n*c.cfg.Size)
}

func (c *Comm) allGather(dst, src buffer.Block) (call, error) {
	n := src.Count()
	k := call{coll: schedule.AllGather, op: buffer.Sum, dst: dst, src: src, count: n, length: n * c.cfg.Size}
	return k, c.check(&k, n*c.cfg.Size, n)
}

func (c *Comm) broadcast(dst, src buffer.Block, root int) (call, error) {
	if root != c.cfg.Rank {
		src = dst // for its length; nothing reads it
	}
	n := dst.Count()
	k := call{coll: schedule.Broadcast, op: buffer.Sum, root: topology.Rank(root), dst: dst, src: src, count: n, length: n}
	return k, c.checkRooted(&k, root, n, n)
}

func (c *Comm) reduce(dst, src buffer.Block, op buffer.Op, root int) (call, error) {
	n := src.Count()
	if root != c.cfg.Rank {
		dst = src // for its length; the output is scratch here
	}
	k := call{coll: schedule.Reduce, op: op, root: topology.Rank(root), dst: dst, src: src, count: n, length: n}
	return k, c.checkRooted(&k, root, n, n)
}

func (c *Comm) checkRooted(k *call, root, dst, src int) error {
	if root < 0 || root >= c.cfg.Size {
		return argError("root", "rank %d of %d", root, c.cfg.Size)
	}
	return c.check(k, dst, src)
}

// check validates a call whose sides must have dst and src elements.
func (c *Comm) check(k *call, dst, src int) error {
	if k.src.Validate() == nil && k.op.Valid() && dst == src && k.src.Count() == src && k.inPlace() && k.src.Memory == nil {
		return nil // most calls, and the quickest
	}
	switch {
	case k.src.Validate() != nil:
		return argError("src", "%v", k.src.Validate())
	case k.dst.Validate() != nil:
		return argError("dst", "%v", k.dst.Validate())
	case k.src.Type != k.dst.Type:
		return argError("dst", "elements are %v, those of src %v", k.dst.Type, k.src.Type)
	case !k.op.Valid():
		return argError("op", "unknown operation %d", k.op)
	case k.dst.Count() != dst:
		return argError("dst", "%d elements, want %d", k.dst.Count(), dst)
	case k.src.Count() != src:
		return argError("src", "%d elements, want %d", k.src.Count(), src)
	}
	if err := c.memoryFits(k); err != nil {
		return err
	}
	// In place the shorter side is this rank's own block of the longer one.
	short, long := k.dst.Data, k.src.Data
	if len(short) > len(long) {
		short, long = long, short
	}
	own := 0
	if k.coll.ByRank() {
		own = c.cfg.Rank * len(short)
	}
	if len(short) > 0 && overlap(short, long) && &short[0] != &long[own] {
		return argError("dst", "it overlaps src without being in place")
	}
	return nil
}

// inPlace reports whether both sides are the same, in the host's memory or another.
func (k *call) inPlace() bool {
	return unsafe.SliceData(k.dst.Data) == unsafe.SliceData(k.src.Data) && len(k.dst.Data) == len(k.src.Data) && k.dst.Type == k.src.Type && (k.dst.Memory == nil) == (k.src.Memory == nil)
}

// overlap reports whether a and b, which are not empty, share memory.
func overlap(a, b []byte) bool {
	p, q := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return p < q+uintptr(len(b)) && q < p+uintptr(len(a))
}
