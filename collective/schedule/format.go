package schedule

import (
	"bufio"
	"fmt"
	"io"

	"github.com/ringtree/ringtree/topology"
)

// Format writes every operation of s as text, one a line, for golden files and for people:
//
//	schedule ranks 2 channels 1 blocks 2 pieces 1
//	rank 0 out0
//	  0 send out[1] x1 to 1:0
//	rank 0 in0
//	  0 recvreduce in[0] x1 to out[0] from 1:0 final after out0:0
//
// "1:0" is the peer and the index of its partner operation.
func Format(w io.Writer, s Schedule) error {
	b := bufio.NewWriter(w)
	l := s.Layout()
	fmt.Fprintf(b, "schedule ranks %d channels %d blocks %d pieces %d\n", s.Ranks(), s.Channels(), l.Blocks, l.Pieces)
	for r := range topology.Rank(s.Ranks()) {
		for lane := range Lane(2 * s.Channels()) {
			for i := 0; ; i++ {
				op, ok := s.At(r, lane, i)
				if !ok {
					break
				}
				if i == 0 {
					fmt.Fprintf(b, "rank %d %v\n", r, lane)
				}
				fmt.Fprintf(b, "  %d %v\n", i, op)
			}
		}
	}
	return b.Flush()
}

// String returns the operation as [Format] writes it.
func (o Op) String() string {
	var s string
	switch o.Kind {
	case Send:
		s = fmt.Sprintf("send %v x%d to %d:%d", o.Src, o.N, o.Peer, o.Match)
	case Recv:
		s = fmt.Sprintf("recv %v x%d from %d:%d", o.Dst, o.N, o.Peer, o.Match)
	case RecvReduce:
		s = fmt.Sprintf("recvreduce %v x%d to %v from %d:%d", o.Src, o.N, o.Dst, o.Peer, o.Match)
	case Copy:
		s = fmt.Sprintf("copy %v x%d to %v", o.Src, o.N, o.Dst)
	default:
		s = o.Kind.String()
	}
	if o.Final {
		s += " final"
	}
	if o.Eager {
		s += " eager"
	}
	if l, i, ok := o.After.Get(); ok {
		s += fmt.Sprintf(" after %v:%d", l, i)
	}
	return s
}
