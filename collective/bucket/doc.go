// Package bucket sums the gradients of data-parallel training in a few large operations that run while the
// backward pass is still computing.
//
// A model has many gradients, most of them small; one collective operation each would cost one latency each,
// and one operation for all of them could only start when the last is known. A [Reducer] lays the gradients
// out in buckets, in reverse order of registration, because a model registers its layers from input to output
// and the backward pass meets them the other way round. As soon as every gradient of a bucket is final its
// all-reduce starts, and the layers below are computed meanwhile. This is the design of PyTorch's
// DistributedDataParallel: S. Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel
// Training", VLDB 2020, sections 3.2.2 (bucketing), 3.2.3 (overlap) and 4.2 (reducer).
//
// # Use
//
//	r, err := bucket.New[float32](comm, bucket.Config{})
//	w1, err := r.Register("w1", len(weights1))      // on every rank, in the same order
//	w2, err := r.Register("w2", len(weights2))
//	err = r.Seal(ctx)                               // every rank: compares the layout, allocates
//	for each step {
//		… write w2.Grad(); err = r.Ready(w2)        // backward, from the output to the input
//		… write w1.Grad(); err = r.Ready(w1)        // while the bucket of w2 is on its way
//		err = r.Wait(ctx)                           // now Grad holds the average over all ranks
//		… optimiser
//	}
//
// # Memory
//
// [Param.Grad] is a view into memory that comes from [collective.Alloc], so that peers read and write gradients
// in place and nothing is copied into or out of a bucket. A gradient belongs to the caller except between
// [Reducer.Ready] and the return of [Reducer.Wait]. After a step it holds the reduced value until the caller
// overwrites it. Gradients start on 64-byte boundaries; the gaps between them are reduced too and hold no
// data. Grad must not be touched after Reducer.Close, or after the communicator was closed.
//
// # Order
//
// All ranks start the buckets in the same order, the order of the layout, whatever order Ready is called in:
// a bucket that is ready early waits for those before it. The operations are those of the communicator that
// the Reducer was made with, and count in its order of operations; between the first Ready and the return of
// Wait nothing else may use that communicator, unless it is issued at the same place on every rank. Work that
// cannot promise this takes its own communicator from [collective.Comm.Split].
//
// # Failure
//
// A failed operation poisons the communicator, and the Reducer keeps returning that error. A rank whose Wait
// gives a [*MissingError] has started fewer buckets than its peers, who wait for it: it calls Ready on what is
// missing, or closes or aborts its communicator, which ends the step everywhere.
package bucket
