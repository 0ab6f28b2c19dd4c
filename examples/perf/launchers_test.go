package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ringtree/ringtree/examples/internal/processes"
)

// quick is a command line of perf that ends soon.
const quick = "-b 1K -e 4K -f 4 -n 2 -w 1"

// withEnv returns perf with these variables, and without those of whoever started the tests.
func withEnv(line string, env ...string) *exec.Cmd {
	cmd := perf(line)
	kept := cmd.Env[:0]
	for _, v := range cmd.Env {
		name, _, _ := strings.Cut(v, "=")
		foreign := name == "RANK" || name == "WORLD_SIZE" || name == "JOB_COMPLETION_INDEX"
		for _, prefix := range []string{"RINGTREE_R", "RINGTREE_S", "RINGTREE_M", "OMPI_", "PMI", "SLURM_", "LOCAL_", "MASTER_", "TORCHELASTIC_"} {
			foreign = foreign || strings.HasPrefix(name, prefix)
		}
		if !foreign {
			kept = append(kept, v)
		}
	}
	cmd.Env = append(kept, env...)
	return cmd
}

// freePort returns a TCP port on which nobody listens, nor on the next one.
func freePort(t *testing.T) int {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		next, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
		l.Close()
		if err == nil {
			next.Close()
			return port
		}
	}
}

// environments are what each launcher tells process rank of size on one host, as its manual has it.
var environments = map[string]func(rank, size, port int) []string{
	"torchrun": func(rank, size, port int) []string {
		return []string{
			fmt.Sprint("RANK=", rank), fmt.Sprint("WORLD_SIZE=", size), fmt.Sprint("LOCAL_RANK=", rank), fmt.Sprint("LOCAL_WORLD_SIZE=", size),
			"GROUP_RANK=0", fmt.Sprint("ROLE_RANK=", rank), "ROLE_NAME=default", fmt.Sprint("ROLE_WORLD_SIZE=", size),
			"MASTER_ADDR=127.0.0.1", fmt.Sprint("MASTER_PORT=", port), "TORCHELASTIC_RESTART_COUNT=0", "TORCHELASTIC_MAX_RESTARTS=0",
			"TORCHELASTIC_RUN_ID=none", "TORCHELASTIC_USE_AGENT_STORE=True", "OMP_NUM_THREADS=1",
		}
	},
	"Open MPI": func(rank, size, port int) []string {
		return []string{
			fmt.Sprint("OMPI_COMM_WORLD_RANK=", rank), fmt.Sprint("OMPI_COMM_WORLD_SIZE=", size), fmt.Sprint("OMPI_COMM_WORLD_LOCAL_RANK=", rank),
			fmt.Sprint("OMPI_COMM_WORLD_LOCAL_SIZE=", size), "OMPI_COMM_WORLD_NODE_RANK=" + strconv.Itoa(rank), fmt.Sprintf("PMIX_NAMESPACE=%d", port),
			fmt.Sprint("PMIX_RANK=", rank),
		}
	},
	"MPICH": func(rank, size, port int) []string {
		return []string{
			fmt.Sprint("PMI_RANK=", rank), fmt.Sprint("PMI_SIZE=", size), "PMI_FD=9", fmt.Sprintf("PMI_PORT=host:%d", port),
			fmt.Sprint("MPI_LOCALRANKID=", rank), fmt.Sprint("MPI_LOCALNRANKS=", size),
		}
	},
	"PMI": func(rank, size, port int) []string { // no more than the interface itself says
		return []string{
			fmt.Sprint("PMI_RANK=", rank), fmt.Sprint("PMI_SIZE=", size), fmt.Sprintf("PMI_PORT=host:%d", port),
			fmt.Sprintf("RINGTREE_MASTER=127.0.0.1:%d", port), "RINGTREE_SECRET=of the test",
		}
	},
	"srun": func(rank, size, port int) []string {
		return []string{
			fmt.Sprint("SLURM_PROCID=", rank), fmt.Sprint("SLURM_NTASKS=", size), fmt.Sprint("SLURM_STEP_NUM_TASKS=", size), fmt.Sprint("SLURM_LOCALID=", rank),
			fmt.Sprint("SLURM_JOB_ID=", port), "SLURM_STEP_ID=0", "SLURM_STEP_NUM_NODES=2", "SLURM_NODEID=0", "SLURM_NNODES=2",
			"SLURM_STEP_NODELIST=localhost,node[02-03]", "SLURM_JOB_NODELIST=localhost,node[02-03]", "SLURM_LAUNCH_NODE_IPADDR=127.0.0.1",
		}
	},
	"Kubernetes": func(rank, size, port int) []string {
		return []string{
			fmt.Sprint("JOB_COMPLETION_INDEX=", rank), fmt.Sprint("RINGTREE_SIZE=", size), fmt.Sprintf("HOSTNAME=train%d-%d", port, rank),
			fmt.Sprintf("RINGTREE_MASTER=127.0.0.1:%d", port), "RINGTREE_SECRET=of the test",
		}
	},
}

