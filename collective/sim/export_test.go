package sim

// ByEvents runs every message as an event, where windows of time would do too.
func ByEvents() Option { return func(c *config) { c.events = true } }

// Crew sets how many goroutines run windows of time.
func Crew(n int) Option { return func(c *config) { c.crew = n } }

// Kept returns what a run by windows left for the next.
func Kept(m *Simulation) any {
	if m.windows == nil {
		return nil
	}
	return m.windows
}

// FewAlike looks for groups alike however few there are.
func FewAlike() Option { return func(c *config) { c.fewAlike = true } }

// AsOne reports whether the last run was one by windows in which groups alike were run as one.
func AsOne(m *Simulation) bool {
	if m.windows == nil {
		return false
	}
	for _, w := range m.windows.crew {
		if w.alike != nil {
			return true
		}
	}
	return false
}

// Cascades returns how many groups of the last run by windows had a cascade of their own in the end, and how many groups that could.
func Cascades(m *Simulation) (apart, groups int) {
	if m.windows == nil {
		return 0, 0
	}
	for _, w := range m.windows.crew {
		if w.alike == nil {
			continue
		}
		for h, l := range w.alike.leader {
			if w.alike.cascades != nil && w.alike.cascades[w.alike.class[h]] != nil {
				groups++
				if w.alike.apart[l] {
					apart++
				}
			}
		}
	}
	return apart, groups
}
