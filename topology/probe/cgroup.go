package probe

import (
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

const cgroupDir = "sys/fs/cgroup"

// quota returns how many cores the control groups of the process pay for: the least of its group and all above it, 0
// when none sets a limit. Both versions of the hierarchy are looked at, since both may be mounted (cgroups(7)).
func (r reader) quota() float64 {
	least := math.Inf(1)
	for _, g := range parseCgroups(r.text("proc/self/cgroup")) {
		for _, dir := range g.dirs {
			// Within a container's own namespace the path may name nothing below the mount: its root is looked
			// at in any case.
			for at := g.path; ; at = path.Dir(at) {
				var q float64
				if g.version == 2 {
					q = parseCPUMax(r.line(path.Join(dir, at, "cpu.max")))
				} else {
					q = ratio(r.line(path.Join(dir, at, "cpu.cfs_quota_us")), r.line(path.Join(dir, at, "cpu.cfs_period_us")))
				}
				if q > 0 {
					least = min(least, q)
				}
				if at == "/" {
					break
				}
			}
		}
	}
	if math.IsInf(least, 1) {
		return 0
	}
	return least
}

// A cgroup is a control group that may limit the CPUs of its processes.
type cgroup struct {
	version int
	path    string   // absolute, without ".."
	dirs    []string // where its hierarchy may be mounted
}

// parseCgroups reads /proc/self/cgroup, whose lines are "number:controllers:path".
func parseCgroups(text string) []cgroup {
	var groups []cgroup
	for line := range strings.Lines(text) {
		_, rest, ok1 := strings.Cut(strings.TrimRight(line, "\n"), ":")
		controllers, at, ok2 := strings.Cut(rest, ":")
		if !ok1 || !ok2 || !strings.HasPrefix(at, "/") {
			continue
		}
		at = path.Clean(at)
		switch {
		case controllers == "":
			groups = append(groups, cgroup{2, at, []string{cgroupDir, cgroupDir + "/unified"}})
		case slices.Contains(strings.Split(controllers, ","), "cpu"):
			dirs := []string{cgroupDir + "/cpu"}
			if dir := path.Join(cgroupDir, path.Clean("/"+controllers)); dir != dirs[0] {
				dirs = append(dirs, dir)
			}
			groups = append(groups, cgroup{1, at, dirs})
		}
	}
	return groups
}

// parseCPUMax reads "200000 100000", two cores, or "max 100000", no limit.
func parseCPUMax(s string) float64 {
	quota, period, _ := strings.Cut(s, " ")
	return ratio(quota, period)
}

// ratio returns quota over period, and 0 when that is no limit.
func ratio(quota, period string) float64 {
	q, err1 := strconv.ParseInt(quota, 10, 64)
	p, err2 := strconv.ParseInt(period, 10, 64)
	if err1 != nil || err2 != nil || q <= 0 || p <= 0 {
		return 0
	}
	return float64(q) / float64(p)
}
