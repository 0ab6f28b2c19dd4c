package membership

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// A Launch is what a launcher has told this process through its environment.
type Launch struct {
	Launcher  string // "ringtree", "torchrun", "openmpi", "mpich", "slurm" or "kubernetes"
	Rank      int
	Size      int
	LocalRank int    // among the processes of this host; -1: not known
	Addr      string // host:port at which rank 0 is found; "": all ranks are on this host
	Job       string // equal in all processes of the job; "": the launcher tells none
	Secret    string // from RINGTREE_SECRET; "": none
}

// String describes the launch without its secret.
func (l Launch) String() string {
	where := l.Addr
	if where == "" {
		where = "this host"
	}
	return fmt.Sprintf("%s: rank %d of %d, job %q, at %s", l.Launcher, l.Rank, l.Size, l.Job, where)
}

// GoString is String.
func (l Launch) GoString() string { return l.String() }

// Format writes String for every verb.
func (l Launch) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(l.String())) }

// Name returns a name for the group: the job's, or one made of the parent process, which a launcher's processes on one host
// share.
func (l Launch) Name() string {
	if l.Job != "" {
		return l.Job
	}
	return l.Launcher + "-" + strconv.Itoa(os.Getppid())
}

// A LaunchError is an environment that contradicts itself or leaves something out.
type LaunchError struct {
	Variable string
	Reason   string
}

func (e *LaunchError) Error() string { return "membership: " + e.Variable + ": " + e.Reason }

// Unwrap returns [ErrForming].
func (e *LaunchError) Unwrap() error { return ErrForming }

// DefaultPort is the TCP port at which rank 0 is found where neither launcher nor RINGTREE_PORT say another.
const DefaultPort = 29401

// FromEnv finds out who this process is from its launcher's environment. It reports false when there is none.
// getenv is os.Getenv, or what a test gives.
//
// The launchers are looked for in this order, innermost first, so that torchrun or mpirun inside a Slurm
// allocation count for what they are:
//
//   - the library's own: RINGTREE_RANK, RINGTREE_SIZE, RINGTREE_LOCAL_RANK
//   - torchrun: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT, TORCHELASTIC_RUN_ID. Its own
//     store listens on MASTER_PORT, so the port used is the next one
//   - Open MPI: OMPI_COMM_WORLD_RANK, _SIZE, _LOCAL_RANK, _LOCAL_SIZE, PMIX_NAMESPACE, OMPI_MCA_ess_base_jobid
//   - MPICH, Intel MPI and others with Hydra: PMI_RANK, PMI_SIZE, MPI_LOCALRANKID, MPI_LOCALNRANKS, PMI_PORT
//   - Slurm's srun: SLURM_PROCID, SLURM_STEP_NUM_TASKS or SLURM_NTASKS, SLURM_LOCALID, SLURM_JOB_ID, SLURM_STEP_ID,
//     SLURM_STEP_NODELIST or SLURM_JOB_NODELIST, whose first node has rank 0, or SLURM_LAUNCH_NODE_IPADDR
//   - indexed jobs of Kubernetes: JOB_COMPLETION_INDEX, with RINGTREE_SIZE, RINGTREE_WORLD_SIZE or WORLD_SIZE; rank 0 is
//     found by RINGTREE_MASTER, or by RINGTREE_SERVICE, the name of the headless service, and HOSTNAME
//
// For all of them, RINGTREE_MASTER (host or host:port), RINGTREE_PORT, RINGTREE_JOB and RINGTREE_SECRET say
// what the launcher does not, or override it. Errors are [*LaunchError].
func FromEnv(getenv func(string) string) (Launch, bool, error) {
	e := &env{get: getenv}
	for _, read := range []func(*env) (Launch, bool){fromOwn, fromTorchrun, fromOpenMPI, fromHydra, fromSlurm, fromKubernetes} {
		l, ok := read(e)
		if e.err == nil && !ok {
			continue
		}
		e.common(&l)
		if e.err != nil {
			return Launch{}, false, e.err
		}
		return l, true, nil
	}
	return Launch{}, false, nil
}

// env reads variables and keeps the first error.
type env struct {
	get  func(string) string
	err  *LaunchError
	port int // the launcher's choice; 0: none
	one  bool
}

