//go:build !amd64 || purego

package sim

func stepRow(d, h, c []Time, span, late []uint32) { stepPlain(d, h, c, span, late) }
