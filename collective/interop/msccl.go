package interop

import (
	"encoding/xml"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

type mscclAlgo struct {
	XMLName    xml.Name   `xml:"algo"`
	Name       string     `xml:"name,attr"`
	Protocol   string     `xml:"proto,attr"`
	Channels   int        `xml:"nchannels,attr"`
	Chunks     int        `xml:"nchunksperloop,attr"`
	Ranks      int        `xml:"ngpus,attr"`
	Collective string     `xml:"coll,attr"`
	InPlace    int        `xml:"inplace,attr"`
	OutOfPlace int        `xml:"outofplace,attr"`
	Root       *int       `xml:"root,attr"`
	MinBytes   int64      `xml:"minBytes,attr"`
	MaxBytes   int64      `xml:"maxBytes,attr"`
	GPUs       []mscclGPU `xml:"gpu"`
}

type mscclGPU struct {
	ID      int          `xml:"id,attr"`
	Input   int          `xml:"i_chunks,attr"`
	Output  int          `xml:"o_chunks,attr"`
	Scratch int          `xml:"s_chunks,attr"`
	Blocks  []mscclBlock `xml:"tb"`
}

// A thread block does its steps in order; it speaks to one rank each way at most.
type mscclBlock struct {
	ID      int         `xml:"id,attr"`
	Send    int         `xml:"send,attr"`
	Recv    int         `xml:"recv,attr"`
	Channel int         `xml:"chan,attr"`
	Steps   []mscclStep `xml:"step"`
}

type mscclStep struct {
	Index     int    `xml:"s,attr"`
	Type      string `xml:"type,attr"`
	SrcBuffer string `xml:"srcbuf,attr"`
	SrcOffset int    `xml:"srcoff,attr"`
	DstBuffer string `xml:"dstbuf,attr"`
	DstOffset int    `xml:"dstoff,attr"`
	Count     int    `xml:"cnt,attr"`
	DepBlock  int    `xml:"depid,attr"`
	DepStep   int    `xml:"deps,attr"`
	HasDep    int    `xml:"hasdep,attr"`
}

var mscclNames = map[schedule.Collective]string{
	schedule.AllReduce: "allreduce", schedule.ReduceScatter: "reduce_scatter", schedule.AllGather: "allgather",
	schedule.Broadcast: "broadcast", schedule.Reduce: "reduce",
}

// place is where a chunk of a rank lies in MSCCL's buffers: input "i", output "o", scratch "s".
func place(want schedule.Contract, l schedule.Layout, r topology.Rank, c schedule.Chunk) (buffer string, offset int) {
	block, piece := c.Index()/l.Pieces, c.Index()%l.Pieces
	switch {
	case !c.IsOutput() && want.Collective == schedule.AllGather:
		return "i", piece
	case !c.IsOutput():
		return "i", c.Index()
	case want.Collective == schedule.ReduceScatter && block == int(r):
		return "o", piece
	case want.Collective == schedule.ReduceScatter:
		return "s", c.Index()
	}
	return "o", c.Index()
}

// chunkAt is the inverse of place.
func chunkAt(want schedule.Contract, l schedule.Layout, r topology.Rank, buffer string, offset int) (schedule.Chunk, bool) {
	if offset < 0 || offset >= l.Chunks() {
		return 0, false
	}
	own := int(r)*l.Pieces + offset
	switch buffer {
	case "i":
		if want.Collective == schedule.AllGather {
			return schedule.Input(own), offset < l.Pieces
		}
		return schedule.Input(offset), true
	case "o":
		if want.Collective == schedule.ReduceScatter {
			return schedule.Output(own), offset < l.Pieces
		}
		return schedule.Output(offset), true
	case "s": // scratch of an output that is not the caller's
		return schedule.Output(offset), want.Collective == schedule.ReduceScatter
	}
	return 0, false
}
