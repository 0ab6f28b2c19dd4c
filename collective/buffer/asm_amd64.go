//go:build !purego

package buffer

//go:generate go -C internal/gen run . -pkg buffer -out ../../avx2_amd64.s -stubs ../../avx2_amd64.go

import "golang.org/x/sys/cpu"

// assembly lists what there is for amd64.
func assembly() []implementation {
	return []implementation{{
		name: "avx2",
		// The 256-bit registers, their instructions, and the conversion of float16.
		available: cpu.X86.HasAVX2 && cpu.X86.HasF16C,
		table:     avx2Table(),
		stream:    avx2Stream,
	}}
}

func avx2Table() *table {
	type run = func(to *byte, from *[]byte, k, lo, n, past int)
	tab := new(table)
	for t, runs := range [dtypeEnd][opEnd]run{
		Int8:     {Sum: avx2SumInt8, Prod: avx2ProdInt8, Min: avx2MinInt8, Max: avx2MaxInt8},
		Uint8:    {Sum: avx2SumInt8, Prod: avx2ProdInt8, Min: avx2MinUint8, Max: avx2MaxUint8},
		Int16:    {Sum: avx2SumInt16, Prod: avx2ProdInt16, Min: avx2MinInt16, Max: avx2MaxInt16},
		Uint16:   {Sum: avx2SumInt16, Prod: avx2ProdInt16, Min: avx2MinUint16, Max: avx2MaxUint16},
		Int32:    {Sum: avx2SumInt32, Prod: avx2ProdInt32, Min: avx2MinInt32, Max: avx2MaxInt32},
		Uint32:   {Sum: avx2SumInt32, Prod: avx2ProdInt32, Min: avx2MinUint32, Max: avx2MaxUint32},
		Int64:    {Sum: avx2SumInt64, Prod: avx2ProdInt64, Min: avx2MinInt64, Max: avx2MaxInt64},
		Uint64:   {Sum: avx2SumInt64, Prod: avx2ProdInt64, Min: avx2MinUint64, Max: avx2MaxUint64},
		Float16:  {Sum: avx2SumFloat16, Prod: avx2ProdFloat16, Min: avx2MinFloat16, Max: avx2MaxFloat16},
		BFloat16: {Sum: avx2SumBFloat16, Prod: avx2ProdBFloat16, Min: avx2MinBFloat16, Max: avx2MaxBFloat16},
		Float32:  {Sum: avx2SumFloat32, Prod: avx2ProdFloat32, Min: avx2MinFloat32, Max: avx2MaxFloat32},
		Float64:  {Sum: avx2SumFloat64, Prod: avx2ProdFloat64, Min: avx2MinFloat64, Max: avx2MaxFloat64},
	} {
		for op, run := range runs {
			if run != nil {
				tab.reducers[t][op] = reducer{run: run, width: maxPass, block: 32, streams: true, impl: "avx2"}
			}
		}
	}
	tab.dividers[Float16] = divider{run: avx2DivideFloat16, block: 32}
	tab.dividers[BFloat16] = divider{run: avx2DivideBFloat16, block: 32}
	tab.dividers[Float32] = divider{run: avx2DivideFloat32, block: 32}
	tab.dividers[Float64] = divider{run: avx2DivideFloat64, block: 32}
	return tab
}