func (e *env) fail(variable, format string, args ...any) {
	if e.err == nil {
		e.err = &LaunchError{variable, fmt.Sprintf(format, args...)}
	}
}

// number reads a number from 0 to limit; missing: what to return if the variable is not set, or -2 if it must be.
func (e *env) number(variable string, limit, missing int) int {
	text := e.get(variable)
	if text == "" {
		if missing == mustBe {
			e.fail(variable, "is not set")
		}
		return max(missing, 0)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > limit {
		e.fail(variable, "%q is no number from 0 to %d", clip(text), limit)
		return 0
	}
	return n
}

const mustBe = -2

// ranks reads rank and size and, where set, local rank and local size.
func (e *env) ranks(l *Launch, rank, size, localRank, localSize string) {
	l.Rank = e.number(rank, MaxSize-1, mustBe)
	l.Size = e.number(size, MaxSize, mustBe)
	l.LocalRank = -1
	if e.err == nil && l.Rank >= l.Size {
		e.fail(rank, "%d is no rank of %d, which %s says", l.Rank, l.Size, size)
	}
	if localRank != "" && e.get(localRank) != "" {
		l.LocalRank = e.number(localRank, MaxSize-1, 0)
		if e.err == nil && l.LocalRank > l.Rank && l.LocalRank >= l.Size {
			e.fail(localRank, "%d is no rank of %d", l.LocalRank, l.Size)
		}
	}
	if localSize == "" || e.get(localSize) == "" {
		return
	}
	local := e.number(localSize, MaxSize, 0)
	switch {
	case e.err != nil:
	case local > l.Size || local == 0:
		e.fail(localSize, "%d ranks on this host of %d in all", local, l.Size)
	case l.LocalRank >= local:
		e.fail(localRank, "%d is no rank of %d, which %s says", l.LocalRank, local, localSize)
	}
	e.one = local == l.Size
}

// common reads what any launcher may leave to the library's own variables, and settles the address.
func (e *env) common(l *Launch) {
	if job := e.get("RINGTREE_JOB"); job != "" {
		l.Job = job
	}
	l.Secret = e.get("RINGTREE_SECRET")
	port := e.port
	if port == 0 {
		port = DefaultPort
	}
	port = e.number("RINGTREE_PORT", 65535, port)
	if port == 0 {
		e.fail("RINGTREE_PORT", "0 is no port that others could know")
	}
	master := l.Addr
	if own := e.get("RINGTREE_MASTER"); own != "" {
		master = own
		if host, p, err := net.SplitHostPort(own); err == nil {
			n, err := strconv.Atoi(p)
			if err != nil || n < 1 || n > 65535 {
				e.fail("RINGTREE_MASTER", "%q is no port", clip(p))
				return
			}
			master, port = host, n
		}
		e.one = false
	}
	switch {
	case e.err != nil:
	case master != "" && !e.one:
		master = strings.TrimSuffix(strings.TrimPrefix(master, "["), "]")
		if len(master) > 253 || strings.ContainsAny(master, "/ \t\n[]") {
			e.fail("RINGTREE_MASTER", "%q is no host", clip(master))
			return
		}
		l.Addr = net.JoinHostPort(master, strconv.Itoa(port))
	case e.one || l.Size == 1 || l.Launcher == "ringtree":
		l.Addr = ""
	default:
		e.fail("RINGTREE_MASTER", "is not set, and %s does not say where rank 0 is", l.Launcher)
	}
}

func fromOwn(e *env) (Launch, bool) {
	l := Launch{Launcher: "ringtree"}
	if e.get("RINGTREE_RANK") == "" {
		return l, false
	}
	e.ranks(&l, "RINGTREE_RANK", "RINGTREE_SIZE", "RINGTREE_LOCAL_RANK", "")
	return l, true
}

func fromTorchrun(e *env) (Launch, bool) {
	l := Launch{Launcher: "torchrun", Job: e.get("TORCHELASTIC_RUN_ID")}
	if e.get("RANK") == "" || e.get("WORLD_SIZE") == "" {
		return l, false
	}
	e.ranks(&l, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
	e.one = false // the address is there, and the job's name may be "none"
	l.Addr = e.get("MASTER_ADDR")
	if l.Addr == "" && e.get("RINGTREE_MASTER") == "" {
		e.fail("MASTER_ADDR", "is not set")
	}
	if port := e.number("MASTER_PORT", 65534, 0); port != 0 {
		e.port = port + 1
		if l.Job == "" || l.Job == "none" {
			l.Job = "torchrun-" + l.Addr + "-" + strconv.Itoa(port)
		}
	}
	return l, true
}

func fromOpenMPI(e *env) (Launch, bool) {
	l := Launch{Launcher: "openmpi"}
	if e.get("OMPI_COMM_WORLD_RANK") == "" {
		return l, false
	}
	e.ranks(&l, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE")
	if job := firstSet(e.get, "PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "OMPI_MCA_orte_ess_jobid"); job != "" {
		l.Job = "openmpi-" + job
	}
	return l, true
}

func fromHydra(e *env) (Launch, bool) {
	l := Launch{Launcher: "mpich"}
	// srun with a PMI plug-in sets these, too, and knows more.
	if e.get("PMI_RANK") == "" || e.get("SLURM_STEP_ID") != "" {
		return l, false
	}
	e.ranks(&l, "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")
	if port := e.get("PMI_PORT"); port != "" {
		l.Job = "mpich-" + port
	}
	return l, true
}

func fromSlurm(e *env) (Launch, bool) {
	l := Launch{Launcher: "slurm"}
	// Without a step this is the batch script itself, which is no rank of anything.
	if e.get("SLURM_PROCID") == "" || e.get("SLURM_STEP_ID") == "" {
		return l, false
	}
	size := "SLURM_STEP_NUM_TASKS"
	if e.get(size) == "" {
		size = "SLURM_NTASKS"
	}
	e.ranks(&l, "SLURM_PROCID", size, "SLURM_LOCALID", "")
	job, step := e.get("SLURM_JOB_ID"), e.get("SLURM_STEP_ID")
	if job == "" {
		e.fail("SLURM_JOB_ID", "is not set")
	}
	l.Job = "slurm-" + job + "." + step
	e.one = firstSet(e.get, "SLURM_STEP_NUM_NODES", "SLURM_NNODES") == "1"
	for _, variable := range []string{"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"} {
		if list := e.get(variable); list != "" && l.Addr == "" {
			nodes, err := expandNodes(list, 1)
			if err != nil {
				e.fail(variable, "%v", err)
				return l, true
			}
			l.Addr = nodes[0]
		}
	}
	if l.Addr == "" {
		l.Addr = e.get("SLURM_LAUNCH_NODE_IPADDR")
	}
	// Steps that share a node must not share a port.
	h := uint32(2166136261)
	for _, c := range []byte(l.Job) {
		h = (h ^ uint32(c)) * 16777619
	}
	e.port = 20000 + int(h%10000)
	return l, true
}

func fromKubernetes(e *env) (Launch, bool) {
	l := Launch{Launcher: "kubernetes"}
	if e.get("JOB_COMPLETION_INDEX") == "" {
		return l, false
	}
	size := "RINGTREE_SIZE"
	for _, v := range []string{"RINGTREE_WORLD_SIZE", "WORLD_SIZE"} {
		if e.get(size) == "" && e.get(v) != "" {
			size = v
		}
	}
	e.ranks(&l, "JOB_COMPLETION_INDEX", size, "", "")
	l.LocalRank = 0 // a pod is a host of its own
	job, found := strings.CutSuffix(e.get("HOSTNAME"), "-"+e.get("JOB_COMPLETION_INDEX"))
	if found {
		l.Job = "kubernetes-" + job
	}
	if service := e.get("RINGTREE_SERVICE"); service != "" {
		if !found {
			e.fail("HOSTNAME", "does not end in the completion index: set RINGTREE_MASTER")
		}
		l.Addr = job + "-0." + service
	}
	return l, true
}

// firstSet returns the first of these variables that is set.
func firstSet(getenv func(string) string, variables ...string) string {
	for _, v := range variables {
		if s := getenv(v); s != "" {
			return s
		}
	}
	return ""
}
