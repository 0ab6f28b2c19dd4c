package probe

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxCPU bounds the numbers of CPUs and memory nodes; the kernel's own limit on amd64 is 8192.
const maxCPU = 1 << 16

// parseCPUs reads a list such as "0-3,8,10-11" as the kernel writes it. ok is false when it is none.
func parseCPUs(s string) (cpus []int, ok bool) {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil, true
	}
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 32)
		to, err2 := strconv.ParseUint(last, 10, 32)
		if err1 != nil || err2 != nil || to < from || to >= maxCPU {
			return nil, false
		}
		if n := len(cpus); n > 0 && int(from) <= cpus[n-1] {
			return nil, false
		}
		for c := from; c <= to; c++ {
			cpus = append(cpus, int(c))
		}
	}
	return cpus, true
}

// allowedCPUs finds the CPUs of a process in its status file (proc_pid_status(5)): its affinity, within its cpuset.
func allowedCPUs(status string) []int {
	for line := range strings.Lines(status) {
		if list, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			cpus, _ := parseCPUs(list)
			return cpus
		}
	}
	return nil
}

const systemDir = "sys/devices/system/"

// caches returns the data and unified caches of the CPUs. Every CPU that shares a cache tells of it, so it is
// taken from the first that does.
func (r reader) caches(cpus []int) []CPUCache {
	type place struct {
		level int
		kind  string
		cpu   int
	}
	var all []CPUCache
	seen := make(map[place]bool)
	for _, cpu := range cpus {
		for i := range 16 {
			dir := fmt.Sprintf("%scpu/cpu%d/cache/index%d/", systemDir, cpu, i)
			kind := r.line(dir + "type")
			if kind == "" {
				break
			}
			level, err := strconv.Atoi(r.line(dir + "level"))
			if err != nil || level < 1 || kind == "Instruction" || seen[place{level, kind, cpu}] {
				continue
			}
			c := CPUCache{Level: level, Type: kind, Bytes: parseSize(r.line(dir + "size"))}
			c.Line, _ = strconv.Atoi(r.line(dir + "coherency_line_size"))
			shared, ok := parseCPUs(r.line(dir + "shared_cpu_list"))
			if !ok || len(shared) == 0 {
				shared = []int{cpu}
			}
			c.CPUs = shared
			for _, other := range shared {
				seen[place{level, kind, other}] = true
			}
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b CPUCache) int { return cmp.Compare(a.Level, b.Level) })
	return all
}

// parseSize reads "32K" or "8M", and returns 0 for what it cannot read.
func parseSize(s string) int64 {
	shift := 0
	switch {
	case strings.HasSuffix(s, "K"):
		shift = 10
	case strings.HasSuffix(s, "M"):
		shift = 20
	case strings.HasSuffix(s, "G"):
		shift = 30
	}
	if shift > 0 {
		s = s[:len(s)-1]
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return n << shift
}

// nodes returns the memory nodes.
func (r reader) nodes() []NUMANode {
	numbers, _ := parseCPUs(r.line(systemDir + "node/online"))
	var nodes []NUMANode
	for _, n := range numbers {
		dir := fmt.Sprintf("%snode/node%d/", systemDir, n)
		node := NUMANode{Number: n, Bytes: memTotal(r.text(dir + "meminfo"))}
		node.CPUs, _ = parseCPUs(r.line(dir + "cpulist"))
		for field := range strings.FieldsSeq(r.line(dir + "distance")) {
			d, err := strconv.Atoi(field)
			if err != nil {
				node.Distance = nil
				break
			}
			node.Distance = append(node.Distance, d)
		}
		nodes = append(nodes, node)
	}
	return nodes
}

// memTotal finds "Node 0 MemTotal: 24689764 kB", in bytes.
func memTotal(meminfo string) int64 {
	for line := range strings.Lines(meminfo) {
		f := strings.Fields(line)
		if len(f) == 5 && f[2] == "MemTotal:" && f[4] == "kB" {
			if n, err := strconv.ParseInt(f[3], 10, 48); err == nil && n > 0 {
				return n << 10
			}
		}
	}
	return 0
}
