package interop

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// Labels say in GOAL what its statements cannot: the lane, the index in it, the chunks and the flags.
//
//	label = ( "o" | "i" ) channel "_" index "_" kind "_" chunks { flag }
//	kind  = "s" src | "r" dst | "a" src dst | "c" src dst      send, recv, add what was received, copy
//	src, dst = ( "i" | "o" ) chunk                             input or output
//	flag  = "f" | "e"                                          final, eager
//
// The calculation of a reduction has the label of its receive and "_x"; that of a copy has the copy's.

// WriteGOAL writes s as GOAL text (T. Hoefler, C. Siebert and A. Lumsdaine, "Group Operation Assembly Language", ICPP 2009),
// which LogGOPSim and ATLAHS run. Lanes become orders of starts (irequires), After a dependency (requires), a
// reduction a receive and a calculation. The tag of a message is its channel. It fails with a [*FormatError] for a
// vector that cannot be, or with the writer's error.
func WriteGOAL(w io.Writer, s schedule.Schedule, v Vector) error {
	if err := v.check(); err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	l := s.Layout()
	fmt.Fprintf(b, "num_ranks %d\n", s.Ranks())
	var order []byte // statements come before what names them
	for r := range topology.Rank(s.Ranks()) {
		fmt.Fprintf(b, "\nrank %d {\n", r)
		order = order[:0]
		for lane := range schedule.Lane(2 * s.Channels()) {
			before := ""
			each(s, r, lane, func(i int, op schedule.Op) {
				name := label(lane, i, &op)
				size := v.bytes(l, &op)
				switch op.Kind {
				case schedule.Send:
					fmt.Fprintf(b, "%s: send %db to %d tag %d\n", name, size, op.Peer, lane.Channel())
				case schedule.Copy:
					fmt.Fprintf(b, "%s: calc 0\n", name)
				default:
					fmt.Fprintf(b, "%s: recv %db from %d tag %d\n", name, size, op.Peer, lane.Channel())
					if op.Kind == schedule.RecvReduce {
						fmt.Fprintf(b, "%s_x: calc %.0f\n", name, math.Round(float64(size)*v.Reduce))
						order = fmt.Appendf(order, "%s_x requires %s\n", name, name)
					}
				}
				if before != "" {
					order = fmt.Appendf(order, "%s irequires %s\n", name, before)
				}
				before = name
				if dl, di, ok := op.After.Get(); ok {
					if dep, ok := s.At(r, dl, di); ok {
						order = fmt.Appendf(order, "%s requires %s\n", name, done(dl, di, &dep))
					}
				}
			})
		}
		b.Write(order)
		b.WriteString("}\n")
	}
	return b.Flush()
}

// done returns the label of the statement that ends an operation.
func done(l schedule.Lane, i int, op *schedule.Op) string {
	if op.Kind == schedule.RecvReduce {
		return label(l, i, op) + "_x"
	}
	return label(l, i, op)
}

func label(l schedule.Lane, i int, op *schedule.Op) string {
	b := make([]byte, 0, 32)
	if l.In() {
		b = append(b, 'i')
	} else {
		b = append(b, 'o')
	}
	b = fmt.Appendf(b, "%d_%d_", l.Channel(), i)
	chunk := func(c schedule.Chunk) {
		space := byte('i')
		if c.IsOutput() {
			space = 'o'
		}
		b = append(b, space)
		b = strconv.AppendInt(b, int64(c.Index()), 10)
	}
	switch op.Kind {
	case schedule.Send:
		b = append(b, 's')
		chunk(op.Src)
	case schedule.Recv:
		b = append(b, 'r')
		chunk(op.Dst)
	case schedule.RecvReduce:
		b = append(b, 'a')
		chunk(op.Src)
		chunk(op.Dst)
	default:
		b = append(b, 'c')
		chunk(op.Src)
		chunk(op.Dst)
	}
	b = fmt.Appendf(b, "_%d", op.N)
	if op.Final {
		b = append(b, 'f')
	}
	if op.Eager {
		b = append(b, 'e')
	}
	return string(b)
}

// A scanned label.
type labelled struct {
	lane  schedule.Lane
	index int
	calc  bool // the calculation of a reduction
	op    schedule.Op
}

