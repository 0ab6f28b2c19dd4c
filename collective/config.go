package collective

import (
	"fmt"
	"log/slog"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/membership"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/topology/probe"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/p2p"
)

// Config says which rank of which group a [Join] is for. Join copies and validates it; the zero value of a field
// means what the field's comment says.
type Config struct {
	// Rank is this rank's number, 0 to Size-1; every number joins once. With an Invitation it may be [AnyRank].
	Rank int
	// Size is the number of ranks of the group, the same on all of them. With an Invitation it may be 0: the
	// invitation's.
	Size int
	// Invitation is the way into a group on a network: a line that [Invite] made, "rt1:…". "": the group is found by
	// name, on this host.
	Invitation string
	// Launch is the place in a job that a launcher started, as membership.FromEnv reads it from the environment; Rank and
	// Size are then the job's. nil: no launcher.
	Launch *membership.Launch
	// Peer is this process's identity and its control streams, for groups that reach beyond this host; it outlives
	// the communicator. nil: where an Invitation needs one, Join makes one for the communicator. It hears strangers as long as
	// its gate is open, to tell those who are late that they are; [Comm.Identities] closes it to all but the members.
	Peer *p2p.Host
	// Group is the name under which the ranks find each other: in this process, or, when a transport reaches
	// further, among this user's processes on this host. "" is "default".
	Group string
	// Transports are what this rank may use, best first. nil: all that this machine has; with a Peer also quic and tcp.
	// For each peer the first that reaches it is used. Of quic and tcp, nil has the quicker one; else the first that gets through:
	// see transport/network.
	// Ranks of one group should use the same.
	Transports []transport.Transport
	// Memory is where this rank's device blocks lie: a GPU's, from cudabridge. Ranks on one host that can reach each other's read it
	// in place; ranks with and without one may be in a group. In one operation the ranks that have one give blocks in it all together, or
	// blocks in the host's memory all together: a peer's reference to a device is nothing that a host can read. What breaks
	// that rule ends the operation with an error. nil: the rank takes part with the host's memory only.
	Memory buffer.Memory
	// Topology describes the ranks, for the planner. nil: made from what the ranks say of themselves, with costs that are
	// measured when the group forms (topology/probe), by all ranks together: where it has an Invitation, or a Launch that names
	// an address, and is on several hosts, or where Costs is set, unless a core has more than eight ranks. Other groups work with the usual costs of shared memory.
	// Topology must be the same on all ranks.
	Topology *topology.Graph
	// Costs keeps measured costs between runs, and has a group of one host measured, too. nil: they are kept as long as this
	// process. All ranks set it or none does; the cache of rank 0 is the one that is used.
	Costs *probe.Cache
	// Algorithm is the family of schedules to use. plan.Auto, the zero value: the planner's choice for each call. It must
	// be the same on all ranks.
	Algorithm plan.Algorithm
	// Host is the name of the host that this rank counts as in the topology. "": the machine it runs on. Benchmarks and
	// tests use it to lay out one machine's ranks as several hosts; the links stay what they are.
	Host string
	// Logger gets what an operator may want to know: the formation of the group, links, the end of the
	// communicator. nil: nothing.
	Logger *slog.Logger
}

// A ConfigError is a field of a Config, or an argument of a call, that cannot be.
type ConfigError struct {
	Field  string
	Reason string
}

func (e *ConfigError) Error() string { return fmt.Sprintf("collective: %s: %s", e.Field, e.Reason) }

func argError(field, format string, args ...any) error {
	return &ConfigError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// withDefaults returns the validated config with every default filled in but the transports.
func (c Config) withDefaults() (Config, error) {
	if c.Launch != nil {
		if c.Invitation != "" {
			return c, argError("Config.Launch", "a group is entered by a launcher or by an invitation, not by both")
		}
		launch := *c.Launch
		c.Launch, c.Rank, c.Size, c.Group = &launch, launch.Rank, launch.Size, launch.Name()
	}
	if c.Invitation != "" {
		inv, err := membership.ParseInvitation(c.Invitation)
		if err != nil {
			return c, err
		}
		if c.Size == 0 {
			c.Size = inv.Size
		}
		if c.Size != inv.Size {
			return c, argError("Config.Size", "%d ranks, the invitation is to a group of %d", c.Size, inv.Size)
		}
	}
	switch {
	case c.Invitation != "" && c.Rank == AnyRank:
	case c.Size < 1:
		return c, argError("Config.Size", "%d ranks", c.Size)
	case c.Size > topology.MaxRanks:
		return c, argError("Config.Size", "%d ranks are more than %d", c.Size, topology.MaxRanks)
	case c.Rank < 0 || c.Rank >= c.Size:
		return c, argError("Config.Rank", "rank %d of %d", c.Rank, c.Size)
	case c.Topology != nil && c.Topology.Size() != c.Size:
		return c, argError("Config.Topology", "it has %d ranks, the group %d", c.Topology.Size(), c.Size)
	case c.Algorithm > plan.Hierarchical:
		return c, argError("Config.Algorithm", "unknown algorithm %d", c.Algorithm)
	}
	for i, t := range c.Transports {
		if t == nil {
			return c, argError("Config.Transports", "number %d is nil", i)
		}
	}
	if c.Topology != nil && c.Rank == AnyRank {
		return c, argError("Config.Topology", "it needs a given rank")
	}
	if c.Group == "" {
		c.Group = "default"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
