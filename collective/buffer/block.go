package buffer

import (
	"math/bits"
	"unsafe"
)

// A Block is a run of elements whose type is known at run time only. It borrows its memory: whoever
// made Data owns it. The bytes are in the order of the machine.
type Block struct {
	Data   []byte // its length is a multiple of Type.Size(), its address aligned for the type
	Type   DType
	Memory Memory // where Data lies; nil: the host's memory. In another one the host must not touch it
}

// Of returns s as a block. The two share their memory.
func Of[T Elem](s []T) Block {
	var zero T
	p := (*byte)(unsafe.Pointer(unsafe.SliceData(s)))
	return Block{Data: unsafe.Slice(p, len(s)*int(unsafe.Sizeof(zero))), Type: TypeOf[T]()}
}

// View returns the elements of b, which shares its memory. The error is a *[BlockError]: b must hold
// elements of type T and be valid.
func View[T Elem](b Block) ([]T, error) {
	want := TypeOf[T]()
	if b.Type != want && b.Type.Valid() {
		return nil, &BlockError{Have: b.Type, Want: want, Bytes: len(b.Data), Reason: "has another type"}
	}
	if err := b.Validate(); err != nil {
		return nil, err
	}
	if b.Memory != nil {
		return nil, &BlockError{Have: b.Type, Want: want, Bytes: len(b.Data), Reason: "is not in the host's memory"}
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b.Data))), b.Count()), nil
}

// Validate returns nil if b's type is valid and its data is a whole number of elements at an address
// aligned for their type, else a *[BlockError].
func (b Block) Validate() error {
	if _, ok := b.Type.Elements(b.Data); ok {
		return nil
	}
	reason := "is misaligned"
	switch size := b.Type.Size(); {
	case size == 0:
		reason = "has an invalid type"
	case len(b.Data)&(size-1) != 0:
		reason = "ends inside an element"
	}
	return &BlockError{Have: b.Type, Want: b.Type, Bytes: len(b.Data), Reason: reason}
}

// Elements returns how many elements of type t data holds, 0 if t is not valid, and whether they are all of data and aligned: whether a
// Block of both is valid.
func (t DType) Elements(data []byte) (n int, ok bool) {
	size := t.Size()
	if size == 0 {
		return 0, false
	}
	// Sizes and alignments are powers of two; dividing by them is half of what a small operation's checks would cost.
	whole := len(data)&(size-1) == 0
	aligned := len(data) == 0 || uintptr(unsafe.Pointer(unsafe.SliceData(data)))&(alignment(size)-1) == 0
	return len(data) >> bits.TrailingZeros8(uint8(size)), whole && aligned
}

// alignment returns what the address of elements of a size must be a multiple of: Go's own rule, which on 32-bit
// machines is 4 bytes for elements of 8.
func alignment(size int) uintptr { return min(uintptr(size), unsafe.Alignof(uint64(0))) }

// Count returns the number of elements of b, 0 if its type is not valid.
func (b Block) Count() int {
	size := b.Type.Size()
	if size == 0 {
		return 0
	}
	return len(b.Data) >> bits.TrailingZeros8(uint8(size))
}

// Slice returns the elements lo to hi (exclusive) of b, which shares its memory. Like a slice
// expression it panics if they are out of range.
func (b Block) Slice(lo, hi int) Block {
	size := b.Type.Size()
	return Block{Data: b.Data[lo*size : hi*size : hi*size], Type: b.Type, Memory: b.Memory}
}
