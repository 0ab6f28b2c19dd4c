package bucket

import (
	"context"
	"fmt"
	"hash/fnv"
	"unicode/utf8"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
)

// wordsMax is how many bytes of a description LayoutError shows: what ranks send each other has a fixed size.
const wordsMax = 256

// agree returns nil on every rank if entries are the same on all, else the same *LayoutError on every rank.
// Entry 0 describes the configuration, entry i+1 gradient i.
//
// Equality is read off one all-reduce: the maximum of a hash word and of its complement (the negated minimum)
// are complements of each other only if all words are equal. Only when they are not do the ranks look for the
// place, in a second operation as long as the shortest list.
func agree(ctx context.Context, c *collective.Comm, entries []string) error {
	hashes := make([]uint64, len(entries))
	all := fnv.New64a()
	for i, e := range entries {
		h := fnv.New64a()
		h.Write([]byte(e))
		hashes[i] = h.Sum64()
		fmt.Fprintf(all, "%d:%016x\n", i, hashes[i])
	}

	ends := make([]uint64, 4) // digest and complement, length and complement
	digest, length := all.Sum64(), uint64(len(entries))
	copy(ends, []uint64{digest, ^digest, length, ^length})
	if err := collective.AllReduce(ctx, c, ends, buffer.Max); err != nil {
		return fmt.Errorf("bucket: comparing layouts: %w", err)
	}
	if ends[0] == ^ends[1] && ends[2] == ^ends[3] {
		return nil
	}

	shortest := int(min(^ends[3], length)) // no longer than this rank's own list, whatever others say
	words := make([]uint64, 2*shortest)
	for i, h := range hashes[:shortest] {
		words[2*i], words[2*i+1] = h, ^h
	}
	if err := collective.AllReduce(ctx, c, words, buffer.Max); err != nil {
		return fmt.Errorf("bucket: comparing layouts: %w", err)
	}
	first := 0
	for first < shortest && words[2*first] == ^words[2*first+1] {
		first++
	}
	return describe(ctx, c, entries, hashes, first) // past the end of the shortest list if that is the difference
}

// describe builds the LayoutError of entry i, which differs between ranks.
func describe(ctx context.Context, c *collective.Comm, entries []string, hashes []uint64, i int) error {
	mine := make([]uint64, 1)
	words := "none"
	if i < len(entries) {
		mine[0] = hashes[i]
		words = entries[i]
	}
	each := make([]uint64, c.Size())
	if err := collective.AllGather(ctx, c, each, mine); err != nil {
		return fmt.Errorf("bucket: comparing layouts: %w", err)
	}
	other := 0
	for other < len(each)-1 && each[other] == each[0] {
		other++
	}
	e := &LayoutError{Index: i - 1, Ranks: [2]int{0, other}}
	for k, root := range e.Ranks {
		text := make([]uint8, wordsMax)
		if c.Rank() == root {
			copy(text, cut(words, wordsMax))
		}
		if err := collective.Broadcast(ctx, c, text, root); err != nil {
			return fmt.Errorf("bucket: comparing layouts: %w", err)
		}
		end := 0
		for end < len(text) && text[end] != 0 {
			end++
		}
		e.Values[k] = string(text[:end])
	}
	return e
}

// cut shortens s to at most n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