// parseLabel is the inverse of label.
func parseLabel(s string) (x labelled, ok bool) {
	rest := s
	number := func() (n int) {
		i := 0
		for i < len(rest) && i < 10 && rest[i] >= '0' && rest[i] <= '9' {
			n = 10*n + int(rest[i]-'0')
			i++
		}
		if i == 0 || i > 1 && rest[0] == '0' {
			ok = false
		}
		rest = rest[i:]
		return n
	}
	take := func(any string) byte {
		if rest == "" || strings.IndexByte(any, rest[0]) < 0 {
			ok = false
			return 0
		}
		c := rest[0]
		rest = rest[1:]
		return c
	}
	chunk := func() schedule.Chunk {
		space, n := take("io"), number()
		if n > maxChunks {
			ok = false
			return 0
		}
		if space == 'o' {
			return schedule.Output(n)
		}
		return schedule.Input(n)
	}
	ok = true
	in := take("io") == 'i'
	channel := number()
	take("_")
	x.index = number()
	take("_")
	if channel >= maxChannels || x.index > maxOps {
		return x, false
	}
	x.lane = schedule.OutLane(schedule.Channel(channel))
	if in {
		x.lane = schedule.InLane(schedule.Channel(channel))
	}
	switch take("srac") {
	case 's':
		x.op.Kind, x.op.Src = schedule.Send, chunk()
	case 'r':
		x.op.Kind, x.op.Dst = schedule.Recv, chunk()
	case 'a':
		x.op.Kind = schedule.RecvReduce
		x.op.Src, x.op.Dst = chunk(), chunk()
	case 'c':
		x.op.Kind = schedule.Copy
		x.op.Src, x.op.Dst = chunk(), chunk()
	}
	take("_")
	n := number()
	if n > maxChunks {
		return x, false
	}
	x.op.N = uint32(n)
	if strings.HasPrefix(rest, "f") {
		x.op.Final, rest = true, rest[1:]
	}
	if strings.HasPrefix(rest, "e") {
		x.op.Eager, rest = true, rest[1:]
	}
	if rest == "_x" && x.op.Kind == schedule.RecvReduce {
		x.calc, rest = true, ""
	}
	return x, ok && rest == ""
}

// ReadGOAL reads the GOAL that [WriteGOAL] writes: ranks in any order, and statements before what names them, labels as it makes
// them, messages that meet in the order of their links. Which chunks a message carries GOAL does not say but by its labels, so those of
// other programs, whose labels mean nothing, are refused. What the collective is, the caller knows. It fails with a
// [*FormatError]; whether the schedule is right is for [schedule.Verify] to say.
func ReadGOAL(r io.Reader, want schedule.Contract) (*Listing, error) {
	p := &goalReader{sc: bufio.NewScanner(io.LimitReader(r, maxText))}
	p.sc.Buffer(nil, 1<<16)
	if err := p.read(); err != nil {
		return nil, err
	}
	return p.build(want)
}

type goalReader struct {
	sc    *bufio.Scanner
	line  int
	ranks []goalRank
	ops   int
	most  schedule.Lane
	chunk int
}

type goalRank struct {
	seen bool
	ops  map[string]*goalOp
}

type goalOp struct {
	labelled
	peer  int
	after string
	line  int
}

func (p *goalReader) fail(format string, args ...any) error {
	return &FormatError{p.line, fmt.Sprintf(format, args...)}
}

func (p *goalReader) read() error {
	current := -1
	for p.sc.Scan() {
		p.line++
		w := strings.Fields(p.sc.Text())
		if len(w) == 0 {
			continue
		}
		switch {
		case w[0] == "num_ranks" && len(w) == 2:
			n, err := strconv.Atoi(w[1])
			if err != nil || n < 1 || n > maxRanks || p.ranks != nil {
				return p.fail("%q is not a number of ranks, or not the first", w[1])
			}
			p.ranks = make([]goalRank, n)
		case w[0] == "rank" && len(w) == 3 && w[2] == "{":
			n, err := strconv.Atoi(w[1])
			if err != nil || n < 0 || n >= len(p.ranks) || p.ranks[n].seen || current >= 0 {
				return p.fail("no place for rank %q", w[1])
			}
			current = n
			p.ranks[n] = goalRank{true, make(map[string]*goalOp)}
		case w[0] == "}" && len(w) == 1 && current >= 0:
			current = -1
		case current < 0:
			return p.fail("%q stands outside of a rank", w[0])
		case strings.HasSuffix(w[0], ":"):
			if err := p.statement(&p.ranks[current], strings.TrimSuffix(w[0], ":"), w[1:]); err != nil {
				return err
			}
		case len(w) == 3 && w[1] == "irequires": // the order of a lane, which labels have
			for _, name := range []string{w[0], w[2]} {
				if p.ranks[current].ops[name] == nil {
					return p.fail("no statement %q", name)
				}
			}
		case len(w) == 3 && w[1] == "requires":
			if err := p.requires(&p.ranks[current], w[0], w[2]); err != nil {
				return err
			}
		default:
			return p.fail("%q begins no statement", w[0])
		}
	}
	if err := p.sc.Err(); err != nil {
		p.line++
		return p.fail("%v", err)
	}
	if current >= 0 || len(p.ranks) == 0 {
		return p.fail("the text ends too soon")
	}
	return nil
}

