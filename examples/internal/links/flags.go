package links

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/membership"
)

// Flags are the part of a command line that says who takes part and over what. The zero value is the group of the
// processes of this host that find each other by name, over all transports that this machine has.
type Flags struct {
	Transport string             // one of [Names]; "": auto
	Conns     int                // connections between two ranks over a network; 0: the transport's default
	PlainData bool               // tcp sends data in clear
	Invite    int                // ranks of the group that this process invites to; 0: none
	Join      string             // invitation
	Job       *membership.Launch // place in a launcher's job; nil: none
}

// Add adds -transport, -conns, -plaindata, -invite and -join to a flag set.
func (f *Flags) Add(set *flag.FlagSet) {
	set.StringVar(&f.Transport, "transport", "auto", "`name` of the transport: auto (the best that reaches each peer), mem (with -np 1), shm, quic, tcp, quic,tcp (quic, and tcp where that does not reach) or rdma")
	set.IntVar(&f.Conns, "conns", 0, "`connections` between two ranks by quic or tcp; 0: 4, and by quic up to 32 where 4 are too few")
	set.BoolVar(&f.PlainData, "plaindata", false, "with -transport tcp: send data in clear; who takes part is proved all the same")
	set.IntVar(&f.Invite, "invite", 0, "make a group of so many `ranks` on any machines, this process's among them, and print the invitation")
	set.StringVar(&f.Join, "join", "", "take part in the group of an `invitation`")
}

// Invited reports whether the group is formed by an invitation, of processes that were started one by one.
func (f *Flags) Invited() bool { return f.Invite > 0 || f.Join != "" }

// Distant reports whether ranks may be on other hosts.
func (f *Flags) Distant() bool { return f.Invited() || f.Job != nil && f.Job.Addr != "" }

// Alone reports whether this process starts no others: somebody else has started those that take part.
func (f *Flags) Alone() bool { return f.Invited() || f.Job != nil }

// Size returns the number of ranks of the group for processes of this host with so many ranks each; 0: the invitation
// says it.
func (f *Flags) Size(processes, threads int) int {
	switch {
	case f.Join != "":
		return 0
	case f.Invite > 0:
		return f.Invite
	case f.Job != nil:
		return f.Job.Size
	}
	return processes * threads
}

// InJob makes the process a part of the job of a launcher (torchrun, mpirun, srun, …) that has started it, if one has.
func (f *Flags) InJob(getenv func(string) string) error {
	job, ok, err := membership.FromEnv(getenv)
	if err == nil && ok && job.Size > 1 {
		f.Job = &job
	}
	return err
}

// Check refuses what the flags cannot mean together, in processes of threads ranks each.
func (f *Flags) Check(processes, threads int) error {
	if err := Check(f.Transport); err != nil {
		return fmt.Errorf("-transport: %w", err)
	}
	switch {
	case f.Conns < 0 || f.Conns > 32:
		return fmt.Errorf("-conns: %d is not a number from 0 to 32", f.Conns)
	case f.PlainData && f.Transport != "tcp":
		return errors.New("-plaindata is for -transport tcp")
	case f.PlainData && f.Conns == 1:
		return errors.New("-plaindata needs two connections at least: one is for control, and encrypted")
	case f.Invite < 0:
		return fmt.Errorf("-invite: %d is not a number of ranks", f.Invite)
	case f.Invite > 0 && f.Join != "":
		return errors.New("-invite makes a group and -join enters one: give one of them")
	case f.Invited() && (f.Transport == "mem" || f.Transport == "shm"):
		return fmt.Errorf("-transport %s does not reach beyond this host: use auto, quic, tcp, quic,tcp or rdma with an invitation", f.Transport)
	case f.Invite > 0 && f.Invite < threads:
		return fmt.Errorf("-invite %d: this process alone has %d ranks", f.Invite, threads)
	case f.Job != nil && threads > 1:
		return fmt.Errorf("-t %d: a launcher counts the ranks, one a process", threads)
	case f.Transport == "mem" && processes > 1:
		return fmt.Errorf("-transport mem joins the goroutines of one process: use -np 1 -t %d", processes*threads)
	}
	return nil
}

// Meet makes the process's transports and, where it invites, the invitation, which it prints on terminal for the program
// of that name. inside adds shared memory within hosts to quic and tcp.
func (f *Flags) Meet(ctx context.Context, program string, inside bool, terminal io.Writer) (*Links, error) {
	l, err := Open(ctx, f.Transport, Wire{f.Conns, f.PlainData}, f.Distant(), inside)
	if err != nil {
		return nil, err
	}
	l.flags, l.Invitation = *f, f.Join
	if f.Invite > 0 {
		if l.Invitation, err = collective.Invite(l.Peer, f.Invite); err != nil {
			return nil, errors.Join(err, l.Close())
		}
		fmt.Fprintf(terminal, "%s: to take part, on any machine that can reach this one, with the same flags:\n%s -join %s\n", program, program, l.Invitation)
	}
	return l, nil
}

// Config returns what a rank of this process joins its group with: number rank of size ranks, under this name, unless an
// invitation or a launcher says otherwise. Rank 0 is the inviting process's.
func (l *Links) Config(rank, size int, group string) collective.Config {
	c := collective.Config{Rank: rank, Size: size, Group: group, Peer: l.Peer, Transports: l.Transports, Invitation: l.Invitation, Launch: l.flags.Job}
	if l.Invitation != "" {
		c.Size = 0 // the invitation's
		if rank > 0 || l.flags.Join != "" {
			c.Rank = collective.AnyRank
		}
	}
	return c
}
