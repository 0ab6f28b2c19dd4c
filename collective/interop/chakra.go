package interop

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// Numbers of Chakra's schema, et_def.proto of MLCommons: types of nodes, fields of messages.
const (
	chakraVersion = "0.0.4"
	compNode      = 4
	sendNode      = 5
	recvNode      = 6

	metadataVersion = 1
	nodeID          = 1
	nodeName        = 2
	nodeType        = 3
	nodeCtrlDeps    = 4
	nodeDataDeps    = 5
	nodeDuration    = 7
	nodeAttr        = 10
	attrName        = 1
	attrInt32       = 7
	attrInt64       = 9
	attrBool        = 27
)

// WriteChakra writes rank r's part of s as an execution trace of MLCommons Chakra: protobuf messages, each after its length, one
// GlobalMetadata and then a Node an operation, by ascending id. A trace is one rank's, and so is a file. Lanes become
// control dependencies, After a data dependency, a reduction a receive and a computation. The tag of a message is its
// channel. It fails with a [*FormatError] for a vector or a rank that cannot be, or with the writer's error.
func WriteChakra(w io.Writer, s schedule.Schedule, r topology.Rank, v Vector) error {
	if err := v.check(); err != nil {
		return err
	}
	if r < 0 || int(r) >= s.Ranks() {
		return &FormatError{Reason: fmt.Sprintf("rank %d of %d", r, s.Ranks())}
	}
	b := bufio.NewWriter(w)
	delimited := func(m message) { b.Write(binary.AppendUvarint(nil, uint64(len(m)))); b.Write(m) }
	delimited(message(nil).text(metadataVersion, chakraVersion))

	// Two ids an operation, lane by lane: the message or copy, and the computation of a reduction.
	from := make([]uint64, 2*s.Channels()+1)
	for l := range schedule.Lane(2 * s.Channels()) {
		from[l+1] = from[l]
		each(s, r, l, func(int, schedule.Op) { from[l+1] += 2 })
	}
	id := func(l schedule.Lane, i int) uint64 { return from[l] + 2*uint64(i) }
	layout := s.Layout()
	for l := range schedule.Lane(2 * s.Channels()) {
		each(s, r, l, func(i int, op schedule.Op) {
			size := v.bytes(layout, &op)
			m := message(nil).number(nodeID, id(l, i)).text(nodeName, label(l, i, &op))
			kind := uint64(compNode)
			switch op.Kind {
			case schedule.Send:
				kind = sendNode
			case schedule.Recv, schedule.RecvReduce:
				kind = recvNode
			}
			m = m.number(nodeType, kind)
			if i > 0 {
				m = m.number(nodeCtrlDeps, id(l, i-1))
			}
			if dl, di, ok := op.After.Get(); ok {
				dep := id(dl, di)
				if on, ok := s.At(r, dl, di); ok && on.Kind == schedule.RecvReduce {
					dep++
				}
				m = m.number(nodeDataDeps, dep)
			}
			m = m.attr("is_cpu_op", attrBool, 0)
			if op.Kind != schedule.Copy {
				src, dst := r, op.Peer
				if op.Kind != schedule.Send {
					src, dst = dst, src
				}
				m = m.attr("comm_size", attrInt64, uint64(size)).attr("comm_src", attrInt32, uint64(src)).
					attr("comm_dst", attrInt32, uint64(dst)).attr("comm_tag", attrInt32, uint64(l.Channel()))
			}
			delimited(m)
			if op.Kind == schedule.RecvReduce {
				micros := uint64(math.Round(float64(size) * v.Reduce / 1000))
				delimited(message(nil).number(nodeID, id(l, i)+1).text(nodeName, label(l, i, &op)+"_x").number(nodeType, compNode).
					number(nodeDataDeps, id(l, i)).number(nodeDuration, micros).attr("is_cpu_op", attrBool, 0))
			}
		})
	}
	return b.Flush()
}

// A message is a protobuf message in the making.
type message []byte

func (m message) number(field int, v uint64) message {
	return binary.AppendUvarint(binary.AppendUvarint(m, uint64(field)<<3), v)
}

func (m message) text(field int, s string) message {
	return append(binary.AppendUvarint(binary.AppendUvarint(m, uint64(field)<<3|2), uint64(len(s))), s...)
}

func (m message) attr(name string, field int, v uint64) message {
	return m.text(nodeAttr, string(message(nil).text(attrName, name).number(field, v)))
}
