package launch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// Options says what [Local] starts.
type Options struct {
	NP     int           // number of ranks, at least 1
	Path   string        // the program; "": this one
	Args   []string      // its arguments, without the program's name
	Env    []string      // KEY=value, added to this process's environment
	Group  string        // name of the group; "": a new one, used by nobody else
	Stdout io.Writer     // rank 0's standard output; nil: os.Stdout
	Stderr io.Writer     // rank 0's standard error as it is, and all output of the other ranks, a "[rank N] " before each line; nil: os.Stderr
	Grace  time.Duration // how long the other ranks may go on after one has failed; 0: 5 s
	// Started, when not nil, is called once with the process ids by rank after all have been started.
	Started func(pids []int)
}

const defaultGrace = 5 * time.Second

// Local starts NP processes on this machine, waits until all have ended, and returns nil when all ended with
// status 0. It returns the [*RankError] of the rank that failed first, or the cause of ctx when that ended the
// ranks; no process is left in either case.
func Local(ctx context.Context, o Options) error {
	if os.Getenv(EnvParent) != "" {
		return ErrNested
	}
	if o.NP < 1 {
		return &OptionsError{Field: "NP", Reason: fmt.Sprintf("%d ranks, want at least 1", o.NP)}
	}
	if o.Grace < 0 {
		return &OptionsError{Field: "Grace", Reason: fmt.Sprintf("negative: %v", o.Grace)}
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	if o.Path == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("launch: cannot find this program: %w", err)
		}
		o.Path = self
	}
	if o.Group == "" {
		o.Group = fmt.Sprintf("local-%d-%s", os.Getpid(), rand.Text()[:8])
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}

	// PR_SET_PDEATHSIG looks at the thread that forked, not at the process, so this thread must not end, nor be
	// given back, before the ranks have ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l := launcher{options: o, ended: make(chan outcome, o.NP)}
	defer l.cleanUp()
	if err := l.start(); err != nil {
		l.killAll()
		l.drain()
		return err
	}
	if o.Started != nil {
		pids := make([]int, o.NP)
		for i, r := range l.ranks {
			pids[i] = r.cmd.Process.Pid
		}
		o.Started(pids)
	}
	return l.wait(ctx)
}

type launcher struct {
	options Options
	ranks   []*process
	ended   chan outcome
	alive   int
	output  sync.Mutex // of Stderr
}

type process struct {
	cmd    *exec.Cmd
	pipe   *os.File // write end of the rank's standard input
	output *prefixer
	done   bool
}

type outcome struct {
	rank int
	err  error
}

func (l *launcher) start() error {
	for rank := range l.options.NP {
		p, err := l.startOne(rank)
		if err != nil {
			return &RankError{Rank: rank, Code: -1, Err: err}
		}
		l.ranks = append(l.ranks, p)
		l.alive++
		go func() { l.ended <- outcome{rank, p.cmd.Wait()} }()
	}
	return nil
}

func (l *launcher) startOne(rank int) (*process, error) {
	o := &l.options
	in, pipe, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	p := &process{cmd: exec.Command(o.Path, o.Args...), pipe: pipe}
	p.cmd.Stdin = in
	p.cmd.SysProcAttr = dieWithParent()
	// A rank's own children could hold its output open; Wait must not wait for them.
	p.cmd.WaitDelay = time.Second
	p.cmd.Env = append(os.Environ(), o.Env...)
	p.cmd.Env = append(p.cmd.Env,
		fmt.Sprintf("%s=%d", EnvRank, rank), fmt.Sprintf("%s=%d", EnvSize, o.NP),
		EnvGroup+"="+o.Group, fmt.Sprintf("%s=%d", EnvParent, os.Getpid()))
	if rank == 0 {
		p.cmd.Stdout, p.cmd.Stderr = o.Stdout, o.Stderr
		if _, isFile := o.Stderr.(*os.File); !isFile {
			p.cmd.Stderr = &locked{mu: &l.output, out: o.Stderr}
		}
	} else {
		p.output = &prefixer{mu: &l.output, out: o.Stderr, prefix: fmt.Sprintf("[rank %d] ", rank)}
		p.cmd.Stdout, p.cmd.Stderr = p.output, p.output // one writer, so exec makes one pipe and keeps the order
	}
	if err := p.cmd.Start(); err != nil {
		pipe.Close()
		return nil, err
	}
	return p, nil
}

// wait collects the ends of all ranks. The first failure starts the grace period of the others.
func (l *launcher) wait(ctx context.Context) error {
	var first error
	var grace <-chan time.Time
	cancelled := ctx.Done()
	for l.alive > 0 {
		select {
		case end := <-l.ended:
			if err := l.note(end); err != nil && first == nil {
				first = err
				timer := time.NewTimer(l.options.Grace)
				defer timer.Stop()
				grace = timer.C
			}
		case <-grace:
			l.killAll()
		case <-cancelled:
			cancelled = nil
			if first == nil {
				first = fmt.Errorf("launch: %d ranks ended: %w", l.options.NP, context.Cause(ctx))
			}
			l.killAll()
		}
	}
	return first
}

func (l *launcher) note(end outcome) error {
	p := l.ranks[end.rank]
	p.done = true
	l.alive--
	if p.output != nil {
		p.output.flush()
	}
	state := p.cmd.ProcessState
	if end.err == nil || errors.Is(end.err, exec.ErrWaitDelay) && state.Success() {
		return nil
	}
	return &RankError{Rank: end.rank, PID: p.cmd.Process.Pid, Code: state.ExitCode(), Err: end.err}
}

func (l *launcher) drain() {
	for l.alive > 0 {
		_ = l.note(<-l.ended)
	}
}

// killAll ends the ranks that are still there, each by its own process id.
func (l *launcher) killAll() {
	for _, p := range l.ranks {
		if !p.done {
			_ = p.cmd.Process.Kill() // fails only when the process has ended already
		}
	}
}

func (l *launcher) cleanUp() {
	for _, p := range l.ranks {
		p.pipe.Close()
	}
}

// locked lets rank 0 share a writer with the others.
type locked struct {
	mu  *sync.Mutex
	out io.Writer
}

func (w *locked) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(b)
}
