package buffer_test

import (
	"errors"
	"fmt"

	"github.com/ringtree/ringtree/collective/buffer"
)

// Three ranks' gradients are averaged into the first one's buffer.
func ExampleKernel_Reduce() {
	ranks := [][]float32{{1, 2, 3}, {4, 5, 6}, {7, 11, 15}}
	kernel, err := buffer.KernelFor(buffer.Float32, buffer.Avg)
	if err != nil {
		fmt.Println(err)
		return
	}
	dst := buffer.Of(ranks[0]).Data
	kernel.Reduce(dst, [][]byte{dst, buffer.Of(ranks[1]).Data, buffer.Of(ranks[2]).Data})
	fmt.Println("sum:", ranks[0])
	kernel.Finish(dst, len(ranks))
	fmt.Println("avg:", ranks[0])
	// Output:
	// sum: [12 18 24]
	// avg: [4 6 8]
}

func ExampleKernelFor() {
	_, err := buffer.KernelFor(buffer.Float32, 0)
	var e *buffer.KernelError
	fmt.Println(errors.As(err, &e), err)
	// Output: true buffer: no kernel for element type 11 (float) and reduction 0 (invalid)
}

func ExampleOf() {
	gradients := []buffer.BF16{buffer.ToBF16(1), buffer.ToBF16(-0.5)}
	b := buffer.Of(gradients)
	fmt.Println(b.Count(), b.Type, len(b.Data))
	// Output: 2 bfloat16 4
}

func ExampleView() {
	b := buffer.Of([]int32{1, 2, 3, 4})
	middle, err := buffer.View[int32](b.Slice(1, 3))
	fmt.Println(middle, err)
	_, err = buffer.View[float32](b)
	fmt.Println(err)
	// Output:
	// [2 3] <nil>
	// buffer: block of 16 bytes of int32 has another type, wanted float
}

func ExampleParseDType() {
	for _, name := range []string{"half", "bf16", "float32", "fp8"} {
		t, err := buffer.ParseDType(name)
		fmt.Println(t, t.Size(), err)
	}
	// Output:
	// half 2 <nil>
	// bfloat16 2 <nil>
	// float 4 <nil>
	// invalid 0 buffer: unknown element type "fp8"
}

func ExampleParseOp() {
	op, err := buffer.ParseOp("max")
	fmt.Println(op, err)
	// Output: max <nil>
}

func ExampleToF16() {
	h := buffer.ToF16(2049) // 11 bits are not enough
	fmt.Println(h.Float32())
	// Output: 2048
}

func ExampleCopy() {
	dst := make([]byte, 4)
	buffer.Copy(dst, []byte("abc"))
	fmt.Printf("%q\n", dst)
	// Output: "abc\x00"
}
