package schedule_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// take starts the steps of a lane that are ready and returns them.
func take(m *schedule.Machine, l schedule.Lane) (steps []schedule.Step) {
	for {
		st, ok := m.Ready(l)
		if !ok {
			return steps
		}
		steps = append(steps, st)
		m.Start(l)
	}
}

func wantSteps(t *testing.T, what string, got []schedule.Step, want ...schedule.Step) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got steps %v, want %v", what, got, want)
	}
}

// alone is one rank whose operations a test makes up: its peers need not exist for a machine to run it.
func alone(lanes ...[]schedule.Op) *list {
	return &list{layout: schedule.Layout{Blocks: 8, Pieces: 1}, channels: len(lanes) / 2, ops: [][][]schedule.Op{lanes}}
}

func TestMachineOrder(t *testing.T) {
	m := schedule.NewMachine(pair(), 0, schedule.Slicing{})
	if m.Lanes() != 2 || m.Done() || m.Finished(0) {
		t.Fatalf("got %d lanes, done %v, finished %v; want 2, neither", m.Lanes(), m.Done(), m.Finished(0))
	}
	wantSteps(t, "the first send", take(m, 0), schedule.Step{First: 0, Width: 1})
	if st, ok := m.Ready(0); ok {
		t.Errorf("got %v, want nothing before the reduction it waits for", st)
	}
	m.Complete(0)
	wantSteps(t, "all receives", take(m, 1), schedule.Step{First: 0, Width: 1}, schedule.Step{First: 1, Width: 1})
	if _, ok := m.Ready(0); ok {
		t.Error("a started reduction counts as complete")
	}
	if st, ok := m.Oldest(1); !ok || st != (schedule.Step{First: 0, Width: 1}) {
		t.Errorf("oldest: got %v %v, want op 0", st, ok)
	}
	if !m.Finished(1) || m.Done() {
		t.Errorf("got finished %v, done %v, want all started and not done", m.Finished(1), m.Done())
	}
	m.Complete(1)
	wantSteps(t, "the second send", take(m, 0), schedule.Step{First: 1, Width: 1})
	m.Complete(1)
	if _, ok := m.Oldest(1); ok {
		t.Error("oldest: got a step of a lane that is complete")
	}
	if m.Done() {
		t.Error("done before the last send is complete")
	}
	m.Complete(0)
	if !m.Done() {
		t.Error("not done when every step is complete")
	}
}

// A unit goes slice by slice over its members; a joint reduction takes them at once.
func TestMachineUnits(t *testing.T) {
	z := schedule.Slicing{Chunk: 2, Slice: 1}
	sends := alone([]schedule.Op{send(in(0), 1, 1, 0), send(in(1), 1, 2, 0), send(in(2), 1, 1, 1)}, nil)
	wantSteps(t, "sends", take(schedule.NewMachine(sends, 0, z), 0),
		schedule.Step{First: 0, Width: 1, Slice: 0}, schedule.Step{First: 1, Width: 1, Slice: 0},
		schedule.Step{First: 0, Width: 1, Slice: 1}, schedule.Step{First: 1, Width: 1, Slice: 1},
		schedule.Step{First: 2, Width: 1, Slice: 0}, schedule.Step{First: 2, Width: 1, Slice: 1})
	m := schedule.NewMachine(star(4), 0, z)
	wantSteps(t, "joint", take(m, 1), schedule.Step{First: 0, Width: 3, Slice: 0}, schedule.Step{First: 0, Width: 3, Slice: 1})
	if st, ok := m.Oldest(1); !ok || st.Width != 3 {
		t.Errorf("oldest: got %v %v, want all three operands", st, ok)
	}
	if got := m.Slicing(); got != z {
		t.Errorf("slicing: got %v, want %v", got, z)
	}
}

// What covers the same chunks follows slice by slice; anything else waits for the whole.
func TestMachineStreams(t *testing.T) {
	z := schedule.Slicing{Chunk: 3, Slice: 1}
	for _, c := range []struct {
		name string
		s    *list
		want []int // sends that may have started once 0, 1, 2, … receives are complete
	}{
		{"same chunk", alone([]schedule.Op{after(send(out(0), 1, 1, 0), 1, 0)}, []schedule.Op{recv(out(0), 1, 2, 0)}), []int{0, 1, 2, 3}},
		{"source of a reduction", alone([]schedule.Op{after(send(out(0), 1, 1, 0), 1, 0)}, []schedule.Op{reduce(in(0), out(0), 1, 2, 0)}), []int{0, 1, 2, 3}},
		{"other chunk", alone([]schedule.Op{after(send(out(1), 1, 1, 0), 1, 0)}, []schedule.Op{recv(out(0), 1, 2, 0)}), []int{0, 0, 0, 3}},
		{"part of a range", alone([]schedule.Op{after(send(out(0), 1, 1, 0), 1, 0)}, []schedule.Op{recv(out(0), 2, 2, 0)}), []int{0, 0, 0, 0, 0, 0, 3}},
		{"joint", alone([]schedule.Op{after(send(out(0), 1, 1, 0), 1, 0)}, []schedule.Op{reduce(in(0), out(0), 1, 2, 0), reduce(in(0), out(0), 1, 3, 0)}), []int{0, 1, 2, 3}},
		{"member of a unit", alone([]schedule.Op{after(send(out(1), 1, 1, 0), 1, 1)}, []schedule.Op{recv(out(0), 1, 2, 0), recv(out(1), 1, 3, 0)}), []int{0, 0, 1, 1, 2, 2, 3}},
		{"copy after", alone([]schedule.Op{after(schedule.Op{Kind: schedule.Copy, Src: in(0), Dst: out(0), N: 1}, 1, 0)}, []schedule.Op{recv(out(0), 1, 2, 0)}), []int{0, 1, 2, 3}},
	} {
		for _, compiled := range []bool{false, true} {
			var s schedule.Schedule = c.s
			if compiled {
				s = schedule.Compile(s, 0, 0)
			}
			m := schedule.NewMachine(s, 0, z)
			var got []int
			started := len(take(m, 0))
			got = append(got, started)
			for {
				if _, ok := m.Ready(1); !ok {
					break
				}
				m.Start(1)
				m.Complete(1)
				started += len(take(m, 0))
				got = append(got, started)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s (compiled %v): sends started: got %v, want %v", c.name, compiled, got, c.want)
			}
		}
	}
}

