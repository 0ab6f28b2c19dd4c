package rdma

import (
	"fmt"
	"io/fs"
	"strings"
)

// maxGIDs is how many addresses of a port are looked at.
const maxGIDs = 256

// The kinds of GID, worst first.
type gidClass uint8

const (
	kindUnknown gidClass = iota // the kernel does not say
	kindRoCE1
	kindRoCE2
)

// A gid is an address of a port.
type gid struct {
	index int
	raw   [16]byte
	kind  gidClass
}

// gidKind asks the kernel what kind an address is. root is /sys.
func gidKind(root fs.FS, device string, port, index int) gidClass {
	text, err := fs.ReadFile(root, fmt.Sprintf("class/infiniband/%s/ports/%d/gid_attrs/types/%d", device, port, index))
	if err != nil {
		return kindUnknown
	}
	switch strings.TrimSpace(string(text)) {
	case "RoCE v2":
		return kindRoCE2
	case "IB/RoCE v1":
		return kindRoCE1
	}
	return kindUnknown
}

// rank orders the addresses of an Ethernet port: RoCE v2 before v1, and of each IPv4 before IPv6 that is routed before
// IPv6 of one link.
func (g gid) rank() int {
	r := 0
	switch g.kind {
	case kindRoCE2:
		r = 20
	case kindRoCE1:
		r = 10
	}
	ipv4 := g.raw[10] == 0xff && g.raw[11] == 0xff && [10]byte(g.raw[:10]) == [10]byte{}
	switch {
	case ipv4:
		return r + 3
	case g.raw[0] == 0xfe && g.raw[1]&0xc0 == 0x80:
		return r + 1
	}
	return r + 2
}

// chooseGID returns the address with that index, or with -1 the best.
func chooseGID(gids []gid, ethernet bool, index int) (gid, error) {
	best := gid{index: -1}
	for _, g := range gids {
		switch {
		case index >= 0:
			if g.index == index {
				return g, nil
			}
		case best.index < 0 || ethernet && g.rank() > best.rank():
			best = g
		}
	}
	if best.index < 0 {
		if index >= 0 {
			return best, fmt.Errorf("%w with index %d", ErrNoGID, index)
		}
		return best, ErrNoGID
	}
	return best, nil
}
