//go:build !linux

package tcp

// tries has nothing: elsewhere, connections are waited for.
type tries struct{}
