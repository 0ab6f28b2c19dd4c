package links

import (
	"bytes"
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/membership"
)

func parse(t *testing.T, line string) *Flags {
	t.Helper()
	f := new(Flags)
	set := flag.NewFlagSet("test", flag.ContinueOnError)
	f.Add(set)
	if err := set.Parse(strings.Fields(line)); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestCheck(t *testing.T) {
	job := &membership.Launch{Launcher: "torchrun", Rank: 1, Size: 4, Addr: "h:1", Job: "j"}
	for _, c := range []struct {
		line               string
		job                *membership.Launch
		processes, threads int
		want               string // in the error; "": none
		size               int
	}{
		{"", nil, 2, 3, "", 6},
		{"-transport pigeon", nil, 1, 1, "want one of auto, mem", 0},
		{"-conns 33", nil, 1, 1, "0 to 32", 0},
		{"-conns -1", nil, 1, 1, "0 to 32", 0},
		{"-transport mem", nil, 2, 2, "use -np 1 -t 4", 0},
		{"-transport mem", nil, 1, 2, "", 2},
		{"-invite 3 -transport quic", nil, 1, 2, "", 3},
		{"-invite 3", nil, 1, 4, "this process alone has 4", 0},
		{"-invite -3", nil, 1, 4, "not a number of ranks", 0},
		{"-invite 3 -join rt1:x", nil, 1, 1, "give one of them", 0},
		{"-join rt1:x", nil, 1, 5, "", 0},
		{"-join rt1:x -transport shm", nil, 1, 1, "does not reach beyond this host", 0},
		{"", job, 1, 1, "", 4},
		{"", job, 1, 2, "one a process", 0},
	} {
		f := parse(t, c.line)
		f.Job = c.job
		err := f.Check(c.processes, c.threads)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.line, err, c.want)
		}
		if got := f.Size(c.processes, c.threads); c.want == "" && got != c.size {
			t.Errorf("%q: got %d ranks, want %d", c.line, got, c.size)
		}
	}
}

func TestInJob(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for _, p := range pairs {
				if value, ok := strings.CutPrefix(p, name+"="); ok {
					return value
				}
			}
			return ""
		}
	}
	f := new(Flags)
	if err := f.InJob(env()); err != nil || f.Job != nil || f.Alone() {
		t.Errorf("without a launcher: got %v, %v", f.Job, err)
	}
	if err := f.InJob(env("RANK=x", "WORLD_SIZE=2")); err == nil {
		t.Error("RANK=x: got no error")
	}
	if err := f.InJob(env("RANK=0", "WORLD_SIZE=1", "MASTER_ADDR=h", "MASTER_PORT=1")); err != nil || f.Job != nil {
		t.Errorf("a job of one: got %v, %v, want none", f.Job, err)
	}
	if err := f.InJob(env("RANK=1", "WORLD_SIZE=2", "MASTER_ADDR=h", "MASTER_PORT=1")); err != nil || f.Job == nil || f.Job.Rank != 1 || !f.Distant() {
		t.Errorf("torchrun: got %v, %v, want rank 1", f.Job, err)
	}
}

// What ranks join with: a group by name, an invitation that was made or given, a launcher's job.
func TestConfig(t *testing.T) {
	var told bytes.Buffer
	host := parse(t, "-invite 3 -transport tcp -conns 2")
	l, err := host.Meet(t.Context(), "prog", false, &told)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, text, ok := strings.Cut(told.String(), "\nprog -join "); !ok || strings.TrimSpace(text) != l.Invitation {
		t.Errorf("told %q, want the invitation %q", told.String(), l.Invitation)
	}
	if a, b := l.Config(0, 3, "g"), l.Config(1, 3, "g"); a.Rank != 0 || b.Rank != collective.AnyRank || a.Size != 0 || a.Invitation == "" || a.Peer == nil {
		t.Errorf("inviting: got %+v and %+v", a, b)
	}
	guest := parse(t, "-transport tcp -join "+l.Invitation)
	g, err := guest.Meet(t.Context(), "prog", false, &told)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if c := g.Config(0, 0, "g"); c.Rank != collective.AnyRank || c.Invitation != l.Invitation {
		t.Errorf("joining: got %+v", c)
	}
	for name, want := range map[string]string{"mem": "mem", "tcp": "tcp", "quic": "quic"} {
		f := parse(t, "-transport "+name)
		l, err := f.Meet(t.Context(), "prog", false, &told)
		if err != nil {
			t.Fatal(err)
		}
		if c := l.Config(2, 4, "g"); c.Rank != 2 || c.Size != 4 || c.Group != "g" || len(c.Transports) != 1 || c.Transports[0].Name() != want {
			t.Errorf("%s: got %+v", name, c)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := (&Flags{Transport: "pigeon"}).Meet(t.Context(), "prog", false, &told); err == nil {
		t.Error("pigeon: got no error")
	}
	job := &Flags{Job: &membership.Launch{Launcher: "torchrun", Rank: 1, Size: 4, Addr: "127.0.0.1:1", Job: "j"}}
	j, err := job.Meet(t.Context(), "prog", false, &told)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	names := fmt.Sprint(j.Transports[len(j.Transports)-1].Name())
	if c := j.Config(0, 4, "g"); c.Launch == nil || c.Launch.Rank != 1 || names != "network" {
		t.Errorf("launched: got %+v over %s", c, names)
	}
}
