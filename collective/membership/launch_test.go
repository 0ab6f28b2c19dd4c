package membership

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestFromEnv(t *testing.T) {
	cases := []struct {
		name string
		env  string // NAME=value, separated by blanks
		want Launch
		bad  string // the variable that a LaunchError names
	}{
		{name: "nothing", env: "PATH=/bin HOME=/root SLURM_JOB_ID=7"},
		{name: "torchrun", env: "RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 LOCAL_WORLD_SIZE=4 GROUP_RANK=1 MASTER_ADDR=node0 MASTER_PORT=29500 TORCHELASTIC_RUN_ID=abc",
			want: Launch{Launcher: "torchrun", Rank: 5, Size: 8, LocalRank: 1, Addr: "node0:29501", Job: "abc"}},
		{name: "torchrun without run id", env: "RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 TORCHELASTIC_RUN_ID=none",
			want: Launch{Launcher: "torchrun", Rank: 0, Size: 2, LocalRank: 0, Addr: "127.0.0.1:29501", Job: "torchrun-127.0.0.1-29500"}},
		{name: "torchrun IPv6 and own port", env: "RANK=0 WORLD_SIZE=2 MASTER_ADDR=fd00::1 MASTER_PORT=29500 RINGTREE_PORT=4000 TORCHELASTIC_RUN_ID=x",
			want: Launch{Launcher: "torchrun", Rank: 0, Size: 2, LocalRank: -1, Addr: "[fd00::1]:4000", Job: "x"}},
		{name: "torchrun in Slurm", env: "RANK=9 WORLD_SIZE=16 LOCAL_RANK=1 LOCAL_WORLD_SIZE=8 MASTER_ADDR=a MASTER_PORT=1 TORCHELASTIC_RUN_ID=r SLURM_PROCID=1 SLURM_NTASKS=2 SLURM_STEP_ID=0 SLURM_JOB_ID=3",
			want: Launch{Launcher: "torchrun", Rank: 9, Size: 16, LocalRank: 1, Addr: "a:2", Job: "r"}},
		{name: "Open MPI on one host", env: "OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=3 OMPI_COMM_WORLD_LOCAL_SIZE=4 OMPI_COMM_WORLD_NODE_RANK=3 PMIX_NAMESPACE=prterun-host-1234@1 PMIX_RANK=3",
			want: Launch{Launcher: "openmpi", Rank: 3, Size: 4, LocalRank: 3, Job: "openmpi-prterun-host-1234@1"}},
		{name: "Open MPI 4 on two hosts", env: "OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=2 OMPI_MCA_ess_base_jobid=812384257 RINGTREE_MASTER=10.0.0.1",
			want: Launch{Launcher: "openmpi", Rank: 3, Size: 4, LocalRank: 1, Addr: "10.0.0.1:29401", Job: "openmpi-812384257"}},
		{name: "Open MPI on two hosts, no address", env: "OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=2", bad: "RINGTREE_MASTER"},
		{name: "MPICH", env: "PMI_RANK=1 PMI_SIZE=4 PMI_FD=9 MPI_LOCALRANKID=1 MPI_LOCALNRANKS=4 PMI_PORT=host:33211",
			want: Launch{Launcher: "mpich", Rank: 1, Size: 4, LocalRank: 1, Job: "mpich-host:33211"}},
		{name: "Slurm on four nodes", env: "SLURM_PROCID=6 SLURM_NTASKS=8 SLURM_STEP_NUM_TASKS=8 SLURM_LOCALID=0 SLURM_JOB_ID=4242 SLURM_STEP_ID=0 SLURM_NNODES=4 SLURM_STEP_NUM_NODES=4 SLURM_STEP_NODELIST=gpu[09-12] SLURM_LAUNCH_NODE_IPADDR=10.1.0.1 RINGTREE_PORT=7000",
			want: Launch{Launcher: "slurm", Rank: 6, Size: 8, LocalRank: 0, Addr: "gpu09:7000", Job: "slurm-4242.0"}},
		{name: "Slurm with a PMI", env: "PMI_RANK=1 PMI_SIZE=2 SLURM_PROCID=1 SLURM_NTASKS=2 SLURM_LOCALID=1 SLURM_JOB_ID=5 SLURM_STEP_ID=1 SLURM_NNODES=1 SLURM_STEP_NODELIST=n1",
			want: Launch{Launcher: "slurm", Rank: 1, Size: 2, LocalRank: 1, Job: "slurm-5.1"}},
		{name: "Slurm batch script", env: "SLURM_PROCID=0 SLURM_NTASKS=8 SLURM_LOCALID=0 SLURM_JOB_ID=4242"},
		{name: "Slurm launch node", env: "SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_JOB_ID=5 SLURM_STEP_ID=0 SLURM_NNODES=2 SLURM_LAUNCH_NODE_IPADDR=10.0.0.9 RINGTREE_PORT=99",
			want: Launch{Launcher: "slurm", Rank: 0, Size: 2, LocalRank: -1, Addr: "10.0.0.9:99", Job: "slurm-5.0"}},
		{name: "Kubernetes", env: "JOB_COMPLETION_INDEX=2 HOSTNAME=train-2 RINGTREE_WORLD_SIZE=4 RINGTREE_SERVICE=workers.ml.svc",
			want: Launch{Launcher: "kubernetes", Rank: 2, Size: 4, LocalRank: 0, Addr: "train-0.workers.ml.svc:29401", Job: "kubernetes-train"}},
		{name: "Kubernetes, named master", env: "JOB_COMPLETION_INDEX=2 WORLD_SIZE=4 RINGTREE_MASTER=train-0.w:88 RINGTREE_JOB=j RINGTREE_SECRET=s",
			want: Launch{Launcher: "kubernetes", Rank: 2, Size: 4, LocalRank: 0, Addr: "train-0.w:88", Job: "j", Secret: "s"}},
		{name: "own, one host", env: "RINGTREE_RANK=0 RINGTREE_SIZE=2 RINGTREE_JOB=x RANK=7 WORLD_SIZE=8",
			want: Launch{Launcher: "ringtree", Rank: 0, Size: 2, LocalRank: -1, Job: "x"}},
		{name: "own", env: "RINGTREE_RANK=1 RINGTREE_SIZE=2 RINGTREE_LOCAL_RANK=0 RINGTREE_MASTER=[fd00::2]:9 RINGTREE_SECRET=s RINGTREE_JOB=x",
			want: Launch{Launcher: "ringtree", Rank: 1, Size: 2, LocalRank: 0, Addr: "[fd00::2]:9", Job: "x", Secret: "s"}},

		{name: "rank beyond size", env: "RANK=8 WORLD_SIZE=8 MASTER_ADDR=a MASTER_PORT=1", bad: "RANK"},
		{name: "no number", env: "RANK=one WORLD_SIZE=8 MASTER_ADDR=a", bad: "RANK"},
		{name: "negative", env: "RANK=-1 WORLD_SIZE=8 MASTER_ADDR=a", bad: "RANK"},
		{name: "size missing", env: "RINGTREE_RANK=1", bad: "RINGTREE_SIZE"},
		{name: "local rank beyond local size", env: "RANK=4 WORLD_SIZE=8 LOCAL_RANK=4 LOCAL_WORLD_SIZE=4 MASTER_ADDR=a", bad: "LOCAL_RANK"},
		{name: "local size beyond size", env: "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=0 OMPI_COMM_WORLD_LOCAL_SIZE=3", bad: "OMPI_COMM_WORLD_LOCAL_SIZE"},
		{name: "no master", env: "RANK=0 WORLD_SIZE=8", bad: "MASTER_ADDR"},
		{name: "bad port", env: "RANK=0 WORLD_SIZE=8 MASTER_ADDR=a RINGTREE_PORT=70000", bad: "RINGTREE_PORT"},
		{name: "bad master port", env: "RINGTREE_RANK=0 RINGTREE_SIZE=8 RINGTREE_MASTER=a:b", bad: "RINGTREE_MASTER"},
		{name: "bad master", env: "RINGTREE_RANK=0 RINGTREE_SIZE=8 RINGTREE_MASTER=http://a/b", bad: "RINGTREE_MASTER"},
		{name: "bad node list", env: "SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_JOB_ID=5 SLURM_STEP_ID=0 SLURM_NNODES=2 SLURM_STEP_NODELIST=gpu[1-", bad: "SLURM_STEP_NODELIST"},
		{name: "no job", env: "SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_STEP_ID=0", bad: "SLURM_JOB_ID"},
		{name: "host name without index", env: "JOB_COMPLETION_INDEX=2 HOSTNAME=pod RINGTREE_SIZE=4 RINGTREE_SERVICE=w", bad: "HOSTNAME"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, ok, err := FromEnv(mapEnv(c.env))
			if c.bad != "" {
				var e *LaunchError
				if !errors.As(err, &e) || e.Variable != c.bad || !errors.Is(err, ErrForming) {
					t.Errorf("got %v, %v, want a LaunchError about %s", got, err, c.bad)
				}
				return
			}
			if err != nil || ok != (c.want.Launcher != "") || got != c.want {
				t.Errorf("got %v (secret %q), %v, %v, want %v (secret %q)", got, got.Secret, ok, err, c.want, c.want.Secret)
			}
		})
	}
}

