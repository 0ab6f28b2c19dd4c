package membership

import (
	"cmp"
	"slices"
)

// AnyRank as Member.Rank lets the group choose the number.
const AnyRank = -1

// assign numbers members that are listed in the order of their arrival. Who came with a number keeps it; the free
// numbers go to the others so that members of one host, and within it of one process, follow each other; hosts and
// processes in the order in which their first member came. There are at most size members, and no two came with
// the same number. The second result is the numbers that are left, ascending.
func assign(size int, members []Member) (ranks, left []int) {
	taken := make([]bool, size)
	hosts, processes := make(map[[2]string]int), make(map[string]int) // to the order of their arrival
	var open []int                                                    // members without a number
	for i := range members {
		m := &members[i]
		if host := hostKey(m); !has(hosts, host) {
			hosts[host] = len(hosts)
		}
		if !has(processes, m.Process) {
			processes[m.Process] = len(processes)
		}
		if m.Rank == AnyRank {
			open = append(open, i)
		} else {
			taken[m.Rank] = true
		}
	}
	slices.SortStableFunc(open, func(a, b int) int {
		x, y := &members[a], &members[b]
		return cmp.Or(hosts[hostKey(x)]-hosts[hostKey(y)], processes[x.Process]-processes[y.Process])
	})
	for r := range taken {
		if !taken[r] {
			left = append(left, r)
		}
	}
	ranks = make([]int, len(members))
	for i := range members {
		ranks[i] = members[i].Rank
	}
	for _, i := range open {
		ranks[i], left = left[0], left[1:]
	}
	return ranks, left
}

// hostKey is the host that a member counts as.
func hostKey(m *Member) [2]string { return [2]string{m.Label, m.Host} }

func has[K comparable](m map[K]int, k K) bool {
	_, ok := m[k]
	return ok
}
