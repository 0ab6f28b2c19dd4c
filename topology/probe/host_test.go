package probe

import (
	"io/fs"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// tree makes the files of a machine. A value "-> x" is a symbolic link.
func tree(files map[string]string) fstest.MapFS {
	m := make(fstest.MapFS)
	for name, text := range files {
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			m[name] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink}
			continue
		}
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

// server is a machine of two memory nodes with two cores each, hyper-threaded, in a container that may use five of the
// eight threads and three and a half cores' time.
func server() map[string]string {
	files := map[string]string{
		"proc/sys/kernel/hostname":               "node7\n",
		"proc/sys/kernel/random/boot_id":         "2c4d\n",
		"etc/machine-id":                         "feed\n",
		"proc/self/ns/net":                       "-> net:[4026532008]",
		"proc/self/status":                       "Name:\tx\nCpus_allowed:\t1f\nCpus_allowed_list:\t0-4\nMems_allowed_list:\t0-1\n",
		"proc/self/cgroup":                       "0::/pod/container\n",
		"sys/fs/cgroup/pod/container/cpu.max":    "max 100000\n",
		"sys/fs/cgroup/pod/cpu.max":              "350000 100000\n",
		"sys/devices/system/node/online":         "0-1\n",
		"sys/devices/system/node/node0/cpulist":  "0-1,4-5\n",
		"sys/devices/system/node/node1/cpulist":  "2-3,6-7\n",
		"sys/devices/system/node/node0/distance": "10 21\n",
		"sys/devices/system/node/node1/distance": "21 10\n",
		"sys/devices/system/node/node0/meminfo":  "\nNode 0 MemTotal:       16777216 kB\nNode 0 MemFree: 1 kB\n",
		"sys/devices/system/node/node1/meminfo":  "Node 1 MemTotal: lots kB\n",
	}
	for cpu, shared := range []string{"0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"} {
		dir := "sys/devices/system/cpu/cpu" + string(rune('0'+cpu)) + "/cache/index"
		node := []string{"0-1,4-5", "2-3,6-7"}[cpu%4/2]
		for i, c := range [][4]string{{"1", "Data", "32K", shared}, {"1", "Instruction", "32K", shared}, {"2", "Unified", "1024K", shared}, {"3", "Unified", "16M", node}} {
			at := dir + string(rune('0'+i)) + "/"
			files[at+"level"], files[at+"type"], files[at+"size"], files[at+"shared_cpu_list"] = c[0]+"\n", c[1]+"\n", c[2]+"\n", c[3]+"\n"
			files[at+"coherency_line_size"] = "64\n"
		}
	}
	return files
}

func TestHostOf(t *testing.T) {
	h := HostOf(tree(server()))
	if h.Name != "node7" || h.BootID != "2c4d" || h.MachineID != "feed" || h.NetNS != "4026532008" {
		t.Errorf("identity: got %+v", h)
	}
	if !slices.Equal(h.CPUs, []int{0, 1, 2, 3, 4}) || h.Quota != 3.5 || h.Cores != 3 {
		t.Errorf("cores: got %v, %g, %d, want 0 to 4, 3.5 and 3", h.CPUs, h.Quota, h.Cores)
	}
	wantNodes := []NUMANode{
		{0, []int{0, 1, 4, 5}, 16 << 30, []int{10, 21}},
		{1, []int{2, 3, 6, 7}, 0, []int{21, 10}},
	}
	if !reflect.DeepEqual(h.Nodes, wantNodes) {
		t.Errorf("nodes: got %+v, want %+v", h.Nodes, wantNodes)
	}
	count := make(map[int]int)
	for _, c := range h.Caches {
		count[c.Level]++
		if want := map[int]int64{1: 32 << 10, 2: 1 << 20, 3: 16 << 20}[c.Level]; c.Bytes != want || c.Line != 64 || c.Type == "Instruction" {
			t.Errorf("cache: got %+v, want %d bytes in lines of 64", c, want)
		}
	}
	if want := map[int]int{1: 4, 2: 4, 3: 2}; !reflect.DeepEqual(count, want) {
		t.Errorf("caches by level: got %v, want %v", count, want)
	}
}

// Two processes have one identity when everything about their machine is the same, and only then.
func TestIdentity(t *testing.T) {
	identity := func(name, text string) string {
		files := server()
		if text == "" {
			delete(files, name)
		} else if name != "" {
			files[name] = text
		}
		return HostOf(tree(files)).Identity()
	}
	same := identity("", "x")
	if same != identity("proc/self/status", "Cpus_allowed_list:\t1\n") {
		t.Error("another affinity makes another machine")
	}
	if !strings.HasPrefix(same, "node7/") || strings.Contains(same, "feed") {
		t.Errorf("got %q, want the name and no machine-id", same)
	}
	seen := map[string]string{same: "the server"}
	for _, change := range [][2]string{
		{"proc/sys/kernel/hostname", "node8\n"}, {"proc/sys/kernel/random/boot_id", "2c4e\n"}, {"etc/machine-id", "f00d\n"},
		{"proc/self/ns/net", "-> net:[4026532009]"}, {"proc/self/ns/net", ""}, {"proc/self/ns/net", "-> nonsense"}, {"proc/sys/kernel/random/boot_id", ""},
	} {
		id := identity(change[0], change[1])
		if was, known := seen[id]; known && !(change[0] == "proc/self/ns/net" && change[1] == "-> nonsense") {
			t.Errorf("%q has the identity of %s", change, was)
		}
		seen[id] = change[0]
	}
	// The parts cannot run into each other.
	if a, b := (HostInfo{BootID: "x", MachineID: "yz"}).Identity(), (HostInfo{BootID: "xy", MachineID: "z"}).Identity(); a == b {
		t.Error("xyz cut in two ways gives one identity")
	}
}

func TestHostOfNothing(t *testing.T) {
	h := HostOf(tree(nil))
	if h.Cores != 1 || h.CPUs != nil || h.Caches != nil || h.Nodes != nil || h.Quota != 0 {
		t.Errorf("got %+v, want zeros and one core", h)
	}
}

func TestHost(t *testing.T) {
	h := Host()
	if h.Cores < 1 || h.Cores > runtime.NumCPU() || h.Name == "" {
		t.Errorf("got %+v, want a name and 1 to %d cores", h, runtime.NumCPU())
	}
	if again := Host(); again.Identity() != h.Identity() {
		t.Errorf("two looks at one machine: got %q and %q", h.Identity(), again.Identity())
	}
	if runtime.GOOS != "linux" {
		return
	}
	if len(h.CPUs) != runtime.NumCPU() { // which asks for the affinity, too
		t.Errorf("got CPUs %v, want %d", h.CPUs, runtime.NumCPU())
	}
	if target, err := os.Readlink("/proc/self/ns/net"); err == nil && target != "net:["+h.NetNS+"]" {
		t.Errorf("got network namespace %q, want that of %q", h.NetNS, target)
	}
}

func TestQuota(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		quota float64
		cores int
	}{
		"none":           {map[string]string{"proc/self/cgroup": "0::/\n"}, 0, 8},
		"root":           {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2, 2},
		"half a core":    {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5, 1},
		"more than is":   {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1600000 100000\n"}, 16, 8},
		"outside":        {map[string]string{"proc/self/cgroup": "0::/../../up\n", "sys/fs/cgroup/up/cpu.max": "300000 100000\n"}, 3, 3},
		"version 1":      {map[string]string{"proc/self/cgroup": "4:cpu,cpuacct:/a/b\n0::/\n", "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "150000", "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "50000"}, 3, 3},
		"version 1 none": {map[string]string{"proc/self/cgroup": "4:cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 0, 8},
		"both":           {map[string]string{"proc/self/cgroup": "4:cpu:/\n0::/x\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000", "sys/fs/cgroup/unified/x/cpu.max": "200000 100000"}, 2, 2},
		"broken":         {map[string]string{"proc/self/cgroup": "0::\nx\n0::/\n", "sys/fs/cgroup/cpu.max": "much 0\n"}, 0, 8},
	} {
		test.files["proc/self/status"] = "Cpus_allowed_list: 0-7\n"
		h := HostOf(tree(test.files))
		if h.Quota != test.quota || h.Cores != test.cores {
			t.Errorf("%s: got quota %g and %d cores, want %g and %d", name, h.Quota, h.Cores, test.quota, test.cores)
		}
	}
}

func TestParseCPUs(t *testing.T) {
	for text, want := range map[string][]int{"": nil, "0": {0}, "0-2,5\n": {0, 1, 2, 5}, "7,9-10": {7, 9, 10}} {
		if got, ok := parseCPUs(text); !ok || !slices.Equal(got, want) {
			t.Errorf("%q: got %v, %v, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"x", "1-", "-1", "3-1", "1,1", "2,1", "0-4294967295", "65536", "1,,2", "0-3-5"} {
		if got, ok := parseCPUs(text); ok {
			t.Errorf("%q: got %v, want a refusal", text, got)
		}
	}
}

func FuzzHostText(f *testing.F) {
	f.Add("0-3,8\n", "0::/a/b\n4:cpu,cpuacct:/x\n", "200000 100000")
	f.Add("0-65535", "0::/../..\n", "max 1")
	f.Add("0", "::/\xeb", "0")
	f.Add("", "1:cpu,../../x:/\n", "1 9223372036854775807")
	f.Fuzz(func(t *testing.T, cpus, cgroups, quota string) {
		list, ok := parseCPUs(cpus)
		if !ok && list != nil || len(list) > maxCPU || !slices.IsSorted(list) {
			t.Errorf("%q: got %d CPUs, %v", cpus, len(list), ok)
		}
		for _, g := range parseCgroups(cgroups) {
			for _, dir := range append(g.dirs, "x"+g.path) {
				if slices.Contains(strings.Split(dir, "/"), "..") {
					t.Errorf("%q leads to %q", cgroups, dir)
				}
			}
		}
		h := HostOf(tree(map[string]string{"proc/self/status": "Cpus_allowed_list:\t" + strings.ReplaceAll(cpus, "\n", "") + "\n", "proc/self/cgroup": cgroups, "sys/fs/cgroup/cpu.max": quota}))
		if h.Cores < 1 || h.Quota < 0 {
			t.Errorf("%q, %q: got %d cores, quota %g", cgroups, quota, h.Cores, h.Quota)
		}
	})
}
