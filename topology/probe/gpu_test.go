package probe

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// joined returns GPUs, all at one host bridge, with so many links between each pair.
func joined(n int, links func(a, b int) int) []GPU {
	gpus := make([]GPU, n)
	for i := range gpus {
		gpus[i].PCIDevice = PCIDevice{Addr: fmt.Sprintf("0000:%02x:00.0", i), Kind: PCIDisplay, Bridge: "pci0000:00"}
		gpus[i].NVLinks = make(map[string]int)
		for j := range n {
			if k := links(min(i, j), max(i, j)); i != j && k > 0 {
				gpus[i].NVLinks[fmt.Sprintf("0000:%02x:00.0", j)] = k
			}
		}
	}
	return gpus
}

func TestOrder(t *testing.T) {
	// Bridged pairs: 0 with 2 and 1 with 3. Each pair is together.
	if got, want := Order(joined(4, func(a, b int) int { return map[bool]int{true: 4}[b-a == 2] })), []int{0, 2, 1, 3}; !slices.Equal(got, want) && !slices.Equal(got, []int{0, 2, 3, 1}) {
		t.Errorf("pairs: got %v, want %v", got, want)
	}
	// Nothing but the link between nodes: all hops are equally bad.
	far := joined(4, func(int, int) int { return 0 })
	for i := range far {
		far[i].Bridge, far[i].Node = fmt.Sprint("pci", i), i
	}
	if got, want := Order(far), []int{0, 1, 2, 3}; !slices.Equal(got, want) {
		t.Errorf("four nodes: got %v, want %v", got, want)
	}
	// The hybrid cube mesh has a ring over double links.
	mesh := map[[2]int]int{
		{0, 1}: 1, {0, 2}: 1, {0, 3}: 2, {0, 4}: 2, {1, 2}: 2, {1, 3}: 1, {1, 5}: 2, {2, 3}: 2, {2, 6}: 1, {3, 7}: 1,
		{4, 5}: 1, {4, 6}: 1, {4, 7}: 2, {5, 6}: 2, {5, 7}: 1, {6, 7}: 2,
	}
	gpus := joined(8, func(a, b int) int { return mesh[[2]int{a, b}] })
	order := Order(gpus)
	for i, g := range order {
		if next := order[(i+1)%8]; gpus[g].NVLinksTo(gpus[next]) != 2 {
			t.Errorf("cube mesh: %v has %d links from %d to %d, want 2", order, gpus[g].NVLinksTo(gpus[next]), g, next)
		}
	}
	// Where all are alike, the order is the list's, however many there are.
	for _, n := range []int{0, 1, 2, 3, 5, 8, 12, 16} {
		same := joined(n, func(int, int) int { return 0 })
		for i := range same {
			same[i].Switched = 18
		}
		for i, g := range Order(same) {
			if g != i {
				t.Errorf("%d on switches: got %d at place %d", n, g, i)
			}
		}
	}
	// Without NVLink PCI counts: 0 and 2 are on one node, 1 and 3 on the other.
	pci := joined(4, func(int, int) int { return 0 })
	for i := range pci {
		pci[i].Bridge, pci[i].Node = fmt.Sprint("pci", i), i%2
	}
	if got, want := Order(pci), []int{0, 2, 1, 3}; !slices.Equal(got, want) && !slices.Equal(got, []int{0, 2, 3, 1}) {
		t.Errorf("two nodes: got %v, want %v", got, want)
	}
}

// TestOrderExhaustive compares with all rings there are.
func TestOrderExhaustive(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		const n = 6
		var links [n][n]int
		for a := range n {
			for b := range n {
				links[a][b] = rng.IntN(4)
			}
		}
		gpus := joined(n, func(a, b int) int { return links[a][b] })
		near := make([][]int, n)
		for i := range near {
			near[i] = make([]int, n)
			for j := range n {
				near[i][j] = gpus[i].near(gpus[j])
			}
		}
		bestWeak, bestSum := -1, -1
		var visit func(order []int)
		visit = func(order []int) {
			if len(order) == n {
				if weak, sum := ringOf(near, order); weak > bestWeak || weak == bestWeak && sum > bestSum {
					bestWeak, bestSum = weak, sum
				}
			}
			for g := range n {
				if !slices.Contains(order, g) {
					visit(append(order[:len(order):len(order)], g))
				}
			}
		}
		visit([]int{0})
		got := Order(gpus)
		weak, sum := ringOf(near, got)
		if sorted := slices.Sorted(slices.Values(got)); !slices.Equal(sorted, []int{0, 1, 2, 3, 4, 5}) || got[0] != 0 {
			t.Fatalf("got %v", got)
		}
		if weak != bestWeak || sum != bestSum {
			t.Errorf("%v: got %d and %d, want %d and %d", links, weak, sum, bestWeak, bestSum)
		}
	}
}