func (p *goalReader) statement(r *goalRank, name string, w []string) error {
	x, ok := parseLabel(name)
	if !ok {
		return p.fail("the label %q does not say what chunks the statement has", name)
	}
	if r.ops[name] != nil {
		return p.fail("%q stands twice", name)
	}
	if p.ops++; p.ops > maxOps {
		return p.fail("more than %d statements", maxOps)
	}
	o := &goalOp{labelled: x, line: p.line}
	kind := map[schedule.Kind]string{schedule.Send: "send", schedule.Recv: "recv", schedule.RecvReduce: "recv", schedule.Copy: "calc"}[x.op.Kind]
	if x.calc {
		kind = "calc"
	}
	if len(w) == 0 || w[0] != kind {
		return p.fail("%q is no %s", name, kind)
	}
	if kind == "calc" {
		if len(w) != 2 {
			return p.fail("want calc and a time")
		}
		if _, err := strconv.ParseUint(w[1], 10, 63); err != nil {
			return p.fail("%q is not a time", w[1])
		}
	} else {
		way := map[string]string{"send": "to", "recv": "from"}[kind]
		if len(w) != 6 || w[2] != way || w[4] != "tag" || !strings.HasSuffix(w[1], "b") {
			return p.fail(`want %s and a size, "%s" and a rank, "tag" and a number`, kind, way)
		}
		_, err1 := strconv.ParseUint(strings.TrimSuffix(w[1], "b"), 10, 63)
		peer, err2 := strconv.Atoi(w[3])
		tag, err3 := strconv.Atoi(w[5])
		if err1 != nil || err2 != nil || err3 != nil || peer < 0 || peer >= len(p.ranks) || tag != int(x.lane.Channel()) {
			return p.fail("a size, a rank of %d, or tag %d is out of order", len(p.ranks), x.lane.Channel())
		}
		o.peer = peer
	}
	p.most = max(p.most, x.lane)
	for _, c := range []schedule.Chunk{x.op.Src, x.op.Dst} {
		p.chunk = max(p.chunk, c.Index()+int(x.op.N))
	}
	r.ops[name] = o
	return nil
}

func (p *goalReader) requires(r *goalRank, name, on string) error {
	a, b := r.ops[name], r.ops[on]
	if a == nil || b == nil {
		return p.fail("no statement %q or %q", name, on)
	}
	if a.calc {
		if on+"_x" != name {
			return p.fail("the calculation %q waits for another receive than its own", name)
		}
		return nil
	}
	if a.after != "" {
		return p.fail("%q waits for two statements", name)
	}
	if b.op.Kind == schedule.RecvReduce && !b.calc {
		return p.fail("%q waits for a receive and not for its calculation", name)
	}
	a.after = strings.TrimSuffix(on, "_x")
	return nil
}

// build puts the statements into lanes and names partners.
func (p *goalReader) build(want schedule.Contract) (*Listing, error) {
	layout, err := layoutFor(want, len(p.ranks), max(p.chunk, 1))
	if err != nil {
		return nil, err
	}
	x := newListing(len(p.ranks), int(p.most.Channel())+1, layout)
	lines := make(map[int32]int) // never large: only for the message of an error
	for r := range p.ranks {
		for _, o := range p.ranks[r].ops {
			if o.calc {
				continue
			}
			lane := &x.ops[r][o.lane]
			for len(*lane) <= o.index {
				if len(*lane) > p.ops {
					return nil, &FormatError{o.line, "an index above the number of statements"}
				}
				*lane = append(*lane, schedule.Op{})
			}
			if (*lane)[o.index].Kind != 0 {
				return nil, &FormatError{o.line, "two statements have one place in their lane"}
			}
			op := o.op
			op.Peer = topology.Rank(o.peer)
			if op.Kind == schedule.Copy {
				op.Peer = 0
			}
			if o.after != "" {
				dep, _ := parseLabel(o.after)
				op.After = schedule.At(dep.lane, dep.index)
			}
			(*lane)[o.index] = op
			lines[int32(r)] = o.line
		}
		for l := range x.ops[r] {
			for i, op := range x.ops[r][l] {
				if op.Kind == 0 {
					return nil, &FormatError{lines[int32(r)], fmt.Sprintf("rank %d has no statement for %v op %d", r, schedule.Lane(l), i)}
				}
			}
		}
	}
	if err := x.match(); err != nil {
		return nil, err
	}
	return x, nil
}

// match sets Match of all messages: those of a link meet in order.
func (x *Listing) match() error {
	type end struct{ rank, peer topology.Rank }
	for c := range schedule.Channel(x.channels) {
		sends := make(map[end][]int32)
		for r := range x.ops {
			for i, op := range x.ops[r][schedule.OutLane(c)] {
				if op.Kind == schedule.Send {
					k := end{topology.Rank(r), op.Peer}
					sends[k] = append(sends[k], int32(i))
				}
			}
		}
		for r := range x.ops {
			in := x.ops[r][schedule.InLane(c)]
			for i := range in {
				if in[i].Kind == schedule.Copy {
					continue
				}
				k := end{in[i].Peer, topology.Rank(r)}
				if len(sends[k]) == 0 {
					return &FormatError{Reason: fmt.Sprintf("rank %d receives more from rank %d than that sends to it on channel %d", r, k.rank, c)}
				}
				s := sends[k][0]
				sends[k] = sends[k][1:]
				in[i].Match = s
				x.ops[k.rank][schedule.OutLane(c)][s].Match = int32(i)
			}
		}
		for k, left := range sends {
			if len(left) > 0 {
				return &FormatError{Reason: fmt.Sprintf("rank %d does not receive all that rank %d sends to it on channel %d", k.peer, k.rank, c)}
			}
		}
	}
	return nil
}
