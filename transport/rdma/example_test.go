package rdma_test

import (
	"errors"
	"fmt"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/rdma"
	"github.com/ringtree/ringtree/transport/tcp"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// A process with a device puts RDMA before its other transports; one without leaves it out.
func ExampleNew() {
	id, err := transporttest.Identity() // a p2p.Host has a real one
	if err != nil {
		fmt.Println(err)
		return
	}
	control, err := tcp.New(id)
	if err != nil {
		fmt.Println(err)
		return
	}
	transports := []transport.Transport{control}
	if rdma.Available() == nil {
		r, err := rdma.New(control, rdma.QueuePairs(2), rdma.TrafficClass(106))
		if err != nil {
			fmt.Println(err)
			return
		}
		transports = append([]transport.Transport{r}, transports...)
	}
	fmt.Println(transports[len(transports)-1].Name())
	// Output: tcp
}

func ExampleAvailable() {
	if err := rdma.Available(rdma.Device("no_such_device")); errors.Is(err, transport.ErrNotSupported) {
		fmt.Println("not here")
	}
	// Output: not here
}
