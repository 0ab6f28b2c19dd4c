//go:build !linux

package tcp

const tried = false

// tries has nothing: elsewhere, connections are waited for.
type tries struct{}
