package stripe

import (
	"sync"

	"github.com/ringtree/ringtree/transport"
)

// The pool keeps payload memory between frames, in a few sizes, so that a link of small frames does not cost
// megabytes. What it hands out is bounded by the windows, what it keeps by kept.
var (
	classes = [...]int{small, 64 << 10, 128 << 10, transport.MaxPayload}
	kept    = [...]int{256, 64, DefaultWindow, 64} // slots
)

// slack is how much more memory a payload has than it may be long: room for the type of a TLS record, which is decrypted in place.
const slack = 1

// A pool is safe for concurrent use.
type pool struct {
	mu   sync.Mutex
	free [len(classes)][][]byte
}

// get returns n bytes of any content.
func (p *pool) get(n int) []byte {
	c := 0
	for n > classes[c] {
		c++
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := len(p.free[c]) - 1; last >= 0 {
		b := p.free[c][last]
		p.free[c][last] = nil
		p.free[c] = p.free[c][:last]
		return b[:n]
	}
	return make([]byte, n, classes[c]+slack)
}

// put takes back what get returned.
func (p *pool) put(b []byte) {
	c := 0
	for cap(b) > classes[c]+slack {
		c++
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free[c]) < kept[c] {
		p.free[c] = append(p.free[c], b)
	}
}
