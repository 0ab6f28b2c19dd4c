package sim

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// Tiles come out as single steps do, whatever the number of places and steps, in and out of the order of ranks.
func TestTiles(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, n := range []int{2, 3, 5, 129, 512, 513, 1300, 2100} {
		for _, jitter := range []uint64{0, 1 << 15} {
			g := &ring{n: n, slices: 1, rank: make([]int32, n), noise: newNoise(&config{jitter: jitter, seed: seed})}
			h, c, d := make([]Time, n), make([]Time, n), make([]Time, n)
			for v := range n {
				g.rank[v] = int32(v)
				h[v], c[v], d[v] = Time(rng.IntN(1000)), Time(rng.IntN(2000)), Time(rng.IntN(100000))
				g.span = append(g.span, Time(rng.Uint32()>>rng.IntN(20)))
			}
			if n%2 == 1 {
				rng.Shuffle(n, func(a, b int) { g.rank[a], g.rank[b] = g.rank[b], g.rank[a] })
			}
			want, tiles := slices.Clone(d), newTiles(g)
			for j := 1; j < 400; {
				steps := min(1+rng.IntN(tileSteps), n-1)
				for k := range steps {
					g.step(want, want, h, c, j+k)
				}
				tiles.step(d, h, c, j, steps)
				if j += steps; !slices.Equal(d, want) {
					t.Fatalf("seed %d: %d places, jitter %d, %d steps from %d on: got %v, want %v", seed, n, jitter, steps, j-steps, d, want)
				}
			}
		}
	}
}

// A row comes out as plain Go has it, at every length.
func TestStepRow(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := 1; n < 40; n++ {
		d, h, c := make([]Time, n+1), make([]Time, n), make([]Time, n)
		span, late := make([]uint32, n), make([]uint32, n)
		for i := range n {
			d[i], h[i], c[i] = Time(rng.Int64N(1<<62)-1<<61), Time(rng.Int64N(1<<40)), Time(rng.Int64N(1<<40))
			span[i], late[i] = rng.Uint32(), rng.Uint32()
		}
		for _, noisy := range []bool{false, true} {
			s, l := span, late
			if !noisy {
				s, l = nil, nil
			}
			got, want := slices.Clone(d), slices.Clone(d)
			stepRow(got, h, c, s, l)
			stepPlain(want, h, c, s, l)
			if !slices.Equal(got, want) {
				t.Errorf("%d places, noisy %v: got %v, want %v", n, noisy, got, want)
			}
		}
	}
}

// The assembly is what its generator writes.
func TestGenerated(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the generator")
	}
	dir := t.TempDir()
	gen := exec.Command("go", "-C", filepath.Join("..", "buffer", "internal", "gen"), "run", "./sweep", "-pkg", "sim",
		"-out", filepath.Join(dir, "avx2_amd64.s"), "-stubs", filepath.Join(dir, "avx2_amd64.go"))
	gen.Env = append(os.Environ(), "GOOS=", "GOARCH=", "GOFLAGS=-mod=readonly", "GOWORK=off", "GOPROXY=off")
	if out, err := gen.CombinedOutput(); err != nil {
		// Without the network the generator's dependency may be missing, which is no fault of the files.
		if bytes.Contains(out, []byte("module lookup disabled by GOPROXY=off")) {
			t.Skipf("the module cache lacks the generator's dependency: %s", out)
		}
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"avx2_amd64.s", "avx2_amd64.go"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, got, _ = bytes.Cut(got, []byte("\n")) // the line that names the command, in which the directories differ
		_, want, _ = bytes.Cut(want, []byte("\n"))
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the generator writes: run go generate", name)
		}
	}
}
