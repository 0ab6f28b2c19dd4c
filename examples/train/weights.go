package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"

	"github.com/ringtree/ringtree/collective"
)

// A weightsError says that ranks ended with different weights.
type weightsError struct {
	ranks []int // those that differ from rank 0
}

func (e *weightsError) Error() string {
	return fmt.Sprintf("the weights of ranks %v differ from those of rank 0", e.ranks)
}

// sameWeights compares the bits of all weights over the ranks and returns the start of their SHA-256 digest in
// hexadecimal, or a *weightsError on every rank.
func sameWeights(ctx context.Context, c *collective.Comm, tensors []tensor) (string, error) {
	mine := digest(tensors)
	all := make([]byte, len(mine)*c.Size())
	if err := collective.AllGather(ctx, c, all, mine); err != nil {
		return "", fmt.Errorf("comparing weights: %w", err)
	}
	var e weightsError
	each := slices.Collect(slices.Chunk(all, len(mine)))
	for rank, d := range each {
		if !bytes.Equal(d, each[0]) {
			e.ranks = append(e.ranks, rank)
		}
	}
	if e.ranks != nil {
		return "", &e
	}
	return hex.EncodeToString(mine[:8]), nil
}

// digest is the SHA-256 of the tensors' bits, little-endian.
func digest(tensors []tensor) []byte {
	h := sha256.New()
	var word [4]byte
	for _, t := range tensors {
		for _, v := range t.data {
			binary.LittleEndian.PutUint32(word[:], math.Float32bits(v))
			h.Write(word[:])
		}
	}
	return h.Sum(nil)
}
