package probe

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"math"
	"os"
	"runtime"
	"strings"
	"sync"
)

// HostInfo is one machine as a process on it sees it. What could not be read has the zero value.
type HostInfo struct {
	Name      string // host name
	MachineID string // of the installation (machine-id(5)); it is confidential: Identity goes over the network, this does not
	BootID    string // of the running kernel; containers share it
	NetNS     string // network namespace, such as "4026531840"

	CPUs  []int   // that the process may run on, ascending; nil: not known
	Quota float64 // cores that the control group pays for; 0: no limit
	Cores int     // ranks that can run at once: len(CPUs) and Quota, rounded down, whichever is less; at least 1

	Caches []CPUCache // of CPUs, nearest level first, each once
	Nodes  []NUMANode // memory nodes, by number

	lonely string // set where the identity cannot be established: it is this process's alone
}

// A CPUCache is one data or unified cache.
type CPUCache struct {
	Level int    // 1, 2, 3 …
	Type  string // "Data" or "Unified"
	Bytes int64
	Line  int   // bytes of a cache line; 0: not known
	CPUs  []int // that share it
}

// A NUMANode is a part of the memory and the CPUs that are near it.
type NUMANode struct {
	Number   int
	CPUs     []int
	Bytes    int64 // of memory; 0: not known
	Distance []int // to each node, in the order of Nodes, as the firmware says: 10 is the node itself
}

// Host describes the machine that this process runs on. What cannot be read is left out; on systems without /proc and
// /sys that is all but the name and the number of cores.
func Host() HostInfo {
	h := HostOf(os.DirFS("/"))
	if h.Name == "" {
		h.Name, _ = os.Hostname() // "" is as good as any name that is not known
	}
	if h.CPUs == nil {
		h.Cores = min(runtime.NumCPU(), quotaCores(h.Quota))
	}
	h.lonely = ""
	if runtime.GOOS == "linux" && (h.BootID == "" || h.NetNS == "") {
		h.lonely = processToken()
	}
	return h
}

// HostOf describes the machine whose root directory is given: os.DirFS("/"), or a copy of the /proc and /sys of
// another machine. Files that are not there, or that say nothing sensible, leave their fields zero.
func HostOf(root fs.FS) HostInfo {
	r := reader{root}
	h := HostInfo{
		Name:      r.line("proc/sys/kernel/hostname"),
		MachineID: r.line("etc/machine-id"),
		BootID:    r.line("proc/sys/kernel/random/boot_id"),
		NetNS:     r.namespace("proc/self/ns/net"),
		CPUs:      allowedCPUs(r.text("proc/self/status")),
		Quota:     r.quota(),
	}
	if h.MachineID == "" {
		h.MachineID = r.line("var/lib/dbus/machine-id")
	}
	h.Cores = quotaCores(h.Quota)
	if len(h.CPUs) > 0 {
		h.Cores = min(h.Cores, len(h.CPUs))
	} else {
		h.Cores = 1
	}
	h.Caches = r.caches(h.CPUs)
	h.Nodes = r.nodes()
	if h.BootID == "" || h.NetNS == "" {
		h.lonely = processToken()
	}
	return h
}

// quotaCores is how many ranks a quota keeps running all the time: half a core more would stop one of them for half of
// every period.
func quotaCores(quota float64) int {
	if quota <= 0 || quota > maxCPU {
		return math.MaxInt32
	}
	return max(1, int(quota))
}

// Identity names the machine as far as shared memory reaches: equal for processes that share a kernel and a network
// namespace and see one host name and one installation, and, on Linux, different for any others. It is the host's
// name, a slash, and 128 bits of a SHA-256, so it tells strangers nothing of the machine-id. Where a Linux kernel does not say
// what it needs, no two processes have the same: better no shared memory than a link that cannot be opened.
func (h HostInfo) Identity() string {
	sum := sha256.New()
	for _, part := range []string{"ringtree host v1", h.BootID, h.MachineID, h.Name, h.NetNS, h.lonely} {
		_, _ = io.WriteString(sum, part+"\x00") // a hash takes everything
	}
	return h.Name + "/" + hex.EncodeToString(sum.Sum(nil)[:16])
}

var processToken = sync.OnceValue(rand.Text)

// A reader reads small files of a directory tree. What is not there reads as nothing.
type reader struct{ root fs.FS }

// maxFile bounds what is read of a file; files of /proc and /sys are a page or so.
const maxFile = 64 << 10

func (r reader) text(name string) string {
	f, err := r.root.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return ""
	}
	return string(b)
}

// line returns a file of one line without the space around it.
func (r reader) line(name string) string {
	first, _, _ := strings.Cut(r.text(name), "\n")
	return strings.TrimSpace(first)
}

// namespace returns N of a link "net:[N]".
func (r reader) namespace(name string) string {
	target, err := fs.ReadLink(r.root, name)
	if err != nil {
		return ""
	}
	_, rest, ok := strings.Cut(target, ":[")
	number, end, closed := strings.Cut(rest, "]")
	if !ok || !closed || end != "" {
		return ""
	}
	return number
}
