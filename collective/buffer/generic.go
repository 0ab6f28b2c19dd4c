package buffer

import "unsafe"

// This file is the definition of the reductions: what the assembly computes is compared with it.

// number is the set of element types that Go can calculate with.
type number interface {
	integer | float32 | float64
}

type integer interface {
	int8 | uint8 | int16 | uint16 | int32 | uint32 | int64 | uint64
}

// genericTable returns the complete implementation in Go.
func genericTable() *table {
	tab := new(table)
	addIntegers[int8](tab)
	addIntegers[uint8](tab)
	addIntegers[int16](tab)
	addIntegers[uint16](tab)
	addIntegers[int32](tab)
	addIntegers[uint32](tab)
	addIntegers[int64](tab)
	addIntegers[uint64](tab)
	addFloats[float32](tab)
	addFloats[float64](tab)
	addHalves(tab, Float16, reduceF16, divideF16)
	addHalves(tab, BFloat16, reduceBF16, divideBF16)
	return tab
}

func addIntegers[T integer](tab *table) {
	t := TypeOf[T]()
	tab.reducers[t] = [opEnd]reducer{
		Sum:  genericReducer(t, onSlices(sum[T])),
		Prod: genericReducer(t, onSlices(prod[T])),
		Min:  genericReducer(t, onSlices(minimum[T])),
		Max:  genericReducer(t, onSlices(maximum[T])),
	}
	tab.dividers[t] = divider{run: divideIntegers[T], block: t.Size()}
}

func addFloats[T float32 | float64](tab *table) {
	t := TypeOf[T]()
	tab.reducers[t] = [opEnd]reducer{
		Sum:  genericReducer(t, onSlices(sum[T])),
		Prod: genericReducer(t, onSlices(prod[T])),
		Min:  genericReducer(t, onSlices(minimumFloat[T])),
		Max:  genericReducer(t, onSlices(maximumFloat[T])),
	}
	tab.dividers[t] = divider{run: divideFloats[T], block: t.Size()}
}

func genericReducer(t DType, run func(to *byte, from *[]byte, k, lo, n, past int)) reducer {
	return reducer{run: run, width: 2, block: t.Size(), impl: "generic"}
}

// onSlices makes a reducer's function, for two sources, of one that works on slices.
func onSlices[T number](f func(dst, a, b []T)) func(to *byte, from *[]byte, k, lo, n, past int) {
	size := TypeOf[T]().Size()
	return func(to *byte, from *[]byte, k, lo, n, _ int) {
		srcs := unsafe.Slice(from, k)
		lo, n = lo/size, n/size
		f(elements[T](to, lo, n), elements[T](unsafe.SliceData(srcs[0]), lo, n), elements[T](unsafe.SliceData(srcs[1]), lo, n))
	}
}

func sum[T number](dst, a, b []T) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

func prod[T number](dst, a, b []T) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] * b[i]
	}
}

func minimum[T integer](dst, a, b []T) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = min(a[i], b[i])
	}
}

func maximum[T integer](dst, a, b []T) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = max(a[i], b[i])
	}
}

// minimumFloat is minimum for floats. Go's min has the wanted rules, but does not promise that a NaN
// comes out quiet: an addition does that.
func minimumFloat[T float32 | float64](dst, a, b []T) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		m := min(a[i], b[i])
		if m != m {
			m += m
		}
		dst[i] = m
	}
}

func maximumFloat[T float32 | float64](dst, a, b []T) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		m := max(a[i], b[i])
		if m != m {
			m += m
		}
		dst[i] = m
	}
}

// divideIntegers truncates towards zero. The division is done in 64 bits, where n fits.
func divideIntegers[T integer](p *byte, n, by int) {
	data := elements[T](p, 0, n/TypeOf[T]().Size())
	if ^T(0) > 0 { // unsigned
		for i, x := range data {
			data[i] = T(uint64(x) / uint64(by))
		}
		return
	}
	for i, x := range data {
		data[i] = T(int64(x) / int64(by))
	}
}

func divideFloats[T float32 | float64](p *byte, n, by int) {
	data := elements[T](p, 0, n/TypeOf[T]().Size())
	for i, x := range data {
		data[i] = x / T(by)
	}
}

// elements returns n elements from number lo on of those at p.
func elements[T Elem](p *byte, lo, n int) []T {
	return unsafe.Slice((*T)(unsafe.Add(unsafe.Pointer(p), lo*TypeOf[T]().Size())), n)
}
