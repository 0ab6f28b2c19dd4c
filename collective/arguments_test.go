package collective_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
)

// Arguments that cannot be are refused with a ConfigError that names the argument; nothing is sent, and the communicator
// works as before.
func TestBadArguments(t *testing.T) {
	const n, r = 3, 1
	comms := join(t, layout{ranks: n, links: overMem})
	c, ctx := comms[r], t.Context()
	long := make([]float32, 90)
	block := func(t buffer.DType, bytes int) buffer.Block {
		return buffer.Block{Type: t, Data: newBlock(buffer.Uint8, bytes).Data}
	}
	odd := buffer.Block{Type: buffer.Float64, Data: newBlock(buffer.Uint8, 17).Data[1:]}
	calls := []struct {
		name, field string
		call        func() error
	}{
		{"no such op", "op", func() error { return collective.AllReduce(ctx, c, long, 0) }},
		{"op after the last", "op", func() error { return collective.AllReduce(ctx, c, long, 6) }},
		{"op of a reduce-scatter", "op", func() error { return collective.ReduceScatter(ctx, c, long[:30:30], make([]float32, 90), 77) }},
		{"op of a reduce", "op", func() error { return collective.Reduce(ctx, c, nil, long, 255, 0) }},
		{"root below", "root", func() error { return collective.Broadcast(ctx, c, long, -1) }},
		{"root above", "root", func() error { return collective.Broadcast(ctx, c, long, n) }},
		{"root of a reduce", "root", func() error { return collective.Reduce(ctx, c, long, long, buffer.Sum, n+1) }},
		{"lengths of an all-gather", "dst", func() error { return collective.AllGather(ctx, c, long[:89], make([]float32, 30)) }},
		{"all-gather into less", "dst", func() error { return collective.AllGather(ctx, c, make([]float32, 30), make([]float32, 30)) }},
		{"lengths of a reduce-scatter", "src", func() error {
			return collective.ReduceScatter(ctx, c, make([]float32, 30), long[:89], buffer.Sum)
		}},
		{"reduce-scatter of less", "src", func() error {
			return collective.ReduceScatter(ctx, c, make([]float32, 30), make([]float32, 30), buffer.Sum)
		}},
		{"reduce at the root into less", "dst", func() error { return collective.Reduce(ctx, c, make([]float32, 3), long, buffer.Sum, r) }},
		{"reduce at the root into nothing", "dst", func() error { return collective.Reduce(ctx, c, nil, long, buffer.Sum, r) }},
		{"no type", "src", func() error { return c.AllReduceBlock(ctx, buffer.Block{}, buffer.Block{}, buffer.Sum) }},
		{"unknown type", "src", func() error { return c.AllReduceBlock(ctx, block(99, 8), block(99, 8), buffer.Sum) }},
		{"unknown type of the output", "dst", func() error { return c.AllReduceBlock(ctx, block(99, 8), block(buffer.Int8, 8), buffer.Sum) }},
		{"half an element", "src", func() error { return c.AllReduceBlock(ctx, block(buffer.Int32, 8), block(buffer.Int32, 7), buffer.Sum) }},
		{"half an element of the output", "dst", func() error { return c.AllReduceBlock(ctx, block(buffer.Int32, 7), block(buffer.Int32, 8), buffer.Sum) }},
		{"misaligned", "src", func() error { return c.AllReduceBlock(ctx, block(buffer.Float64, 16), odd, buffer.Sum) }},
		{"misaligned output", "dst", func() error { return c.AllReduceBlock(ctx, odd, block(buffer.Float64, 16), buffer.Sum) }},
		{"two types", "dst", func() error {
			return c.AllReduceBlock(ctx, block(buffer.Float32, 8), block(buffer.Int32, 8), buffer.Sum)
		}},
		{"two lengths", "dst", func() error {
			return c.AllReduceBlock(ctx, block(buffer.Int32, 16), block(buffer.Int32, 8), buffer.Sum)
		}},
		{"two types of an all-gather", "dst", func() error { return c.AllGatherBlock(ctx, block(buffer.Int32, 24), block(buffer.Float32, 8)) }},
		{"two types of a reduce-scatter", "dst", func() error {
			return c.ReduceScatterBlock(ctx, block(buffer.Int32, 8), block(buffer.Float32, 24), buffer.Sum)
		}},
		{"broadcast of less than the output, at the root", "src", func() error { return c.BroadcastBlock(ctx, block(buffer.Int32, 8), block(buffer.Int32, 4), r) }},
		{"reduce of two types at the root", "dst", func() error {
			return c.ReduceBlock(ctx, block(buffer.Int32, 8), block(buffer.Float32, 8), buffer.Sum, r)
		}},
		{"overlap", "dst", func() error { return c.AllReduceBlock(ctx, buffer.Of(long[1:]), buffer.Of(long[:89]), buffer.Sum) }},
		{"overlap the other way", "dst", func() error { return c.AllReduceBlock(ctx, buffer.Of(long[:89]), buffer.Of(long[1:]), buffer.Sum) }},
		{"another rank's block of the input", "dst", func() error { return collective.ReduceScatter(ctx, c, long[:30], long, buffer.Sum) }},
		{"input in another rank's block of the output", "dst", func() error { return collective.AllGather(ctx, c, long, long[60:]) }},
		{"started: op", "op", func() error { _, err := collective.StartAllReduce(ctx, c, long, 0); return err }},
		{"started: lengths", "src", func() error { _, err := collective.StartReduceScatter(ctx, c, long, long, buffer.Sum); return err }},
		{"started: all-gather", "dst", func() error { _, err := collective.StartAllGather(ctx, c, long, long); return err }},
		{"started: root", "root", func() error { _, err := collective.StartBroadcast(ctx, c, long, 99); return err }},
		{"started: reduce", "root", func() error {
			_, err := collective.StartReduce(ctx, c, long, long, buffer.Sum, -99)
			return err
		}},
	}
	for _, tc := range calls {
		var config *collective.ConfigError
		err := tc.call()
		if !errors.As(err, &config) || config.Field != tc.field || config.Reason == "" {
			t.Errorf("%s: got %v, want a ConfigError of %s", tc.name, err, tc.field)
		} else if !strings.Contains(err.Error(), config.Field) || !strings.Contains(err.Error(), config.Reason) {
			t.Errorf("%s: text %q lacks %q or %q", tc.name, err, config.Field, config.Reason)
		}
		if c.Err() != nil {
			t.Fatalf("%s: the communicator ended: %v", tc.name, c.Err())
		}
	}
	each(t, comms, gather) // had anything been sent, this would differ
}

