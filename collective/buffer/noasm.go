//go:build !amd64 || purego

package buffer

// assembly returns nothing: there is none for this machine, or it is not wanted.
func assembly() []implementation { return nil }
