package main

import (
	"fmt"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// A model is a multi-layer perceptron: linear layers with ReLU between them and softmax with cross-entropy at
// the end. It holds the weights; gradients live wherever the caller wants them.
type model struct {
	layers []linear
	// capacity is the most samples that forward takes.
	capacity int
	labels   []uint8 // of the last forward
	count    int     // samples of the last forward
}

// linear is y = x·Wᵀ + b for a row x of each sample.
type linear struct {
	in, out int
	weight  []float32 // out rows of in
	bias    []float32 // out

	input  []float32 // of the last forward, a row of in values a sample; it is the output of the layer below
	output []float32 // a row of out values a sample; after ReLU in a hidden layer, class probabilities in the last
	delta  []float32 // the loss's derivative by the output before ReLU or softmax
}

// newModel makes layers of the given widths, from the input's to the output's, for up to capacity samples at
// once. Weights are drawn from a normal distribution of variance 2/in, biases are zero: K. He et al., "Delving
// Deep into Rectifiers", ICCV 2015, section 2.2.
func newModel(widths []int, capacity int, seed uint64) *model {
	rng := rand.New(rand.NewPCG(seed, 0))
	m := &model{capacity: capacity}
	for i := range len(widths) - 1 {
		in, out := widths[i], widths[i+1]
		l := linear{
			in: in, out: out,
			weight: make([]float32, in*out),
			bias:   make([]float32, out),
			output: make([]float32, capacity*out),
			delta:  make([]float32, capacity*out),
		}
		deviation := math.Sqrt(2 / float64(in))
		for j := range l.weight {
			l.weight[j] = float32(rng.NormFloat64() * deviation)
		}
		m.layers = append(m.layers, l)
	}
	return m
}

// params returns the weights and biases of each layer, from input to output.
func (m *model) params() []tensor {
	var out []tensor
	for i := range m.layers {
		l := &m.layers[i]
		out = append(out,
			tensor{fmt.Sprintf("layer%d.weight", i+1), l.weight},
			tensor{fmt.Sprintf("layer%d.bias", i+1), l.bias})
	}
	return out
}

// A tensor is a named part of the model.
type tensor struct {
	name string
	data []float32
}

// forward computes the class probabilities of len(y) samples, whose pixels lie row by row in x, and returns the
// sum of their losses in nats and how many are right. x and y are kept until backward.
func (m *model) forward(x []float32, y []uint8) (loss float64, right int) {
	n := len(y)
	m.labels, m.count = y, n
	if n == 0 {
		return 0, 0
	}
	for i := range m.layers {
		l := &m.layers[i]
		l.input = x
		for s := range n {
			copy(l.output[s*l.out:(s+1)*l.out], l.bias)
		}
		blas32.Gemm(blas.NoTrans, blas.Trans, 1, rows(x, n, l.in), rows(l.weight, l.out, l.in), 1, rows(l.output, n, l.out))
		if i < len(m.layers)-1 {
			relu(l.output[:n*l.out])
		}
		x = l.output
	}
	last := &m.layers[len(m.layers)-1]
	for s := range n {
		row := last.output[s*last.out : (s+1)*last.out]
		best := argmax(row)
		if best == int(y[s]) {
			right++
		}
		loss += softmax(row, best, int(y[s]))
	}
	return loss, right
}

// backward computes the gradients of scale times the sum of the losses of the last forward, from the last layer
// to the first, and calls done when those of a layer are final. grads[2i] and grads[2i+1] take those of the
// weights and of the bias of layer i; what was there before is overwritten.
func (m *model) backward(scale float32, grads [][]float32, done func(param int) error) error {
	n := m.count
	for i := len(m.layers) - 1; i >= 0; i-- {
		l := &m.layers[i]
		weight, bias := grads[2*i], grads[2*i+1]
		clear(bias)
		if n == 0 { // this rank has no share of the batch
			clear(weight)
		} else {
			if i == len(m.layers)-1 {
				l.lossDelta(m.labels, scale)
			}
			delta := rows(l.delta, n, l.out)
			for s := range n {
				for j, d := range l.delta[s*l.out : (s+1)*l.out] {
					bias[j] += d
				}
			}
			blas32.Gemm(blas.Trans, blas.NoTrans, 1, delta, rows(l.input, n, l.in), 0, rows(weight, l.out, l.in))
		}
		// The gradients are told before the layer below is computed: that is what their sum overlaps with.
		for _, param := range []int{2*i + 1, 2 * i} {
			if err := done(param); err != nil {
				return err
			}
		}
		if i > 0 && n > 0 {
			below := &m.layers[i-1]
			blas32.Gemm(blas.NoTrans, blas.NoTrans, 1, rows(l.delta, n, l.out), rows(l.weight, l.out, l.in), 0, rows(below.delta, n, l.in))
			for j, y := range below.output[:n*l.in] {
				if y <= 0 {
					below.delta[j] = 0
				}
			}
		}
	}
	return nil
}

// lossDelta fills delta in the last layer: probabilities less the one-hot label, scaled.
func (l *linear) lossDelta(labels []uint8, scale float32) {
	for s, label := range labels {
		row := l.delta[s*l.out : (s+1)*l.out]
		for j, p := range l.output[s*l.out : (s+1)*l.out] {
			row[j] = p * scale
		}
		row[label] -= scale
	}
}

// rows is the first n rows of width values in data.
func rows(data []float32, n, width int) blas32.General {
	return blas32.General{Rows: n, Cols: width, Stride: width, Data: data[:n*width]}
}

func relu(x []float32) {
	for i, v := range x {
		x[i] = max(v, 0)
	}
}

func argmax(x []float32) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}

// softmax turns scores, whose largest is at best, into probabilities and returns the cross-entropy of the label.
// The largest score is subtracted first so that no exponential overflows.
func softmax(x []float32, best, label int) (loss float64) {
	shift := float64(x[best])
	score := float64(x[label]) - shift
	var sum float64
	for i, v := range x {
		e := math.Exp(float64(v) - shift)
		x[i] = float32(e)
		sum += e
	}
	for i := range x {
		x[i] = float32(float64(x[i]) / sum)
	}
	return math.Log(sum) - score
}
