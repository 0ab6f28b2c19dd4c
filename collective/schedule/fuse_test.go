package schedule_test

import (
	"testing"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

func TestFuse(t *testing.T) {
	eager := func(o schedule.Op) schedule.Op { o.Eager = true; return o }
	copies := schedule.Op{Kind: schedule.Copy, Src: in(0), Dst: out(0), N: 1}
	for _, c := range []struct {
		name  string
		ops   []schedule.Op
		first int
		width int
		joint bool
	}{
		{"past the end", nil, 0, 0, false},
		{"one", []schedule.Op{send(in(0), 1, 1, 0)}, 0, 1, false},
		{"sends of any chunk", []schedule.Op{send(in(0), 1, 1, 0), send(in(1), 1, 2, 0), send(out(2), 1, 3, 0)}, 0, 3, false},
		{"from the middle", []schedule.Op{send(in(0), 1, 1, 0), send(in(1), 1, 2, 0), send(out(2), 1, 3, 0)}, 1, 2, false},
		{"same peer", []schedule.Op{send(in(0), 1, 1, 0), send(in(1), 1, 2, 0), send(in(2), 1, 1, 1)}, 0, 2, false},
		{"other length", []schedule.Op{send(in(0), 1, 1, 0), send(in(1), 2, 2, 0)}, 0, 1, false},
		{"other After", []schedule.Op{send(in(0), 1, 1, 0), after(send(in(1), 1, 2, 0), 1, 0)}, 0, 1, false},
		{"eager or not", []schedule.Op{send(in(0), 1, 1, 0), eager(send(in(1), 1, 2, 0))}, 0, 1, false},
		{"other kind", []schedule.Op{send(in(0), 1, 1, 0), copies}, 0, 1, false},
		{"copies", []schedule.Op{copies, copies}, 0, 1, false},
		{"receives", []schedule.Op{recv(out(0), 1, 1, 0), recv(out(1), 1, 2, 0)}, 0, 2, false},
		{"joint", []schedule.Op{reduce(in(0), out(0), 1, 1, 0), reduce(in(0), out(0), 1, 2, 0)}, 0, 2, true},
		{"joint alone", []schedule.Op{reduce(in(0), out(0), 1, 1, 0)}, 0, 1, true},
		{"other chunk of a reduction", []schedule.Op{reduce(in(0), out(0), 1, 1, 0), reduce(in(1), out(1), 1, 2, 0)}, 0, 1, true},
		{"other source", []schedule.Op{reduce(in(0), out(0), 1, 1, 0), reduce(out(0), out(0), 1, 2, 0)}, 0, 1, true},
		{"Final or not", []schedule.Op{reduce(in(0), out(0), 1, 1, 0), final(reduce(in(0), out(0), 1, 2, 0))}, 0, 1, true},
	} {
		s := alone(c.ops, nil)
		if w, joint := schedule.Fuse(s, 0, 0, c.first); w != c.width || joint != c.joint {
			t.Errorf("%s: got %d joint %v, want %d joint %v", c.name, w, joint, c.width, c.joint)
		}
	}
}

// Units of any width, whose peers go up or down around the group or are in no order, end where a peer comes again.
func TestFuseWide(t *testing.T) {
	for _, width := range []int{2, 3, 15, 16, 17, 64, 200} {
		for name, peer := range map[string]func(i int) int{
			"up":           func(i int) int { return i },
			"down":         func(i int) int { return width - 1 - i },
			"up around":    func(i int) int { return (i + width/3) % width },
			"down around":  func(i int) int { return (width/3 - i + width) % width },
			"in no order":  func(i int) int { return i ^ 1 },
			"turning back": func(i int) int { return max(2*i, 2*(width-i)-1) },
			"last of all":  func(i int) int { return (i + width - 1) % width },
		} {
			for _, again := range []int{0, width / 2, width - 1} {
				var ops []schedule.Op
				for i := range width {
					ops = append(ops, send(in(0), 1, topology.Rank(1+peer(i)), 0))
				}
				ops = append(ops, send(in(0), 1, topology.Rank(1+peer(again)), 1), send(in(0), 1, 500, 0))
				if got, _ := schedule.Fuse(alone(ops, nil), 0, 0, 0); got != width {
					t.Errorf("%d peers %s and then number %d of them again: got %d, want %d", width, name, again, got, width)
				}
			}
		}
	}
}

func FuzzFuse(f *testing.F) {
	f.Add([]byte{1, 2, 3, 1, 2, 3, 9, 8, 7})
	f.Fuzz(func(t *testing.T, data []byte) {
		var ops []schedule.Op
		for ; len(data) >= 2; data = data[2:] {
			a, b := int(data[0]), int(data[1])
			ops = append(ops, schedule.Op{
				Kind: schedule.Kind(1 + a&3), Peer: topology.Rank(b & 15), Src: in(b >> 4 & 1), Dst: out(b >> 4 & 1), N: uint32(1 + a>>2&1), Eager: a&8 > 0,
			})
		}
		s := alone(ops, nil)
		for i := 0; ; {
			w, _ := schedule.Fuse(s, 0, 0, i)
			if w == 0 {
				if i != len(ops) {
					t.Fatalf("units end at %d of %d operations", i, len(ops))
				}
				break
			}
			peers := make(map[topology.Rank]bool)
			for _, o := range ops[i : i+w] {
				if o.Kind != ops[i].Kind || o.N != ops[i].N || peers[o.Peer] {
					t.Fatalf("operations %d..%d are one unit: %v and %v", i, i+w-1, ops[i], o)
				}
				peers[o.Peer] = true
			}
			i += w
		}
	})
}
