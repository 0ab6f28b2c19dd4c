package probe

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// A sysTree is a /sys that a test makes.
type sysTree struct{ fstest.MapFS }

// add adds a device below bridges, with a class and a NUMA node, and returns its real name.
func (s sysTree) add(class string, node int, where ...string) string {
	real := path.Join(append([]string{"sys/devices"}, where...)...)
	s.MapFS[real+"/class"] = &fstest.MapFile{Data: []byte(class + "\n")}
	s.MapFS[real+"/numa_node"] = &fstest.MapFile{Data: fmt.Appendln(nil, node)}
	s.MapFS["sys/bus/pci/devices/"+path.Base(real)] = &fstest.MapFile{
		Mode: fs.ModeSymlink | 0o777, Data: []byte("../../../" + strings.TrimPrefix(real, "sys/")),
	}
	return real
}

// link adds a link of a class to a device: sys/class/net/eth0/device, say.
func (s sysTree) link(class, name, real string) {
	s.MapFS["sys/class/"+class+"/"+name+"/device"] = &fstest.MapFile{Mode: fs.ModeSymlink | 0o777, Data: []byte("../../../../" + strings.TrimPrefix(real, "sys/"))}
}

// dgx is a host like a DGX H100: on each of two sockets four root ports of their own host bridges, each with a switch that
// has a GPU and a network card below it, the card with a switch of its own port; and a slow card for management.
func dgx() sysTree {
	s := sysTree{fstest.MapFS{}}
	for i := range 8 {
		bus := 0x10 + 0x10*i
		host := fmt.Sprintf("pci0000:%02x", bus)
		port, up := fmt.Sprintf("0000:%02x:01.0", bus), fmt.Sprintf("0000:%02x:00.0", bus+1)
		s.add("0x030200", i/4, host, port, up, fmt.Sprintf("0000:%02x:00.0", bus+2), fmt.Sprintf("0000:%02x:00.0", bus+3))
		nic := s.add("0x020700", i/4, host, port, up, fmt.Sprintf("0000:%02x:01.0", bus+2), fmt.Sprintf("0000:%02x:00.0", bus+4))
		s.link("infiniband", fmt.Sprintf("mlx5_%d", i), nic)
	}
	s.link("net", "eno1", s.add("0x020000", 0, "pci0000:00", "0000:00:1c.0", "0000:01:00.0"))
	return s
}

func split(list []PCIDevice) (gpus, nics []PCIDevice) {
	for _, d := range list {
		if d.Kind == PCIDisplay {
			gpus = append(gpus, d)
		} else {
			nics = append(nics, d)
		}
	}
	return gpus, nics
}

func TestPCIDGX(t *testing.T) {
	gpus, nics := split(PCIDevices(dgx()))
	if len(gpus) != 8 || len(nics) != 9 {
		t.Fatalf("%d GPUs and %d cards, want 8 and 9", len(gpus), len(nics))
	}
	for g, n := range Rails(gpus, nics) {
		if want := fmt.Sprintf("mlx5_%d", g); !slices.Equal(nics[n].RDMA, []string{want}) || gpus[g].To(nics[n]) != PathPIX {
			t.Errorf("GPU %d: got card %v over %v, want %s over PIX", g, nics[n].RDMA, gpus[g].To(nics[n]), want)
		}
	}
	if nics[0].Nets[0] != "eno1" || nics[0].RDMA != nil {
		t.Errorf("management card: got %+v", nics[0])
	}
	for _, c := range []struct {
		a, b PCIDevice
		want PCIPath
	}{
		{gpus[0], gpus[0], PathLOC}, {gpus[0], gpus[1], PathNODE}, {gpus[0], nics[0], PathNODE}, {gpus[0], gpus[7], PathSYS}, {gpus[3], nics[5], PathSYS},
	} {
		if got, back := c.a.To(c.b), c.b.To(c.a); got != c.want || back != c.want {
			t.Errorf("%s to %s: got %v, back %v, want %v", c.a.Addr, c.b.Addr, got, back, c.want)
		}
	}
}

