package main

import (
	"fmt"
	"math"
)

// An optimizer changes parameters by their gradients. Every rank runs its own on equal input, so their weights
// stay equal bit for bit.
type optimizer interface {
	// step updates data, which is parameter number param, at learning rate rate.
	step(param int, data, grad []float32, rate float32)
	// next begins another step.
	next()
}

// optimizers names the choices of -optimizer and their usual learning rates.
var optimizers = map[string]struct {
	rate float64
	make func(params []tensor) optimizer
}{
	"sgd":  {0.1, func(params []tensor) optimizer { return &sgd{velocity: zerosLike(params)} }},
	"adam": {0.002, func(params []tensor) optimizer { return &adam{mean: zerosLike(params), square: zerosLike(params)} }},
}

func zerosLike(params []tensor) [][]float32 {
	out := make([][]float32, len(params))
	for i, p := range params {
		out[i] = make([]float32, len(p.data))
	}
	return out
}

const momentum = 0.9

// sgd is stochastic gradient descent with momentum: B. Polyak, "Some methods of speeding up the convergence of
// iteration methods", 1964, in the form that PyTorch's SGD has.
type sgd struct{ velocity [][]float32 }

func (o *sgd) next() {}

func (o *sgd) step(param int, data, grad []float32, rate float32) {
	velocity := o.velocity[param]
	for i, g := range grad {
		v := momentum*velocity[i] + g
		velocity[i] = v
		data[i] -= rate * v
	}
}

const (
	adamBeta1 = 0.9
	adamBeta2 = 0.999
	adamEps   = 1e-8
)

// adam is D. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1, with the
// constants suggested there.
type adam struct {
	mean, square [][]float32
	steps        int
}

func (o *adam) next() { o.steps++ }

func (o *adam) step(param int, data, grad []float32, rate float32) {
	mean, square := o.mean[param], o.square[param]
	unbias1 := float32(1 / (1 - math.Pow(adamBeta1, float64(o.steps))))
	unbias2 := float32(1 / (1 - math.Pow(adamBeta2, float64(o.steps))))
	for i, g := range grad {
		m := adamBeta1*mean[i] + (1-adamBeta1)*g
		s := adamBeta2*square[i] + (1-adamBeta2)*g*g
		mean[i], square[i] = m, s
		data[i] -= rate * m * unbias1 / (float32(math.Sqrt(float64(s*unbias2))) + adamEps)
	}
}

// cosine is the learning rate of a step: it falls from 1 to 0 times rate over all steps (I. Loshchilov and
// F. Hutter, "SGDR", ICLR 2017, equation 5, without restarts), so that the last weights depend little on which
// batch came last.
func cosine(rate float64, step, steps int) float32 {
	return float32(rate * (1 + math.Cos(math.Pi*float64(step)/float64(steps))) / 2)
}

// newOptimizer returns the optimizer of that name.
func newOptimizer(name string, params []tensor) (optimizer, error) {
	o, ok := optimizers[name]
	if !ok {
		return nil, fmt.Errorf("unknown optimizer %q", name)
	}
	return o.make(params), nil
}
