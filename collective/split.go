package collective

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/membership"
	"github.com/ringtree/ringtree/topology"
)

// Split makes new communicators out of this one: ranks that give the same color form one, numbered by key and, where
// keys are equal, by their rank here. Every rank must call it; one that gives a negative color gets nil. The new
// communicators are independent of this one and of each other.
func (c *Comm) Split(ctx context.Context, color, key int) (*Comm, error) {
	name := fmt.Sprintf("%s/%x.%d", c.cfg.Group, c.group.ID, c.splits.Add(1))
	d, err := openDoors(ctx, c.cfg.Transports, name, c.cfg.Rank)
	if err != nil {
		// The others wait for this rank.
		c.Abort(err)
		return nil, err
	}
	parts, err := c.exchange(ctx, part{Color: color, Key: key, ID: membership.NewID(), Member: d.member(c.splitConfig(), c.cfg.Rank)})
	if err != nil || color < 0 {
		return nil, errors.Join(err, d.close())
	}
	var mine []part
	for _, p := range parts {
		if p.Color == color {
			mine = append(mine, p)
		}
	}
	slices.SortStableFunc(mine, func(a, b part) int { return cmp.Compare(a.Key, b.Key) })
	group := &membership.Group{ID: mine[0].ID}
	ranks := make([]topology.Rank, len(mine))
	cfg := c.cfg
	cfg.Group, cfg.Size = name, len(mine)
	for i, p := range mine {
		ranks[i] = topology.Rank(p.Member.Rank)
		group.Members = append(group.Members, p.Member)
		if p.Member.Rank == c.cfg.Rank {
			cfg.Rank = i
		}
	}
	if cfg.Topology, err = c.planner.Graph().Sub(ranks); err != nil {
		return nil, errors.Join(err, d.close())
	}
	n, err := newComm(cfg, group, d)
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	n.costs = c.costs
	return n, nil
}

// A part is what a rank says when a communicator is split. Its Member keeps the rank of the old communicator, which is
// the one that its endpoints were made with.
type part struct {
	Color  int
	Key    int
	ID     uint64
	Member membership.Member
}

// exchange gathers every rank's part, by rank.
func (c *Comm) exchange(ctx context.Context, mine part) ([]part, error) {
	text, err := json.Marshal(mine)
	if err != nil {
		return nil, err
	}
	longest := []int64{int64(len(text))}
	if err := AllReduce(ctx, c, longest, buffer.Max); err != nil {
		return nil, err
	}
	width := int(longest[0])
	padded := make([]byte, width) // JSON may end in spaces
	for i := copy(padded, text); i < width; i++ {
		padded[i] = ' '
	}
	gathered := make([]byte, width*c.cfg.Size)
	if err := AllGather(ctx, c, gathered, padded); err != nil {
		return nil, err
	}
	parts := make([]part, c.cfg.Size)
	for r := range parts {
		if err := json.Unmarshal(gathered[r*width:(r+1)*width], &parts[r]); err != nil {
			return nil, fmt.Errorf("collective: split: what rank %d said: %w", r, err)
		}
	}
	return parts, nil
}

// splitConfig is this rank's configuration with the host that it counts as.
func (c *Comm) splitConfig() Config {
	cfg := c.cfg
	cfg.Host = c.group.Members[c.cfg.Rank].Label
	return cfg
}