func TestPCIPaths(t *testing.T) {
	s := sysTree{fstest.MapFS{}}
	const host, port = "pci0000:00", "0000:00:01.0"
	s.add("0x030000", 0, host, port, "0000:01:00.0", "0000:02:00.0", "0000:03:00.0")                                 // under a switch
	s.add("0x020000", 0, host, port, "0000:01:00.0", "0000:02:01.0", "0000:04:00.0", "0000:05:00.0", "0000:06:00.0") // under a switch under that
	s.add("0x020000", 0, host, "0000:00:02.0", "0000:07:00.0")                                                       // at another root port
	s.add("0x120000", 0, host, "0000:00:03.0")                                                                       // in the root complex
	s.add("0x060400", 0, host, port)                                                                                 // a bridge is no device
	list := PCIDevices(s)
	gpu := list[slices.IndexFunc(list, func(d PCIDevice) bool { return d.Addr == "0000:03:00.0" })]
	var got []string
	for _, d := range list {
		if d.Addr != gpu.Addr {
			got = append(got, gpu.To(d).String())
		}
	}
	slices.Sort(got)
	if want := []string{"PHB", "PHB", "PXB"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for p := PathLOC; p <= PathSYS+1; p++ {
		if p.Direct() != (p <= PathPXB) || p.String() == "" {
			t.Errorf("%v: direct %v", p, p.Direct())
		}
	}
}

// A virtual machine of a cloud says little: no NUMA node, all devices at the root, a virtio card.
func TestPCICloud(t *testing.T) {
	s := sysTree{fstest.MapFS{}}
	s.add("0x030200", -1, "pci0000:00", "0000:00:1e.0")
	nic := s.add("0x020000", -1, "pci0000:00", "0000:00:05.0")
	s.link("net", "ens5", nic+"/virtio2")
	s.MapFS["sys/class/infiniband/rxe0/parent"] = &fstest.MapFile{Data: []byte("ens5\n")}
	gpus, nics := split(PCIDevices(s))
	if len(gpus) != 1 || len(nics) != 1 || gpus[0].To(nics[0]) != PathPHB || gpus[0].Node != -1 || nics[0].Nets[0] != "ens5" || nics[0].RDMA[0] != "rxe0" {
		t.Errorf("got %+v and %+v", gpus, nics)
	}
}

// A laptop has one of each, and machines without PCI have none.
func TestPCISmall(t *testing.T) {
	s := sysTree{fstest.MapFS{}}
	s.add("0x030000", 0, "pci0000:00", "0000:00:02.0")
	s.link("net", "wlan0", s.add("0x028000", 0, "pci0000:00", "0000:00:1c.0", "0000:01:00.0"))
	gpus, nics := split(PCIDevices(s))
	if got := Rails(gpus, nics); !slices.Equal(got, []int{0}) {
		t.Errorf("got %v, want card 0", got)
	}
	if got := PCIDevices(fstest.MapFS{}); got != nil {
		t.Errorf("nothing: got %v", got)
	}
	if got := Rails(gpus, nil); !slices.Equal(got, []int{-1}) {
		t.Errorf("no cards: got %v, want -1", got)
	}
	// Two cards that are equally near serve two GPUs each.
	if got := Rails([]PCIDevice{{Addr: "a"}, {Addr: "b"}, {Addr: "c"}, {Addr: "d"}}, []PCIDevice{{Addr: "x"}, {Addr: "y"}}); !slices.Equal(got, []int{0, 1, 0, 1}) {
		t.Errorf("two cards: got %v, want 0 1 0 1", got)
	}
}

// This machine, and the one of transport/rdma/testvm with the devices of its option -p: in each of two NUMA nodes a card
// and a display under one switch, and in the second another display at a root port.
func TestPCIHere(t *testing.T) {
	list := PCIDevices(os.DirFS("/"))
	for _, d := range list {
		t.Logf("%+v", d)
	}
	if os.Getenv("TESTVM_TOPOLOGY") == "" {
		return
	}
	gpus, nics := split(list)
	if len(gpus) != 3 || len(nics) != 2 {
		t.Fatalf("%d displays and %d cards, want 3 and 2", len(gpus), len(nics))
	}
	want := map[PCIPath]int{PathPIX: 2, PathPHB: 1, PathSYS: 3}
	got := make(map[PCIPath]int)
	for _, g := range gpus {
		for _, n := range nics {
			got[g.To(n)]++
		}
	}
	for p, n := range want {
		if got[p] != n {
			t.Errorf("%d paths %v, want %d", got[p], p, n)
		}
	}
	for g, n := range Rails(gpus, nics) {
		if gpus[g].Node != nics[n].Node {
			t.Errorf("display %s of node %d has card %s of node %d", gpus[g].Addr, gpus[g].Node, nics[n].Addr, nics[n].Node)
		}
	}
}

func ExamplePCIDevices() {
	var gpus, nics []PCIDevice
	for _, d := range PCIDevices(dgx()) { // os.DirFS("/") is this machine
		if d.Kind == PCIDisplay {
			gpus = append(gpus, d)
		} else if len(d.RDMA) > 0 {
			nics = append(nics, d)
		}
	}
	for g, n := range Rails(gpus, nics)[:2] {
		fmt.Println(gpus[g].Addr, nics[n].RDMA[0], gpus[g].To(nics[n]))
	}
	// Output:
	// 0000:13:00.0 mlx5_0 PIX
	// 0000:23:00.0 mlx5_1 PIX
}
