package collective_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"sync"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/bucket"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/transport/p2p"
)

// Four ranks, here goroutines of one process, add up their gradients.
func Example_quickStart() {
	const size = 4
	group := fmt.Sprint("quickstart-", os.Getpid()) // the name under which the ranks find each other
	var ranks sync.WaitGroup
	for rank := range size {
		ranks.Go(func() {
			ctx := context.Background()
			comm, err := collective.Join(ctx, collective.Config{Rank: rank, Size: size, Group: group})
			if err != nil {
				log.Print(err)
				return
			}
			defer comm.Close()
			gradients := []float32{float32(rank), 10}
			if err := collective.AllReduce(ctx, comm, gradients, buffer.Sum); err != nil {
				log.Print(err)
				return
			}
			if rank == 0 {
				fmt.Println(gradients)
			}
		})
	}
	ranks.Wait()
	// Output: [6 40]
}

// train is the loop of a data-parallel trainer: the gradients of the upper layers are averaged over the ranks while
// those of the lower layers are still being computed.
func train(ctx context.Context, comm *collective.Comm, weights [][]float32, steps int) error {
	reducer, err := bucket.New[float32](comm, bucket.Config{})
	if err != nil {
		return err
	}
	defer reducer.Close()
	layers := make([]*bucket.Param[float32], len(weights))
	for i, w := range weights { // from input to output
		if layers[i], err = reducer.Register(fmt.Sprint("layer ", i), len(w)); err != nil {
			return err
		}
	}
	if err := reducer.Seal(ctx); err != nil {
		return err
	}
	for range steps {
		for i := len(layers) - 1; i >= 0; i-- { // from output to input
			backward(comm.Rank(), weights[i], layers[i].Grad())
			if err := reducer.Ready(layers[i]); err != nil {
				return err
			}
		}
		if err := reducer.Wait(ctx); err != nil {
			return err
		}
		for i, w := range weights { // all ranks have the same gradients, bit for bit
			for j, g := range layers[i].Grad() {
				w[j] -= 0.1 * g
			}
		}
	}
	return nil
}

// backward puts into grad the gradient of half the squared distance from w to the rank's one sample, its own number.
func backward(rank int, w, grad []float32) {
	for i := range w {
		grad[i] = w[i] - float32(rank)
	}
}

// Two ranks train together: the weights end in the middle between their samples.
func Example_trainer() {
	const size = 2
	group := fmt.Sprint("trainer-", os.Getpid())
	var ranks sync.WaitGroup
	for rank := range size {
		ranks.Go(func() {
			ctx := context.Background()
			comm, err := collective.Join(ctx, collective.Config{Rank: rank, Size: size, Group: group})
			if err != nil {
				log.Print(err)
				return
			}
			defer comm.Close()
			weights := [][]float32{{7}, {-3, 12}}
			if err := train(ctx, comm, weights, 200); err != nil {
				log.Print(err)
				return
			}
			if rank == 0 {
				fmt.Printf("%.3f\n", weights)
			}
		})
	}
	ranks.Wait()
	// Output: [[0.500] [0.500 0.500]]
}

var invitations = make(chan string, 1)

func network(ctx context.Context, peer *p2p.Host, invitation string, size int) (*collective.Comm, error) {
	if invitation == "" { // the first process invites the others
		var err error
		if invitation, err = collective.Invite(peer, size); err != nil {
			return nil, err
		}
		invitations <- invitation // "rt1:…", one line: over any channel that you trust
	}
	return collective.Join(ctx, collective.Config{Rank: collective.AnyRank, Invitation: invitation, Peer: peer})
}

// Two ranks that know of each other by an invitation only.
func Example_network() {
	ctx := context.Background()
	const size = 2
	var ranks sync.WaitGroup
	for i := range size {
		ranks.Go(func() {
			peer, err := p2p.New(ctx, p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
			if err != nil {
				log.Print(err)
				return
			}
			defer peer.Close()
			invitation := ""
			if i > 0 {
				invitation = <-invitations
			}
			comm, err := network(ctx, peer, invitation, size)
			if err != nil {
				log.Print(err)
				return
			}
			defer comm.Close()
			sum := []float64{float64(comm.Rank()), 1}
			if err := collective.AllReduce(ctx, comm, sum, buffer.Sum); err != nil {
				log.Print(err)
				return
			}
			if comm.Rank() == 0 {
				fmt.Println(sum)
			}
		})
	}
	ranks.Wait()
	// Output: [1 2]
}