func TestMachineOp(t *testing.T) {
	s := pair()
	for _, sched := range []schedule.Schedule{s, schedule.Compile(s, 0, 0)} {
		m := schedule.NewMachine(sched, 0, schedule.Slicing{})
		for l := range schedule.Lane(2) {
			for i, want := range s.ops[0][l] {
				if got := m.Op(l, i); got.String() != want.String() {
					t.Errorf("%v op %d: got %v, want %v", l, i, got, want)
				}
			}
		}
	}
}

func TestMachineEmpty(t *testing.T) {
	m := schedule.NewMachine(alone(nil, nil), 0, schedule.Slicing{})
	if _, ok := m.Ready(0); ok || !m.Done() || !m.Finished(0) {
		t.Errorf("got ready %v, done %v, finished %v; want nothing to do", ok, m.Done(), m.Finished(0))
	}
}

func TestMachineMisuse(t *testing.T) {
	for name, f := range map[string]func(m *schedule.Machine){
		"schedule: Complete without Start": func(m *schedule.Machine) { m.Complete(0) },
		"schedule: Start past the end of a lane": func(m *schedule.Machine) {
			m.Start(1)
			m.Start(1)
			m.Start(1)
		},
	} {
		func() {
			defer func() {
				if got := recover(); got != name {
					t.Errorf("got panic %v, want %q", got, name)
				}
			}()
			f(schedule.NewMachine(pair(), 0, schedule.Slicing{}))
		}()
	}
}

// drive runs m to its end, completing each step at once.
func drive(m *schedule.Machine) (steps int) {
	for !m.Done() {
		for l := range schedule.Lane(m.Lanes()) {
			for {
				if _, ok := m.Ready(l); !ok {
					break
				}
				m.Start(l)
				m.Complete(l)
				steps++
			}
		}
	}
	return steps
}

func TestMachineReuse(t *testing.T) {
	m := schedule.NewMachine(star(4), 0, schedule.Slicing{Chunk: 4, Slice: 1})
	if got := drive(m); got != 4 {
		t.Errorf("star: got %d steps, want 4", got)
	}
	fresh := schedule.NewMachine(pair(), 1, schedule.Slicing{Chunk: 2, Slice: 1})
	m.Reset(pair(), 1, schedule.Slicing{Chunk: 2, Slice: 1})
	if got, want := drive(m), drive(fresh); got != want || got != 8 {
		t.Errorf("pair: got %d steps after Reset and %d afresh, want 8", got, want)
	}
	if !reflect.DeepEqual(m.Slicing(), fresh.Slicing()) {
		t.Errorf("got slicing %v, want %v", m.Slicing(), fresh.Slicing())
	}
}

func TestMachineAllocates(t *testing.T) {
	var s schedule.Schedule = schedule.Compile(pair(), 0, 0)
	m := schedule.NewMachine(s, 0, schedule.Slicing{Chunk: 4, Slice: 1})
	if got := testing.AllocsPerRun(100, func() {
		m.Reset(s, 0, schedule.Slicing{Chunk: 4, Slice: 1})
		drive(m)
	}); got != 0 {
		t.Errorf("a run of a machine: got %v allocations, want 0", got)
	}
}

func TestCompile(t *testing.T) {
	s := star(4)
	if p := schedule.Compile(s, 0, 2); p != nil {
		t.Errorf("got a program of %d operations, want none above the limit of 2", p.Len(1))
	}
	p := schedule.Compile(s, 0, 3)
	if p == nil {
		t.Fatal("got none, want a program of 3 operations")
	}
	if p.Ranks() != 4 || p.Channels() != 1 || p.Layout() != s.Layout() || p.Len(0) != 0 || p.Len(1) != 3 {
		t.Errorf("got %d ranks, %d channels, %v, lanes of %d and %d", p.Ranks(), p.Channels(), p.Layout(), p.Len(0), p.Len(1))
	}
	for r := range topology.Rank(4) {
		for l := range schedule.Lane(4) {
			for i := -1; i < 5; i++ {
				got, ok := p.At(r, l, i)
				want, has := s.At(r, l, i)
				if ok != has || got.String() != want.String() {
					t.Errorf("rank %d %v op %d: got %v %v, want %v %v", r, l, i, got, ok, want, has)
				}
			}
		}
	}
}

func BenchmarkMachineStep(b *testing.B) {
	ops := [][]schedule.Op{nil, nil}
	for i := range 64 {
		ops[0] = append(ops[0], after(send(out(i%8), 1, 1, i), 1, i))
		ops[1] = append(ops[1], recv(out(i%8), 1, 2, i))
	}
	var s schedule.Schedule = schedule.Compile(alone(ops...), 0, 0)
	m := schedule.NewMachine(s, 0, schedule.Slicing{Chunk: 4, Slice: 1})
	b.ReportAllocs()
	steps := 0
	for b.Loop() {
		m.Reset(s, 0, schedule.Slicing{Chunk: 4, Slice: 1})
		steps += drive(m)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(steps), "ns/step")
}