// What looks odd and is allowed.
func TestUnusualArguments(t *testing.T) {
	each(t, join(t, layout{ranks: 3, links: overMem}), func(ctx context.Context, c *collective.Comm) error {
		none := buffer.Block{Type: buffer.Float32}
		// The side that a rank has no use for may be anything.
		data := []float32{float32(c.Rank())}
		dst, src := none, buffer.Of(data)
		if c.Rank() == 2 {
			dst = src
		}
		if err := c.ReduceBlock(ctx, dst, src, buffer.Max, 2); err != nil {
			return err
		}
		dst, src = buffer.Of(data), buffer.Block{Type: 99, Data: []byte{1, 2, 3}}
		if c.Rank() == 2 {
			src = dst
		}
		if err := c.BroadcastBlock(ctx, dst, src, 2); err != nil {
			return err
		}
		if data[0] != 2 {
			return errors.New("the maximum of 0, 1 and 2 is lost")
		}
		// Nothing at all, and memory that merely touches.
		both := make([]float32, 20)
		return errors.Join(
			collective.AllReduce(ctx, c, []float32(nil), buffer.Sum),
			collective.AllGather(ctx, c, []int8{}, nil),
			c.AllReduceBlock(ctx, buffer.Of(both[:10]), buffer.Of(both[10:]), buffer.Sum),
			c.AllReduceBlock(ctx, buffer.Of(both[:0]), buffer.Of(both[:0]), buffer.Prod),
		)
	})
}

// tiers are the costs of some machine.
var tiers = []topology.Link{
	{Level: topology.Host, Alpha: 1e-6, Beta: 1e-10}, {Level: topology.Rack, Alpha: 1e-5, Beta: 1e-9},
}

