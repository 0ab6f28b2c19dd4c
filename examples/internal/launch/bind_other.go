//go:build !linux

package launch

// Bind does nothing on this system.
func Bind(rank, size int) (bool, error) { return false, nil }
