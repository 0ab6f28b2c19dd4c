package interop_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ringtree/ringtree/collective/interop"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// schedules calls f with every variant of every collective over a few groups, uneven hosts among them.
func schedules(t *testing.T, f func(name string, s schedule.Schedule, want schedule.Contract)) {
	t.Helper()
	for _, hosts := range [][]int{{1}, {2}, {3}, {4}, {1, 1, 1, 1, 1}, {2, 2}, {3, 1, 2}, {4, 4}} {
		spec := topology.Spec{Tiers: []topology.Link{{Level: topology.Host, Alpha: 1e-6, Beta: 1e-10}, {Level: topology.Rack, Alpha: 1e-5, Beta: 1e-9}}}
		for h, k := range hosts {
			for range k {
				spec.Places = append(spec.Places, topology.Place{Host: fmt.Sprint("h", h)})
			}
		}
		g, err := topology.New(spec)
		if err != nil {
			t.Fatal(err)
		}
		p := plan.New(g)
		for _, c := range schedule.Collectives() {
			for _, v := range p.Variants(c) {
				want := schedule.Contract{Collective: c}
				if c.Rooted() {
					want.Root = topology.Rank(g.Size() - 1)
				}
				s, err := p.Build(v, plan.Request{Collective: c, Root: want.Root, Bytes: 1 << 10})
				if err != nil {
					t.Fatal(err)
				}
				f(fmt.Sprintf("%v %v on %v", c, v, hosts), s, want)
			}
		}
	}
}

