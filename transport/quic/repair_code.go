package quic

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/reedsolomon"
)

// Packets that may be repaired travel with a number, in groups of up to groupData. Behind a group come packets of parity, any of
// which stands for any packet of the group (Reed and Solomon, 1960). The first byte tells these packets from QUIC's, in which
// one of the two highest bits is set:
//
//	numbered  kind(1) tag(4) number(4)  packet
//	parity    kind(1) tag(4) first(4) count and index(1)  shard
//	report    kind(1) tag(4) top(4) isolated(4) runs(4) repaired(4) lost(4)
//
// A shard covers the packets of a group as length(2) packet zeros; count-1 has the low five bits of its byte, the index of the
// parity the others. Which parities there are does not change what each of them is, so a sender sends as many as it likes. A
// tag is a secret of the two ends for one direction, so that nobody off the path can get in between. Whoever is on the path
// can do no more than lose packets: QUIC authenticates what comes out.
const (
	kindNumbered = 1
	kindParity   = 2
	kindReport   = 3

	minQUIC = 0x40 // the least first byte of a packet of QUIC's

	numberedSize = 9
	paritySize   = 10
	reportSize   = 25
	prefixSize   = 2

	groupData = 32
	maxParity = 8
	// maxRepaired is the longest packet that is repaired: its parity is as long as an Ethernet packet of IPv6 may be.
	maxRepaired = 1452 - paritySize - prefixSize
	maxShard    = prefixSize + maxRepaired
)

var be = binary.BigEndian

// A code makes parity and restores packets. A group with fewer packets than groupData is filled up with zeros.
type code struct {
	of    [maxParity + 1]reedsolomon.Encoder // by the number of parities
	zeros [maxShard]byte
	parts [groupData + maxParity][]byte
}

// encoder returns the coder for so many parities, 1 to maxParity. Row i of a Cauchy matrix is the same in all of them.
func (c *code) encoder(parities int) reedsolomon.Encoder {
	if c.of[parities] == nil {
		e, err := reedsolomon.New(groupData, parities, reedsolomon.WithCauchyMatrix(), reedsolomon.WithMaxGoroutines(1), reedsolomon.WithInversionCache(false))
		if err != nil {
			panic("quic: " + err.Error()) // for other numbers only
		}
		c.of[parities] = e
	}
	return c.of[parities]
}

// A numberer numbers the packets of one direction and makes their parity.
type numberer struct {
	tag      uint32
	number   uint32 // of the next packet
	parities int    // for groups that end from now on
	code     code
	first    uint32
	count    int
	size     int // of the longest shard
	data     [groupData][maxShard]byte
	shards   [maxParity][maxShard]byte
}

// add appends a packet of up to maxRepaired bytes with its number to dst. Whoever calls it closes a group that is full.
func (n *numberer) add(dst, packet []byte) []byte {
	dst = append(dst, kindNumbered)
	dst = be.AppendUint32(dst, n.tag)
	dst = be.AppendUint32(dst, n.number)
	if n.count == 0 {
		n.first, n.size = n.number, 0
	}
	n.number++
	s := &n.data[n.count]
	be.PutUint16(s[:], uint16(len(packet)))
	end := prefixSize + copy(s[prefixSize:], packet)
	clear(s[end:])
	n.size = max(n.size, end)
	n.count++
	return append(dst, packet...)
}

func (n *numberer) full() bool { return n.count == groupData }

// close ends a group, and appends its packets of parity, all of the size that it returns, to dst.
func (n *numberer) close(dst []byte) (_ []byte, size int) {
	count := n.count
	parities := min(n.parities, maxParity, count) // copies of a lone packet are no better than one
	n.count = 0
	if count == 0 || parities == 0 {
		return dst, 0
	}
	parts := n.code.parts[:groupData+parities]
	for i := range parts[:groupData] {
		parts[i] = n.code.zeros[:n.size]
		if i < count {
			parts[i] = n.data[i][:n.size]
		}
	}
	for i := range parities {
		parts[groupData+i] = n.shards[i][:n.size]
	}
	if err := n.code.encoder(parities).Encode(parts); err != nil {
		panic("quic: " + err.Error()) // for shards of different sizes only
	}
	for i := range parities {
		dst = append(dst, kindParity)
		dst = be.AppendUint32(dst, n.tag)
		dst = be.AppendUint32(dst, n.first)
		dst = append(dst, byte(count-1|i<<5))
		dst = append(dst, n.shards[i][:n.size]...)
	}
	return dst, paritySize + n.size
}

// A parityHead is what a packet of parity says of its group.
type parityHead struct {
	first        uint32
	count, index int
}

// parse reads the head and returns the shard.
func (h *parityHead) parse(p []byte) ([]byte, error) {
	if len(p) <= paritySize+prefixSize || len(p) > paritySize+maxShard {
		return nil, fmt.Errorf("parity of %d bytes", len(p))
	}
	*h = parityHead{be.Uint32(p[5:]), int(p[9]&31) + 1, int(p[9] >> 5)}
	return p[paritySize:], nil
}

// A report is what a receiver tells of the packets that it got, in running counts.
type report struct {
	top      uint32 // one more than the highest number that has come
	isolated uint32 // missed by ones and twos, as chance makes them, repaired or not
	runs     uint32 // missed in a row, as full queues make them
	repaired uint32
	lost     uint32 // given up
}

func (r *report) append(b []byte, tag uint32) []byte {
	b = append(b, kindReport)
	for _, v := range []uint32{tag, r.top, r.isolated, r.runs, r.repaired, r.lost} {
		b = be.AppendUint32(b, v)
	}
	return b
}

func (r *report) parse(b []byte) error {
	if len(b) != reportSize {
		return fmt.Errorf("report of %d bytes", len(b))
	}
	*r = report{be.Uint32(b[5:]), be.Uint32(b[9:]), be.Uint32(b[13:]), be.Uint32(b[17:]), be.Uint32(b[21:])}
	return nil
}
