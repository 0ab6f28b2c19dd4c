package plan_test

import (
	"fmt"
	"log"
	"os"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// Eight ranks on two hosts of four: inside a host a message costs 1 µs and moves 10 GB/s, between them 20 µs and 1 GB/s.
func twoHosts() *plan.Planner {
	g, err := topology.Uniform(2, 4,
		topology.Link{Level: topology.Host, Alpha: 1e-6, Beta: 1e-10}, topology.Link{Level: topology.Rack, Alpha: 2e-5, Beta: 1e-9})
	if err != nil {
		log.Fatal(err)
	}
	return plan.New(g)
}

func ExamplePlanner_Choose() {
	p := twoHosts()
	for _, bytes := range []int64{1 << 10, 64 << 20} {
		pl, err := p.Choose(plan.Auto, plan.Request{Collective: schedule.AllReduce, Bytes: bytes})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %v on %d channels\n", plan.Bytes(bytes), pl.Variant, pl.Schedule.Channels())
	}
	_, err := p.Choose(plan.Auto, plan.Request{Collective: schedule.Broadcast, Root: 8})
	fmt.Println(err)
	// Output:
	// 1 KiB: hier/ring on 3 channels
	// 64 MiB: hier/ring on 3 channels
	// plan: root 8 of 8 ranks
}

func ExamplePlanner_Explain() {
	p := twoHosts()
	pl, err := p.Choose(plan.Auto, plan.Request{Collective: schedule.AllReduce, Bytes: 1 << 20})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(p.Explain(pl))
	// Output:
	// all_reduce of 1 MiB over 8 ranks on 2 hosts: hier/ring (3 channels, 4 × 2 chunks, slices up to 16 KiB)
	//   * hier/ring             463 µs predicted
	//     hier/hd               463 µs predicted
	//     hier/direct           463 µs predicted
	//     hier/tree             857 µs predicted
	//     hd                   1.17 ms predicted
	//     leaders/hd           1.72 ms predicted
	//     leaders/direct       1.72 ms predicted
	//     direct                  2 ms predicted
	//     ring                 2.12 ms predicted
	//     tree                  2.3 ms predicted
	//   inside a host: alpha 1 µs, 10 GB/s; between hosts: alpha 20 µs, 1 GB/s; reduction no limit
}

func ExamplePlanner_Build() {
	p := plan.New(topology.Local(2))
	s, err := p.Build(plan.Variant{Algorithm: plan.Ring}, plan.Request{Collective: schedule.AllReduce})
	if err != nil {
		log.Fatal(err)
	}
	if err := schedule.Format(os.Stdout, s); err != nil {
		log.Fatal(err)
	}
	// Output:
	// schedule ranks 2 channels 1 blocks 2 pieces 1
	// rank 0 out0
	//   0 send in[1] x1 to 1:0
	//   1 send out[0] x1 to 1:1 after in0:0
	// rank 0 in0
	//   0 recvreduce in[0] x1 to out[0] from 1:0 final
	//   1 recv out[1] x1 from 1:1
	// rank 1 out0
	//   0 send in[0] x1 to 0:0
	//   1 send out[1] x1 to 0:1 after in0:0
	// rank 1 in0
	//   0 recvreduce in[1] x1 to out[1] from 0:0 final
	//   1 recv out[0] x1 from 0:1
}

func ExampleParseAlgorithm() {
	a, err := plan.ParseAlgorithm("tree")
	fmt.Println(a, err)
	_, err = plan.ParseAlgorithm("star")
	fmt.Println(err)
	// Output:
	// tree <nil>
	// plan: algorithm "star": want one of auto, ring, tree, hd, direct, hier
}
