package sim

import "slices"

// A backlog is what is under way within a group beyond the window that it has been run to. What comes soon is kept apart, so that not all of it
// has to be looked at in every window; neither part is in order.
type backlog struct {
	soon, later []arrival
	until       Time // what comes before is in soon
}

func (b *backlog) add(e arrival) {
	if e.at < b.until {
		b.soon = append(b.soon, e)
	} else {
		b.later = append(b.later, e)
	}
}

// soonest is about how many arrivals come soon.
const soonest = 64

// refill takes what comes next to be soon, where nothing is, and reports whether there was something.
func (b *backlog) refill() bool {
	n := len(b.later)
	if n <= soonest {
		b.soon, b.later = b.later, b.soon
		for i := range b.soon {
			b.until = max(b.until, b.soon[i].at+1)
		}
		return n > 0
	}
	first, last := b.later[0].at, b.later[0].at
	for i := range b.later {
		first, last = min(first, b.later[i].at), max(last, b.later[i].at)
	}
	b.until = first + (last-first)/Time(n)*soonest + 1
	later := b.later
	for i := 0; i < len(later); {
		if later[i].at >= b.until {
			i++
			continue
		}
		b.soon = append(b.soon, later[i])
		last := len(later) - 1
		later[i] = later[last]
		later = later[:last]
	}
	b.later = later
	return true
}

// copyFrom makes b equal to o, but for the group.
func (b *backlog) copyFrom(o *backlog, group uint32) {
	b.soon, b.later, b.until = append(b.soon[:0], o.soon...), append(b.later[:0], o.later...), o.until
	for i := range b.soon {
		b.soon[i].group = group
	}
	for i := range b.later {
		b.later[i].group = group
	}
}

// contains reports whether there is an arrival like that.
func (b *backlog) contains(f func(arrival) bool) bool {
	return slices.ContainsFunc(b.soon, f) || slices.ContainsFunc(b.later, f)
}
