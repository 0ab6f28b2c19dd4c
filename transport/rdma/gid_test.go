package rdma

import (
	"errors"
	"testing"
	"testing/fstest"
)

func TestChooseGID(t *testing.T) {
	ipv4 := [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 1}
	routed := [16]byte{0x20, 1, 15: 1}
	local := [16]byte{0xfe, 0x80, 15: 1}
	all := []gid{{0, local, kindRoCE1}, {1, local, kindRoCE2}, {2, routed, kindRoCE2}, {3, ipv4, kindRoCE1}, {4, ipv4, kindRoCE2}, {5, ipv4, kindUnknown}}
	for _, c := range []struct {
		name     string
		gids     []gid
		ethernet bool
		index    int
		want     int // -1: ErrNoGID
	}{
		{"RoCE v2 of IPv4", all, true, -1, 4},
		{"routed before link-local", all[:3], true, -1, 2},
		{"RoCE v2 of one link before v1 of IPv4", []gid{all[3], all[1]}, true, -1, 1},
		{"nothing known", all[5:], true, -1, 5},
		{"InfiniBand takes the first", all, false, -1, 0},
		{"by index", all, true, 3, 3},
		{"no such index", all, true, 17, -1},
		{"none", nil, true, -1, -1},
	} {
		got, err := chooseGID(c.gids, c.ethernet, c.index)
		if c.want < 0 {
			if !errors.Is(err, ErrNoGID) {
				t.Errorf("%s: got %v, want ErrNoGID", c.name, err)
			}
		} else if err != nil || got.index != c.want {
			t.Errorf("%s: got %d, %v, want %d", c.name, got.index, err, c.want)
		}
	}
}

func TestGIDKind(t *testing.T) {
	const at = "class/infiniband/mlx5_0/ports/1/gid_attrs/types/"
	root := fstest.MapFS{at + "0": {Data: []byte("IB/RoCE v1\n")}, at + "1": {Data: []byte("RoCE v2\n")}, at + "2": {Data: []byte("RoCE v9\n")}}
	for i, want := range []gidClass{kindRoCE1, kindRoCE2, kindUnknown, kindUnknown} {
		if got := gidKind(root, "mlx5_0", 1, i); got != want {
			t.Errorf("index %d: got %d, want %d", i, got, want)
		}
	}
}
