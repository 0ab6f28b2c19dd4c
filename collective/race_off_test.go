//go:build !race

package collective_test

// raceEnabled says that the race detector watches.
const raceEnabled = false
