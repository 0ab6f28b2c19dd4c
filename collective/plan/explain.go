package plan

import (
	"fmt"
	"strings"
)

// Explain returns, as text of a few lines, what was chosen for the request, the predicted time of every candidate,
// and what the prediction rests on.
func (p *Planner) Explain(plan *Plan) string {
	var b strings.Builder
	req := plan.Request
	fmt.Fprintf(&b, "%v of %s over %d ranks on %d hosts: %v", req.Collective, Bytes(req.Bytes), p.g.Size(), p.g.Hosts(), plan.Variant)
	l := plan.Schedule.Layout()
	fmt.Fprintf(&b, " (%d channels, %d × %d chunks, slices up to %s)\n", plan.Schedule.Channels(), l.Blocks, l.Pieces, Bytes(int64(plan.SliceBytes)))
	for _, c := range plan.Candidates {
		mark := " "
		if c.Chosen {
			mark = "*"
		}
		note := ""
		if p.crowded(c.Variant) {
			note = "  only on request: too many links"
		}
		fmt.Fprintf(&b, "  %s %-15s %12s predicted%s\n", mark, c.Variant, Seconds(c.Seconds), note)
	}
	m := &p.model
	fmt.Fprintf(&b, "  inside a host: alpha %s, %s; ", Seconds(m.near.Alpha), rate(m.near.Beta))
	if m.hosts > 1 {
		fmt.Fprintf(&b, "between hosts: alpha %s, %s; ", Seconds(m.far.Alpha), rate(m.far.Beta))
	}
	fmt.Fprintf(&b, "reduction %s", rate(m.gamma))
	if m.crowd > 1 {
		fmt.Fprintf(&b, "; %.3g ranks share a core", m.crowd)
	}
	b.WriteByte('\n')
	return b.String()
}

// Bytes returns n with a binary unit: "64 KiB".
func Bytes(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.size {
			return fmt.Sprintf("%.4g %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// Seconds returns t with the unit that suits it: "12.3 µs".
func Seconds(t float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1, "s"}, {1e-3, "ms"}, {1e-6, "µs"}} {
		if t >= u.size {
			return fmt.Sprintf("%.3g %s", t/u.size, u.name)
		}
	}
	return fmt.Sprintf("%.3g ns", t*1e9)
}

func rate(beta float64) string {
	if beta <= 0 {
		return "no limit"
	}
	return fmt.Sprintf("%.3g GB/s", 1/beta/1e9)
}
