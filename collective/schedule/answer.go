package schedule

import "github.com/ringtree/ringtree/topology"

// An Answer is a send whose chunk comes back reduced: its peer completes the chunk by the joint reduction in which it takes
// the send, and sends the result to this rank, which receives it into the same chunk. A driver may then let the peer
// store the result where it belongs, in place of the message: the peer has read the old contents by then, as part of the
// reduction.
type Answer struct {
	Send, Recv int // operations of this rank's out and in lane
}

// Answers returns the answers that rank r gets on a channel, in the order of Recv. A chunk that any other operation of the rank
// touches has none, so nothing but the send and the receive need be in order, and they are.
func Answers(s Schedule, r topology.Rank, c Channel) []Answer {
	out, in := OutLane(c), InLane(c)
	type use struct{ send, touches int }
	uses := make(map[int]use)
	touch := func(chunk Chunk, n uint32, send int) {
		for i := range int(n) {
			u := uses[chunk.Index()+i]
			u.touches++
			u.send = send
			uses[chunk.Index()+i] = u
		}
	}
	for l := range Lane(2 * s.Channels()) {
		for i := 0; ; i++ {
			op, ok := s.At(r, l, i)
			if !ok {
				break
			}
			if op.reads() {
				send := -1
				if l == out && op.Kind == Send && !op.Eager && op.N == 1 && !op.Src.IsOutput() {
					send = i
				}
				touch(op.Src, op.N, send)
			}
			if op.writes() && (op.Kind != Recv || l != in) {
				touch(op.Dst, op.N, -1)
			}
		}
	}
	var answers []Answer
	for i := 0; ; i++ {
		op, ok := s.At(r, in, i)
		if !ok {
			return answers
		}
		if op.Kind != Recv || op.N != 1 {
			continue
		}
		u, ok := uses[op.Dst.Index()]
		if !ok || u.touches != 1 || u.send < 0 {
			continue
		}
		send, _ := s.At(r, out, u.send)
		if send.Peer != op.Peer || Reply(s, op.Peer, c, int(send.Match)) != int(op.Match) {
			continue
		}
		answers = append(answers, Answer{Send: u.send, Recv: i})
	}
}

// Reply returns the operation of rank r's out lane that sends the result of reduction i of its in lane to the peer of that
// reduction, or -1 when there is none.
func Reply(s Schedule, r topology.Rank, c Channel, i int) int {
	out, in := OutLane(c), InLane(c)
	op, ok := s.At(r, in, i)
	if !ok || op.Kind != RecvReduce || !op.Final || op.N != 1 {
		return -1
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
	for k := 0; ; k++ {
		send, ok := s.At(r, out, k)
		switch {
		case !ok:
			return -1
		case send.Kind == Send && send.Peer == op.Peer && send.Src == op.Dst && send.N == 1 && send.After == after && !send.Eager:
			return k
		}
	}
}
