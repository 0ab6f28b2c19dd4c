package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/cudabridge"
	"github.com/ringtree/ringtree/cudabridge/nvml"
	"github.com/ringtree/ringtree/topology/probe"
)

// maxDevices is how many devices of a host the flags can name: those of the largest there are.
const maxDevices = 16

// placement is where the ranks' buffers lie, of -device.
type placement struct {
	cuda    bool
	devices []int // the ranks of this host take them in turn; nil: all there are
}

func parsePlacement(s string) (placement, error) {
	kind, list, listed := strings.Cut(strings.ToLower(s), ":")
	switch {
	case kind == "cpu" && !listed:
		return placement{}, nil
	case kind != "cuda":
		return placement{}, errors.New("want cpu, cuda, or cuda: and numbers of devices, such as cuda:0,0 or cuda:0,1,2,3")
	case !listed:
		return placement{cuda: true}, nil
	}
	p := placement{cuda: true}
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 || n >= maxDevices {
			return placement{}, fmt.Errorf("%q is not the number of a device, 0 to %d", word, maxDevices-1)
		}
		p.devices = append(p.devices, n)
	}
	return p, nil
}

func (p placement) String() string {
	if !p.cuda {
		return "cpu"
	}
	s := "cuda"
	for i, n := range p.devices {
		s += ":,"[min(i, 1):][:1] + strconv.Itoa(n)
	}
	return s
}

// driver opens the driver and checks that the devices of the placement are there.
func (o *options) driver() (*cudabridge.Driver, error) {
	d, err := cudabridge.Open(cudabridge.Config{Library: o.libcuda})
	if err != nil {
		return nil, fmt.Errorf("-device %v: %w", o.placement, err)
	}
	for _, n := range o.placement.devices {
		if n >= d.Devices() {
			return nil, fmt.Errorf("-device %v: the driver has %d devices, so no number %d", o.placement, d.Devices(), n)
		}
	}
	return d, nil
}

// A gpu is a rank's device.
type gpu struct {
	device *cudabridge.Device
	memory *cudabridge.Memory
	stream *cudabridge.Stream // for what is outside of the collectives

	version int // of CUDA, that the driver is for: 12040 is 12.4
}

// openGPU opens the device of the rank that is number local of its host; nil when ranks are on the processor.
func (o *options) openGPU(local int) (*gpu, error) {
	if !o.placement.cuda {
		return nil, nil
	}
	driver, err := o.driver()
	if err != nil {
		return nil, err
	}
	list := o.placement.devices
	if list == nil {
		if list, err = inRing(driver); err != nil {
			return nil, err
		}
	}
	index := list[local%len(list)]
	g := &gpu{version: driver.Version()}
	if g.device, err = driver.Device(index); err != nil {
		return nil, err
	}
	g.memory = g.device.Memory(cudabridge.MemoryConfig{Staged: o.staged})
	if g.stream, err = g.device.NewStream(); err != nil {
		return nil, errors.Join(err, g.device.Close())
	}
	return g, nil
}

// inRing returns the numbers of all devices in an order in which neighbours are near each other, by NVLink where the management
// library tells of it, and by PCI. Parts of one divided device count as equally near to all else as the device.
func inRing(driver *cudabridge.Driver) ([]int, error) {
	cards := make(map[string]probe.PCIDevice)
	for _, c := range probe.PCIDevices(os.DirFS("/")) {
		cards[c.Addr] = c
	}
	links := nvlinks()
	gpus := make([]probe.GPU, driver.Devices())
	for i := range gpus {
		info, err := driver.Info(i)
		if err != nil {
			return nil, err
		}
		gpus[i].PCIDevice, gpus[i].Addr = cards[info.PCI], info.PCI
		for _, l := range links[info.PCI] {
			switch l.To {
			case nvml.FarGPU:
				if gpus[i].NVLinks == nil {
					gpus[i].NVLinks = make(map[string]int)
				}
				gpus[i].NVLinks[l.PCI]++
			case nvml.FarSwitch:
				gpus[i].Switched++
			}
		}
	}
	return probe.Order(gpus), nil
}

// nvlinks returns the NVLinks of the GPUs of this host by address; none without the management library, which is no failure.
func nvlinks() map[string][]nvml.Link {
	l, err := nvml.Open(nvml.Config{})
	if err != nil {
		return nil
	}
	defer l.Close()
	devices, err := l.Devices()
	if err != nil {
		return nil
	}
	links := make(map[string][]nvml.Link)
	for _, d := range devices {
		links[d.PCI] = d.Links
	}
	return links
}

func (g *gpu) close() error {
	if g == nil {
		return nil
	}
	return errors.Join(g.stream.Close(), g.device.Close())
}

// newGPUBuffers takes the operands' memory from the library (registered) or from the driver (plain), with pinned memory of
// the host in which inputs are made and results are looked at.
func newGPUBuffers(comm *collective.Comm, g *gpu, alloc string, sendBytes, recvBytes int64) (_ *buffers, err error) {
	b := &buffers{gpu: g}
	var undo []func() error
	b.free = func() error {
		var errs []error
		for _, f := range undo {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.free())
		}
	}()
	for _, side := range []struct {
		bytes      int64
		host, away *buffer.Block
	}{{sendBytes, &b.send, &b.away.send}, {recvBytes, &b.recv, &b.away.recv}} {
		words := wordsFor(side.bytes)
		pinned, err := g.device.AllocHost(8 * words)
		if err != nil {
			return nil, err
		}
		undo = append(undo, pinned.Close)
		*side.host = buffer.Block{Data: pinned.Bytes(), Type: buffer.Uint64}
		if alloc == "plain" {
			mem, err := g.device.Alloc(8 * words)
			if err != nil {
				return nil, err
			}
			undo = append(undo, mem.Close)
			if *side.away, err = mem.Block(g.memory, buffer.Uint64, 0, words); err != nil {
				return nil, err
			}
			continue
		}
		block, err := comm.AllocDevice(buffer.Uint64, words)
		if err != nil {
			return nil, err
		}
		undo = append(undo, func() error { return comm.FreeBlock(block) })
		*side.away = block
	}
	return b, nil
}

// wordsFor is how many 8-byte words a buffer of so many bytes has, with its guard.
func wordsFor(bytes int64) int { return int((bytes+7)/8) + guardBytes/8 }

// copyBandwidth returns what a copy of n bytes within the device achieves, in GB (1e9 bytes) copied a second: as much is read and
// as much written.
func (g *gpu) copyBandwidth(n int) (rate float64, err error) {
	n = max(n, 1)
	a, err := g.device.Alloc(2 * n)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	run := func(times int) error {
		for range times {
			if err := g.stream.Copy(a.Bytes()[:n], a.Bytes()[n:]); err != nil {
				return errors.Join(err, g.stream.Synchronize())
			}
		}
		return g.stream.Synchronize()
	}
	if err := errors.Join(g.stream.Fill(a.Bytes(), 1), run(2)); err != nil {
		return 0, err
	}
	const times = 20
	begin := time.Now()
	if err := run(times); err != nil {
		return 0, err
	}
	return times * float64(n) / 1e9 / time.Since(begin).Seconds(), nil
}