func mapEnv(text string) func(string) string {
	m := make(map[string]string)
	for _, f := range strings.Fields(text) {
		name, value, _ := strings.Cut(f, "=")
		m[name] = value
	}
	return func(name string) string { return m[name] }
}

func TestLaunchHidesSecret(t *testing.T) {
	l := Launch{Launcher: "ringtree", Size: 2, Job: "j", Secret: "tops3cret"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if text := fmt.Sprintf(verb, l); strings.Contains(text, l.Secret) {
			t.Errorf("%s prints the secret: %s", verb, text)
		}
	}
	if got := l.Name(); got != "j" {
		t.Errorf("name %q, want the job's", got)
	}
	l.Job = ""
	if got := l.Name(); !strings.HasPrefix(got, "ringtree-") || got == "ringtree-" {
		t.Errorf("name %q, want one with the parent process", got)
	}
}

func TestExpandNodes(t *testing.T) {
	cases := []struct {
		list string
		want string // blanks between; "": an error
	}{
		{"a", "a"},
		{"a,b-2,c", "a b-2 c"},
		{"gpu[01-03,07]-ib,login", "gpu01-ib gpu02-ib gpu03-ib gpu07-ib login"},
		{"r[1-2]n[9-10]", "r1n9 r1n10 r2n9 r2n10"},
		{"n[098-101]", "n098 n099 n100 n101"},
		{"", ""}, {",", ""}, {"a,,b", ""}, {"a[", ""}, {"a[1-", ""}, {"a[2-1]", ""}, {"a[x]", ""}, {"a]", ""}, {"a[[1]]", ""},
	}
	for _, c := range cases {
		got, err := expandNodes(c.list, 100)
		if c.want == "" {
			if err == nil {
				t.Errorf("%q: got %q, want an error", c.list, got)
			}
			continue
		}
		if want := strings.Fields(c.want); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %q, %v, want %q", c.list, got, err, want)
		}
	}
	if got, err := expandNodes("n[1-4000000000]", 3); err != nil || len(got) != 3 {
		t.Errorf("a huge range: got %d nodes, %v, want 3", len(got), err)
	}
}

