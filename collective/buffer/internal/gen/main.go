// Command gen writes the AVX2 assembly of package buffer and the Go declarations of its functions.
// It is a module of its own, so that what it needs stays out of the module graph of the library's users.
//
// Every reducing function has the same frame (frame.go) around the few instructions that make up
// its type and operation (integers.go, floats.go, halves.go); one function more copies past the caches (streams.go).
package main

import "github.com/mmcloughlin/avo/build"

func main() {
	build.ConstraintExpr("!purego")
	integers()
	floats()
	halves()
	streams()
	build.Generate()
}
