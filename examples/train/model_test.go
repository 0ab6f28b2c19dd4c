package main

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// reference is the model's loss written down a second time, plainly and in float64: the mean of the samples'
// cross-entropies for the weights in params.
func reference(widths []int, params [][]float64, x []float32, y []uint8) float64 {
	var total float64
	for s, label := range y {
		in := make([]float64, widths[0])
		for i := range in {
			in[i] = float64(x[s*widths[0]+i])
		}
		for layer := range len(widths) - 1 {
			weight, bias := params[2*layer], params[2*layer+1]
			out := make([]float64, widths[layer+1])
			for o := range out {
				out[o] = bias[o]
				for i, v := range in {
					out[o] += weight[o*len(in)+i] * v
				}
				if layer < len(widths)-2 && out[o] < 0 {
					out[o] = 0
				}
			}
			in = out
		}
		var sum float64
		for _, v := range in {
			sum += math.Exp(v)
		}
		total += math.Log(sum) - in[label]
	}
	return total / float64(len(y))
}

func TestGradients(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, widths := range [][]int{{6, 4}, {6, 5, 4}, {6, 7, 5, 4}, {5, 80, 70, 3}} {
		const n = 9
		m := newModel(widths, n+2, seed)
		x := make([]float32, n*widths[0])
		y := make([]uint8, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		for i := range y {
			y[i] = uint8(rng.IntN(widths[len(widths)-1]))
		}
		tensors := m.params()
		params := make([][]float64, len(tensors))
		grads := make([][]float32, len(tensors))
		for i, v := range tensors {
			if i%2 == 1 { // biases begin as zeros; the check wants some that are not
				for j := range v.data {
					v.data[j] = float32(rng.NormFloat64()) / 4
				}
			}
			grads[i] = make([]float32, len(v.data))
			for j, w := range v.data {
				params[i] = append(params[i], float64(w))
				grads[i][j] = float32(math.NaN()) // must be overwritten
			}
		}

		loss, _ := m.forward(x, y)
		if want := n * reference(widths, params, x, y); math.Abs(loss-want) > 1e-5*want {
			t.Errorf("seed %d, widths %v: loss %v, want %v", seed, widths, loss, want)
		}
		var told []int
		if err := m.backward(1./n, grads, func(param int) error { told = append(told, param); return nil }); err != nil {
			t.Fatal(err)
		}
		var order []int
		for i := range slices.Backward(grads) {
			order = append(order, i)
		}
		if !slices.Equal(told, order) {
			t.Errorf("widths %v: gradients told in order %v, want %v", widths, told, order)
		}
		for i := range params {
			// All elements of a small tensor, some hundred of a large one.
			for j := 0; j < len(params[i]); j += 1 + len(params[i])/300 {
				w := params[i][j]
				// Central differences in float64: their error is far below float32's.
				const h = 1e-5
				params[i][j] = w + h
				up := reference(widths, params, x, y)
				params[i][j] = w - h
				down := reference(widths, params, x, y)
				params[i][j] = w
				want := (up - down) / (2 * h)
				if got := float64(grads[i][j]); !(math.Abs(got-want) <= 2e-5*(1+math.Abs(want))) {
					t.Fatalf("seed %d, widths %v, %s[%d]: gradient %v, want %v", seed, widths, tensors[i].name, j, got, want)
				}
			}
		}
	}
}

// TestShares: the gradients of the parts of a batch, an empty one among them, add up to those of the whole.
func TestShares(t *testing.T) {
	train, _ := split(mustLoad(t))
	const batch = 50
	widths := []int{pixels, 12, classes}
	gradients := func(lo, hi int) [][]float32 {
		m := newModel(widths, batch, 3)
		var grads [][]float32
		for _, v := range m.params() {
			grads = append(grads, slices.Repeat([]float32{9}, len(v.data)))
		}
		m.forward(train.x[lo*pixels:hi*pixels], train.y[lo:hi])
		if err := m.backward(1./batch, grads, func(int) error { return nil }); err != nil {
			t.Fatal(err)
		}
		return grads
	}
	whole := gradients(0, batch)
	parts := [][][]float32{gradients(0, 17), gradients(17, 17), gradients(17, batch)}
	for i := range whole {
		for j, want := range whole[i] {
			var got float32
			for _, p := range parts {
				got += p[i][j]
			}
			if math.Abs(float64(got-want)) > 1e-6 {
				t.Fatalf("parameter %d, element %d: parts sum to %v, want %v", i, j, got, want)
			}
		}
	}
}

func TestForwardCountsRight(t *testing.T) {
	m := newModel([]int{2, 2}, 4, 1)
	copy(m.layers[0].weight, []float32{1, 0, 0, 1}) // the class is the larger input
	x := []float32{1, 0, 0, 1, 3, 2, 500, -500}
	loss, right := m.forward(x, []uint8{0, 1, 1, 1})
	if right != 2 {
		t.Errorf("%d right, want 2", right)
	}
	// log(1+e^-1) twice, log(1+e) once, and a score so large that its exponential would overflow.
	if want := 2*math.Log1p(math.Exp(-1)) + math.Log1p(math.E) + 1000; math.Abs(loss-want) > 1e-4 {
		t.Errorf("loss %v, want %v", loss, want)
	}
	if loss, right := m.forward(nil, nil); loss != 0 || right != 0 {
		t.Errorf("no samples: loss %v, %d right, want 0", loss, right)
	}
}

func TestBackwardStops(t *testing.T) {
	stop := errors.New("stop")
	m := newModel([]int{3, 2, 2}, 1, 1)
	m.forward([]float32{1, 2, 3}, []uint8{1})
	grads := [][]float32{make([]float32, 6), make([]float32, 2), make([]float32, 4), make([]float32, 2)}
	calls := 0
	err := m.backward(1, grads, func(int) error { calls++; return stop })
	if err != stop || calls != 1 {
		t.Errorf("got %v after %d calls, want %v after 1", err, calls, stop)
	}
}

func TestInitialWeights(t *testing.T) {
	m := newModel([]int{200, 300, 10}, 1, 5)
	var sum, square float64
	w := m.layers[0].weight
	for _, v := range w {
		sum += float64(v)
		square += float64(v) * float64(v)
	}
	n := float64(len(w))
	// Four standard errors of the mean and of the variance of 60,000 draws.
	if mean := sum / n; math.Abs(mean) > 4*0.1/math.Sqrt(n) {
		t.Errorf("mean %v, want 0", mean)
	}
	if v := square / n; math.Abs(v-0.01) > 4*0.01*math.Sqrt(2/n) {
		t.Errorf("variance %v, want 2/200", v)
	}
	if same, other := newModel([]int{200, 300, 10}, 1, 5), newModel([]int{200, 300, 10}, 1, 6); !slices.Equal(same.layers[0].weight, w) ||
		slices.Equal(other.layers[0].weight, w) {
		t.Error("weights do not follow the seed")
	}
}

func TestOptimizers(t *testing.T) {
	data := []tensor{{"w", []float32{1, -2}}}
	o, err := newOptimizer("sgd", data)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		o.next()
		o.step(0, data[0].data, []float32{1, 2}, 0.1)
	}
	// Velocities 1 then 1.9: the sum of both times 0.1 is gone.
	if got, want := data[0].data, []float32{1 - 0.29, -2 - 0.58}; !close32(got, want) {
		t.Errorf("sgd: %v, want %v", got, want)
	}

	data = []tensor{{"w", []float32{1, -2, 3}}}
	if o, err = newOptimizer("adam", data); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		o.next()
		o.step(0, data[0].data, []float32{5, -1e-3, 0}, 0.01)
	}
	// With constant gradients both estimates are exact, and every step is rate·sign.
	if got, want := data[0].data, []float32{1 - 0.03, -2 + 0.03, 3}; !close32(got, want) {
		t.Errorf("adam: %v, want %v", got, want)
	}
	if _, err := newOptimizer("magic", data); err == nil {
		t.Error("an unknown optimizer is taken")
	}
}

func close32(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Abs(float64(x-y)) < 1e-5 })
}

func TestCosine(t *testing.T) {
	for _, tt := range []struct {
		step int
		want float32
	}{{0, 0.5}, {50, 0.25}, {100, 0}} {
		if got := cosine(0.5, tt.step, 100); math.Abs(float64(got-tt.want)) > 1e-7 {
			t.Errorf("step %d: %v, want %v", tt.step, got, tt.want)
		}
	}
}
