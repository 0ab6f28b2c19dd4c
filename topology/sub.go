package topology

// Sub returns the graph of the given ranks alone, numbered anew in the order given: rank i of the result is
// ranks[i] of g. What they share and what their links cost stays as it was; hosts, racks and sites without a
// rank are gone, and the others are numbered as the new ranks name them. Layers, which count ranks and sites, are not kept. It fails with a [*SpecError] when there
// is no rank, or one twice, or one that g does not have.
func (g *Graph) Sub(ranks []Rank) (*Graph, error) {
	if len(ranks) == 0 {
		return nil, specErrorf(NoRank, "ranks", "none given")
	}
	seen := make([]bool, len(g.host))
	b := newBuilder(len(g.host))
	for _, r := range ranks {
		if r < 0 || int(r) >= len(g.host) {
			return nil, specErrorf(r, "ranks", "not a rank of %d", len(g.host))
		}
		if seen[r] {
			return nil, specErrorf(r, "ranks", "given twice")
		}
		seen[r] = true
		if err := b.add(g.Place(r)); err != nil {
			return nil, err
		}
	}
	spec := Spec{Tiers: g.tiers[:], Cores: g.cores, Reduce: g.reduce}
	for p := range g.Paths() {
		_, from := b.site.lookup(p.From)
		_, to := b.site.lookup(p.To)
		if from && to {
			spec.Paths = append(spec.Paths, p)
		}
	}
	s, err := b.finish(&spec)
	if err != nil {
		return nil, err
	}
	return s, nil
}
