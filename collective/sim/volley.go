package sim

import (
	"slices"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// InVolleys is the [Result.Method] of runs whose ranks all send to many at once.
const InVolleys = "messages, in volleys"

// A volley is a schedule in which every rank sends to many ranks at once, and when it has heard from as many, to many again: all-to-all
// patterns. Every rank does what rank 0 does, each with those that come after it. As long as no message of one salvo comes to a port before
// all of the salvo before did, the order at every port is that of the arrivals of one salvo, which are known before anything is done with
// them. So there is no queue: times of a salvo are sums along the sender's port, maxima and sums along the receiver's, and a sort of what
// mostly is in order. Results are those of any other run.
type volley struct {
	n, period int
	salvos    []salvo
	send      *schedule.Code
	copying   *schedule.Code // what every rank does when it has sent; nil: nothing
	row       []uint8        // by rank of the period and distance: the class of the link
	at        []uint64       // of a salvo, by receiver, of which each has wide, and receive: when it is at the port, and in 8 bits the class
	wide      int
}

// A salvo is what every rank sends without waiting, and receives.
type salvo struct {
	to      []int32 // by send: how many ranks further on the receiver is
	near    []int32 // the same modulo the period
	match   []int32 // by send: the receive that it is for, counted from the salvo's first
	senders []sender
	joint   bool // all are reduced in one operation
	reduce  bool // each is reduced
}

// A sender is how many ranks further on, modulo the period, one is from which a rank hears, and the last receive from there.
type sender struct{ near, slot int32 }

// maxVolley bounds the messages of a salvo that are kept.
const maxVolley = 1 << 26

// newVolley returns nil for what is no volley. f is rank 0 alone.
func newVolley(f *schedule.Fleet, n, period int) *volley {
	out, first := f.Lane(0, schedule.OutLane(0))
	if f.Lanes() != 2 || len(out.Codes) == 0 || len(out.Wakes) > 0 && !out.Codes[0].Eager || n >= 1<<slotBits || int64(period)*int64(n) > maxVolley {
		return nil
	}
	in, from := f.Lane(0, schedule.InLane(0))
	v := &volley{n: n, period: period, send: &out.Codes[0]}
	sends := len(out.Codes)
	eager := out.Codes[0].Eager // all are, then; none is waited for by its sender, and what is received waits until the last is sent
	if c := &out.Codes[sends-1]; c.Kind == schedule.Copy {
		if _, _, waits := c.After(0); waits {
			return nil
		}
		sends--
		v.copying = c
	}
	if sends == 0 || len(in.Codes) != sends {
		return nil
	}
	for lo := 0; lo < sends; {
		hi := lo + 1
		l, on, waits := out.Codes[lo].After(0)
		if waits != (lo > 0) || waits && (l != schedule.InLane(0) || int(on) != lo-1) {
			return nil
		}
		for ; hi < sends; hi++ {
			if al, ai, after := out.Codes[hi].After(0); after != waits || al != l || ai != on {
				break
			}
		}
		s := salvo{joint: in.Codes[lo].Joint && int(in.Codes[lo].Width) == hi-lo, reduce: in.Codes[lo].Kind == schedule.RecvReduce}
		for i := lo; i < hi; i++ {
			c, d := &out.Codes[i], &in.Codes[i]
			dl, di, waits := d.After(0)
			if c.Kind != schedule.Send || c.Eager != eager || c.Count != 1 || c.N != v.send.N || d.Count != 1 || d.N != v.send.N ||
				waits != eager || waits && (dl != schedule.OutLane(0) || int(di) != sends-1) ||
				(d.Kind == schedule.RecvReduce) != s.reduce || d.Kind == schedule.Copy || s.reduce && !s.joint && d.Width != 1 ||
				int(c.Match) < lo || int(c.Match) >= hi || int(in.Codes[c.Match].Match) != i {
				return nil
			}
			to := f.Peer(first + uint32(i))
			if f.Peer(from+uint32(c.Match)) != int32(n)-to {
				return nil
			}
			s.to, s.near, s.match = append(s.to, to), append(s.near, to%int32(period)), append(s.match, c.Match-int32(lo))
		}
		last := make([]int32, period) // by sender: 1 more than its last receive
		for i := lo; i < hi; i++ {
			last[f.Peer(from+uint32(i))%int32(period)] = int32(i - lo + 1)
		}
		for near, slot := range last {
			if slot > 0 && !eager {
				s.senders = append(s.senders, sender{int32(near), slot - 1})
			}
		}
		v.salvos = append(v.salvos, s)
		lo = hi
	}
	if (v.copying != nil || eager) && len(v.salvos) > 1 { // it would come after the second
		return nil
	}
	return v
}

// classes finds the links of all messages.
func (v *volley) classes(m *Simulation) error {
	if v.row != nil {
		return nil
	}
	used := make([]bool, v.n)
	for i := range v.salvos {
		for _, d := range v.salvos[i].to {
			used[d] = true
		}
	}
	row := make([]uint8, v.period*v.n)
	found := make([]linkPart, partsOf(v.period, volleyPart))
	inParts(len(found), func(i int) {
		p := &found[i]
		p.lo, p.hi, p.number = int32(i*v.period/len(found)), int32((i+1)*v.period/len(found)), make(map[topology.Link]uint8)
		last := uint8(0)
		for r := p.lo; r < p.hi && !p.many; r++ {
			of := row[int(r)*v.n:][:v.n]
			for d, on := range used {
				if !on {
					continue
				}
				q := int(r) + d
				if q >= v.n {
					q -= v.n
				}
				if l := m.g.Link(topology.Rank(r), topology.Rank(q)); len(p.links) == 0 || p.links[last] != l {
					last = p.find(l)
				}
				of[d] = last
			}
		}
	})
	for i := range found {
		p := &found[i]
		of, same, err := m.model.number(p)
		if err != nil {
			return err
		}
		if !same {
			for e := int(p.lo) * v.n; e < int(p.hi)*v.n; e++ {
				row[e] = of[row[e]]
			}
		}
	}
	v.row = row
	return nil
}

// volleyPart is how many ranks are worth a goroutine of their own.
const volleyPart = 32

// A bill is what a message costs, by class of its link.
type bill struct {
	wire, gap, latency, overhead Time
	port                         uint8
}

// A salvoed is what the clock knows of a rank.
type salvoed struct {
	cpu, end      Time
	out, in, last [2]Time // last: when the last message of the salvos before was at the port; -1: none was
	busy          [2]Time
}

// Arrivals are kept in a word with a class in 8 bits, and sorted in one with a receive in slotBits.
const (
	slotBits = 20
	maxAt    = 1 << (63 - slotBits)
)

// run reports whether it could run a size: operations must be whole and short, and salvos must not mix.
func (v *volley) run(m *Simulation, res *Result, size *sizes) (bool, error) {
	if v.send.Slices != 1 || v.copying != nil && v.copying.Slices != 1 {
		return false, nil
	}
	if err := v.classes(m); err != nil {
		return false, err
	}
	bills := make([]bill, len(m.model.classes))
	bytes := int64(v.send.N) * size.chunk * size.elem
	for i := range m.model.classes {
		c := &m.model.classes[i].cost
		if c.Eager > 0 {
			return false, nil
		}
		b := bill{c.PerByte.Of(bytes), c.Gap, c.Latency, c.Overhead, uint8(c.port())}
		if max(b.wire, b.gap, b.overhead) > maxAt/Time(4*v.n) || b.latency > maxAt/4 {
			return false, nil
		}
		bills[i] = b
	}
	two := m.model.reduce.Of(bytes)
	if two > maxAt/Time(4*v.n) {
		return false, nil
	}
	ranks := make([]salvoed, v.period)
	for r := range ranks {
		ranks[r].last = [2]Time{-1, -1}
	}
	parts := partsOf(v.period, volleyPart)
	part := func(i int) (lo, hi int) { return i * v.period / parts, (i + 1) * v.period / parts }
	sent := make([][]int64, parts) // by class
	over := make([][]Time, parts)  // by rank: when the last of its messages was taken
	good := make([]bool, parts)
	for i := range over {
		over[i], sent[i] = make([]Time, v.period), make([]int64, len(bills))
	}
	for k := range v.salvos {
		s := &v.salvos[k]
		// A rank's sends go to a place each in the next receiver's, which must not be of one set of a cache.
		v.wide = 8*((len(s.to)+8)/8|1) - 1
		if need := v.period * v.wide; len(v.at) < need {
			v.at = make([]uint64, need)
		}
		inParts(parts, func(i int) {
			lo, hi := part(i)
			good[i] = v.sends(s, ranks, lo, hi, bills, sent[i])
		})
		if slices.Contains(good, false) {
			return false, nil
		}
		if c := v.copying; c != nil {
			for r := range ranks {
				x := &ranks[r]
				x.cpu += m.model.copying.Latency + m.model.copying.PerByte.Of(int64(c.N)*size.chunk*size.elem)
				x.end = max(x.end, x.cpu)
			}
		}
		inParts(parts, func(i int) {
			lo, hi := part(i)
			good[i] = v.takes(s, ranks, lo, hi, bills, two, over[i])
		})
		if slices.Contains(good, false) {
			return false, nil
		}
		if m.cfg.progress != nil {
			m.cfg.progress(float64(k+1) / float64(len(v.salvos)))
		}
	}
	res.Method, res.Classes, res.Finish = InVolleys, v.period, make([]Time, v.n)
	for i := range over {
		for r, at := range over[i] {
			ranks[r].end = max(ranks[r].end, at)
		}
		for c := range bills {
			t := &res.Tiers[m.model.classes[c].link.Level]
			t.Messages += sent[i][c] * int64(v.n/v.period)
			t.Bytes += sent[i][c] * int64(v.n/v.period) * bytes
		}
	}
	for r := range v.n {
		x := &ranks[r%v.period]
		res.Finish[r] = x.end
		res.port(topology.Rank(r), x.busy)
	}
	return true, nil
}

// sends sends a salvo from ranks lo to hi-1, and reports whether its times are small enough.
func (v *volley) sends(s *salvo, ranks []salvoed, lo, hi int, bills []bill, sent []int64) bool {
	each, latest := len(s.to), Time(0)
	counts := make([]int64, len(bills))
	for r := lo; r < hi; r++ {
		x := &ranks[r]
		row := v.row[r*v.n:][:v.n]
		cpu := x.cpu
		to, near, match := s.to[:each], s.near[:each], s.match[:each]
		for i := 0; i < each; {
			class := row[to[i]]
			b, first := bills[class], i
			out := x.out[b.port&1]
			for ; i < each && row[to[i]] == class; i++ { // most go on with links that are alike
				cpu += b.overhead
				free := max(cpu, out) + b.wire
				out = free + b.gap
				q := r + int(near[i])
				if q >= v.period {
					q -= v.period
				}
				v.at[q*v.wide+int(match[i])] = uint64(free+b.latency)<<8 | uint64(class)
			}
			x.out[b.port&1] = out
			latest = max(latest, out+b.latency)
			counts[class] += int64(i - first)
		}
		x.cpu = cpu
		for class, many := range counts {
			sent[class] += many
			x.busy[bills[class].port] += Time(many) * (bills[class].wire + bills[class].gap)
		}
		clear(counts)
	}
	return latest < maxAt
}

// takes takes a salvo at ranks lo to hi-1, and reports whether it did not mix with the ones before. It puts into over when messages of
// others were taken.
func (v *volley) takes(s *salvo, ranks []salvoed, lo, hi int, bills []bill, two Time, over []Time) bool {
	each := len(s.to)
	room := [2][]uint64{make([]uint64, each), make([]uint64, each)} // by port: times, and in slotBits receives
	done := make([]Time, each)                                      // by receive: when it is through the port, then when it has been taken
	for q := lo; q < hi; q++ {
		x := &ranks[q]
		at := v.at[q*v.wide:][:each]
		far, near := room[0][:0], room[1][:0]
		overheads, all := Time(0), Time(0)
		for i, key := range at {
			b := &bills[uint8(key)]
			overheads += b.overhead
			if key = key>>8<<slotBits | uint64(i); b.port == 0 {
				far = append(far, key)
			} else {
				near = append(near, key)
			}
		}
		for port, here := range [2][]uint64{far, near} {
			if len(here) == 0 {
				continue
			}
			inTurn(here)
			if Time(here[0]>>slotBits) <= x.last[port] {
				return false
			}
			x.last[port] = Time(here[len(here)-1] >> slotBits)
			in := x.in[port]
			for _, key := range here {
				slot := int(key & (1<<slotBits - 1))
				b := &bills[uint8(at[slot])]
				through := max(Time(key>>slotBits), in+b.wire)
				in = through + b.gap
				done[slot] = through
				all = max(all, through)
			}
			x.in[port] = in
		}
		if s.joint {
			x.cpu = max(x.cpu, all) + overheads + joint(two, int32(each))
		} else {
			cpu, reduction := x.cpu, Time(0)
			if s.reduce {
				reduction = joint(two, 1)
			}
			for i, key := range at {
				cpu = max(cpu, done[i]) + bills[uint8(key)].overhead + reduction
				done[i] = cpu
			}
			x.cpu = cpu
		}
		x.end = max(x.end, x.cpu)
		for _, y := range s.senders { // its last message was taken last
			p := q + int(y.near)
			if p >= v.period {
				p -= v.period
			}
			at := x.cpu
			if !s.joint {
				at = done[y.slot]
			}
			over[p] = max(over[p], at)
		}
	}
	return true
}

// inTurn sorts what mostly is in order.
func inTurn(keys []uint64) {
	moves := 0
	for i := 1; i < len(keys); i++ {
		key := keys[i]
		j := i
		for ; j > 0 && key < keys[j-1]; j-- {
			keys[j] = keys[j-1]
		}
		keys[j] = key
		if moves += i - j; moves > 32*len(keys) {
			slices.Sort(keys)
			return
		}
	}
}
