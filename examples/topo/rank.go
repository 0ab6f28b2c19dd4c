package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/examples/internal/links"
	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/topology/probe"
)

// runRank is the life of one rank: it joins, takes part in the measurement, and, as rank 0, tells what came out.
func runRank(ctx context.Context, o *options, l *links.Links, rank int, group string, out io.Writer) (err error) {
	host := probe.Host()
	d, err := enter(ctx, o, l, rank, group, host)
	if err != nil {
		return err
	}
	rank = d.rank
	defer func() { err = errors.Join(err, d.close()) }()
	g, err := d.graph(o)
	if err == nil {
		g, err = probe.Apart(g)
	}
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
	if rank != 0 {
		return nil
	}
	measured, err := report.Settle(g)
	if err != nil {
		return err
	}
	if known != nil {
		note = "from the cache"
	} else if cache != nil {
		if err := cache.Store(d.key(o), report); err != nil {
			note = fmt.Sprintf("not kept: %v", err)
		}
	}
	return tell(o, out, facts{host: host, door: d, apart: g, graph: measured, report: report, note: note})
}

// explain says which schedule an all-reduce would use on a graph.
func explain(g *topology.Graph, bytes int64) (string, error) {
	p := plan.New(g)
	chosen, err := p.Choose(plan.Auto, plan.Request{Collective: schedule.AllReduce, Bytes: bytes})
	if err != nil {
		return "", err
	}
	return p.Explain(chosen), nil
}

// describe shows a machine that is not here.
func describe(o *options, out io.Writer) error {
	g, err := described(o)
	if err != nil {
		return err
	}
	return tell(o, out, facts{graph: g})
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
