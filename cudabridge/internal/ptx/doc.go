// Package ptx executes the part of NVIDIA's PTX that the bridge's kernels use, on the host, one thread after the other. It is
// for tests: it proves what a kernel computes and which memory it touches, and says nothing about speed, about threads
// that race, or about what a driver makes of the text. An instruction that it does not know is an error when the text is
// parsed; every access is checked for bounds and alignment; registers begin with noise.
//
// The semantics are those of the PTX ISA manual: arithmetic rounds to nearest even and keeps denormals, min and max take the
// operand that is a number and order -0 before +0, shifts are clamped, a division of integers by zero has every bit set, and
// float results that are no number are the canonical one.
package ptx
