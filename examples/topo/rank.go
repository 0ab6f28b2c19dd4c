package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/topology/probe"
)

// runRank is the life of one rank: it joins, takes part in the measurement, and, as rank 0, tells what came out.
func runRank(ctx context.Context, o *options, rank int, group string, out io.Writer) (err error) {
	host := probe.Host()
	d, err := enter(ctx, o, rank, group, host)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	g, err := d.graph()
	if err != nil {
		return err
	}
	note := ""
	var known *probe.Report
	var cache *probe.Cache
	if rank == 0 && o.cache {
		if cache, err = probe.DefaultCache(); err != nil {
			note = fmt.Sprintf("no cache: %v", err)
		} else if known, err = cache.Load(d.key(o)); err != nil && !errors.Is(err, probe.ErrNoEntry) {
			note = fmt.Sprintf("measured anew: %v", err)
		}
	}
	report, err := d.measure(ctx, g, known)
	if err != nil {
		return err
	}
	measured, err := report.Apply(g)
	if err != nil {
		return err
	}
	comm, err := collective.Join(ctx, collective.Config{
		Rank: rank, Size: o.ranks(), Group: group + "-comm", Transports: d.transports, Topology: measured,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, comm.Close()) }()
	if rank == 0 {
		if known != nil {
			note = "from the cache"
		} else if cache != nil {
			if err := cache.Store(d.key(o), report); err != nil {
				note = fmt.Sprintf("not kept: %v", err)
			}
		}
		err = tell(o, out, facts{host: host, door: d, graph: measured, report: report, note: note}, func() (string, error) {
			return comm.Explain(schedule.AllReduce, 0, o.size)
		})
		if err != nil {
			comm.Abort(err)
			return err
		}
	}
	// Nobody leaves before rank 0 has said everything.
	return collective.Barrier(ctx, comm)
}

// describe shows a machine that is not here.
func describe(o *options, out io.Writer) error {
	g, err := described(o)
	if err != nil {
		return err
	}
	return tell(o, out, facts{graph: g}, func() (string, error) {
		p := plan.New(g)
		chosen, err := p.Choose(plan.Auto, plan.Request{Collective: schedule.AllReduce, Bytes: o.size})
		if err != nil {
			return "", err
		}
		return p.Explain(chosen), nil
	})
}

// described reads -topo: a preset, or else a file.
func described(o *options) (*topology.Graph, error) {
	name, rest, _ := strings.Cut(o.topo, ":")
	if _, err := topology.PresetHelp(name); err == nil {
		params := make(map[string]string)
		for pair := range strings.SplitSeq(rest, ",") {
			if key, value, ok := strings.Cut(pair, "="); ok {
				params[key] = value
			} else if pair != "" {
				return nil, fmt.Errorf("-topo %s: %q is not parameter=value", o.topo, pair)
			}
		}
		return topology.Preset(name, o.processes, params)
	}
	f, err := os.Open(o.topo)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("-topo %s: neither a file nor one of the presets %s", o.topo, strings.Join(topology.Presets(), ", "))
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return topology.Parse(f)
}