func TestBadConfig(t *testing.T) {
	three, err := topology.Uniform(1, 3, tiers...)
	if err != nil {
		t.Fatal(err)
	}
	ts := []transport.Transport{mem.New()}
	for field, cfg := range map[string]collective.Config{
		"Config.Size":       {Size: 0, Transports: ts},
		"Config.Rank":       {Size: 2, Rank: 2, Transports: ts},
		"Config.Topology":   {Size: 2, Topology: three, Transports: ts},
		"Config.Algorithm":  {Size: 2, Algorithm: plan.Hierarchical + 1, Transports: ts},
		"Config.Transports": {Size: 2, Transports: []transport.Transport{mem.New(), nil}},
	} {
		var config *collective.ConfigError
		if _, err := collective.Join(t.Context(), cfg); !errors.As(err, &config) || config.Field != field {
			t.Errorf("%s: got %v, want a ConfigError of it", field, err)
		}
	}
	for name, cfg := range map[string]collective.Config{
		"too many ranks":  {Size: topology.MaxRanks + 1, Transports: ts},
		"rank below":      {Size: 2, Rank: -1, Transports: ts},
		"size below":      {Size: -1, Transports: ts},
		"no transport":    {Size: 1, Transports: []transport.Transport{}},
		"transport twice": {Size: 1, Transports: []transport.Transport{ts[0], ts[0]}},
	} {
		if c, err := collective.Join(t.Context(), cfg); err == nil {
			t.Errorf("%s: joined", name)
			c.Close()
		}
	}
}

// A communicator says what it is.
func TestAccessors(t *testing.T) {
	for _, links := range linkKinds() {
		comms := join(t, layout{ranks: 5, links: links, hosts: 3})
		for r, c := range comms {
			g := c.Topology()
			if c.Rank() != r || c.Size() != 5 || c.Epoch() != 1 || c.Err() != nil || g.Size() != 5 || g.Hosts() != 3 {
				t.Errorf("%s: rank %d of %d, epoch %d, %v; topology of %d ranks on %d hosts; want rank %d of 5, epoch 1, 5 ranks on 3 hosts",
					links, c.Rank(), c.Size(), c.Epoch(), c.Err(), g.Size(), g.Hosts(), r)
			}
			// One on the first host, two on the second, the rest on the third.
			for peer, host := range []int{0, 1, 1, 2, 2} {
				if got := g.Host(topology.Rank(peer)); got != host {
					t.Errorf("%s: rank %d is on host %d, want %d", links, peer, got, host)
				}
			}
		}
	}
}

func TestExplain(t *testing.T) {
	comms := join(t, layout{ranks: 4, links: overMem, hosts: 2})
	for _, coll := range schedule.Collectives() {
		text, err := comms[0].Explain(coll, 3, 1<<20)
		if err != nil || !strings.Contains(text, coll.String()) || !strings.Contains(text, "1 MiB over 4 ranks on 2 hosts") {
			t.Errorf("%v: got %q, %v", coll, text, err)
		}
	}
	var request *plan.RequestError
	if _, err := comms[0].Explain(schedule.Broadcast, 4, 1); !errors.As(err, &request) {
		t.Errorf("root 4 of 4: got %v, want a RequestError", err)
	}
	if _, err := comms[0].Explain(schedule.AllReduce, 0, -1); !errors.As(err, &request) {
		t.Errorf("-1 bytes: got %v, want a RequestError", err)
	}
	if comms[0].Err() != nil {
		t.Errorf("a bad request ended the communicator: %v", comms[0].Err())
	}
}

// A topology of the caller's own is used, on every rank.
func TestGivenTopology(t *testing.T) {
	g, err := topology.Uniform(2, 2, tiers...)
	if err != nil {
		t.Fatal(err)
	}
	name, ts := groupName(), []transport.Transport{mem.New()}
	for r, err := range ranksDo(4, func(r int) error {
		c, err := collective.Join(t.Context(), collective.Config{Rank: r, Size: 4, Group: name, Transports: ts, Topology: g, Host: "ignored"})
		if err != nil {
			return err
		}
		defer c.Close()
		if !c.Topology().Equal(g) {
			return errors.New("another topology")
		}
		part, err := c.Split(t.Context(), r%2, 0)
		if err != nil {
			return err
		}
		defer part.Close()
		if part.Topology().Size() != 2 || part.Topology().Hosts() != 2 {
			return errors.New("the part's topology is not the part's")
		}
		return errors.Join(gather(t.Context(), c), gather(t.Context(), part))
	}) {
		if err != nil {
			t.Errorf("rank %d: %v", r, err)
		}
	}
}
