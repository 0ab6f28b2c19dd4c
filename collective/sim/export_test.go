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
