package ptx

import (
	"errors"
	"fmt"
	"unsafe"
)

// A Memory is what a kernel may touch.
type Memory interface {
	// At returns the n bytes at a device address, or an error if not all of them may be read (or written).
	At(address uint64, n int, write bool) (unsafe.Pointer, error)
}

// Errors of Launch, besides those of the Memory.
var (
	ErrMisaligned = errors.New("ptx: misaligned address")
	ErrEndless    = errors.New("ptx: a thread does not end")
)

// stepLimit is how many instructions a thread may execute.
const stepLimit = 1 << 30

// next is what an instruction returns to go on with the one behind it; ended ends the thread.
const (
	next  = -1
	ended = -2
)

type thread struct {
	regs     []uint64
	specials [5]uint32
	params   []byte
	memory   Memory
	err      error
}

// Launch executes the kernel for every thread of a grid of blocks[0] × blocks[1] blocks, one after the other. The error names
// the instruction.
func (k *Kernel) Launch(memory Memory, blocks [2]int, threads int, params []byte) error {
	if len(params) < k.ParamBytes() {
		return fmt.Errorf("ptx: %s: %d bytes of parameters, want %d", k.Name, len(params), k.ParamBytes())
	}
	t := &thread{regs: make([]uint64, len(k.regs)), params: params, memory: memory}
	for y := range blocks[1] {
		for x := range blocks[0] {
			for i := range threads {
				t.specials = [5]uint32{uint32(i), uint32(threads), uint32(x), uint32(blocks[0]), uint32(y)}
				for r := range t.regs {
					t.regs[r] = 0xdeadbeefdeadbeef
				}
				if at, err := k.run(t); err != nil {
					return fmt.Errorf("ptx: %s, line %d, %q, thread %d of block %d: %w", k.Name, k.code[at].line, k.code[at].text, i, x, err)
				}
			}
		}
	}
	return nil
}

// run executes one thread and returns, with an error, the instruction that it is about.
func (k *Kernel) run(t *thread) (int, error) {
	code := k.code
	for pc, steps := 0, 0; pc < len(code); steps++ {
		in := &code[pc]
		if in.guard >= 0 && t.regs[in.guard]&1 == 0 != in.negate {
			pc++
			continue
		}
		switch to := in.run(t); to {
		case next:
			pc++
		case ended:
			return pc, t.err
		default:
			pc = to
		}
		if steps == stepLimit {
			return pc, ErrEndless
		}
	}
	return len(code) - 1, errors.New("it runs past the end")
}

// fail ends the thread with an error.
func (t *thread) fail(err error) int {
	t.err = err
	return ended
}

// at returns n bytes of memory at an operand.
func (t *thread) at(o operand, n int, write bool) (unsafe.Pointer, error) {
	a := t.regs[o.reg] + o.value
	if a%uint64(n) != 0 {
		return nil, fmt.Errorf("%w %#x for %d bytes", ErrMisaligned, a, n)
	}
	return t.memory.At(a, n, write)
}

func load(p unsafe.Pointer, size int) uint64 {
	switch size {
	case 1:
		return uint64(*(*uint8)(p))
	case 2:
		return uint64(*(*uint16)(p))
	case 4:
		return uint64(*(*uint32)(p))
	}
	return *(*uint64)(p)
}

func store(p unsafe.Pointer, size int, v uint64) {
	switch size {
	case 1:
		*(*uint8)(p) = uint8(v)
	case 2:
		*(*uint16)(p) = uint16(v)
	case 4:
		*(*uint32)(p) = uint32(v)
	default:
		*(*uint64)(p) = v
	}
}
