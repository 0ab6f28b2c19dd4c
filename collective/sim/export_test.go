package sim

// ByEvents runs every message as an event, where windows of time would do too.
func ByEvents() Option { return func(c *config) { c.events = true } }

// Crew sets how many goroutines run windows of time.
func Crew(n int) Option { return func(c *config) { c.crew = n } }
