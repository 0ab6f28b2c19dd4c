package buffer

import "fmt"

// A ParseError says that a text names none of the things that it should name.
type ParseError struct {
	What string // what was looked for: "element type" or "reduction"
	Text string // the text that was given
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("buffer: unknown %s %q", e.What, e.Text)
}

// A KernelError says that there is no kernel for a type and an operation, because at least one of
// them is not valid.
type KernelError struct {
	Type DType
	Op   Op
}

func (e *KernelError) Error() string {
	return fmt.Sprintf("buffer: no kernel for element type %d (%v) and reduction %d (%v)", e.Type, e.Type, e.Op, e.Op)
}

// A BlockError says why a [Block] cannot be used, or not as elements of the type Want.
type BlockError struct {
	Have   DType  // the block's type
	Want   DType  // the type that was asked for; Have where none was
	Bytes  int    // length of the block's data
	Reason string // "has an invalid type", "has another type", "ends inside an element", "is misaligned" or "is not in the host's memory"
}

func (e *BlockError) Error() string {
	return fmt.Sprintf("buffer: block of %d bytes of %v %s, wanted %v", e.Bytes, e.Have, e.Reason, e.Want)
}