// Processes that differ in their environment alone form the group that their launcher means, with the ranks that it gave.
func TestLaunchers(t *testing.T) {
	for launcher, environment := range environments {
		t.Run(launcher, func(t *testing.T) {
			const size = 3
			port := freePort(t)
			var ranks [size]*processes.Process
			for rank := size - 1; rank >= 0; rank-- { // rank 0, at which the others ask, comes last
				cmd := withEnv(quick, environment(rank, size, port)...)
				ranks[rank] = processes.Start(t, cmd, (*exec.Cmd).Start)
			}
			var pids []int
			for _, p := range ranks {
				pids = append(pids, p.Cmd.Process.Pid)
			}
			for rank, p := range ranks {
				out, errs, err := p.End()
				if err != nil || errs != "" {
					t.Errorf("rank %d: %v, %q", rank, err, errs)
				}
				if rank > 0 {
					if out != "" {
						t.Errorf("rank %d says %q, want nothing", rank, out)
					}
					continue
				}
				if got := devicePids(out); fmt.Sprint(got) != fmt.Sprint(pids) {
					t.Errorf("the ranks are processes %v, want %v:\n%s", got, pids, out)
				}
				if rows, wrong, _ := parseTable(t, out); len(rows) != 2 || wrong != 0 {
					t.Errorf("%d rows, %d wrong, want 2 and 0", len(rows), wrong)
				}
			}
		})
	}
}

// The launchers themselves, where they are installed.
func TestInstalledLaunchers(t *testing.T) {
	for _, launcher := range []struct {
		command string // and what it is called where several are installed
		args    []string
	}{
		{"mpirun.openmpi", []string{"--allow-run-as-root", "--oversubscribe", "-n", "3"}},
		{"mpiexec.hydra", []string{"-n", "3"}},
	} {
		t.Run(launcher.command, func(t *testing.T) {
			path, err := exec.LookPath(launcher.command)
			if err != nil {
				t.Skipf("%s is not installed", launcher.command)
			}
			cmd := withEnv("")
			cmd.Path, cmd.Args = path, append(append([]string{launcher.command}, launcher.args...), append([]string{os.Args[0]}, strings.Fields(quick)...)...)
			out, errs, err := processes.Start(t, cmd, (*exec.Cmd).Start).End()
			if err != nil {
				t.Fatalf("%v\n%s%s", err, out, errs)
			}
			rows, wrong, _ := parseTable(t, out)
			seen := make(map[int]bool)
			for _, pid := range devicePids(out) {
				seen[pid] = true
			}
			if len(rows) != 2 || wrong != 0 || len(seen) != 3 {
				t.Errorf("%d rows, %d wrong, processes %v, want 2, 0, and three:\n%s", len(rows), wrong, seen, out)
			}
		})
	}
}

// 64 processes of this machine form a group, by an invitation and as a launcher starts them. It takes seconds, most of
// them for starting the processes; the log has how many.
func TestManyProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts 64 processes, twice")
	}
	const size = 64
	const once = "-coll barrier -n 1 -w 0"
	run := func(t *testing.T, start func(rank int) *processes.Process) {
		begin := time.Now()
		ranks := make([]*processes.Process, size)
		for rank := range ranks {
			ranks[rank] = start(rank)
		}
		started := time.Since(begin)
		ranks[0].Until("the list of ranks", func(out, _ string) bool { return len(devicePids(out)) == size })
		formed := time.Since(begin)
		for rank, p := range ranks {
			if out, errs, err := p.End(); err != nil {
				t.Errorf("rank %d: %v\n%s%s", rank, err, out, errs)
			}
		}
		t.Logf("%d processes: started after %v, formed after %v, ended after %v", size, started.Round(time.Millisecond),
			formed.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	}
	t.Run("launcher", func(t *testing.T) {
		port := freePort(t)
		run(t, func(rank int) *processes.Process {
			return processes.Start(t, withEnv(once, environments["torchrun"](rank, size, port)...), (*exec.Cmd).Start)
		})
	})
	t.Run("invitation", func(t *testing.T) {
		var invitation string
		run(t, func(rank int) *processes.Process {
			if rank > 0 {
				return processes.Start(t, withEnv("-join "+invitation+" "+once), (*exec.Cmd).Start)
			}
			p := processes.Start(t, withEnv(fmt.Sprintf("-invite %d %s", size, once)), (*exec.Cmd).Start)
			invitation = p.Invitation()
			return p
		})
	})
}