func FuzzExpandNodes(f *testing.F) {
	for _, s := range []string{"a", "gpu[01-03,07]-ib,login", "r[1-2]n[9-10]", "a[", "]["} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		nodes, err := expandNodes(list, 50)
		if err == nil && (len(nodes) == 0 || len(nodes) > 50) {
			t.Errorf("%q: %d nodes", list, len(nodes))
		}
		for _, n := range nodes {
			if n == "" || strings.Contains(n, "[") {
				t.Errorf("%q: node %q", list, n)
			}
		}
	})
}

func FuzzFromEnv(f *testing.F) {
	f.Add("RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 MASTER_ADDR=node0 MASTER_PORT=29500")
	f.Add("SLURM_PROCID=6 SLURM_NTASKS=8 SLURM_JOB_ID=1 SLURM_STEP_ID=0 SLURM_STEP_NODELIST=gpu[09-12]")
	f.Add("JOB_COMPLETION_INDEX=2 HOSTNAME=train-2 RINGTREE_SIZE=4 RINGTREE_SERVICE=w")
	f.Add("PMI_RANK=1 PMI_SIZE=4 MPI_LOCALRANKID=1 RINGTREE_MASTER=a:1")
	f.Fuzz(func(t *testing.T, text string) {
		l, ok, err := FromEnv(mapEnv(text))
		if err != nil || !ok {
			if ok || l != (Launch{}) {
				t.Errorf("%q: got %v with %v, %v", text, l, ok, err)
			}
			return
		}
		if l.Rank < 0 || l.Rank >= l.Size || l.Size > MaxSize || l.LocalRank < -1 {
			t.Errorf("%q: got %v", text, l)
		}
	})
}
