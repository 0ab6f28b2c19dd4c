package probe

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// PCIKind says what a PCI device is for.
type PCIKind uint8

// The kinds of interest.
const (
	PCINetwork PCIKind = iota + 1 // network controllers: Ethernet and InfiniBand
	PCIDisplay                    // display controllers and processing accelerators: GPUs
)

// A PCIDevice is a network card or a GPU and where it sits.
type PCIDevice struct {
	Addr   string // "0000:3b:00.0"
	Kind   PCIKind
	Bridge string   // the host bridge, "pci0000:3a"
	Path   []string // the bridges from the host bridge down to the device, which is not among them
	Node   int      // NUMA node, -1: not known
	Nets   []string // network interfaces, sorted
	RDMA   []string // RDMA devices, sorted
}

// PCIDevices returns the network cards and GPUs of this machine by address; none on systems without /sys. root is its root
// directory, as for [HostOf]. What cannot be read is left out.
func PCIDevices(root fs.FS) []PCIDevice {
	const all = "sys/bus/pci/devices"
	r := reader{root}
	entries, err := fs.ReadDir(root, all)
	if err != nil {
		return nil
	}
	var list []PCIDevice
	at := make(map[string]int) // index by address
	for _, e := range entries {
		d := PCIDevice{Addr: e.Name()}
		real := r.resolve(path.Join(all, d.Addr))
		switch class := r.line(path.Join(real, "class")); {
		case strings.HasPrefix(class, "0x02"):
			d.Kind = PCINetwork
		case strings.HasPrefix(class, "0x03"), strings.HasPrefix(class, "0x12"):
			d.Kind = PCIDisplay
		default:
			continue
		}
		d.Bridge, d.Path = bridges(real)
		d.Node = -1
		if n, err := strconv.Atoi(r.line(path.Join(real, "numa_node"))); err == nil && n >= 0 {
			d.Node = n
		}
		at[d.Addr] = len(list)
		list = append(list, d)
	}
	nets := make(map[string]int)
	for _, name := range r.names("sys/class/net") {
		if i, ok := at[r.pciOf(path.Join("sys/class/net", name, "device"))]; ok {
			nets[name] = i
			list[i].Nets = append(list[i].Nets, name)
		}
	}
	for _, name := range r.names("sys/class/infiniband") {
		dir := path.Join("sys/class/infiniband", name)
		i, ok := at[r.pciOf(path.Join(dir, "device"))]
		if !ok { // software RoCE names the interface that it stands on instead
			i, ok = nets[r.line(path.Join(dir, "parent"))]
		}
		if ok {
			list[i].RDMA = append(list[i].RDMA, name)
		}
	}
	return list
}

// names returns the entries of a directory, sorted.
func (r reader) names(dir string) []string {
	entries, err := fs.ReadDir(r.root, dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// resolve follows the links in a name, as far as they can be read.
func (r reader) resolve(name string) string {
	for range 16 { // a chain of links, or a circle
		parts := strings.Split(name, "/")
		changed := false
		for i := range parts {
			prefix := path.Join(parts[:i+1]...)
			target, err := fs.ReadLink(r.root, prefix)
			if err != nil {
				continue
			}
			if path.IsAbs(target) {
				prefix = strings.TrimPrefix(target, "/")
			} else {
				prefix = path.Join(path.Dir(prefix), target)
			}
			name, changed = path.Join(append([]string{prefix}, parts[i+1:]...)...), true
			break
		}
		if !changed {
			break
		}
	}
	return name
}

// pciOf returns the address of the PCI device that a link leads to or into.
func (r reader) pciOf(link string) string {
	parts := strings.Split(r.resolve(link), "/")
	for _, p := range slices.Backward(parts) {
		if isPCIAddr(p) {
			return p
		}
	}
	return ""
}

// isPCIAddr reports whether s is like "0000:3b:00.0".
func isPCIAddr(s string) bool {
	domain, rest, ok := strings.Cut(s, ":")
	bus, rest, ok2 := strings.Cut(rest, ":")
	slot, function, ok3 := strings.Cut(rest, ".")
	if !ok || !ok2 || !ok3 || len(domain) < 4 || len(bus) != 2 || len(slot) != 2 || len(function) != 1 {
		return false
	}
	return strings.Trim(domain+bus+slot+function, "0123456789abcdefABCDEF") == ""
}

// bridges returns what is above a device in its real name, "sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0".
func bridges(real string) (host string, above []string) {
	for _, p := range strings.Split(path.Dir(real), "/") {
		if strings.HasPrefix(p, "pci") && host == "" {
			host = p
		} else if isPCIAddr(p) {
			above = append(above, p)
		}
	}
	return host, above
}

// PCIPath says what lies between two devices, nearest first, with the names that NCCL and nvidia-smi have for it.
type PCIPath uint8

// The paths.
const (
	PathLOC  PCIPath = iota // the same device
	PathPIX                 // one PCIe switch
	PathPXB                 // several PCIe switches, no host bridge
	PathPHB                 // a host bridge: the processor
	PathNODE                // two host bridges of one NUMA node
	PathSYS                 // the link between NUMA nodes
)

func (p PCIPath) String() string {
	if names := []string{"LOC", "PIX", "PXB", "PHB", "NODE", "SYS"}; int(p) < len(names) {
		return names[p]
	}
	return fmt.Sprintf("path %d", uint8(p))
}

// Direct reports whether a network card should read and write a GPU's memory over this path by itself: NCCL's default
// for NCCL_NET_GDR_LEVEL, no farther than switches.
func (p PCIPath) Direct() bool { return p <= PathPXB }

// To returns what lies between two devices.
func (d PCIDevice) To(o PCIDevice) PCIPath {
	if d.Addr == o.Addr {
		return PathLOC
	}
	if d.Bridge != o.Bridge || d.Bridge == "" {
		if d.Node >= 0 && d.Node == o.Node {
			return PathNODE
		}
		return PathSYS
	}
	shared := 0
	for shared < len(d.Path) && shared < len(o.Path) && d.Path[shared] == o.Path[shared] {
		shared++
	}
	switch {
	case shared == 0:
		return PathPHB
	case len(d.Path)-shared <= 1 && len(o.Path)-shared <= 1: // each behind its own port of the switch, at most
		return PathPIX
	}
	return PathPXB
}

// Rails returns for each of gpus the index of the card in nics that is nearest to it, -1 without cards. Of cards
// that are equally near, each serves as many GPUs as the others, one more at most, in the order of the lists.
func Rails(gpus, nics []PCIDevice) []int {
	used := make([]int, len(nics))
	rails := make([]int, len(gpus))
	for g, gpu := range gpus {
		best := -1
		for n, nic := range nics {
			if best < 0 {
				best = n
				continue
			}
			near, far := gpu.To(nic), gpu.To(nics[best])
			if near < far || near == far && used[n] < used[best] {
				best = n
			}
		}
		if rails[g] = best; best >= 0 {
			used[best]++
		}
	}
	return rails
}
