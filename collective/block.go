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
	var k call
	if err := c.allReduce(&k, &dst, &src, op); err != nil {
		return err
	}
	return c.do(ctx, &k, opts)
}

// ReduceScatterBlock is [ReduceScatter] for elements whose type is known at run time only.
func (c *Comm) ReduceScatterBlock(ctx context.Context, dst, src buffer.Block, op buffer.Op, opts ...Option) error {
	var k call
	if err := c.reduceScatter(&k, &dst, &src, op); err != nil {
		return err
	}
	return c.do(ctx, &k, opts)
}

// AllGatherBlock is [AllGather] for elements whose type is known at run time only.
func (c *Comm) AllGatherBlock(ctx context.Context, dst, src buffer.Block, opts ...Option) error {
	var k call
	if err := c.allGather(&k, &dst, &src); err != nil {
		return err
	}
	return c.do(ctx, &k, opts)
}

// BroadcastBlock is [Broadcast] for elements whose type is known at run time only, out of place: dst of every rank
// becomes src of root. src is not looked at elsewhere; on root it may be dst itself.
func (c *Comm) BroadcastBlock(ctx context.Context, dst, src buffer.Block, root int, opts ...Option) error {
	var k call
	if err := c.broadcast(&k, &dst, &src, root); err != nil {
		return err
	}
	return c.do(ctx, &k, opts)
}

// ReduceBlock is [Reduce] for elements whose type is known at run time only.
func (c *Comm) ReduceBlock(ctx context.Context, dst, src buffer.Block, op buffer.Op, root int, opts ...Option) error {
	var k call
	if err := c.reduce(&k, &dst, &src, op, root); err != nil {
		return err
	}
	return c.do(ctx, &k, opts)
}

// StartAllReduceBlock is [StartAllReduce] of blocks, as AllReduceBlock takes them.
func (c *Comm) StartAllReduceBlock(ctx context.Context, dst, src buffer.Block, op buffer.Op, opts ...Option) (*Work, error) {
	var k call
	err := c.allReduce(&k, &dst, &src, op)
	return c.startChecked(ctx, k, err, opts)
}

// StartReduceScatterBlock is [StartReduceScatter] of blocks.
func (c *Comm) StartReduceScatterBlock(ctx context.Context, dst, src buffer.Block, op buffer.Op, opts ...Option) (*Work, error) {
	var k call
	err := c.reduceScatter(&k, &dst, &src, op)
	return c.startChecked(ctx, k, err, opts)
}

// StartAllGatherBlock is [StartAllGather] of blocks.
func (c *Comm) StartAllGatherBlock(ctx context.Context, dst, src buffer.Block, opts ...Option) (*Work, error) {
	var k call
	err := c.allGather(&k, &dst, &src)
	return c.startChecked(ctx, k, err, opts)
}

// StartBroadcastBlock is [StartBroadcast] of blocks.
func (c *Comm) StartBroadcastBlock(ctx context.Context, dst, src buffer.Block, root int, opts ...Option) (*Work, error) {
	var k call
	err := c.broadcast(&k, &dst, &src, root)
	return c.startChecked(ctx, k, err, opts)
}

// StartReduceBlock is [StartReduce] of blocks.
func (c *Comm) StartReduceBlock(ctx context.Context, dst, src buffer.Block, op buffer.Op, root int, opts ...Option) (*Work, error) {
	var k call
	err := c.reduce(&k, &dst, &src, op, root)
	return c.startChecked(ctx, k, err, opts)
}

// The checks of each collective: they fill in a call, or say why there can be none.

func (c *Comm) allReduce(k *call, dst, src *buffer.Block, op buffer.Op) error {
	n := count(src)
	k.set(schedule.AllReduce, op, dst, src, n, n)
	return c.check(k, n, n)
}

func (c *Comm) reduceScatter(k *call, dst, src *buffer.Block, op buffer.Op) error {
	n := count(dst)
	k.set(schedule.ReduceScatter, op, dst, src, n, n*c.cfg.Size)
	return c.check(k, n, n*c.cfg.Size)
}

func (c *Comm) allGather(k *call, dst, src *buffer.Block) error {
	n := count(src)
	k.set(schedule.AllGather, buffer.Sum, dst, src, n, n*c.cfg.Size)
	return c.check(k, n*c.cfg.Size, n)
}

func (c *Comm) broadcast(k *call, dst, src *buffer.Block, root int) error {
	if root != c.cfg.Rank {
		src = dst // for its length; nothing reads it
	}
	n := count(dst)
	k.set(schedule.Broadcast, buffer.Sum, dst, src, n, n)
	k.root = topology.Rank(root)
	return c.checkRooted(k, root, n, n)
}

func (c *Comm) reduce(k *call, dst, src *buffer.Block, op buffer.Op, root int) error {
	n := count(src)
	if root != c.cfg.Rank {
		dst = src // for its length; the output is scratch here
	}
	k.set(schedule.Reduce, op, dst, src, n, n)
	k.root = topology.Rank(root)
	return c.checkRooted(k, root, n, n)
}

// set fills in a call, a word at a time. A copy of a block or a call moves two words at once, and a processor that loads by one move what two stores
// have just written waits until these are over; a few such copies took a fifth of a small operation's time.
func (k *call) set(coll schedule.Collective, op buffer.Op, dst, src *buffer.Block, count, length int) {
	k.coll, k.op, k.count, k.length = coll, op, count, length
	k.dst.Data, k.dst.Type, k.dst.Memory = dst.Data, dst.Type, dst.Memory
	k.src.Data, k.src.Type, k.src.Memory = src.Data, src.Type, src.Memory
}

// count returns the number of elements of a block, without a copy of it.
func count(b *buffer.Block) int {
	n, _ := b.Type.Elements(b.Data)
	return n
}

func (c *Comm) checkRooted(k *call, root, dst, src int) error {
	if root < 0 || root >= c.cfg.Size {
		return argError("root", "rank %d of %d", root, c.cfg.Size)
	}
	return c.check(k, dst, src)
}

// check validates a call whose sides must have dst and src elements.
func (c *Comm) check(k *call, dst, src int) error {
	n, ok := k.src.Type.Elements(k.src.Data)
	if ok && n == src && dst == src && k.op.Valid() && k.inPlace() && k.src.Memory == nil {
		return nil // most calls, and the quickest
	}
	have, fits := k.dst.Type.Elements(k.dst.Data)
	switch {
	case !ok:
		return argError("src", "%v", k.src.Validate())
	case !fits:
		return argError("dst", "%v", k.dst.Validate())
	case k.src.Type != k.dst.Type:
		return argError("dst", "elements are %v, those of src %v", k.dst.Type, k.src.Type)
	case !k.op.Valid():
		return argError("op", "unknown operation %d", k.op)
	case have != dst:
		return argError("dst", "%d elements, want %d", have, dst)
	case n != src:
		return argError("src", "%d elements, want %d", n, src)
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
