package ptx

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"
)

var errUnknown = errors.New("unknown instruction")

// read returns what gets an operand's value.
func read(o operand) func(*thread) uint64 {
	switch o.kind {
	case register:
		return func(t *thread) uint64 { return t.regs[o.reg] }
	case special:
		return func(t *thread) uint64 { return uint64(t.specials[o.reg]) }
	case number:
		return func(*thread) uint64 { return o.value }
	}
	return nil
}

// compile turns a decoded instruction into a function.
func (k *Kernel) compile(in *instruction) (func(*thread) int, error) {
	parts, args := in.parts, in.args
	name, kind := parts[0], parts[len(parts)-1]
	switch name {
	case "ret":
		return func(*thread) int { return ended }, nil
	case "bra":
		if len(args) != 1 || args[0].kind != label {
			return nil, errUnknown
		}
		to, ok := k.labels[args[0].name]
		if !ok {
			return nil, fmt.Errorf("no label %s", args[0].name)
		}
		return func(*thread) int { return to }, nil
	case "ld", "st":
		return compileAccess(name, parts, args, sizes[kind])
	case "mov":
		if len(args) == 2 && (args[0].kind == vector || args[1].kind == vector) {
			return compilePack(args, sizes[kind])
		}
	}

	if len(args) < 2 || args[0].kind != register {
		return nil, errUnknown
	}
	dst := args[0].reg
	var src [3]func(*thread) uint64
	for i, a := range args[1:] {
		if i == len(src) {
			return nil, errUnknown
		}
		if src[i] = read(a); src[i] == nil {
			return nil, errUnknown
		}
	}
	a, b, c := src[0], src[1], src[2]
	switch len(args) {
	case 2:
		if f := unary(parts); f != nil {
			return func(t *thread) int { t.regs[dst] = f(a(t)); return next }, nil
		}
	case 3:
		if f := binary(parts); f != nil {
			return func(t *thread) int { t.regs[dst] = f(a(t), b(t)); return next }, nil
		}
	case 4:
		if f := ternary(parts); f != nil {
			return func(t *thread) int { t.regs[dst] = f(a(t), b(t), c(t)); return next }, nil
		}
	}
	return nil, errUnknown
}

// compilePack is a mov between a register and a vector of parts of it.
func compilePack(args []operand, size int) (func(*thread) int, error) {
	v, whole := args[0], args[1]
	if v.kind != vector {
		v, whole = args[1], args[0]
	}
	if size == 0 || whole.kind != register || len(v.vector) != 2 || slices.ContainsFunc(v.vector, func(o operand) bool { return o.kind != register }) {
		return nil, errUnknown
	}
	low, high, all, half := v.vector[0].reg, v.vector[1].reg, whole.reg, 4*size
	if args[0].kind == vector {
		return func(t *thread) int {
			x := t.regs[all]
			t.regs[low], t.regs[high] = cut(x, half), cut(x>>half, half)
			return next
		}, nil
	}
	return func(t *thread) int {
		t.regs[all] = cut(t.regs[low], half) | cut(t.regs[high], half)<<half
		return next
	}, nil
}

// compileAccess is a load or a store, of one value or a vector.
func compileAccess(name string, parts []string, args []operand, size int) (func(*thread) int, error) {
	if size == 0 || len(args) != 2 || len(parts) < 3 {
		return nil, errUnknown
	}
	place, value := args[1], args[0]
	if name == "st" {
		place, value = args[0], args[1]
	}
	values := []operand{value}
	if v, ok := strings.CutPrefix(parts[2], "v"); ok && len(parts) == 4 {
		if value.kind != vector || fmt.Sprint(len(value.vector)) != v {
			return nil, errUnknown
		}
		values = value.vector
	} else if len(parts) != 3 {
		return nil, errUnknown
	}
	regs := make([]int, len(values))
	for i, v := range values {
		if v.kind != register {
			return nil, errUnknown
		}
		regs[i] = v.reg
	}
	all := size * len(regs)
	switch {
	case parts[1] == "param" && name == "ld" && place.kind == parameter && len(regs) == 1:
		return func(t *thread) int {
			t.regs[regs[0]] = load(unsafe.Pointer(&t.params[place.value]), size)
			return next
		}, nil
	case parts[1] == "global" && place.kind == address && name == "ld":
		return func(t *thread) int {
			p, err := t.at(place, all, false)
			if err != nil {
				return t.fail(err)
			}
			for i, r := range regs {
				t.regs[r] = load(unsafe.Add(p, i*size), size)
			}
			return next
		}, nil
	case parts[1] == "global" && place.kind == address:
		return func(t *thread) int {
			p, err := t.at(place, all, true)
			if err != nil {
				return t.fail(err)
			}
			for i, r := range regs {
				store(unsafe.Add(p, i*size), size, t.regs[r])
			}
			return next
		}, nil
	}
	return nil, errUnknown
}
