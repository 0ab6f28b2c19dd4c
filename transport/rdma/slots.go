package rdma

import (
	"errors"
	"sync"

	"github.com/ringtree/ringtree/transport"
)

// The memory of a receive window. A peer writes into it: the word is how many frames it has released of those that
// this side has sent, and a slot is what it sends, from its own count of released frames on.
//
//	0               word
//	64              slot 0:  16 unused, 8 released, 40 header, payload
//	64+slot         slot 1 …
//	64+frames·slot  place 0: where the peer wants the payload of a frame that this side sends, see offer.go
//	+32             place 1 …
//
// The top bit of released says that the payload is not in the slot but in the place that the receiver has given for it.
const (
	wordSize  = 64
	slotHead  = 64
	headAt    = 16 // where a frame begins in a slot
	headSize  = slotHead - headAt
	slotSize  = slotHead + transport.MaxPayload
	cellSize  = 4096 // of a small frame on its way out
	smallSize = cellSize - slotHead
	// tiny is the longest payload that is copied although the device could read it where it is: a copy of that costs less
	// than to wait for its acknowledgement.
	tiny = 1024
)

func windowBytes(frames int) int { return offersAt(frames) + offersOf(frames)*offerSize }

// cellsBytes is how much memory the small frames, credits and offers on their way out take.
func cellsBytes(frames int) int { return (frames+1)*cellSize + offersOf(frames)*offerSize }

// stagesAtOnce is how many stages are made together.
const stagesAtOnce = 4

// A stage holds a large frame of memory that the device does not know until it is sent.
type stage struct {
	mem []byte // slotSize
	key uint32
}

// stages are the stages of an endpoint. It is safe for concurrent use.
type stages struct {
	memory *memory

	mu   sync.Mutex
	free []*stage
	all  []stageBlock
}

type stageBlock struct {
	mem    []byte
	region region
}

func (s *stages) get() (*stage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) == 0 {
		mem, err := newPages(stagesAtOnce * slotSize)
		if err != nil {
			return nil, err
		}
		r, err := s.memory.fabric.register(addressOf(mem), len(mem), 0)
		if err != nil {
			return nil, errors.Join(err, freePages(mem))
		}
		s.all = append(s.all, stageBlock{mem, r})
		key, _ := r.keys()
		for i := range stagesAtOnce {
			s.free = append(s.free, &stage{mem[i*slotSize : (i+1)*slotSize], key})
		}
	}
	last := len(s.free) - 1
	g := s.free[last]
	s.free = s.free[:last]
	return g, nil
}

func (s *stages) put(g *stage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, g)
}

// close frees all stages: no queue pair reads them any more.
func (s *stages) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, b := range s.all {
		errs = append(errs, b.region.release(), freePages(b.mem))
	}
	s.all, s.free = nil, nil
	return errors.Join(errs...)
}
