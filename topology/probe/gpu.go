package probe

import "slices"

// A GPU is a GPU with its NVLinks, which a management library knows: /sys does not show them.
type GPU struct {
	PCIDevice
	// NVLinks counts the links that are up by the address of the GPU at their far end.
	NVLinks map[string]int
	// Switched counts those that are up and lead to switches, which join all GPUs that have some.
	Switched int
}

// NVLinksTo returns how many links two GPUs have between them, by themselves and through switches.
func (g GPU) NVLinksTo(o GPU) int {
	if g.Addr == o.Addr {
		return 0
	}
	return min(g.NVLinks[o.Addr], o.NVLinks[g.Addr]) + min(g.Switched, o.Switched)
}

// near is how well two GPUs are joined: by the number of NVLinks, and without any by the path over PCI.
func (g GPU) near(o GPU) int {
	if n := g.NVLinksTo(o); n > 0 {
		return int(PathSYS) + n
	}
	return int(PathSYS) - int(g.To(o.PCIDevice))
}

// exactOrder is how many GPUs Order tries all rings of: the work is n²·2ⁿ.
const exactOrder = 12

// Order returns the numbers of gpus in the order of a ring, from 0 on: one whose weakest hop, between neighbours and from the last
// back to the first, is as good as can be, and of those the one with the most in all. More NVLinks are better than fewer, some
// better than none, and then the nearer over PCI. Where the order of the list is as good as any, it is that. The search is exact up to
// twelve GPUs (M. Held and R. Karp, "A dynamic programming approach to sequencing problems", 1962); above, each is followed by the
// nearest of those left.
func Order(gpus []GPU) []int {
	n := len(gpus)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	if n < 4 {
		return order // all rings are one
	}
	near := make([][]int, n)
	var floors []int
	for i := range gpus {
		near[i] = make([]int, n)
		for j := range gpus {
			if i != j {
				near[i][j] = gpus[i].near(gpus[j])
				floors = append(floors, near[i][j])
			}
		}
	}
	if n > exactOrder {
		return greedyRing(near)
	}
	slices.Sort(floors)
	floors = slices.Compact(floors)
	for _, floor := range slices.Backward(floors) {
		if best, sum := longestRing(near, floor); best != nil {
			if weakest, own := ringOf(near, order); weakest >= floor && own >= sum {
				return order
			}
			return best
		}
	}
	return order // not reached: nothing is below the lowest floor
}

// ringOf returns the weakest hop of a ring and the sum of all.
func ringOf(near [][]int, order []int) (weakest, sum int) {
	weakest = near[order[len(order)-1]][order[0]]
	for i, g := range order {
		hop := near[g][order[(i+1)%len(order)]]
		weakest, sum = min(weakest, hop), sum+hop
	}
	return weakest, sum
}

// longestRing returns the ring from 0 over all with the largest sum of hops of at least floor, nil where there is none.
func longestRing(near [][]int, floor int) (order []int, sum int) {
	n := len(near)
	// best[set][last] is the largest sum of a path from 0 through the set of others to last, one of them; from is what came before.
	best, from := make([][]int, 1<<(n-1)), make([][]int, 1<<(n-1))
	for set := range best {
		best[set], from[set] = make([]int, n), make([]int, n)
		for last := range n {
			best[set][last] = -1
		}
		for last := 1; last < n; last++ {
			rest := set &^ (1 << (last - 1))
			if rest == set {
				continue
			}
			if rest == 0 {
				if near[0][last] >= floor {
					best[set][last] = near[0][last]
				}
				continue
			}
			for before := 1; before < n; before++ {
				if s := best[rest][before]; s >= 0 && near[before][last] >= floor && s+near[before][last] > best[set][last] {
					best[set][last], from[set][last] = s+near[before][last], before
				}
			}
		}
	}
	full, end := len(best)-1, 0
	sum = -1
	for last := 1; last < n; last++ {
		if s := best[full][last]; s >= 0 && near[last][0] >= floor && s+near[last][0] > sum {
			sum, end = s+near[last][0], last
		}
	}
	if end == 0 {
		return nil, 0
	}
	for set := full; end != 0; {
		order = append(order, end)
		set, end = set&^(1<<(end-1)), from[set][end]
	}
	order = append(order, 0)
	slices.Reverse(order)
	return order, sum
}

// greedyRing follows each by the nearest of those left.
func greedyRing(near [][]int) []int {
	order, used := []int{0}, make([]bool, len(near))
	used[0] = true
	for len(order) < len(near) {
		last, best := order[len(order)-1], -1
		for g := range near {
			if !used[g] && (best < 0 || near[last][g] > near[last][best]) {
				best = g
			}
		}
		used[best] = true
		order = append(order, best)
	}
	return order
}
