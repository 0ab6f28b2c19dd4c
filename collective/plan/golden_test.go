package plan

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden compares small schedules with testdata, operation by operation.
func TestGolden(t *testing.T) {
	for _, c := range []struct {
		v     Variant
		coll  schedule.Collective
		root  int
		hosts []int
	}{
		{Variant{Algorithm: Ring}, schedule.AllReduce, 0, []int{4}},
		{Variant{Algorithm: Ring}, schedule.Broadcast, 2, []int{4}},
		{Variant{Algorithm: Tree}, schedule.AllReduce, 0, []int{4}},
		{Variant{Algorithm: Tree}, schedule.ReduceScatter, 0, []int{4}},
		{Variant{Algorithm: HalvingDoubling}, schedule.AllReduce, 0, []int{5}},
		{Variant{Algorithm: HalvingDoubling}, schedule.Broadcast, 1, []int{4}},
		{Variant{Algorithm: Direct}, schedule.AllReduce, 0, []int{4}},
		{Variant{Algorithm: Direct, OneShot: true}, schedule.AllReduce, 0, []int{3}},
		{Variant{Algorithm: Hierarchical, Between: Ring}, schedule.AllReduce, 0, []int{2, 1, 1}},
		{Variant{Algorithm: Hierarchical, Between: Tree}, schedule.Reduce, 3, []int{2, 2}},
		{Variant{Algorithm: Hierarchical, Between: Direct}, schedule.AllGather, 0, []int{2, 2}},
	} {
		name := fmt.Sprintf("%v-%v", c.coll, strings.NewReplacer("/", "-", " ", "-").Replace(c.v.String()))
		for _, size := range c.hosts {
			name += fmt.Sprint("-", size)
		}
		t.Run(name, func(t *testing.T) {
			req := Request{Collective: c.coll, Root: topology.Rank(c.root)}
			s, err := New(hostsOf(t, nil, c.hosts...)).Build(c.v, req)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := schedule.Format(&got, s); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.MkdirAll("testdata", 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, got.Bytes(), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n")); !bytes.Equal(got.Bytes(), want) {
				t.Errorf("got\n%s\nwant\n%s", &got, want)
			}
		})
	}
}