func formatted(t *testing.T, s schedule.Schedule) string {
	t.Helper()
	var b strings.Builder
	if err := schedule.Format(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// body is the text of a schedule without its first line, which has the layout.
func body(t *testing.T, s schedule.Schedule) string {
	_, rest, _ := strings.Cut(formatted(t, s), "\n")
	return rest
}

// Every schedule comes back from GOAL operation for operation.
func TestGOALRoundTrip(t *testing.T) {
	schedules(t, func(name string, s schedule.Schedule, want schedule.Contract) {
		var b bytes.Buffer
		v := interop.Vector{Length: 1000, Element: 4, Reduce: 0.1}
		if err := interop.WriteGOAL(&b, s, v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		text := b.String()
		back, err := interop.ReadGOAL(&b, want)
		if err != nil {
			t.Fatalf("%s: %v in\n%s", name, err, text)
		}
		if err := schedule.Verify(back, want); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, want := body(t, back), body(t, s); got != want {
			t.Errorf("%s came back otherwise: %s", name, cmp.Diff(want, got))
		}
	})
}

// Every schedule comes back from MSCCL's XML as one that does the same, moves as much between each pair, and is written
// as the same XML again.
func TestMSCCLRoundTrip(t *testing.T) {
	schedules(t, func(name string, s schedule.Schedule, want schedule.Contract) {
		var b bytes.Buffer
		err := interop.WriteMSCCL(&b, s, want, name)
		if want.Collective == schedule.Barrier {
			var fe *interop.FormatError
			if !errors.As(err, &fe) {
				t.Errorf("%s: %v, want a FormatError", name, err)
			}
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		text := b.String()
		back, contract, err := interop.ReadMSCCL(&b)
		if err != nil {
			t.Fatalf("%s: %v in\n%s", name, err, text)
		}
		if contract != want {
			t.Errorf("%s is for %v, want %v", name, contract, want)
		}
		if err := schedule.Verify(back, want); err != nil {
			t.Errorf("%s: %v\n%s\n%s\n%s", name, err, formatted(t, s), text, formatted(t, back))
		}
		if diff := cmp.Diff(traffic(s), traffic(back)); diff != "" {
			t.Errorf("%s moves something else: %s", name, diff)
		}
		var again bytes.Buffer
		if err := interop.WriteMSCCL(&again, back, contract, name); err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		third, _, err := interop.ReadMSCCL(&again)
		if err != nil {
			t.Errorf("%s, the second time: %v", name, err)
			return
		}
		if err := schedule.Verify(third, want); err != nil {
			t.Errorf("%s, the second time: %v", name, err)
		}
	})
}

// traffic is the chunks from each rank to each, in the order in which they are sent.
func traffic(s schedule.Schedule) map[string]string {
	out := make(map[string]string)
	for r := range topology.Rank(s.Ranks()) {
		for c := range schedule.Channel(s.Channels()) {
			for i := 0; ; i++ {
				op, ok := s.At(r, schedule.OutLane(c), i)
				if !ok {
					break
				}
				if op.Kind == schedule.Send {
					for k := range op.N { // messages may come in parts
						out[fmt.Sprint(r, ">", op.Peer, " on ", c)] += fmt.Sprint(" ", op.Src.Index()+int(k))
					}
				}
			}
		}
	}
	return out
}

func ring(t testing.TB, n int) schedule.Schedule {
	t.Helper()
	s, err := plan.New(topology.Local(n)).Build(plan.Variant{Algorithm: plan.Ring}, plan.Request{Collective: schedule.AllReduce})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGOALText(t *testing.T) {
	var b strings.Builder
	if err := interop.WriteGOAL(&b, ring(t, 2), interop.Vector{Length: 5, Element: 4, Reduce: 2}); err != nil {
		t.Fatal(err)
	}
	const want = `num_ranks 2

rank 0 {
o0_0_si1_1: send 8b to 1 tag 0
o0_1_so0_1: send 12b to 1 tag 0
i0_0_ai0o0_1f: recv 12b from 1 tag 0
i0_0_ai0o0_1f_x: calc 24
i0_1_ro1_1: recv 8b from 1 tag 0
o0_1_so0_1 irequires o0_0_si1_1
o0_1_so0_1 requires i0_0_ai0o0_1f_x
i0_0_ai0o0_1f_x requires i0_0_ai0o0_1f
i0_1_ro1_1 irequires i0_0_ai0o0_1f
}
`
	if got, _, _ := strings.Cut(b.String(), "\nrank 1"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A ring over four GPUs as msccl-tools would have it: send and receive in one thread block, reductions in place of the output.
const byHand = `<algo name="ring" proto="Simple" nchannels="1" nchunksperloop="2" ngpus="2" coll="allreduce" inplace="0">
  <gpu id="0" i_chunks="2" o_chunks="2" s_chunks="0">
    <tb id="0" send="1" recv="1" chan="0">
      <step s="0" type="s" srcbuf="i" srcoff="1" dstbuf="o" dstoff="1" cnt="1" depid="-1" deps="-1" hasdep="0"/>
      <step s="1" type="rrc" srcbuf="i" srcoff="0" dstbuf="o" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="1"/>
      <step s="2" type="r" srcbuf="i" srcoff="1" dstbuf="o" dstoff="1" cnt="1" depid="-1" deps="-1" hasdep="0"/>
      <step s="3" type="s" srcbuf="o" srcoff="0" dstbuf="o" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="0"/>
    </tb>
  </gpu>
  <gpu id="1" i_chunks="2" o_chunks="2" s_chunks="0">
    <tb id="0" send="0" recv="-1" chan="0">
      <step s="0" type="s" srcbuf="i" srcoff="0" dstbuf="o" dstoff="0" cnt="1" depid="-1" deps="-1" hasdep="0"/>
      <step s="1" type="nop" srcbuf="i" srcoff="0" dstbuf="o" dstoff="0" cnt="0" depid="1" deps="0" hasdep="0"/>
      <step s="2" type="s" srcbuf="o" srcoff="1" dstbuf="o" dstoff="1" cnt="1" depid="1" deps="0" hasdep="1"/>
    </tb>
    <tb id="1" send="-1" recv="0" chan="0">
      <step s="0" type="rrc" srcbuf="i" srcoff="1" dstbuf="o" dstoff="1" cnt="1" depid="-1" deps="-1" hasdep="1"/>
      <step s="1" type="r" srcbuf="i" srcoff="0" dstbuf="o" dstoff="0" cnt="1" depid="0" deps="0" hasdep="0"/>
    </tb>
  </gpu>
</algo>
`

func TestMSCCLByHand(t *testing.T) {
	s, want, err := interop.ReadMSCCL(strings.NewReader(byHand))
	if err != nil {
		t.Fatal(err)
	}
	if err := schedule.Verify(s, want); err != nil {
		t.Errorf("%v\n%s", err, formatted(t, s))
	}
}

func TestMSCCLErrors(t *testing.T) {
	edit := func(old, new string) string {
		out := strings.Replace(byHand, old, new, 1)
		if out == byHand {
			t.Fatalf("no %q in the algorithm", old)
		}
		return out
	}
	for name, text := range map[string]string{
		"nothing":        "",
		"no XML":         "<algo",
		"no gpus":        `<algo coll="allreduce" nchannels="1" nchunksperloop="1"/>`,
		"gpus":           edit(`ngpus="2"`, `ngpus="3"`),
		"channels":       edit(`nchannels="1"`, `nchannels="0"`),
		"chunks":         edit(`nchunksperloop="2"`, `nchunksperloop="0"`),
		"many chunks":    edit(`nchunksperloop="2"`, `nchunksperloop="99999999"`),
		"collective":     edit(`"allreduce"`, `"alltoall"`),
		"root":           edit(`"allreduce"`, `"broadcast"`),
		"blocks":         strings.Replace(edit(`"allreduce"`, `"allgather"`), `nchunksperloop="2"`, `nchunksperloop="3"`, 1),
		"gpu twice":      edit(`<gpu id="1"`, `<gpu id="0"`),
		"thread block":   edit(`<tb id="0"`, `<tb id="7"`),
		"channel":        edit(`chan="0"`, `chan="1"`),
		"itself":         edit(`send="1"`, `send="0"`),
		"step":           edit(`s="1" type`, `s="2" type`),
		"dependency":     edit(`depid="1" deps="0"`, `depid="1" deps="9"`),
		"count":          edit(`cnt="1"`, `cnt="-1"`),
		"offset":         edit(`srcoff="1"`, `srcoff="2"`),
		"buffer":         edit(`srcbuf="i"`, `srcbuf="x"`),
		"type":           edit(`type="rrc"`, `type="rcs"`),
		"counts":         edit(`cnt="1"`, `cnt="2"`),
		"nobody sends":   edit(`<tb id="0" send="0" recv="-1"`, `<tb id="0" send="-1" recv="-1"`),
		"nobody listens": edit(`<tb id="1" send="-1" recv="0"`, `<tb id="1" send="-1" recv="-1"`),
		"two senders":    edit(`<tb id="1" send="-1" recv="0"`, `<tb id="1" send="0" recv="0"`),
		"standstill":     edit(`depid="-1" deps="-1"`, `depid="0" deps="3"`),
	} {
		s, _, err := interop.ReadMSCCL(strings.NewReader(text))
		var fe *interop.FormatError
		if !errors.As(err, &fe) || s != nil || !strings.Contains(err.Error(), fe.Reason) {
			t.Errorf("%s: %v, %v, want a FormatError", name, s, err)
		}
	}
}

func TestGOALErrors(t *testing.T) {
	var b strings.Builder
	if err := interop.WriteGOAL(&b, ring(t, 2), interop.Vector{Length: 4, Element: 4}); err != nil {
		t.Fatal(err)
	}
	good := b.String()
	edit := func(old, new string) string {
		out := strings.Replace(good, old, new, 1)
		if out == good {
			t.Fatalf("no %q in\n%s", old, good)
		}
		return out
	}
	for name, text := range map[string]string{
		"nothing":          "",
		"ranks":            edit("num_ranks 2", "num_ranks 0"),
		"rank":             edit("rank 1 {", "rank 2 {"),
		"rank twice":       edit("rank 1 {", "rank 0 {"),
		"outside":          "num_ranks 1\no0_0_si0_1: send 1b to 0 tag 0\n",
		"open":             "num_ranks 1\nrank 0 {\n",
		"foreign label":    edit("o0_0_si1_1: send", "l1: send"),
		"kind":             edit(": send", ": recv"),
		"size":             edit("8b to", "xb to"),
		"peer":             edit("to 1 tag", "to 2 tag"),
		"tag":              edit("tag 0", "tag 1"),
		"words":            edit(" tag 0", ""),
		"time":             edit("calc 0", "calc x"),
		"calc":             edit("calc 0", "calc"),
		"statement":        edit("o0_0_si1_1: send", "o0_0_si1_1 send"),
		"twice":            edit("o0_1_so0_1:", "o0_0_si1_1: send 8b to 1 tag 0\no0_1_so0_1:"),
		"no such":          edit("irequires o0_0_si1_1", "irequires o0_9_si1_1"),
		"requires nothing": edit("requires i0_0_ai0o0_1f_x", "requires i0_9_ai0o0_1f_x"),
		"requires receive": edit("requires i0_0_ai0o0_1f_x", "requires i0_0_ai0o0_1f"),
		"requires two":     edit("o0_1_so0_1 requires i0_0_ai0o0_1f_x", "o0_1_so0_1 requires i0_0_ai0o0_1f_x\no0_1_so0_1 requires o0_0_si1_1"),
		"place":            edit("o0_0_si1_1: send", "o0_1_si1_1: send 8b to 1 tag 0\no0_0_si1_1: send"),
		"gap":              edit("o0_1_so0_1: send", "o0_2_so0_1: send 8b to 1 tag 0\no0_1_so0_1: send"),
		"too many sends":   strings.ReplaceAll(edit("i0_1_ro1_1: recv", "i0_1_co1o1_1: calc 0\ni0_2_ro1_1: recv"), "recv 8b from 1 tag 0\ni0_1_ro1_1 ireq", "x"),
	} {
		s, err := interop.ReadGOAL(strings.NewReader(text), schedule.Contract{Collective: schedule.AllReduce})
		var fe *interop.FormatError
		if !errors.As(err, &fe) || s != nil || !strings.Contains(err.Error(), fe.Reason) {
			t.Errorf("%s: %v, %v, want a FormatError", name, s, err)
		}
	}
	if s, err := interop.ReadGOAL(strings.NewReader(strings.Replace(good, "2", "3", 1)), schedule.Contract{Collective: schedule.ReduceScatter}); err == nil {
		t.Errorf("two chunks for three ranks: %v", s)
	}
}

func TestVectorErrors(t *testing.T) {
	s := ring(t, 2)
	vectors := []interop.Vector{{}, {Length: -1, Element: 1}, {Element: 1, Reduce: -1}}
	if strconv.IntSize == 64 { // else no vector is too long
		vectors = append(vectors, interop.Vector{Length: math.MaxInt, Element: 8})
	}
	for _, v := range vectors {
		var fe *interop.FormatError
		if err := interop.WriteGOAL(io.Discard, s, v); !errors.As(err, &fe) {
			t.Errorf("WriteGOAL of %+v: %v, want a FormatError", v, err)
		}
		if err := interop.WriteChakra(io.Discard, s, 0, v); !errors.As(err, &fe) {
			t.Errorf("WriteChakra of %+v: %v, want a FormatError", v, err)
		}
	}
	var fe *interop.FormatError
	if err := interop.WriteChakra(io.Discard, s, 2, interop.Vector{Element: 1}); !errors.As(err, &fe) {
		t.Errorf("rank 2 of 2: %v, want a FormatError", err)
	}
}

// A chakraNode is a Node of et_def.proto as protowire reads it, a reader that the writer knows nothing of.
type chakraNode struct {
	id, kind   uint64
	name       string
	ctrl, data []uint64
	duration   uint64
	attr       map[string]uint64
}

func fields(t *testing.T, b []byte, f func(number protowire.Number, v uint64, text []byte)) {
	t.Helper()
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		b = b[n:]
		switch kind {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				t.Fatal(protowire.ParseError(n))
			}
			f(number, v, nil)
			b = b[n:]
		case protowire.BytesType:
			text, n := protowire.ConsumeBytes(b)
			if n < 0 {
				t.Fatal(protowire.ParseError(n))
			}
			f(number, 0, text)
			b = b[n:]
		default:
			t.Fatalf("a field of wire type %d", kind)
		}
	}
}

func readChakra(t *testing.T, r *bytes.Buffer) (version string, nodes []chakraNode) {
	t.Helper()
	for first := true; r.Len() > 0; first = false {
		size, err := binary.ReadUvarint(r)
		if err != nil {
			t.Fatal(err)
		}
		m := r.Next(int(size))
		if first {
			fields(t, m, func(number protowire.Number, _ uint64, text []byte) { version = string(text) })
			continue
		}
		n := chakraNode{attr: make(map[string]uint64)}
		fields(t, m, func(number protowire.Number, v uint64, text []byte) {
			switch number {
			case 1:
				n.id = v
			case 2:
				n.name = string(text)
			case 3:
				n.kind = v
			case 4:
				n.ctrl = append(n.ctrl, v)
			case 5:
				n.data = append(n.data, v)
			case 7:
				n.duration = v
			case 10:
				name := ""
				fields(t, text, func(number protowire.Number, v uint64, text []byte) {
					if number == 1 {
						name = string(text)
					} else {
						n.attr[name] = v
					}
				})
			default:
				t.Fatalf("field %d", number)
			}
		})
		nodes = append(nodes, n)
	}
	return version, nodes
}

// The traces of all ranks have every message twice, once from each end, and depend on earlier nodes that exist.
func TestChakra(t *testing.T) {
	schedules(t, func(name string, s schedule.Schedule, want schedule.Contract) {
		v := interop.Vector{Length: 1000, Element: 4, Reduce: 1}
		sent, received := make(map[string]int), make(map[string]int)
		ops := 0
		for r := range topology.Rank(s.Ranks()) {
			var b bytes.Buffer
			if err := interop.WriteChakra(&b, s, r, v); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			version, nodes := readChakra(t, &b)
			ids := make(map[uint64]bool)
			for _, n := range nodes {
				ids[n.id] = true
			}
			if version != "0.0.4" || len(ids) != len(nodes) {
				t.Fatalf("%s: version %q, %d nodes of %d ids", name, version, len(nodes), len(ids))
			}
			for _, n := range nodes {
				for _, on := range append(n.ctrl, n.data...) {
					if !ids[on] || on == n.id {
						t.Errorf("%s: node %d of rank %d waits for node %d", name, n.id, r, on)
					}
				}
				if _, ok := n.attr["is_cpu_op"]; !ok {
					t.Errorf("%s: node %d does not say whether it is the processor's", name, n.id)
				}
				message := fmt.Sprint(n.attr["comm_src"], ">", n.attr["comm_dst"], " ", n.attr["comm_size"], " ", n.attr["comm_tag"])
				switch n.kind {
				case 5:
					ops++
					sent[message]++
				case 6:
					ops++
					received[message]++
				}
			}
		}
		if diff := cmp.Diff(sent, received); diff != "" {
			t.Errorf("%s: what is sent is not what is received: %s", name, diff)
		}
		var goal bytes.Buffer
		if err := interop.WriteGOAL(&goal, s, v); err != nil {
			t.Fatal(err)
		}
		if messages := strings.Count(goal.String(), ": send ") + strings.Count(goal.String(), ": recv "); messages != ops {
			t.Errorf("%s: %d ends of messages in the traces, %d in GOAL", name, ops, messages)
		}
	})
}

func FuzzReadGOAL(f *testing.F) {
	for _, n := range []int{1, 2, 3} {
		var b bytes.Buffer
		if err := interop.WriteGOAL(&b, ring(f, n), interop.Vector{Length: 7, Element: 2, Reduce: 1}); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want := schedule.Contract{Collective: schedule.AllReduce}
		s, err := interop.ReadGOAL(bytes.NewReader(text), want)
		if err != nil {
			var fe *interop.FormatError
			if !errors.As(err, &fe) || s != nil {
				t.Fatalf("got %v, %v", s, err)
			}
			return
		}
		if s.Ranks() > 64 || s.Layout().Chunks() > 1<<12 {
			return
		}
		var b bytes.Buffer
		if err := interop.WriteGOAL(&b, s, interop.Vector{Length: 7, Element: 2}); err != nil {
			t.Fatal(err)
		}
		back, err := interop.ReadGOAL(&b, want)
		if err != nil || formatted(t, back) != formatted(t, s) {
			t.Fatalf("came back as %v, %v", back, err)
		}
		_ = schedule.Verify(s, want) // must not panic, whatever was read
	})
}

func FuzzReadMSCCL(f *testing.F) {
	f.Add([]byte(byHand))
	for _, n := range []int{1, 3} {
		var b bytes.Buffer
		if err := interop.WriteMSCCL(&b, ring(f, n), schedule.Contract{Collective: schedule.AllReduce}, "ring"); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, want, err := interop.ReadMSCCL(bytes.NewReader(text))
		if err != nil {
			var fe *interop.FormatError
			if !errors.As(err, &fe) || s != nil {
				t.Fatalf("got %v, %v", s, err)
			}
			return
		}
		if s.Ranks() <= 16 && s.Layout().Chunks() <= 256 {
			_ = schedule.Verify(s, want)
		}
	})
}
