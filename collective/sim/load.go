package sim

import (
	"cmp"
	"slices"

	"github.com/ringtree/ringtree/topology"
)

// A WireLoad is what went over a wire in a run at the level [Congestion].
type WireLoad struct {
	Wire     topology.WireID
	From, To string // what it joins, as [topology.Network.NodeName] has it
	Level    topology.Level
	Bytes    int64
	Busy     float64 // part of the run's time that these bytes take at the wire's full rate
}

// A LayerLoad is what went over the wires of a layer of the network, each way.
type LayerLoad struct {
	Layer topology.Layer
	Wires int // those that lead somewhere
	Used  int // those that carried something
	Bytes int64
	Mean  float64 // of Busy, over the wires that were used
	Most  float64
	// Heat counts the wires that were used by Busy: up to a tenth of the time, up to two tenths, and so on.
	Heat [10]int
}

// keepWires is how many of the busiest wires a result lists.
const keepWires = 16

func (t *traffic) reset() {
	for _, slot := range t.active { // of a run that failed
		t.transfers[slot].at = -1
	}
	t.active, t.fresh, t.changes = t.active[:0], t.fresh[:0], 0
	t.free = t.free[:0]
	for slot := range t.transfers {
		t.free = append(t.free, int32(slot))
	}
	for w := range t.wires {
		x := &t.wires[w]
		x.live, x.used, x.load = 0, 0, 0
	}
	for c := range t.busy {
		t.busy[c] = -1
	}
}

// report fills in what wires carried. The time of the run must be known.
func (t *traffic) report(res *Result) {
	var end Time
	for _, f := range res.Finish {
		end = max(end, f)
	}
	res.Load = make([]int64, len(t.wires))
	layers := t.net.Layers()
	res.Layers = make([]LayerLoad, len(layers))
	for i := range layers {
		res.Layers[i].Layer = layers[i]
	}
	type busy struct {
		w    topology.WireID
		part float64
	}
	var most []busy
	for w := range t.wires {
		rate, bytes := t.wires[w].rate, t.wires[w].load
		if rate == 0 {
			continue
		}
		l := &res.Layers[t.layer[w]]
		l.Wires++
		n := int64(bytes + 0.5)
		if res.Load[w] = n; n == 0 {
			continue
		}
		part := 0.0
		if end > 0 {
			part = bytes / rate / float64(end)
		}
		l.Used++
		l.Bytes += n
		l.Mean += part
		l.Most = max(l.Most, part)
		l.Heat[min(max(int(part*10), 0), len(l.Heat)-1)]++
		if len(most) < keepWires || part > most[len(most)-1].part {
			at, _ := slices.BinarySearchFunc(most, part, func(b busy, p float64) int {
				if b.part >= p { // equal ones in their order
					return -1
				}
				return cmp.Compare(p, b.part)
			})
			most = slices.Insert(most, at, busy{topology.WireID(w), part})
			most = most[:min(len(most), keepWires)]
		}
	}
	for i := range res.Layers {
		res.Layers[i].Mean /= float64(max(res.Layers[i].Used, 1))
	}
	for _, b := range most {
		wire := t.net.Wire(b.w)
		res.Wires = append(res.Wires, WireLoad{b.w, t.net.NodeName(wire.From), t.net.NodeName(wire.To), wire.Level, res.Load[b.w], b.part})
	}
}
