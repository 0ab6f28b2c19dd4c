package stripe

import "github.com/ringtree/ringtree/transport"

// A placingLink is a link whose frames can be read from a connection straight into the memory that their receiver wants them in. Only connections
// that are tried do so: who waits in a read holds on to the memory for as long.
type placingLink struct{ *link }

var _ transport.ExpectingLink = placingLink{}

// Expecting implements [transport.ExpectingLink].
func (l placingLink) Expecting() int {
	if w := l.peer.wires[0]; !w.attached.Load() || w.prompt == nil || l.over() != nil {
		return 0
	}
	return len(l.in)
}

// Expect implements [transport.ExpectingLink]. Any memory will do, as this process's own reads store there.
func (l placingLink) Expect(ahead int, h *transport.Header, mem []byte) bool {
	if h.Kind != transport.Data || h.Check() != nil || len(mem) == 0 || int64(h.Length) != int64(len(mem)) || ahead < 0 || ahead >= l.Expecting() {
		return false
	}
	seq := l.released.Load() + uint64(ahead)
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.in[seq%uint64(len(l.in))]
	if l.ended.Load() || s.busy || s.full.Load() == seq+1 || s.place.mem != nil {
		return false
	}
	s.place = place{*h, mem[:len(mem):len(mem)]} // a record that is decrypted there has no room behind it
	l.wanted++
	return true
}

// A place is where a frame's payload is wanted, if its header is the one that is expected. It is given before the frame comes, and stays until
// the frame is released.
type place struct {
	header transport.Header
	mem    []byte // as long as the payload; nil: there is no place
}

// Quiet reports whether no connection reads into memory of Expect: nothing is expected, or, once this end has ended the link, there is
// none in the middle of one of its frames. No frame that comes then gets a place.
func (l *link) Quiet() bool {
	if l.wanted == 0 {
		return true
	}
	if !l.ended.Load() {
		return false
	}
	for _, w := range l.peer.active() {
		if w.attached.Load() && w.prompt != nil {
			w.intake.divert(l)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.in {
		l.in[i].place = place{}
	}
	l.wanted = 0
	return true
}

// divert throws away what is still to come of a frame of l that is being read into its place.
func (in *intake) divert(l *link) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.frame == l && !in.dropped {
		in.discard, in.rest, in.dropped = len(in.rest), nil, true
	}
}
