package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/topology"
)

// faultOptions turns what is wrong with ranks into options of a run, and what is wrong with the network into another
// network, nil without any.
func faultOptions(faults []string, ranks int, network func() (*topology.Network, error)) ([]sim.Option, *topology.Network, error) {
	var opts []sim.Option
	var parts []topology.Fault
	var net *topology.Network
	for _, text := range faults {
		opt, ok, err := rankFault(text, ranks)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			opts = append(opts, opt)
			continue
		}
		if network == nil {
			return nil, nil, usagef("fault", "%s: not of a rank; the network has faults with -level congestion", text)
		}
		if net == nil {
			if net, err = network(); err != nil {
				return nil, nil, err
			}
		}
		list, err := net.ParseFault(text)
		if err != nil {
			return nil, nil, usagef("fault", "%s: %v", text, err)
		}
		parts = append(parts, list...)
	}
	if net == nil {
		return opts, nil, nil
	}
	net, err := net.With(parts...)
	return opts, net, err
}

// rankFault reads a fault of a rank: rank5, rank5@2ms, rank5+1ms, rank5*0.5 or rank5>rank6. It returns false if the text is
// about something else.
func rankFault(text string, ranks int) (sim.Option, bool, error) {
	rest, ok := strings.CutPrefix(text, "rank")
	if !ok {
		return nil, false, nil
	}
	digits := strings.IndexFunc(rest, func(c rune) bool { return c < '0' || c > '9' })
	if digits < 0 {
		digits = len(rest)
	}
	rank := func(s string) (topology.Rank, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n >= ranks {
			return 0, usagef("fault", "%s: there are ranks 0 to %d", text, ranks-1)
		}
		return topology.Rank(n), nil
	}
	r, err := rank(rest[:digits])
	if err != nil {
		return nil, false, err
	}
	rest = rest[digits:]
	if rest == "" {
		return sim.Dead(r, 0), true, nil
	}
	switch what := rest[1:]; rest[0] {
	case '@', '+':
		d, err := time.ParseDuration(what)
		if err != nil || d < 0 || d > 24*time.Hour {
			return nil, false, usagef("fault", "%s: want a time such as 2ms", text)
		}
		if at := sim.Time(d.Nanoseconds()) * sim.Nanosecond; rest[0] == '+' {
			return sim.Late(r, at), true, nil
		} else {
			return sim.Dead(r, at), true, nil
		}
	case '*':
		part, err := strconv.ParseFloat(what, 64)
		if err != nil || !(part > 0 && part <= 1) {
			return nil, false, usagef("fault", "%s: want a part of its speed, above 0 and up to 1", text)
		}
		return sim.Slow(r, 1/part), true, nil
	case '>':
		peer, ok := strings.CutPrefix(what, "rank")
		if !ok { // a wire to a switch
			return nil, false, nil
		}
		to, err := rank(peer)
		if err != nil {
			return nil, false, err
		}
		return sim.DeadLink(r, to), true, nil
	case '-': // a wire
		return nil, false, nil
	}
	return nil, false, usagef("fault", "%s: %s", text, fmt.Sprintf("what is %q?", rest))
}
