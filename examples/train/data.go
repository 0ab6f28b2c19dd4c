package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
)

//go:embed data/digits.csv.gz
var digitsFile []byte

// attribution goes wherever the embedded data does.
const attribution = `"Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI Machine Learning Repository (1998), CC BY 4.0`

const (
	pixels   = 64 // an image of 8 by 8
	maxPixel = 16
	classes  = 10
)

// splitSeed fixes which samples are for testing: the same for every run, so that accuracies compare.
const splitSeed = 20

// samples are images and what they show.
type samples struct {
	x []float32 // a row of pixels values from 0 to 1 for each sample
	y []uint8   // a label from 0 to 9 for each sample
}

func (s *samples) len() int { return len(s.y) }

// image returns the pixels of sample i.
func (s *samples) image(i int) []float32 { return s.x[i*pixels : (i+1)*pixels] }

// errData is what every error of parseDigits is.
var errData = errors.New("digits data")

// loadDigits returns the embedded samples.
func loadDigits() (*samples, error) {
	z, err := gzip.NewReader(bytes.NewReader(digitsFile))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errData, err)
	}
	return parseDigits(z)
}

// parseDigits reads rows of 64 pixel values from 0 to 16 and a label from 0 to 9, separated by commas.
func parseDigits(r io.Reader) (*samples, error) {
	s := &samples{}
	lines := bufio.NewScanner(r)
	for row := 1; lines.Scan(); row++ {
		rest := lines.Text()
		for column := range pixels + 1 {
			field, more, found := strings.Cut(rest, ",")
			if found == (column == pixels) {
				return nil, fmt.Errorf("%w: row %d does not have %d columns", errData, row, pixels+1)
			}
			rest = more
			limit := uint64(maxPixel)
			if column == pixels {
				limit = classes - 1
			}
			v, err := strconv.ParseUint(field, 10, 8)
			if err != nil || v > limit {
				return nil, fmt.Errorf("%w: row %d, column %d: %q is not a number from 0 to %d", errData, row, column+1, field, limit)
			}
			if column == pixels {
				s.y = append(s.y, uint8(v))
			} else {
				s.x = append(s.x, float32(v)/maxPixel)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errData, err)
	}
	return s, nil
}

// split deals the samples out to train and test, four to one, always in the same way.
func split(all *samples) (train, test *samples) {
	order := rand.New(rand.NewPCG(splitSeed, 0)).Perm(all.len())
	first := all.len() / 5
	return all.pick(order[first:]), all.pick(order[:first])
}

// pick copies the samples of the given indices.
func (s *samples) pick(indices []int) *samples {
	out := &samples{}
	for _, i := range indices {
		out.x = append(out.x, s.image(i)...)
		out.y = append(out.y, s.y[i])
	}
	return out
}

// epochOrder is the order in which an epoch visits n samples: the same on every rank.
func epochOrder(seed uint64, epoch, n int) []int {
	return rand.New(rand.NewPCG(seed, uint64(epoch)+1)).Perm(n)
}
