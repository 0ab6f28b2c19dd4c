package probe

import (
	"math"
	"math/rand/v2"
	"testing"
)

func line(alpha, there, back float64, noise func() float64) []Sample {
	var out []Sample
	for _, ping := range sizes {
		for _, pong := range sizes {
			out = append(out, Sample{ping, pong, 1, (2*alpha + there*float64(ping) + back*float64(pong)) * noise()})
		}
	}
	return out
}

func exact() float64 { return 1 }

func TestFitExact(t *testing.T) {
	for _, want := range []cost{
		{alpha: 1e-6, there: 1e-9, back: 1e-9}, {alpha: 0.1, there: 8e-9, back: 1e-8}, {alpha: 3e-7, there: 0, back: 0},
		{alpha: 0, there: 2e-10, back: 5e-10}, {alpha: 1e-9, there: 1e-12, back: 1e-9}, {alpha: 2, there: 1e-7, back: 1e-7},
	} {
		got := fit(line(want.alpha, want.there, want.back, exact), true)
		for _, pair := range [][2]float64{{got.alpha, want.alpha}, {got.there, want.there}, {got.back, want.back}} {
			if math.Abs(pair[0]-pair[1]) > 1e-8*(pair[1]+want.alpha+want.there) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
		if got.residual > 1e-7 {
			t.Errorf("%+v: got residual %g, want 0", want, got.residual)
		}
	}
}

// One wild pair of ranks among three does not move the fit, but shows in the residual.
func TestFitOutlier(t *testing.T) {
	good := line(2e-6, 1e-9, 1e-9, exact)
	wild := line(5e-5, 1e-9, 1e-9, exact)
	samples := append(append(append([]Sample{}, good...), good...), wild...)
	got := fit(samples, false)
	if math.Abs(got.alpha-2e-6) > 1e-12 || math.Abs(got.there-1e-9) > 1e-15 || got.back != got.there {
		t.Errorf("got %+v, want alpha 2e-6 and beta 1e-9", got)
	}
	if got.residual < 0.1 {
		t.Errorf("residual %g, want one that tells of the outlier", got.residual)
	}
	if got.probes != len(samples) {
		t.Errorf("%d probes, want %d", got.probes, len(samples))
	}
}

// Noise that ordinary least squares would answer with a negative cost. Among a grid of non-negative costs around the
// answer none may be better.
func TestFitNonNegative(t *testing.T) {
	const seed = 11
	rng := rand.New(rand.NewPCG(seed, 0))
	clamped := 0
	for range 200 {
		want := [3]float64{1e-6 * rng.Float64(), 1e-9 * rng.Float64(), 1e-9 * rng.Float64()}
		want[rng.IntN(3)] = 0
		samples := line(want[0], want[1], want[2], func() float64 { return 1 + rng.Float64() })
		row := func(s Sample) [3]float64 { return [3]float64{2, float64(s.Ping), float64(s.Pong)} }
		sum := func(x [3]float64) (total float64) {
			for _, s := range samples {
				e := relativeError(row(s), x, s.Seconds)
				total += e * e
			}
			return total
		}
		x := nonNegative(samples, row, 3)
		least := sum(x)
		for c := range x {
			if x[c] < 0 {
				t.Fatalf("seed %d: got %v", seed, x)
			}
			if x[c] == 0 {
				clamped++
			}
			for _, step := range []float64{1e-3, 1e-2, 0.1} {
				for _, sign := range []float64{-1, 1} {
					y := x
					y[c] = max(0, x[c]+sign*step*(x[c]+1e-9*want[0]+1e-13))
					if better := sum(y); better < least*(1-1e-9) {
						t.Fatalf("seed %d: %v gives %g, %v gives %g", seed, x, least, y, better)
					}
				}
			}
		}
	}
	if clamped == 0 {
		t.Error("no cost was ever held at zero: the test tests nothing")
	}
}

func TestFitTooLittle(t *testing.T) {
	if got := fit(nil, false); got.alpha != 0 || got.there != 0 || got.residual != 0 {
		t.Errorf("nothing: got %+v, want zeros", got)
	}
	// One size cannot tell alpha from beta; the whole is explained all the same.
	got := fit([]Sample{{8, 8, 1, 1e-6}}, true)
	if got.residual > 1e-9 {
		t.Errorf("one size: got %+v, want it explained", got)
	}
}

func TestLowest(t *testing.T) {
	for _, test := range []struct {
		times []float64
		want  float64
	}{{[]float64{3}, 3}, {[]float64{9, 1}, 1}, {[]float64{11, 5, 4, 3, 2, 1, 6, 7, 8, 9, 10}, 2}} {
		if got := lowest(test.times); got != test.want {
			t.Errorf("%v: got %g, want %g", test.times, got, test.want)
		}
	}
}
