package main

import (
	"cmp"
	"fmt"
	"slices"

	"gonum.org/v1/plot/vg"

	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/topology/probe"
)

// The sizes of the picture, in points.
const (
	margin      = vg.Length(20)
	titleHeight = vg.Length(34)
	legendLine  = vg.Length(16)
	tierHeight  = vg.Length(48)
	hostGap     = vg.Length(16)
	hostHead    = vg.Length(22)
	rankStep    = vg.Length(34)
	rankRadius  = vg.Length(12)
	minWidth    = vg.Length(420)

	ranksInRow  = 4
	drawnRanks  = 16 // of a host
	drawnHosts  = 8
	hostPadding = vg.Length(10)
)

// A picture is where everything is drawn; the origin is at the bottom left.
type picture struct {
	width, height vg.Length
	hosts         []hostBox
	buses         []bus
	legend        []topology.Link // tiers that some link has
	more          string          // what there was no room for
}

type hostBox struct {
	index int
	name  string
	box   vg.Rectangle
	ranks []rankDot
	more  string
}

type rankDot struct {
	rank topology.Rank
	at   vg.Point
}

// A bus joins things of one tier.
type bus struct {
	level       topology.Level
	name        string
	y, from, to vg.Length
	drops       []vg.Point // tops of what it joins
}

// layOut places hosts beside each other, racks and sites together, and one bus for every rack, site and world that
// joins at least two things.
func layOut(g *topology.Graph) *picture {
	p := new(picture)
	order := make([]int, g.Hosts())
	for h := range order {
		order[h] = h
	}
	first := func(h int) topology.Rank { return g.HostRank(h, 0) }
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(g.Site(first(a)), g.Site(first(b))), cmp.Compare(g.Rack(first(a)), g.Rack(first(b))))
	})
	if len(order) > drawnHosts {
		p.more = fmt.Sprintf("the first %d of %d hosts", drawnHosts, len(order))
		order = order[:drawnHosts]
	}
	used := make(map[topology.Level]bool)
	for _, q := range probe.Pairs(g) {
		if !used[q.Level] {
			used[q.Level] = true
			p.legend = append(p.legend, g.Tier(q.Level))
		}
	}
	p.placeHosts(g, order)
	top := p.joinAll(g, order)
	p.height = top + vg.Length(len(p.legend))*legendLine + titleHeight + margin
	return p
}

// placeHosts puts the boxes in a row at the bottom.
func (p *picture) placeHosts(g *topology.Graph, order []int) {
	most := 1
	for _, h := range order {
		most = max(most, min(g.HostSize(h), drawnRanks))
	}
	columns, rows := min(most, ranksInRow), (most+ranksInRow-1)/ranksInRow
	width := max(vg.Length(columns)*rankStep+2*hostPadding, 96)
	height := hostHead + vg.Length(rows)*rankStep + 2*hostPadding
	total := vg.Length(len(order))*(width+hostGap) - hostGap
	p.width = max(total+2*margin, minWidth)
	x := (p.width - total) / 2
	for _, h := range order {
		b := hostBox{index: h, name: g.HostName(h), box: vg.Rectangle{Min: vg.Point{X: x, Y: margin}, Max: vg.Point{X: x + width, Y: margin + height}}}
		if n := []rune(b.name); vg.Length(len(n))*6 > width {
			b.name = string(n[:max(1, int(width/6)-1)]) + "…"
		}
		n := min(g.HostSize(h), drawnRanks)
		if more := g.HostSize(h) - n; more > 0 {
			b.more = fmt.Sprintf("and %d more", more)
		}
		left := x + (width-vg.Length(columns-1)*rankStep)/2
		for i := range n {
			row, column := i/ranksInRow, i%ranksInRow
			if row%2 == 1 {
				column = ranksInRow - 1 - column // to and fro, so that neighbours stand beside each other
			}
			b.ranks = append(b.ranks, rankDot{g.HostRank(h, i), vg.Point{
				X: left + vg.Length(column)*rankStep, Y: b.box.Max.Y - hostHead - rankStep/2 - vg.Length(row)*rankStep,
			}})
		}
		p.hosts = append(p.hosts, b)
		x += width + hostGap
	}
}

// joinAll makes the buses, the nearest tier first, and returns how high the drawing reaches.
func (p *picture) joinAll(g *topology.Graph, order []int) vg.Length {
	type node struct {
		rack, site int
		top        vg.Point
	}
	var nodes []node
	y := vg.Length(0)
	for i := range order {
		box := p.hosts[i].box
		r := g.HostRank(order[i], 0)
		nodes = append(nodes, node{g.Rack(r), g.Site(r), vg.Point{X: (box.Min.X + box.Max.X) / 2, Y: box.Max.Y}})
		y = box.Max.Y
	}
	tiers := []struct {
		level topology.Level
		same  func(a, b node) bool
		name  func(n node) string
	}{
		{topology.Rack, func(a, b node) bool { return a.rack == b.rack }, func(n node) string { return "rack " + g.RackName(n.rack) }},
		{topology.Site, func(a, b node) bool { return a.site == b.site }, func(n node) string { return "site " + g.SiteName(n.site) }},
		{topology.World, func(a, b node) bool { return true }, func(n node) string { return "world" }},
	}
	for _, t := range tiers {
		var up []node
		raised := false
		for from := 0; from < len(nodes); {
			to := from + 1
			for to < len(nodes) && t.same(nodes[from], nodes[to]) {
				to++
			}
			n := nodes[from]
			if to-from > 1 {
				b := bus{level: t.level, name: t.name(n), y: y + tierHeight, from: n.top.X, to: nodes[to-1].top.X}
				for _, m := range nodes[from:to] {
					b.drops = append(b.drops, m.top)
				}
				p.buses = append(p.buses, b)
				n.top = vg.Point{X: (b.from + b.to) / 2, Y: b.y}
				raised = true
			}
			up = append(up, n)
			from = to
		}
		if raised {
			y += tierHeight
		}
		nodes = up
	}
	return y + margin
}
