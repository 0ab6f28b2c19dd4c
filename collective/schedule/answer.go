package schedule

import "github.com/ringtree/ringtree/topology"

// An Answer is a send whose chunk comes back reduced: its peer completes the chunk by the joint reduction in which it takes
// the send, and sends the result to this rank, which receives it into the same chunk. A driver may then let the peer
// store the result where it belongs, in place of the message: the peer has read the old contents by then, as part of the
// reduction.
type Answer struct {
	Send, Recv Ref // operations of this rank
}

// Answers returns the answers that rank r gets, in the order of Recv. A chunk that any other operation of the rank
// touches has none, so nothing but the send and the receive need be in order, and they are.
func Answers(s Schedule, r topology.Rank) []Answer {
	type use struct {
		send           Ref // the latest
		touches, recvs int
	}
	uses := make(map[int]use)
	for l := range Lane(2 * s.Channels()) {
		for i := 0; ; i++ {
			op, ok := s.At(r, l, i)
			if !ok {
				break
			}
			chunk := op.Dst
			if op.reads() {
				chunk = op.Src // an operation that does both has one chunk
			}
			for k := range int(op.N) {
				u := uses[chunk.Index()+k]
				switch {
				case op.Kind == Recv:
					u.recvs++
				case op.Kind == Send && !op.Eager && op.N == 1 && !op.Src.IsOutput():
					u.send = At(l, i)
					fallthrough
				default:
					u.touches++
				}
				uses[chunk.Index()+k] = u
			}
		}
	}
	var answers []Answer
	for c := range Channel(s.Channels()) {
		in := InLane(c)
		for i := 0; ; i++ {
			op, ok := s.At(r, in, i)
			if !ok {
				break
			}
			if op.Kind != Recv || op.N != 1 {
				continue
			}
			u := uses[op.Dst.Index()]
			out, k, sends := u.send.Get()
			if u.touches != 1 || u.recvs != 1 || !sends {
				continue
			}
			send, _ := s.At(r, out, k)
			if send.Peer == op.Peer && Reply(s, op.Peer, out.Opposite(), int(send.Match)) == At(in.Opposite(), int(op.Match)) {
				answers = append(answers, Answer{u.send, At(in, i)})
			}
		}
	}
	return answers
}

// Reply returns the operation of rank r that sends the result of reduction i of an in lane to the peer of that
// reduction, or none.
func Reply(s Schedule, r topology.Rank, in Lane, i int) Ref {
	op, ok := s.At(r, in, i)
	if !ok || op.Kind != RecvReduce || !op.Final || op.N != 1 {
		return Ref{}
	}
	last := i // of the unit
	for {
		next, ok := s.At(r, in, last+1)
		if !ok || next.Kind != RecvReduce || next.Src != op.Src || next.Dst != op.Dst || next.N != op.N {
			break
		}
		last++
	}
	after := At(in, last)
	for c := range Channel(s.Channels()) {
		for k := 0; ; k++ {
			send, ok := s.At(r, OutLane(c), k)
			if !ok {
				break
			}
			if send.Kind == Send && send.Peer == op.Peer && send.Src == op.Dst && send.N == 1 && send.After == after && !send.Eager {
				return At(OutLane(c), k)
			}
		}
	}
	return Ref{}
}
