package engine

import (
	"github.com/ringtree/ringtree/collective/schedule"
)

// Peers that read this Memory in place get a reference instead of the bytes, marked in the header, and reduce straight
// out of it. A link's Release cannot say that they have: it is in order, and the work is not over when the next frame is due.
// So they say how many references of a link they have done with on a link of their own, ackChannel.

// ackChannel is the channel on which ranks tell how many references they have read.
const ackChannel = 0xfffe

// byReference in a header's Slice says that the payload is a reference to the slice.
const byReference = 1 << 31

// hearAcks reads what peers say that they have read, where something is awaited.
func (e *Engine) hearAcks() (moved bool, err error) {
	for _, n := range e.off.list {
		if n.ack == nil || n.taken == n.given {
			continue
		}
		for {
			f, err := n.ack.Poll()
			if err != nil {
				return moved, e.blame(n.ack, e.now.sc, schedule.OutLane(schedule.Channel(n.channel)), -1, err)
			}
			if f == nil {
				break
			}
			h := f.Header
			n.ack.Release()
			if h.Epoch != e.epoch {
				continue
			}
			for _, x := range e.off.list { // the link is for all channels to the peer
				if x.c.peer == n.c.peer && uint32(x.channel) == h.Step && int32(h.Slice-x.taken) > 0 && int32(x.given-h.Slice) >= 0 {
					x.taken, moved = h.Slice, true
				}
			}
		}
	}
	return moved, nil
}

// sendAcks tells peers what this rank has read of their memory. What a full window refuses is told later.
func (e *Engine) sendAcks(sc *Script) error {
	o := e.off
	if !o.acks {
		return nil
	}
	o.acks = false
	for _, n := range o.list {
		if n.told == n.read {
			continue
		}
		if n.ack == nil {
			c, err := e.conn(n.c.peer, ackChannel)
			if err != nil {
				return err
			}
			n.ack = c
		}
		h := sc.head
		h.Seq, h.Channel, h.Step, h.Slice = e.now.stamp, ackChannel, uint32(n.channel), n.read
		ok, err := n.ack.Post(&h, nil)
		if err != nil {
			return e.blame(n.ack, sc, schedule.InLane(schedule.Channel(n.channel)), -1, err)
		}
		if !ok {
			o.acks = true
			continue
		}
		n.told = n.read
	}
	return nil
}
