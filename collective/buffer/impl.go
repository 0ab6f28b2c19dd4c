package buffer

import "unsafe"

// maxBlock is the largest block of an implementation, in bytes.
const maxBlock = 32

// A reducer is one implementation of an operation on a type. Avg shares Sum's.
type reducer struct {
	// run reduces the n bytes from byte lo on, n a positive multiple of block, of the k slices that begin with from into those of to,
	// 2 <= k <= width. to may be among them. It keeps no pointer. past is near or, if streams, past the caches, when to+lo must
	// be a multiple of streamLine.
	run     func(to *byte, from *[]byte, k, lo, n, past int)
	width   int  // at most maxPass
	block   int  // a power of two, at most maxBlock, a multiple of the element size
	streams bool // can store past the caches
	impl    string
	// few, unless nil, is the run of a reducer whose block is an element, to which fewer bytes than a block of two sources go: elements of
	// four bytes and more are so few then that it is quicker than a block of copies.
	few func(to *byte, from *[]byte, k, lo, n, past int)
}

// A divider is one implementation of the division of a type's elements.
type divider struct {
	// run divides the elements in the n bytes at p, a positive multiple of block, by by, at least 2. It
	// keeps no pointer.
	run   func(p *byte, n, by int)
	block int
}

// A table is a set of implementations. An entry whose run is nil is missing.
type table struct {
	reducers [dtypeEnd][opEnd]reducer
	dividers [dtypeEnd]divider
}

// A kernel is what a [Kernel] refers to: all in one place, as reductions that fill the first-level cache do better the less they read
// beside their operands.
type kernel struct {
	reducer
	divide *divider // nil unless op is Avg
	dtype  DType
	op     Op
}

// kernel returns the kernel for a valid type and operation out of a table that has them.
func (tab *table) kernel(t DType, op Op) Kernel {
	k := &kernel{reducer: tab.reducers[t][op], dtype: t, op: op}
	if op == Avg {
		k.reducer = tab.reducers[t][Sum]
		k.divide = &tab.dividers[t]
	}
	return Kernel{k}
}

// An implementation is a table under the name of the instructions that it needs.
type implementation struct {
	name      string
	available bool // this machine has the instructions
	table     *table
	stream    streamer // nil: none
}

// implementations lists all that are compiled in, the slowest first. The first one is complete and
// runs everywhere; the others may lack entries.
var implementations = append([]implementation{{name: "generic", available: true, table: genericTable()}}, assembly()...)

// best has the entries of the last implementation that is available and has them.
var best = func() *table {
	tab := new(table)
	for _, impl := range implementations {
		if impl.available {
			tab.overlay(impl.table)
		}
	}
	return tab
}()

// kernels has those of best.
var kernels = func() (all [dtypeEnd][opEnd]Kernel) {
	for t := range all {
		for op := range all[t] {
			all[t][op] = best.kernel(DType(t), Op(op))
		}
	}
	return all
}()

// stream is that of the last implementation that is available and has one; nil: there is none.
var stream = func() (s streamer) {
	for _, impl := range implementations {
		if impl.available && impl.stream != nil {
			s = impl.stream
		}
	}
	return s
}()

// overlay replaces the entries of tab by those that other has.
func (tab *table) overlay(other *table) {
	for t := range tab.reducers {
		for op := range tab.reducers[t] {
			if r := other.reducers[t][op]; r.run != nil {
				if before := &tab.reducers[t][op]; before.run != nil && before.width == 2 && DType(t).Size() >= 4 {
					r.few = before.run
				}
				tab.reducers[t][op] = r
			}
		}
		if d := other.dividers[t]; d.run != nil {
			tab.dividers[t] = d
		}
	}
}

// noescape returns p in a way that the compiler does not see, so that what p points to may stay on
// the stack although a function value gets it. Every run function keeps no pointer.
//
//go:nosplit
func noescape[T byte | []byte](p *T) *T {
	hidden := uintptr(unsafe.Pointer(p))
	return *(**T)(unsafe.Pointer(&hidden))
}
