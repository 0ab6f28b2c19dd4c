package sim

import "math"

// sweep returns R of the last message by stepping through all of them, place by place.
func (g *ring) sweep() []Time {
	s := int(g.slices)
	d := make([][]Time, s) // of the latest S messages
	first, c := g.first()
	for k := range d {
		d[k] = first
		if k > 0 {
			d[k] = make([]Time, g.n)
			for v := range d[k] {
				u := g.before(v)
				d[k][v] = max(d[k-1][v], g.start[u]+Time(k+1)*g.so[u]) + c[v] + g.late(v, k)
			}
		} else if g.noise != nil {
			for v := range first {
				first[v] += g.late(v, 0)
			}
		}
	}
	if g.long != nil {
		for v := range first {
			if g.long[g.before(v)] {
				first[v] += g.longWire[v] - g.wire[v]
			}
		}
	}
	messages := g.steps * s
	hops := [2][]Time{g.hop(0), g.hop(1)}
	smallNoise, told := g.smallNoise(), 0
	t := newTiles(g)
	for j := s; j < messages; {
		phase, end := 0, (g.reduced+1)*s // message j follows receive j-S
		if j >= end {
			phase, end = 1, messages
		}
		end = min(end, messages)
		switch {
		case s > 1:
			g.step(d[j%s], d[(j-1)%s], hops[phase], c, j)
			j++
		case g.long != nil:
			g.stepUneven(first, hops[phase], c, j, phase)
			j++
		case smallNoise:
			n := min(end-j, g.n-1, tileSteps)
			t.step(first, hops[phase], c, j, n)
			j += n
		default:
			g.step(first, first, hops[phase], c, j)
			j++
		}
		if g.progress != nil && j-told >= 1<<10 {
			told = j
			g.progress(float64(j) / float64(messages))
		}
	}
	d[0] = d[(messages-1)%s]
	return g.last(d[0], func(v int) Time {
		if g.long != nil && g.reduced == g.steps && g.isLong(v, messages-1) {
			return g.longRo[v] - g.ro[0][v]
		}
		return 0
	})
}

// late returns the noise of message j into place v.
func (g *ring) late(v, j int) Time {
	if g.noise == nil {
		return 0
	}
	return g.noiseAt(v, g.noise.place(1, int32(j)/g.slices, int32(j)%g.slices))
}

func (g *ring) noiseAt(v int, place uint64) Time {
	return noiseOf(g.span[v], g.noise.values[(uint64(g.rank[v])+place)%noiseSize])
}

// step makes message j of every place out of the message before (last) and that of S before (d).
func (g *ring) step(d, last, h, c []Time, j int) {
	wrap := d[g.n-1] + h[g.n-1]
	for v := g.n - 1; v > 0; v-- {
		d[v] = max(last[v], d[v-1]+h[v-1]) + c[v]
	}
	d[0] = max(last[0], wrap) + c[0]
	if g.noise != nil {
		place := g.noise.place(1, int32(j)/g.slices, int32(j)%g.slices)
		for v := range d {
			d[v] += g.noiseAt(v, place)
		}
	}
}

// isLong reports whether message j into place v is a longer one.
func (g *ring) isLong(v, j int) bool { return g.long[((v-1-j)%g.n+g.n)%g.n] }

func (g *ring) stepUneven(d, h, c []Time, j, phase int) {
	wrap := d[g.n-1] + h[g.n-1]
	for v := g.n - 1; v >= 0; v-- {
		from := wrap
		if v > 0 {
			from = d[v-1] + h[v-1]
		}
		x := c[v]
		if g.isLong(v, j) {
			x += g.longWire[v] - g.wire[v]
			if u := g.before(v); phase == 0 {
				from += g.longRo[u] - g.ro[0][u]
			}
		}
		d[v] = max(d[v], from) + x
	}
}

// smallNoise reports whether a delay can be worked out in 64 bits.
func (g *ring) smallNoise() bool {
	for _, s := range g.span {
		if s >= 1<<32 {
			return false
		}
	}
	return true
}

// sweepBoth steps links and processors.
func (g *ring) sweepBoth() []Time {
	s := int(g.slices)
	n := g.n
	d := make([]Time, n)
	r := make([][]Time, s)
	for k := range r {
		r[k] = make([]Time, n)
	}
	messages := g.steps * s
	cpu := make([]Time, n) // when it can receive
	for v := range cpu {
		cpu[v] = g.start[v] + Time(s)*g.so[v]
		if g.steps == 1 {
			cpu[v] += g.copying[v]
		}
		d[v] = math.MinInt64 / 2
	}
	for j := range messages {
		slot := r[j%s]
		phase := 1
		if j < g.reduced*s {
			phase = 0
		}
		wrap := slot[n-1]
		for v := n - 1; v >= 0; v-- {
			u := g.before(v)
			ready := g.start[u] + Time(j+1)*g.so[u]
			if j >= s {
				if ready = wrap; v > 0 {
					ready = slot[u]
				}
				ready += g.so[u]
			}
			wire, ro := g.wire[v], g.ro[phase][v]
			if g.long != nil && g.isLong(v, j) {
				wire = g.longWire[v]
				if phase == 0 {
					ro = g.longRo[v]
				}
			}
			wire += g.late(v, j)
			d[v] = max(d[v], ready) + wire + g.gap[v]
			slot[v] = max(d[v]-g.gap[v]+g.lat[v], cpu[v]) + ro
			cpu[v] = slot[v]
			if j < messages-s {
				cpu[v] += g.so[v]
			}
			if j == messages-s-1 {
				cpu[v] += g.copying[v]
			}
		}
	}
	return r[(messages-1)%s]
}
