package calibrate_test

import (
	"fmt"
	"log"
	"os"

	"github.com/ringtree/ringtree/collective/calibrate"
)

// A table of two hosts predicts eight of them.
func Example() {
	f, err := os.Open("testdata/published.csv")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	tables, err := calibrate.ParseTables(f)
	if err != nil {
		log.Fatal(err)
	}
	model, err := calibrate.Fit(tables[1])
	if err != nil {
		log.Fatal(err)
	}
	for _, size := range []int64{8, 1 << 20, 1 << 30} {
		p, err := model.Predict(calibrate.Shape{Ranks: 64, Hosts: 8}, size)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d B: about %.1g s by %v\n", size, p.Seconds, p.Protocol)
	}
	// Output:
	// 8 B: about 5e-05 s by LL
	// 1048576 B: about 0.0001 s by LL128
	// 1073741824 B: about 0.005 s by Simple
}

func ExampleCompare() {
	table := &calibrate.Table{Shape: calibrate.Shape{Ranks: 16, Hosts: 2}, Rows: []calibrate.Row{{8, 25e-6}, {1 << 34, 68.7e-3}}}
	for _, r := range calibrate.Compare(calibrate.NCCL(8*48e9), table).Rows {
		fmt.Printf("%d B: %+.0f %%\n", r.Bytes, 100*r.Error)
	}
	// Output:
	// 8 B: +1 %
	// 17179869184 B: +22 %
}
